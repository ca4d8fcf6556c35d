"""The tasks of NEAT (Stanley and Miikkulainen 2002), XOR and two poles; a maze, and others.

Constants and rules of the first are those of the authors' C++ code, version 1.2. The others are in
files of their own: `maze.py`, `hop_runner.py`, `swing_up.py` and `value_tasks.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from ternevo.envs import hop_runner, maze, swing_up, traces, value_tasks
from ternevo.names import lookup
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep

ONE_FORCE = ActionSpec("continuous", 1, (-1.0,), (1.0,))

# ------------------------------------------------------------------------------------------ XOR

CASES = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
RIGHT = np.array([-1, 1, 1, -1], np.float32)


class XorState(NamedTuple):
    """The order of the four cases, the number of answers, and the sum of their errors."""

    order: Int32[Array, "4"]
    step: Int32[Array, ""]
    error: Float32[Array, ""]
    obs: Float32[Array, "2"]


def xor(episode_length: int = 4) -> Env:
    """Answer the four cases of XOR, in any order; inputs and answers are -1 and +1.

    The error of an answer is half of how far it is off. The last of four steps pays
    `(4 - errors)**2 / 16`, so the optimum is 1, and three right answers and a wrong one pay 0.5625.
    """

    def reset(key: Key, task: Task) -> tuple[XorState, jax.Array]:
        del task
        order = jax.random.permutation(key, 4)
        obs = jnp.asarray(CASES)[order[0]]
        return XorState(order, jnp.zeros((), jnp.int32), jnp.zeros(()), obs), obs

    def step(key: Key, state: XorState, action: jax.Array) -> tuple[XorState, Timestep]:
        del key
        right = jnp.asarray(RIGHT)[state.order[state.step % 4]]
        error = state.error + jnp.abs(right - jnp.clip(action[0], -1, 1)) / 2
        count = state.step + 1
        obs = jnp.asarray(CASES)[state.order[count % 4]]
        is_last = count == 4
        reward = jnp.where(is_last, (4 - error) ** 2 / 16, 0.0)
        is_cut = (count >= episode_length) & ~is_last
        return XorState(state.order, count, error, obs), Timestep(obs, reward, is_last, is_cut)

    return Env(
        "control/xor",
        ObsSpec((2,)),
        ONE_FORCE,
        min(episode_length, 4),
        reset,
        step,
        obs_names=("a, -1 or +1", "b, -1 or +1"),
        action_names=("a XOR b, -1 or +1",),
    )


# ----------------------------------------------------------------------------------- two poles

GRAVITY, CART_MASS, PIVOT_FRICTION, FORCE = 9.8, 1.0, 2e-6, 10.0
HALF_LENGTHS, POLE_MASSES = np.array([0.5, 0.05], np.float32), np.array([0.1, 0.01], np.float32)
TIME_STEP, SUBSTEPS = 0.01, 2
TRACK, MAX_ANGLE = 2.4, 36 * np.pi / 180
START_ANGLE = 0.07
MEMORY = 100
"""Steps over which `double_pole_no_velocity` measures how still the cart and the pole are."""
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
RANGES = (2.16, 1.35, 0.06283, 0.15009)
"""Of position, velocity, angle and angular velocity in the 625 starts."""
OBS_NAMES = (
    "cart position (m)",
    "cart velocity (m/s)",
    "long pole angle (rad)",
    "long pole angular velocity (rad/s)",
    "short pole angle (rad)",
    "short pole angular velocity (rad/s)",
)
SEEN = (0, 2, 4)
"""What `double_pole_no_velocity` shows: position and angles."""
FULL_SCALES = np.array([TRACK, MAX_ANGLE, MAX_ANGLE], np.float32)
"""What 127 stands for in what it shows, and COPIES how often it shows each of them."""
COPIES = 4


class PolesState(NamedTuple):
    """Two poles: position and velocity of the cart, angle and angular velocity of each pole.

    Attributes:
      x: float32 [6], in the order of `OBS_NAMES`.
      step: number of steps done.
      still: how far from rest the cart and the long pole were in each of the last steps, a ring.
      obs: what was shown.
    """

    x: Float32[Array, "6"]
    step: Int32[Array, ""]
    still: Float32[Array, " memory"]
    obs: Float32[Array, " obs"]


def derivative(x: Float32[Array, "6"], force: jax.Array) -> Float32[Array, "6"]:
    """Return the rates of change of two poles on a cart (Wieland 1991), for a force in newtons."""
    angle, rate = x[2::2], x[3::2]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    friction = PIVOT_FRICTION * rate / (POLE_MASSES * HALF_LENGTHS)
    pull = friction - GRAVITY * sin
    forces = POLE_MASSES * HALF_LENGTHS * rate**2 * sin + 0.75 * POLE_MASSES * cos * pull
    masses = POLE_MASSES * (1 - 0.75 * cos**2)
    speeding = (force + jnp.sum(forces)) / (CART_MASS + jnp.sum(masses))
    turning = -0.75 / HALF_LENGTHS * (speeding * cos + pull)
    return jnp.stack([x[1], speeding, rate[0], turning[0], rate[1], turning[1]])


def moved(x: Float32[Array, "6"], force: jax.Array) -> Float32[Array, "6"]:
    """Return two poles after a step of 0.02 s: two of Runge and Kutta's, of fourth order."""
    for _ in range(SUBSTEPS):
        a = derivative(x, force)
        b = derivative(x + TIME_STEP / 2 * a, force)
        c = derivative(x + TIME_STEP / 2 * b, force)
        d = derivative(x + TIME_STEP * c, force)
        x = x + TIME_STEP / 6 * (a + 2 * b + 2 * c + d)
    return x


