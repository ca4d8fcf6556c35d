"""A strategy that starts anew when it no longer gets better."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from ternevo.types import Key, Metrics, PolicyParams, State, Strategy


class RestartState(NamedTuple):
    """The inner state, what the best generation would have shipped, and how long ago it was."""

    inner: State
    best: PolicyParams
    best_return: Float[Array, ""]
    best_of_start: Float[Array, ""]
    waited: Int32[Array, ""]


def with_restarts(strategy: Strategy, patience: int) -> Strategy:
    """Return the strategy that starts anew after `patience` generations without a better mean."""

    def init(key: Key) -> RestartState:
        inner = strategy.init(key)
        worst, zero = jnp.asarray(-jnp.inf), jnp.zeros((), jnp.int32)
        return RestartState(inner, strategy.params(inner), worst, worst, zero)

    def step(key: Key, state: RestartState) -> tuple[RestartState, Metrics]:
        key_step, key_restart = jax.random.split(key)
        inner, metrics = strategy.step(key_step, state.inner)
        mean = metrics["return/mean"]
        best, best_return = jax.tree.map(
            lambda new, old: jnp.where(mean > state.best_return, new, old),
            (strategy.params(inner), mean),
            (state.best, state.best_return),
        )
        waited = jnp.where(mean > state.best_of_start, 0, state.waited + 1)
        is_over = waited >= patience
        inner = jax.lax.cond(is_over, lambda: strategy.init(key_restart), lambda: inner)
        of_start = jnp.where(is_over, -jnp.inf, jnp.maximum(mean, state.best_of_start))
        waited = jnp.where(is_over, 0, waited)
        return RestartState(inner, best, best_return, of_start, waited), metrics

    return Strategy(init, step, lambda state: state.best)
