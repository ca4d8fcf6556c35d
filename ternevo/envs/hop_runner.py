"""A runner that jumps over gaps, walls and bumps; how hard that is are the numbers of its task.

A point runs to the right in a plane. The body, the course and all constants are our own: a small
stand-in for the walker of POET, whose scale of returns it has: the criteria of the authors' code
apply, but no return is above 342, so that hardly anything is too easy by theirs of 340.

References:
  Wang, Lehman, Clune and Stanley, "Paired Open-Ended Trailblazer (POET)", 2019.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32
from matplotlib.figure import Figure

from ternevo.envs import traces
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, TaskSpace, Timestep

TIME_STEP, GRAVITY = 0.05, 9.81
PUSH, AIR_SHARE = 8.0, 0.5
"""Largest acceleration on the ground (m/s^2), and the share of it in the air."""
SLOWEST, FASTEST, JUMP = -2.0, 6.0, 5.0
"""Range of speeds, and speed of the highest jump upwards (m/s)."""
LENGTH, COUNT, FIRST, SPACING, JITTER = 50.0, 8, 6.0, 5.5, 0.5
"""Length of a course, number of obstacles, where the first begins, and from one to the next (m)."""
WALL_WIDTH, GAP_HEIGHT, DEPTH = 0.5, -1.0, -10.0
"""Width of a wall, the height at which a gap is shown, and at which its ground is (m)."""
STEP_UP = 0.15
"""What the runner climbs without a jump (m)."""
LOST = -1.0
"""Height below which it has fallen (m)."""
WORTH, FALL, BONUS = 300.0, -100.0, 100.0
"""What the whole way pays, a fall, and an arrival at once."""
FLAT = 4
"""Metres at the start without bumps."""
OBS_NAMES = (
    *("speed (m/s)", "height above the ground (m)", "vertical speed (m/s)"),
    *("distance to the next obstacle (m)", "its width (m)", "its height, negative of a gap (m)"),
    "rise of the ground half a metre ahead (m)",
)
SPACE = TaskSpace(
    names=("gap (m)", "wall (m)", "bumps (m)", "spread of gaps (m)", "spread of walls (m)"),
    low=(0.0, 0.0, 0.0, 0.0, 0.0),
    high=(3.5, 1.2, 0.8, 1.0, 0.4),
    start=(0.2, 0.0, 0.0, 0.0, 0.0),
    step=(0.6, 0.25, 0.15, 0.3, 0.15),
)
"""The least gap and wall, up to which bumps rise, and by how much gaps and walls differ."""


class Course(NamedTuple):
    """The obstacles from the left to the right, and the height of the ground in each metre."""

    start: Float32[Array, "obstacles"]
    end: Float32[Array, "obstacles"]
    height: Float32[Array, "obstacles"]
    bumps: Float32[Array, "metres"]


class RunnerState(NamedTuple):
    """The course, the place and velocity in the plane, the steps done, and what is seen."""

    course: Course
    place: Float32[Array, "2"]
    velocity: Float32[Array, "2"]
    step: Int32[Array, ""]
    obs: Float32[Array, "7"]


def course_of(key: Key, task: Float32[Array, "5"]) -> Course:
    """Draw a course: of each obstacle where it is, whether it is a gap, and its size."""
    key_place, key_kind, key_size, key_bumps = jax.random.split(key, 4)
    gap, wall, bumps, gap_spread, wall_spread = task
    share = jax.random.uniform(key_size, (COUNT,))
    is_gap = jax.random.bernoulli(key_kind, 0.5, (COUNT,))
    start = FIRST + SPACING * jnp.arange(COUNT)
    start += JITTER * jax.random.uniform(key_place, (COUNT,), minval=-1.0)
    width = jnp.where(is_gap, gap + gap_spread * share, WALL_WIDTH)
    height = jnp.where(is_gap, GAP_HEIGHT, wall + wall_spread * share)
    rises = bumps * jax.random.uniform(key_bumps, (int(LENGTH) + 2,))
    return Course(start, start + width, height, rises.at[:FLAT].set(0.0))


def ground(course: Course, x: jax.Array) -> jax.Array:
    """Return the height of the ground at a place; walls stand on bumps, and gaps are deep."""
    bump = course.bumps[jnp.clip(jnp.floor(x), 0, int(LENGTH) + 1).astype(jnp.int32)]
    is_in = (x >= course.start) & (x < course.end)
    rise = jnp.sum(jnp.where(is_in & (course.height > 0), course.height, 0.0))
    return jnp.where(jnp.any(is_in & (course.height < 0)), DEPTH, bump + rise)


def seen(course: Course, place: jax.Array, velocity: jax.Array) -> Float32[Array, "7"]:
    """Return the observation; after the last obstacle, the next one is the last."""
    here = jnp.minimum(jnp.sum(course.end <= place[0]), COUNT - 1)
    level = ground(course, place[0])
    ahead = jnp.maximum(ground(course, place[0] + 0.5), GAP_HEIGHT)
    numbers = [
        *(velocity[0], place[1] - jnp.maximum(level, GAP_HEIGHT), velocity[1]),
        *(course.start[here] - place[0], course.end[here] - course.start[here]),
        *(course.height[here], ahead - jnp.maximum(level, GAP_HEIGHT)),
    ]
    return jnp.stack(numbers)


def moved(
    course: Course, place: jax.Array, velocity: jax.Array, action: Float32[Array, "2"]
) -> tuple[jax.Array, jax.Array]:
    """Return place and velocity after a step.

    What rises by more than `STEP_UP` above the feet stops the runner. A jump needs ground.
    """
    push, jump = jnp.clip(action, -1, 1)
    level = ground(course, place[0])
    stands = place[1] <= level
    speed = velocity[0] + TIME_STEP * PUSH * push * jnp.where(stands, 1.0, AIR_SHARE)
    speed = jnp.clip(speed, SLOWEST, FASTEST)
    lift = jnp.where(stands & (jump > 0), JUMP * jump, velocity[1]) - TIME_STEP * GRAVITY
    x, y = place[0] + TIME_STEP * speed, place[1] + TIME_STEP * lift
    is_stopped = ground(course, x) > y + STEP_UP
    x, speed = jnp.where(is_stopped, place[0], x), jnp.where(is_stopped, 0.0, speed)
    below = ground(course, x)
    lands = y <= below
    y, lift = jnp.where(lands, below, y), jnp.where(lands, 0.0, lift)
    return jnp.stack([x, y]), jnp.stack([speed, lift])


def hop_runner(episode_length: int = 300, task: tuple[float, ...] | None = None) -> Env:
    """Run to the right, over gaps, walls and bumps.

    The way of 50 m pays 300 in all, an arrival up to 100 for the share of the time that is left,
    and a fall into a gap costs 100 and ends the episode. Standing still is worth 0.

    Args:
      episode_length: the time limit; a step is 0.05 s.
      task: the numbers of `SPACE` for all courses; None to draw them anew for each episode.
    """

    def draw_task(key: Key) -> Task:
        if task is not None:
            return jnp.asarray(task, jnp.float32)
        low, high = (jnp.asarray(x, jnp.float32) for x in (SPACE.low, SPACE.high))
        return low + jax.random.uniform(key, (SPACE.size,)) * (high - low)

    def reset(key: Key, task: Task) -> tuple[RunnerState, jax.Array]:
        course = course_of(key, task)
        place, velocity = jnp.zeros(2), jnp.zeros(2)
        obs = seen(course, place, velocity)
        return RunnerState(course, place, velocity, jnp.zeros((), jnp.int32), obs), obs

    def step(key: Key, state: RunnerState, action: jax.Array) -> tuple[RunnerState, Timestep]:
        del key
        place, velocity = moved(state.course, state.place, state.velocity, action)
        count, obs = state.step + 1, seen(state.course, place, velocity)
        has_fallen, arrives = place[1] < LOST, place[0] >= LENGTH
        way = jnp.minimum(place[0], LENGTH) - state.place[0]
        reward = WORTH / LENGTH * way + jnp.where(has_fallen, FALL, 0.0)
        reward += jnp.where(arrives, BONUS * (1 - count / episode_length), 0.0)
        is_over = has_fallen | arrives
        after = RunnerState(state.course, place, velocity, count, obs)
        return after, Timestep(obs, reward, is_over, (count >= episode_length) & ~is_over)

    return Env(
        "control/hop_runner" if task is None else id_of(task),
        ObsSpec((7,)),
        ActionSpec("continuous", 2, (-1.0, -1.0), (1.0, 1.0)),
        episode_length,
        reset,
        step,
        draw_task,
        obs_names=OBS_NAMES,
        action_names=("acceleration (8 m/s^2)", "jump if above 0 (5 m/s)"),
        task_space=SPACE._replace(id_of=id_of),
    )


# ----------------------------------------------------------------------------- one course by name


def id_of(task: Sequence[float]) -> str:
    """Return the id of the environment with one task: "control/hop_runner@2,0.5,0,0.5,0"."""
    return "control/hop_runner@" + ",".join(f"{float(x):.4g}" for x in task)


def task_of(text: str) -> tuple[float, ...]:
    """Return the task of a name, "2,0.5,0,0.5,0".

    Raises:
      ValueError: it is not five numbers within the ranges of `SPACE`.
    """
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    ranges = list(zip(SPACE.names, SPACE.low, SPACE.high, strict=True))
    is_task = len(numbers) == SPACE.size and all(
        low <= x <= high for x, (_, low, high) in zip(numbers, ranges, strict=True)
    )
    if not is_task:
        allowed = ", ".join(f"{name} {low:g} to {high:g}" for name, low, high in ranges)
        raise ValueError(
            f"the task in control/hop_runner@{text} must be {SPACE.size} numbers, {allowed}; such "
            "as control/hop_runner@2,0.5,0,0.5,0"
        )
    return numbers


def draw(trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw the course and the way of the runner into `<stem>.png`."""
    places = np.stack([np.asarray(state.place) for state in trajectory])
    x = np.linspace(-1, LENGTH + 1, 2000, dtype=np.float32)
    level = np.asarray(jax.vmap(lambda at: ground(trajectory[0].course, at))(jnp.asarray(x)))
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(x, -2, np.maximum(level, -2), color="0.7", lw=0)
    axes.plot(places[:, 0], places[:, 1], color="C0", lw=1.5)
    axes.plot(*places[-1], "o", color="C0")
    axes.axvline(LENGTH, color="C1")
    title = f"control/hop_runner, {len(places) - 1} steps, {places[-1, 0]:.1f} of {LENGTH:g} m"
    axes.set(xlim=(-1, LENGTH + 1), ylim=(-2, 3), title=title, xlabel="m", ylabel="height (m)")
    return traces.write_figure(figure, stem)