def has_failed(x: Float32[Array, "6"]) -> jax.Array:
    """Return whether the cart left the track, or a pole leans by more than 36 degrees."""
    return (jnp.abs(x[0]) > TRACK) | jnp.any(jnp.abs(x[2::2]) > MAX_ANGLE)


def start_of(levels: Sequence[float]) -> np.ndarray:
    """Return one of the 625 starts of the generalisation test, float32 [6].

    Args:
      levels: shares of the ranges of position, velocity, angle and angular velocity of the long
        pole, each one of `LEVELS`; 0.5 is the middle. The short pole stands still.
    """
    x = [(2 * level - 1) * limit for level, limit in zip(levels, RANGES, strict=True)]
    return np.array([*x, 0, 0], np.float32)


def staggered(shares: Float32[Array, " numbers"], copies: int) -> Float32[Array, " readings"]:
    """Return each number in consecutive readings of 8 bits, shifted by fractions of a step.

    Reading k is `floor(127 * share + k / copies)`, clipped to [-127, 127]. The sum of the readings
    of a number is `floor(copies * 127 * share)` (Hermite's identity), so together they have
    log2(copies) more bits, as several converters that are offset.

    Args:
      shares: numbers as shares of their full scale.
      copies: the readings of each.
    """
    steps = 127 * shares[:, None] + jnp.arange(copies) / copies
    return jnp.clip(jnp.floor(steps), -127, 127).ravel()


def double_pole(episode_length: int = 1000) -> Env:
    """Keep two poles on a cart from falling; each step pays 1. Optimum `episode_length`.

    The action is a force of -10 to 10 N. The long pole begins at 0.07 rad, all else at rest.
    """

    def pays(state: PolesState, failed: jax.Array, truncated: jax.Array) -> jax.Array:
        return jnp.where(failed, 0.0, 1.0)

    view = View(ObsSpec((6,)), lambda x: x, OBS_NAMES)
    return _poles("double_pole", view, 0, episode_length, pays)


def double_pole_no_velocity(episode_length: int = 1000) -> Env:
    """Keep two poles from falling without seeing velocities, and without wiggling.

    Position and angles are shown as shares of the largest ones, each in four staggered readings of
    8 bits (`staggered`): velocities must be told from differences of angles, and evolution takes
    longer with coarser ones. `--policy graph --copies 4` links the readings of a number together.

    An episode of t steps pays 0.1 t / episode_length, and if t is above 100, also 0.9 * 0.75 over
    the sum of `|position| + |velocity| + |angle| + |angular velocity|` of the long pole over the
    last 100 steps. That is what Gruau, Whitley and Pyeatt (1996) pay against wiggling.
    """

    def pays(state: PolesState, failed: jax.Array, truncated: jax.Array) -> jax.Array:
        is_last = (failed | truncated) & (state.step > MEMORY)
        bonus = 0.9 * 0.75 / jnp.maximum(jnp.sum(state.still), 1e-6)
        return 0.1 / episode_length + jnp.where(is_last, bonus, 0.0)

    def shown(x: jax.Array) -> jax.Array:
        return staggered(x[jnp.array(SEEN)] / FULL_SCALES, COPIES)

    names = tuple(f"{OBS_NAMES[i]}, reading {k}" for i in SEEN for k in range(COPIES))
    view = View(ObsSpec((len(names),), "integers"), shown, names)
    return _poles("double_pole_no_velocity", view, MEMORY, episode_length, pays)


