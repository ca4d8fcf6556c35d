"""Simulators without policies, for the bench. Nothing here imports JAX: processes start quickly."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo import installation
from ternevo.deploy.runtime import Policy
from ternevo.host.mujoco import model_of
from ternevo.host.mujoco_tasks import TASKS, Task
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


def actions_of(name: str, policies: Sequence[Policy], episode_length: int) -> NDArray[np.float32]:
    """Return the actions [policies, steps, size] of policies in episodes of the seeds 0, 1, ..."""
    count = len(policies)
    worlds, rows, found = suite("mujoco").open_worlds(name, count, 1), np.arange(count), []
    obs = worlds.reset(rows, rows.astype(np.int64))
    for _ in range(episode_length):
        acted = [policy.act(own) for policy, own in zip(policies, obs, strict=True)]
        found.append(np.asarray(acted, np.float32))
        obs = worlds.step(rows, found[-1]).obs
    worlds.close()
    return np.stack(found, axis=1)


def rollouts(
    name: str, actions: NDArray[np.float32], num_threads: int, *, is_open: bool
) -> Callable[[], None]:
    """Return a function that simulates all episodes of `actions_of` with `mujoco.rollout`.

    It acts, observes and rewards nothing.

    Args:
      name: an environment of MuJoCo that has no terminations.
      actions: [episodes, steps, size].
      num_threads: number of threads.
      is_open: whether one call does all steps; otherwise there is a call for each step of the
        environment, as if policies chose actions between them.
    """
    mujoco = installation.load("a rollout", "mujoco", "mujoco")
    rollout = installation.load("a rollout", "mujoco", "mujoco.rollout")
    task = TASKS[name]
    model = model_of(mujoco, task)
    data = [mujoco.MjData(model) for _ in range(num_threads)]
    pool = rollout.Rollout(nthread=num_threads)
    start = _starts(mujoco, model, task, len(actions))
    calls = 1 if is_open else actions.shape[1]

    def run() -> None:
        state, warmstart = start, np.zeros((len(start), model.nv))
        for own in np.split(actions, calls, axis=1):
            control = np.repeat(own, task.frame_skip, axis=1).astype(np.float64)
            found, _ = pool.rollout(model, data, state, control, initial_warmstart=warmstart)
            state = found[:, -1]

    return run


def _starts(mujoco: Any, model: Any, task: Task, count: int) -> NDArray[np.float64]:
    """Return the states [count, size] in which episodes of the seeds 0, 1, ... begin."""
    seeding = installation.load("a rollout", "mujoco", "gymnasium.utils.seeding")
    kind, data = mujoco.mjtState.mjSTATE_FULLPHYSICS, mujoco.MjData(model)
    qpos, qvel = data.qpos.copy(), data.qvel.copy()
    states = np.empty((count, mujoco.mj_stateSize(model, kind)))
    for seed, state in enumerate(states):
        data.qpos[:], data.qvel[:] = task.begin(seeding.np_random(seed)[0], qpos, qvel)
        mujoco.mj_getState(model, data, state, kind)
    return states
