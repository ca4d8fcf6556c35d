"""Numbers of the settings as data: one compiled program serves every lr, sigma and schedule end.

Compiling takes longer than many a run. So a learning rate is not a constant of the program but part
of the state, and a strategy is built from its settings while a generation is traced, with traced
scalars in their place. Runs, trials of a tuner and sweeps that differ in such numbers
then share a program, also across processes by the compilation cache; and trials with
numbers of their own can run together, see `across_seeds`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from ternevo.settings.flat import with_numbers
from ternevo.settings.strategies.settings import Settings
from ternevo.types import Key, Metrics, PolicyParams, State, Strategy

Made = TypeVar("Made", bound=Settings)


IN_PYTHON = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)
"""What JAX raises where Python computes on a traced scalar."""


class NumberedState(NamedTuple):
    """The numbers of the settings by name, and the state of the strategy that is built of them."""

    numbers: dict[str, Float32[Array, ""]]
    strategy: State


def unwrapped(state: State) -> State:
    """Return the state of a strategy without its numbers."""
    return state.strategy if isinstance(state, NumberedState) else state


def inside(state: State, change: Callable[[State], State]) -> State:
    """Return the state with its part without numbers changed."""
    if isinstance(state, NumberedState):
        return state._replace(strategy=change(state.strategy))
    return change(state)


def numbered(settings: Made, build: Callable[[Made], Strategy]) -> Strategy:
    """Return the strategy that `build` makes of settings, whose numbers are part of its state.

    Args:
      settings: the settings; their `numbers` become data.
      build: maps settings to a strategy. It is called while the strategy is traced, with traced
        scalars as these options, on which it cannot branch.

    Raises:
      ValueError: what `build` refuses.
      TypeError: `build` needs the numbers in Python; raised when the strategy is traced.
    """
    plain = settings.numbers
    built = build(settings)
    if not plain:
        return built

    def init(key: Key, numbers: dict[str, Any] = plain) -> NumberedState:
        numbers = {name: jnp.asarray(x, jnp.float32) for name, x in numbers.items()}
        return NumberedState(numbers, of(numbers).init(key))

    def step(key: Key, state: NumberedState) -> tuple[NumberedState, Metrics]:
        strategy, metrics = of(state.numbers).step(key, state.strategy)
        return NumberedState(state.numbers, strategy), metrics

    def params(state: NumberedState) -> PolicyParams:
        return built.params(state.strategy)

    kept = built.archive
    inner = kept and kept._replace(read=lambda state: kept.read(state.strategy))

    def of(numbers: dict[str, jax.Array]) -> Strategy:
        try:
            return build(with_numbers(settings, numbers))
        except IN_PYTHON as error:
            raise TypeError(
                f"{type(settings).__name__} computes in Python on one of {', '.join(numbers)}, "
                "which are data of the compiled program: compute with jax.numpy and branch with "
                "jnp.where, or let its property `numbers` return {}, which makes them constants"
            ) from error

    return Strategy(init, step, params, lambda: (plain,), inner)