class View(NamedTuple):
    """What a policy sees of two poles.

    Attributes:
      spec: of the observations.
      shown: maps the state [6] to an observation.
      names: of its components.
    """

    spec: ObsSpec
    shown: Callable[[jax.Array], jax.Array]
    names: tuple[str, ...]


def _poles(
    name: str,
    view: View,
    memory: int,
    episode_length: int,
    pays: Callable[[PolesState, jax.Array, jax.Array], jax.Array],
) -> Env:
    """Return two poles.

    Args:
      name: of the environment.
      view: what a policy sees of them.
      memory: steps over which stillness is kept.
      episode_length: the time limit.
      pays: the state after a step, whether it failed and whether it was cut, to the reward.
    """

    def begin(x: jax.Array) -> tuple[PolesState, jax.Array]:
        obs = view.shown(x)
        return PolesState(x, jnp.zeros((), jnp.int32), jnp.zeros(memory), obs), obs

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del key
        return begin(task)

    def step(key: Key, state: PolesState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        x = moved(state.x, FORCE * jnp.clip(action[0], -1, 1))
        count, still = state.step + 1, state.still
        if memory:
            still = still.at[state.step % memory].set(jnp.sum(jnp.abs(x[:4])))
        state = PolesState(x, count, still, view.shown(x))
        failed = has_failed(x)
        truncated = (count >= episode_length) & ~failed
        return state, Timestep(state.obs, pays(state, failed, truncated), failed, truncated)

    def draw_task(key: Key) -> Task:
        del key
        return jnp.zeros(6).at[2].set(START_ANGLE)

    return Env(
        f"control/{name}",
        view.spec,
        ONE_FORCE,
        episode_length,
        reset,
        step,
        draw_task,
        obs_names=view.names,
        action_names=("force (10 N)",),
    )


TASKS: dict[str, Callable[..., Env]] = {
    "xor": xor,
    "double_pole": double_pole,
    "double_pole_no_velocity": double_pole_no_velocity,
    "maze": maze.maze,
    "hop_runner": hop_runner.hop_runner,
    "mountain_car_bins": value_tasks.mountain_car_bins,
    "job_scheduling": value_tasks.job_scheduling,
    "cartpole_swing_up_easy": swing_up.easy,
    "cartpole_swing_up_hard": swing_up.hard,
}

COURSES = {"hop_runner": (hop_runner.hop_runner, hop_runner.task_of)}
"""Tasks whose numbers may follow their name, and what reads these."""

PICTURES = {"maze": maze.draw, "hop_runner": hop_runner.draw}
"""How episodes are drawn that are a way; of others, observations are."""


def names() -> tuple[str, ...]:
    """Return the names of the tasks."""
    return tuple(TASKS)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a task, described at its function; "hop_runner@2,0.5,0,0.5,0" has only such courses.

    Raises:
      UnknownName: there is no task of that name.
      ValueError: the numbers after "@" are not those of a course.
    """
    plain, at, numbers = name.partition("@")
    if at and plain in COURSES:
        make_course, task_of = COURSES[plain]
        length = {} if episode_length is None else {"episode_length": episode_length}
        return make_course(**length, task=task_of(numbers))
    task = lookup("task", name, TASKS)
    return task() if episode_length is None else task(episode_length)


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw an episode into `<stem>.png`: observations over time, or the way of a robot."""
    plain = name.partition("@")[0]
    if plain in PICTURES:
        return PICTURES[plain](trajectory, stem)
    observations = np.stack([np.asarray(state.obs) for state in trajectory])
    return traces.draw(f"control/{name}", observations, stem)
