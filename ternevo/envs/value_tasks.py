"""The tasks of NEAT+Q (Whiteson and Stone 2006): a mountain car in bins, and a server with jobs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from ternevo.types import ActionSpec, Env, Key, ObsSpec, Task, Timestep

FULL = 127
"""The number of a bin that holds the state; others are 0."""

# --------------------------------------------------------------------------------- mountain car

BINS = 10
POSITIONS, SPEED, GOAL = (-1.2, 0.6), 0.07, 0.5
FORCE, GRAVITY = 0.001, 0.0025
STARTS = (-0.6, -0.4)


class CarState(NamedTuple):
    """A car: position, velocity, steps done, and the bins that are shown."""

    position: Float32[Array, ""]
    velocity: Float32[Array, ""]
    step: Int32[Array, ""]
    obs: Float32[Array, "20"]


def mountain_car_bins(episode_length: int = 500) -> Env:
    """Reach the top of the hill; each step costs 1. Position and velocity are shown in ten bins.

    The physics are those of Gym's MountainCar-v0. Without hidden nodes a network
    can hold a value for each bin.
    """

    def seen(position: jax.Array, velocity: jax.Array, count: jax.Array) -> CarState:
        low, high = POSITIONS
        shares = jnp.stack([(position - low) / (high - low), (velocity / SPEED + 1) / 2])
        bins = jnp.clip(jnp.floor(shares * BINS), 0, BINS - 1)
        obs = FULL * (bins[:, None] == jnp.arange(BINS)).astype(jnp.float32)
        return CarState(position, velocity, count, obs.ravel())

    def reset(key: Key, task: Task) -> tuple[CarState, jax.Array]:
        del task
        position = jax.random.uniform(key, minval=STARTS[0], maxval=STARTS[1])
        state = seen(position, jnp.zeros(()), jnp.zeros((), jnp.int32))
        return state, state.obs

    def step(key: Key, state: CarState, action: jax.Array) -> tuple[CarState, Timestep]:
        del key
        pull = (action - 1) * FORCE - GRAVITY * jnp.cos(3 * state.position)
        velocity = jnp.clip(state.velocity + pull, -SPEED, SPEED)
        position = jnp.clip(state.position + velocity, *POSITIONS)
        velocity = jnp.where((position <= POSITIONS[0]) & (velocity < 0), 0.0, velocity)
        after = seen(position, velocity, state.step + 1)
        is_there = position >= GOAL
        is_cut = (after.step >= episode_length) & ~is_there
        return after, Timestep(after.obs, jnp.asarray(-1.0), is_there, is_cut)

    names = ("position", "velocity")
    return Env(
        "control/mountain_car_bins",
        ObsSpec((2 * BINS,), "integers"),
        ActionSpec("discrete", 3),
        episode_length,
        reset,
        step,
        obs_names=tuple(f"{name} in bin {i} of {BINS}" for name in names for i in range(BINS)),
        action_names=("push left", "coast", "push right"),
    )


# ------------------------------------------------------------------------------- job scheduling

QUEUED, ARRIVING, TYPES, AGES = 100, 100, 4, 4
NUM_JOBS = QUEUED + ARRIVING
AGE_RANGE = NUM_JOBS // AGES


class JobsState(NamedTuple):
    """A server: the type of each job, whether it is done, and the time.

    Job i arrives at time max(0, i - 99): 100 wait at the start, then one comes in each step.
    """

    type: Int32[Array, "200"]
    is_done: Bool[Array, "200"]
    time: Int32[Array, ""]
    obs: Float32[Array, "16"]


def utility(type_: jax.Array, age: jax.Array) -> Float32[Array, "*jobs"]:
    """Return what a job of a type pays if it is done at an age of 0 to 200 steps, -1 to 0.

    Type 0 loses with every step, type 1 at first, type 2 after 100 steps, and type 3 all of it at
    150. The original draws such curves in a figure; these are of the same kind, not the same.
    """
    share = jnp.asarray(age, jnp.float32) / NUM_JOBS
    paid = jnp.stack(
        [
            -share,
            -jnp.minimum(4 * share, 0.6 + 0.4 * share),
            -jnp.maximum(2 * share - 1, 0),
            -(share >= 0.75).astype(jnp.float32),
        ]
    )
    return jnp.sum(jnp.where(jnp.arange(TYPES).reshape(-1, *[1] * share.ndim) == type_, paid, 0), 0)


def job_scheduling(episode_length: int = NUM_JOBS) -> Env:
    """Choose which job a server does next, of 100 that wait and 100 that arrive, one a step.

    Observations count the jobs of 4 types in 4 ranges of age, and the action names one of these; of
    the jobs there the oldest is done, or the oldest of all if there is none. A step pays the job's
    `utility`, so the optimum is below 0.
    """
    arrival = jnp.maximum(0, jnp.arange(NUM_JOBS) - (QUEUED - 1))

    def groups(state: JobsState) -> tuple[jax.Array, jax.Array]:
        """Return the group of each job, and whether it waits."""
        age = state.time - arrival
        waits = ~state.is_done & (age >= 0)
        return state.type * AGES + jnp.clip(age // AGE_RANGE, 0, AGES - 1), waits

    def seen(state: JobsState) -> JobsState:
        group, waits = groups(state)
        counts = jnp.sum(waits & (group == jnp.arange(TYPES * AGES)[:, None]), 1)
        return state._replace(obs=jnp.minimum(counts, FULL).astype(jnp.float32))

    def reset(key: Key, task: Task) -> tuple[JobsState, jax.Array]:
        del task
        types = jax.random.randint(key, (NUM_JOBS,), 0, TYPES)
        nothing = jnp.zeros(TYPES * AGES)
        state = seen(JobsState(types, jnp.zeros(NUM_JOBS, bool), jnp.zeros((), jnp.int32), nothing))
        return state, state.obs

    def step(key: Key, state: JobsState, action: jax.Array) -> tuple[JobsState, Timestep]:
        del key
        group, waits = groups(state)
        is_named = waits & (group == action)
        allowed = jnp.where(jnp.any(is_named), is_named, waits)
        job = jnp.argmax(allowed)  # the first is the oldest
        reward = utility(state.type[job], state.time - arrival[job])
        after = state._replace(is_done=state.is_done.at[job].set(True), time=state.time + 1)
        after = seen(after)
        is_over = jnp.all(after.is_done)
        is_cut = (after.time >= episode_length) & ~is_over
        return after, Timestep(after.obs, reward, is_over, is_cut)

    names = tuple(
        f"type {kind}, age {AGE_RANGE * age}-{AGE_RANGE * (age + 1) - 1}"
        for kind in range(TYPES)
        for age in range(AGES)
    )
    return Env(
        "control/job_scheduling",
        ObsSpec((TYPES * AGES,), "integers"),
        ActionSpec("discrete", TYPES * AGES),
        min(episode_length, NUM_JOBS),
        reset,
        step,
        obs_names=tuple(f"jobs of {name}" for name in names),
        action_names=names,
    )
