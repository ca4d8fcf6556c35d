"""Simulators without policies, for the bench. Nothing here imports JAX: processes start quickly."""

import functools
from collections.abc import Callable

import numpy as np

from ternevo import installation
from ternevo.host.mujoco import model_of
from ternevo.host.mujoco_tasks import TASKS
from ternevo.host.suites import suite
from ternevo.host.worlds import Worlds


@functools.cache
def _worlds(suite_name: str, name: str, count: int) -> Worlds:
    return suite(suite_name).open_worlds(name, count, 1)


def step_worlds(
    suite_name: str, name: str, count: int, steps: int, episode_length: int, seed: int
) -> int:
    """Step worlds with random actions; return the number of steps of all of them."""
    worlds, spec = _worlds(suite_name, name, count), suite(suite_name).spec(name)
    rng, rows = np.random.default_rng(seed), np.arange(count)
    worlds.reset(rows, rng.integers(0, 2**31, count))
    lengths, is_discrete = np.zeros(count, int), spec.action_kind == "discrete"
    for _ in range(steps):
        if is_discrete:
            actions = rng.integers(0, spec.action_size, count).astype(np.int32)
        else:
            actions = rng.uniform(spec.low, spec.high, (count, spec.action_size))
        found = worlds.step(rows, actions if is_discrete else actions.astype(np.float32))
        lengths += 1
        over = found.terminated | (lengths >= episode_length)
        if over.any():
            worlds.reset(rows[over], rng.integers(0, 2**31, int(over.sum())))
            lengths[over] = 0
    return steps * count


def rollouts(
    name: str, population_size: int, episode_length: int, num_threads: int, *, is_open: bool
) -> Callable[[], None]:
    """Return a function that simulates an episode of each member with `mujoco.rollout`.

    Actions are random. Nothing is observed or rewarded.

    Args:
      name: an environment of MuJoCo.
      population_size: number of episodes, all side by side.
      episode_length: steps of each.
      num_threads: number of threads.
      is_open: whether one call does all steps; otherwise there is a call for each step of the
        environment, as if a policy chose actions between them.
    """
    mujoco = installation.load("a rollout", "mujoco", "mujoco")
    rollout = installation.load("a rollout", "mujoco", "mujoco.rollout")
    task, spec = TASKS[name], suite("mujoco").spec(name)
    model = model_of(mujoco, task)
    data = [mujoco.MjData(model) for _ in range(num_threads)]
    pool = rollout.Rollout(nthread=num_threads)
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    start = np.empty((population_size, mujoco.mj_stateSize(model, kind)))
    mujoco.mj_getState(model, data[0], start[0], kind)
    start[:] = start[0]
    shape = population_size, episode_length, spec.action_size
    actions = np.random.default_rng(0).uniform(spec.low, spec.high, shape)

    def run() -> None:
        state, warmstart = start, np.zeros((population_size, model.nv))
        calls = 1 if is_open else episode_length
        for own in np.split(actions, calls, axis=1):
            control = np.repeat(own, task.frame_skip, axis=1)
            found, _ = pool.rollout(model, data, state, control, initial_warmstart=warmstart)
            state = found[:, -1]

    return run
