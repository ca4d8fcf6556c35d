"""Several seeds in one compiled program: every array has a leading axis of seeds.

Seed s has the key `jax.random.key(s)`, as in a run of its own, so it draws the same numbers.
With only one seed, neither the key nor the state has an axis of seeds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.machine import devices
from ternevo.names import check
from ternevo.types import Key, Strategy


def keys_of(seeds: Sequence[int]) -> Key:
    """Return the keys [seeds], or for only one seed its key."""
    keys = [jax.random.key(seed) for seed in seeds]
    return keys[0] if len(keys) == 1 else jnp.stack(keys)


def of_each_seed(tree: Any, num_seeds: int, axis: int = 0) -> list[Any]:
    """Split arrays with an axis of seeds by seed; for only one seed, return them unchanged."""
    if num_seeds == 1:
        return [tree]
    return [jax.tree.map(lambda x, i=i: x.take(i, axis), tree) for i in range(num_seeds)]


def across_seeds(strategy: Strategy, num_seeds: int) -> Strategy:
    """Return the strategy of several seeds in one program: keys, states, metrics are [seeds, ...].

    On a GPU or TPU, seeds run side by side, by `vmap`. This is slower on a CPU, because a `cond`
    computes both branches, and one large matrix product becomes many small ones. On a CPU, seeds
    therefore take turns within the program, each as it would run alone.

    If the devices of the mesh can share the seeds evenly, each device runs its own seeds, without
    communication. Otherwise all devices share the population of every seed.

    Each seed also has numbers of its own; see `trials`, which try several settings at once.

    Args:
      strategy: the strategy of one seed.
      num_seeds: the number of seeds; 1 leaves the strategy unchanged.
    """
    if num_seeds == 1:
        return strategy
    numbers = lambda: _repeated(strategy.numbers(), num_seeds)  # noqa: E731
    kept = strategy.archive
    return Strategy(
        of_all_seeds(strategy.init, num_seeds),
        of_all_seeds(strategy.step, num_seeds),
        jax.vmap(strategy.params),
        numbers,
        kept and kept._replace(read=jax.vmap(kept.read)),
    )


def of_all_seeds(function: Callable, num_seeds: int) -> Callable[..., Any]:
    """Return a function of one seed as one of all: each array gets an axis of seeds in front.

    It runs as `across_seeds` says. For only one seed it is the function itself.
    """
    if num_seeds == 1:
        return function
    is_cpu = jax.default_backend() == "cpu"
    return _shared(_in_turn(function) if is_cpu else jax.vmap(function), num_seeds)


def _repeated(numbers: Any, num_seeds: int) -> Any:
    return jax.tree.map(lambda x: np.full(num_seeds, x, np.float32), numbers)


def trials(strategy: Strategy, changes: Sequence[dict[str, float]]) -> Strategy:
    """Return the strategy of several settings in one program, like `across_seeds`.

    Args:
      strategy: the strategy of one trial.
      changes: for each trial the numbers that differ from the strategy's, by option name.

    Raises:
      UnknownName: an option is not a number that the strategy takes as data.
    """
    (plain,) = strategy.numbers() or ({},)
    for names in changes:
        for name in names:
            check("number that is data", name, plain)
    of_each = {
        name: np.array([row.get(name, value) for row in changes], np.float32)
        for name, value in plain.items()
    }
    if len(changes) == 1:  # no axis of trials
        of_each = {name: values[0] for name, values in of_each.items()}
    return across_seeds(strategy, len(changes))._replace(numbers=lambda: (of_each,))


def _in_turn(function: Callable) -> Callable[..., Any]:
    return lambda *arguments: jax.lax.map(lambda row: function(*row), arguments)


def _shared(for_all: Callable, num_seeds: int) -> Callable[..., Any]:
    """Return the function over all seeds, distributed over the devices as their number allows."""

    def on_device(device: jax.Array, *arguments: Any) -> Any:
        del device
        with devices.alone():
            return for_all(*arguments)

    def run(*arguments: Any) -> Any:
        if has_own_seeds(num_seeds):
            return devices.split(on_device, (True,) * len(arguments), True)(*arguments)
        return devices.replicated(for_all(*arguments))

    return run


def has_own_seeds(num_seeds: int) -> bool:
    """Return whether each device runs its own seeds, independently."""
    return devices.count() > 1 and num_seeds % devices.count() == 0
