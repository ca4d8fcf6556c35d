"""Run by test_seeds.py in a process of its own, with two CPU devices.

    python seeds_on_devices.py OUT.npz STRATEGY COUNT...

trains so many seeds of a strategy. 2 or 4 each device runs by itself; of 3 they share the
populations.
"""

import functools
import re
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from gradient_learners import CONTINUOUS, SMALL

from ternevo import envs, problems
from ternevo.machine import devices
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.across_seeds import across_seeds, keys_of, of_each_seed
from ternevo.training import loop
from ternevo.training.checkpoint import Checkpoints
from ternevo.training.evaluation import Evaluation
from ternevo.types import Strategy

FIRST_SEED, GENERATIONS = 3, 6
COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-to-all|collective-permute)(-start)?\(")


@functools.cache
def build(name: str, num_seeds: int) -> tuple[Strategy, Evaluation]:
    is_pushed = name in CONTINUOUS
    env = envs.make("probe/double_integrator" if is_pushed else "gymnax/CartPole-v1", 20)
    policy = MLP(hidden_sizes=(4,)).build(env.obs, env.action)
    sizes = SMALL.get(name, {"population_size": 16})
    strategy = STRATEGIES[name].of(**sizes).build(env, policy, "ternary", 20)
    evaluation = Evaluation(problems.of(policy, env), 5, 4, 4, num_seeds)
    return across_seeds(strategy, num_seeds), evaluation


@functools.cache
def trained(name: str, seeds: range) -> dict[str, np.ndarray]:
    """Return weights and metrics, each array [seeds, ...]."""
    strategy, evaluation = build(name, len(seeds))
    state = loop.start(keys_of(seeds), strategy)
    chunks = list(loop.train(strategy, state, GENERATIONS, 4, evaluation=evaluation))
    metrics = {n: np.concatenate([c.metrics[n] for c in chunks]) for n in chunks[0].metrics}
    of_each = of_each_seed(metrics, len(seeds), axis=1)
    found = {f"metrics/{n}": np.stack([own[n] for own in of_each]) for n in metrics}
    # On one device from here on, as a run does before it saves: each small operation on arrays of
    # the mesh is a program of its own, and XLA's threads may take two of them in another order.
    last = chunks[-1].state
    state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), last.strategy)
    params = of_each_seed((strategy.params(state), last.best), len(seeds))
    leaves = zip(*(jax.tree.leaves(own) for own in params), strict=True)
    return {**found, **{f"params/{i}": np.stack(x) for i, x in enumerate(leaves)}}


def num_messages(name: str, num_seeds: int) -> int:
    """Return how often devices talk in the compiled program."""
    strategy, _ = build(name, num_seeds)
    state = loop.start(keys_of(range(num_seeds)), strategy)
    program = loop.advance.lower(strategy, state, jnp.asarray(1, jnp.int32)).compile()
    return len(COLLECTIVE.findall(program.as_text()))


def num_compiled_later(name: str, num_seeds: int) -> int:
    """Return how many programs the second chunk compiles, and the first two after a checkpoint."""
    strategy, evaluation = build(name, num_seeds)
    first = evaluation.begun(strategy, loop.start(keys_of(range(num_seeds)), strategy))
    chunks = loop.train(strategy, first, GENERATIONS, 2, evaluation=evaluation)
    next(chunks)
    with Compiled() as compiled:
        state = next(chunks).state
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        checkpoints.save(state)
        restored = checkpoints.restore(state)
    with compiled:
        list(loop.train(strategy, restored, GENERATIONS, 1, evaluation=evaluation))
    return compiled.count


class Compiled:
    """Counts, while it is entered, the programs that XLA compiles."""

    def __init__(self):
        self.count, self._is_on = 0, False
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, seconds: float, **details) -> None:
        self.count += self._is_on and event.endswith("backend_compile_duration")

    def __enter__(self):
        self._is_on = True
        return self

    def __exit__(self, *exception):
        self._is_on = False


def main() -> None:
    devices.use_cores(2)
    found, name = {}, sys.argv[2]
    with devices.on_all_devices():
        for count in map(int, sys.argv[3:]):
            seeds = range(FIRST_SEED, FIRST_SEED + count)
            found |= {f"{count}/{k}": x for k, x in trained(name, seeds).items()}
            found[f"{count}/messages"] = np.asarray(num_messages(name, count))
            found[f"{count}/compiled"] = np.asarray(num_compiled_later(name, count))
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
