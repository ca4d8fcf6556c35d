"""Several seeds in one compiled program: every array has an axis of seeds in front.

Seed s has the key `jax.random.key(s)`, as in a run of its own, and so draws the same numbers.
One seed alone has no axis of seeds, neither in its key nor in its state.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ternevo.machine import devices
from ternevo.strategies.evaluated import EvaluationState
from ternevo.types import Key, Metrics, Strategy, is_buffer


def keys_of(seeds: Sequence[int]) -> Key:
    """Return the keys [seeds], and of one seed alone its key."""
    keys = [jax.random.key(seed) for seed in seeds]
    return keys[0] if len(keys) == 1 else jnp.stack(keys)


def of_each_seed(tree: Any, num_seeds: int, axis: int = 0) -> list[Any]:
    """Return what each seed has of arrays with an axis of seeds; one seed alone has all."""
    if num_seeds == 1:
        return [tree]
    return [jax.tree.map(lambda x, i=i: x.take(i, axis), tree) for i in range(num_seeds)]


def across_seeds(strategy: Strategy, num_seeds: int) -> Strategy:
    """Return the strategy of several seeds in one program: keys, states, metrics are [seeds, ...].

    On a GPU or TPU seeds run side by side, by `vmap`. A CPU loses by that: a `cond` computes both
    of its branches, and one large matrix product becomes many small ones. There seeds take turns
    within the program, each as it would run alone.

    If the devices of the mesh share the seeds evenly, each runs seeds of its own, and no device
    talks to another. Else all of them share the population of every seed.

    Args:
      strategy: that of one seed, as `with_evaluation` returns it.
      num_seeds: how many; with 1 the strategy stays as it is.

    Raises:
      ValueError: the state has a `Buffer`, which taking turns would copy in every generation.
    """
    if num_seeds == 1:
        return strategy
    state = jax.eval_shape(strategy.init, jax.random.key(0))
    if any(map(is_buffer, jax.tree.leaves(state, is_leaf=is_buffer))):
        raise ValueError(
            f"--num_seeds must be 1 with a strategy that keeps a buffer, got {num_seeds}: start a "
            "run for each seed"
        )
    if jax.default_backend() == "cpu":
        return Strategy(
            _shared(_in_turn(strategy.init)),
            _shared(_in_turn(strategy.step)),
            jax.vmap(strategy.params),
        )
    return Strategy(
        _shared(jax.vmap(strategy.init)),
        _shared(lambda key, state: _side_by_side(strategy, key, state)),
        jax.vmap(strategy.params),
    )


def _in_turn(function: Callable) -> Callable[..., Any]:
    return lambda *arguments: jax.lax.map(lambda row: function(*row), arguments)


def _side_by_side(
    strategy: Strategy, key: Key, state: EvaluationState
) -> tuple[EvaluationState, Metrics]:
    # They share the count of generations: a `cond` on it stays one, where one on a number of
    # each seed would compute both of its branches.
    axes = jax.tree.map(lambda x: 0, state)._replace(generation=None)
    common = state._replace(generation=state.generation[0])
    state, metrics = jax.vmap(strategy.step, (0, axes), (axes, 0))(key, common)
    return state._replace(generation=jnp.repeat(state.generation, key.size)), metrics


def _shared(for_all: Callable) -> Callable[..., Any]:
    """Return the function of all seeds, run by the devices in the way that suits their number."""

    def on_device(device: jax.Array, *arguments: Any) -> Any:
        del device
        with devices.alone():
            return for_all(*arguments)

    def run(*arguments: Any) -> Any:
        if has_own_seeds(arguments[0].size):
            return devices.split(on_device, (True,) * len(arguments), True)(*arguments)
        return devices.replicated(for_all(*arguments))

    return run


def has_own_seeds(num_seeds: int) -> bool:
    """Return whether each device runs seeds of its own, by itself."""
    return devices.count() > 1 and num_seeds % devices.count() == 0
