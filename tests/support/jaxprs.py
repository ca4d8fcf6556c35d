"""What a program is made of, before XLA changes it."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.extend


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a program, also those of programs within."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                yield from equations(getattr(inner, "jaxpr", inner))


def is_jaxpr(x: Any) -> bool:
    return isinstance(x, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr)
