"""Guards that keep an algorithm's state finite for any fitness.

float32 ends at 3.4e38, and squares of fitness are summed over a population, divided by small
probabilities, and averaged by optimisers. Fitness beyond `LIMIT` therefore counts as not finite:
a return of that size means that the simulation exploded.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Num

from ternevo.machine import devices

LIMIT = 1e15
"""Fitness beyond this size counts as not finite: sums of its squares might overflow."""

FACTOR = 10.0
"""How many times longer than past gradients a gradient may be, see `bounded_by_past`."""

MEMORY = 0.9
"""Weight of the past in the mean length of gradients."""


def is_usable(numbers: Num[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Return whether each number is finite and within `LIMIT`."""
    return jnp.abs(numbers) <= LIMIT  # NaN is not


def finite_fitness(fitness: Num[Array, " population"]) -> Float[Array, " population"]:
    """Return fitness (lower is better) in which unusable values are worse than all others.

    If none is usable, all become `LIMIT`, and no other generation is likely to be worse.

    Examples:
      >>> finite_fitness(jnp.array([3.0, jnp.nan, 1.0, -jnp.inf, 1e20])).tolist()
      [3.0, 5.0, 1.0, 5.0, 5.0]
    """
    fitness = jnp.asarray(fitness, jnp.float32)
    usable = is_usable(fitness)
    worst = jnp.max(jnp.where(usable, fitness, -jnp.inf))
    best = jnp.min(jnp.where(usable, fitness, jnp.inf))
    penalty = jnp.where(worst > best, worst - best, jnp.maximum(1.0, jnp.abs(worst)))
    worse = jnp.where(jnp.any(usable), jnp.minimum(worst + penalty, LIMIT), LIMIT)
    return jnp.where(usable, fitness, worse)


def bounded(tree: Any) -> Any:
    """Clip arrays to `LIMIT`; NaN stays."""
    return jax.tree.map(lambda x: jnp.clip(x, -LIMIT, LIMIT), tree)


def keep_finite(before: Any, after: Any) -> tuple[Any, Bool[Array, ""]]:
    """Return the state after an update, or the state before it if the update is not finite.

    An update is not finite if it makes a finite number infinite or NaN: evosax starts some
    fields at infinity or NaN.

    Returns:
      The state, and whether the update was skipped.
    """
    broken = [
        jnp.any(jnp.isfinite(old) & ~jnp.isfinite(new))
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if jnp.issubdtype(new.dtype, jnp.floating)
    ]
    is_left_out = functools.reduce(jnp.logical_or, broken, jnp.asarray(False))
    kept = jax.tree.map(lambda old, new: jnp.where(is_left_out, old, new), before, after)
    return kept, is_left_out


class PastLength(NamedTuple):
    """The running mean length of gradients; 0 until the first nonzero gradient."""

    length: Float[Array, ""]


def bounded_by_past() -> optax.GradientTransformation:
    """Return a transformation that shortens gradients far longer than past ones.

    One generation of huge returns would otherwise fill Adam's second moment for thousands of
    generations, or push SGD's latents far away. The mean length follows the shortened gradients, so
    it catches up with a lasting change of scale by nearly a factor of two in each generation.
    """

    def init(params: Any) -> PastLength:
        del params
        return PastLength(jnp.zeros(()))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, PastLength]:
        del params
        length, past = _length(jax.tree.leaves(updates)), state.length
        is_first = past == 0
        allowed = jnp.where(is_first, length, jnp.minimum(length, FACTOR * past))
        share = jnp.where(allowed < length, allowed / length, 1.0)
        mean = jnp.where(is_first, length, MEMORY * past + (1 - MEMORY) * allowed)
        return (
            jax.tree.map(lambda x: share * x, updates),
            PastLength(jnp.where(length > 0, mean, past)),
        )

    return optax.GradientTransformation(init, update)


def _length(arrays: list[jax.Array]) -> Float[Array, ""]:
    """Return the Euclidean length of all arrays together, without overflow of squares."""
    largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(x)) for x in arrays])
    safe = jnp.where(largest > 0, largest, 1.0)
    squares = [devices.sum_in_order(jnp.square(x / safe).ravel()) for x in arrays]
    return largest * jnp.sqrt(functools.reduce(jnp.add, squares))
