"""Families of tasks for policies that learn while they live: the task of an episode is hidden.

An id may end in "@name", which fixes the task or chooses the family to test on, such as
"meta/babble_and_reach@swapped". Train on one family and test on another: `--eval_env`, or `env` of
`ternevo.evaluate`. Points in a plane are shown as integers, so that a unit of an observation is the
same before and after training; each docstring says how large one is. Families of brax's
bodies are in `bodies.py`.

References:
  Song et al., "ES-MAML", ICLR 2020 (navigation, four corners).
  Izquierdo et al., code of "Baldwinian meta-learning" (sines, after Finn et al., "Model-Agnostic
  Meta-Learning", ICML 2017).
  Hinton and Nowlan, "How learning can guide evolution", Complex Systems 1987 (the needle).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from ternevo.envs import bodies, gaits, traces
from ternevo.names import check, lookup
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep, no_task

TWO_FORCES = ActionSpec("continuous", 2, (-1.0, -1.0), (1.0, 1.0))
ONE_FORCE = ActionSpec("continuous", 1, (-1.0,), (1.0,))
SPEED = 0.1
"""Distance that a point moves along an axis in a step at full force."""


class MetaState(NamedTuple):
    """The state of a point: its task, the steps done, its place, and what is shown."""

    task: Any
    step: Int32[Array, ""]
    place: Float32[Array, " axes"]
    obs: Float32[Array, " obs"]


# ---------------------------------------------------------------------------- points in a plane


SIDES = {"all": 0.0, "left": -1.0, "right": 1.0}
"""Families of tasks by the sign of their first number: to train on one side, test on the other."""


def _on_side(family: str, draw: Callable[[Key], jax.Array]) -> Callable[[Key], Task]:
    """Return what draws tasks, [numbers] or [], and mirrors those of the other side.

    Raises:
      UnknownName: there is no such family.
    """
    side = lookup("family", family, SIDES)

    def draw_there(key: Key) -> Task:
        task = draw(key)
        is_first = jnp.arange(task.size).reshape(task.shape) == 0
        return jnp.where(is_first, side * jnp.abs(task), task)

    return draw_there if side else draw


def _sided(name: str, family: str) -> str:
    """Return the name of a task with its side, if it has one."""
    return f"{name}@{family}" if SIDES[family] else name


def navigation(episode_length: int = 100, family: str = "all") -> Env:
    """Move a point from the origin to a hidden goal in [-1, 1]^2; the task is the goal.

    The observation is the place times 64, and a step pays minus the squared distance. An episode
    ends within 0.01 of the goal.

    Args:
      episode_length: the time limit.
      family: "all", or goals on one side only: "left" or "right" of the origin.

    Raises:
      UnknownName: there is no such family.
    """
    draw = _on_side(family, lambda key: jax.random.uniform(key, (2,), minval=-1.0))

    def pay(key: Key, goal: Task, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        distance = jnp.sum((place - goal) ** 2)
        return -distance, distance < 0.01**2

    name = _sided("navigation", family)
    return _point(name, episode_length, draw, pay, arena=1.9, unit=64.0)


FIRST_CORNER = np.array([2.0, 2.0], np.float32)


def four_corners(episode_length: int = 100, family: str = "all", noise: float = 0.0) -> Env:
    """Find which corner (+-2, +-2) is the goal, which a point sees only within a distance of 2.

    The observation is the place times 16, in an arena of +-5, and a step pays
    `max(0, 4 - distance**2) - 4`. Over 100 steps the optimum is -40.3 for who knows the corner, 20
    steps at full speed and then rest, and -400 if the point is never near it.

    Args:
      episode_length: the time limit.
      family: "all", or the two corners on one side only: "left" or "right".
      noise: standard deviation of the noise on the return of a whole episode.

    Raises:
      UnknownName: there is no such family.
    """
    corners = lambda key: jax.random.rademacher(key, (2,), jnp.float32) * FIRST_CORNER  # noqa: E731
    draw = _on_side(family, corners)

    def pay(key: Key, corner: Task, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        reward = jnp.maximum(0.0, 4.0 - jnp.sum((place - corner) ** 2)) - 4.0
        if noise:
            reward = reward + noise / np.sqrt(episode_length) * jax.random.normal(key)
        return reward, jnp.zeros((), bool)

    name = _sided("noisy_corners" if noise else "four_corners", family)
    return _point(name, episode_length, draw, pay, arena=5.0, unit=16.0)


def noisy_corners(episode_length: int = 100, family: str = "all") -> Env:
    """Do what `four_corners` does, with returns that have noise of standard deviation 20."""
    return four_corners(episode_length, family, noise=20.0)


def hidden_direction(episode_length: int = 10, family: str = "all") -> Env:
    """Move a point on a line in the hidden direction, -1 or +1, which is the task.

    The observation is the place times 64, and a step pays the force in that direction, -1 to 1. So
    the optimum is `episode_length`, and 0 on average for who does not know the direction.

    Args:
      episode_length: the time limit.
      family: "all", or one direction only: "left" is -1 and "right" +1.

    Raises:
      UnknownName: there is no such family.
    """
    draw = _on_side(family, lambda key: jax.random.rademacher(key, (), jnp.float32))

    def move(key: Key, state: MetaState, force: jax.Array, count: jax.Array) -> Moved:
        del key, count
        place = jnp.clip(state.place + SPEED * force, -1.9, 1.9)
        return Moved(place, place * 64.0, state.task * force[0], jnp.zeros((), bool))

    def start(key: Key, task: Task) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(1), jnp.zeros(1)

    spec = ObsSpec((1,), "integers"), ONE_FORCE
    env = _family(_sided("hidden_direction", family), spec, episode_length, draw, start, move)
    return env._replace(obs_names=("place (64 units)",), action_names=("push",))


# ------------------------------------------------------------------------------------- sines

NUM_POINTS = 25
AMPLITUDE = 0.9
NUM_PHASES = 8
SINE_UNIT = 20.0
STRIDES = tuple(range(2, 5)) + tuple(range(6, 10)) + tuple(range(11, 13))
"""Steps that visit all 25 parts of a range in turn, and no neighbours: they share no divisor."""


def sines(episode_length: int = NUM_POINTS, family: str = "seen") -> Env:
    """Predict 0.9 sin(x + phase) at 25 points x of [-2 pi, 2 pi]; the task is the phase.

    The observation is x times 20, and the action the prediction. A step pays minus the squared
    error over 25, so that a whole episode pays minus the mean squared error: -0.405 for who always
    says 0, and 0 at best. What a policy is told of a step is the right value, and not what it pays.
    There is a point in each 25th of the range, and they come with a random stride.

    Args:
      episode_length: the time limit; the default is all 25 points.
      family: "seen" has eight phases at even distances, "unseen" all of them.

    Raises:
      UnknownName: there is no such family.
    """
    check("family", family, ("seen", "unseen"))

    def draw(key: Key) -> Task:
        share = jax.random.uniform(key)
        if family == "seen":
            share = jnp.floor(share * NUM_PHASES) / NUM_PHASES
        return 2 * jnp.pi * share

    def start(key: Key, task: Task) -> tuple[jax.Array, jax.Array]:
        # A lifetime computes this in every step, so that nothing is sorted here.
        key_first, key_stride, key_place = jax.random.split(key, 3)
        first = jax.random.randint(key_first, (), 0, NUM_POINTS)
        stride = jnp.asarray(STRIDES)[jax.random.randint(key_stride, (), 0, len(STRIDES))]
        cells = (first + stride * jnp.arange(NUM_POINTS)) % NUM_POINTS
        within = jax.random.uniform(key_place, (NUM_POINTS,))
        points = ((cells + within) * (2 / NUM_POINTS) - 1) * (2 * jnp.pi)
        return points, points[:1] * SINE_UNIT

    def move(key: Key, state: MetaState, action: jax.Array, count: jax.Array) -> Moved:
        del key
        right = AMPLITUDE * jnp.sin(state.place[(count - 1) % NUM_POINTS] + state.task)
        obs = state.place[None, count % NUM_POINTS] * SINE_UNIT
        reward = -((action[0] - right) ** 2) / NUM_POINTS
        return Moved(state.place, obs, reward, jnp.zeros((), bool), right)

    env = _family(
        "sines", (ObsSpec((1,), "integers"), ONE_FORCE), episode_length, draw, start, move
    )
    suffix = "" if family == "seen" else f"@{family}"
    names = {"obs_names": ("x (20 units)",), "action_names": ("prediction",)}
    return env._replace(id=env.id + suffix, tells="labels", **names)


# ------------------------------------------------------------------------------------- needle

NUM_GENES = 20
NUM_GUESSES = 1000


def needle(episode_length: int = 1, family: str = "learning") -> Env:
    """Find one of 2**20 strings, of which nothing is told but that it is right.

    The action is the string: 20 numbers, of which those above 0 are 1 and those below are wrong. A
    number that is exactly 0 is open: a life guesses all its open ones a thousand times, and stops
    when all are right. It pays 1 + 19 n / 1000 with n guesses left, so 20 for who is born with the
    string, about 1 for who never finds it. The observation is always 64.

    The guesses are not simulated: the first one that is right has a geometric distribution.

    Args:
      episode_length: the time limit; a life is a single step.
      family: "learning", or "instinct", where open numbers are wrong.

    Raises:
      UnknownName: there is no such family.
    """
    check("family", family, ("learning", "instinct"))

    def start(key: Key, task: Task) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(1), jnp.full(1, 64.0)

    def move(key: Key, state: MetaState, string: jax.Array, count: jax.Array) -> Moved:
        num_open = jnp.sum(string == 0)
        # The number of failures before the first success, by its inverse distribution function.
        miss = jnp.log1p(-(2.0**-num_open))
        before = jnp.floor(jnp.log1p(-jax.random.uniform(key)) / miss)
        before = jnp.where(num_open == 0, 0.0, before)
        is_lost = jnp.any(string < 0) | ((num_open > 0) & (family == "instinct"))
        left = jnp.where(is_lost, 0.0, jnp.maximum(NUM_GUESSES - before, 0.0))
        reward = 1.0 + (NUM_GENES - 1) * (left / NUM_GUESSES)
        return Moved(state.place, state.obs, reward, jnp.zeros((), bool))

    limits = ((-1.0,) * NUM_GENES, (1.0,) * NUM_GENES)
    spec = ObsSpec((1,), "integers"), ActionSpec("continuous", NUM_GENES, *limits)
    env = _family("needle", spec, episode_length, no_task, start, move)
    suffix = "" if family == "learning" else f"@{family}"
    genes = tuple(f"gene {i}" for i in range(NUM_GENES))
    return env._replace(id=env.id + suffix, obs_names=("64",), action_names=genes)


# -------------------------------------------------------------------------- babble, then reach

BABBLE_STEPS, NUM_GOALS, REACH_STEPS = 24, 4, 20
SENSOR_NOISE = 0.05
BODIES = {
    "normal": ((1.0, 0.0), (0.0, 1.0)),
    "right_inverted": ((1.0, 0.0), (0.0, -1.0)),
    "left_inverted": ((-1.0, 0.0), (0.0, 1.0)),
    "both_inverted": ((-1.0, 0.0), (0.0, -1.0)),
    "rotated": ((0.0, -1.0), (1.0, 0.0)),
    "swapped": ((0.0, 1.0), (1.0, 0.0)),
    "weak_and_inverted": ((0.5, 0.0), (0.0, -1.0)),
}
"""How two motors move a point: displacements are `body @ action`."""
SEEN_BODIES = ("normal", "right_inverted")
UNSEEN_BODIES = tuple(name for name in BODIES if name not in SEEN_BODIES)


def babble_and_reach(episode_length: int = 104, family: str = "seen") -> Env:
    """Find out how two motors move the body, and then reach for goals; the task is the body.

    For 24 steps the observation is the displacement of the last action, with noise of 0.05. Then
    there are 4 goals on the unit circle, each for 20 steps from the origin; the observation is how
    far the goal is off, and its last step pays `(1 - distance) / 4`. The third component is
    always 1. Observations are times 64. Nothing is paid for babbling. The optimum is close to 1, a
    point that never moves gets 0, and one that moves the wrong way less.

    Args:
      episode_length: the time limit; the default is all 104 steps.
      family: "seen" or "unseen" bodies, or one of `BODIES`.

    Raises:
      UnknownName: there is no such family.
    """
    families = {"seen": SEEN_BODIES, "unseen": UNSEEN_BODIES, **{name: (name,) for name in BODIES}}
    bodies = np.array([BODIES[name] for name in lookup("family", family, families)], np.float32)

    def draw(key: Key) -> Task:
        return jnp.asarray(bodies)[jax.random.randint(key, (), 0, len(bodies))]

    def start(key: Key, task: Task) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(2), jnp.array([0.0, 0.0, 64.0])

    def move(key: Key, state: MetaState, action: jax.Array, count: jax.Array) -> Moved:
        body, turn = state.task
        displacement = body @ action
        is_babble = count <= BABBLE_STEPS
        moved = jnp.where(is_babble, 0.0, state.place + SPEED * displacement)
        reached = count - BABBLE_STEPS
        distance = jnp.linalg.norm(_goal(turn, reached - 1) - moved)
        is_end = ~is_babble & (reached % REACH_STEPS == 0)
        place = jnp.where(is_end, 0.0, moved)
        felt = displacement + SENSOR_NOISE * jax.random.normal(key, (2,))
        seen = jnp.where(count < BABBLE_STEPS, felt, _goal(turn, reached) - place)
        reward = jnp.where(is_end, (1.0 - distance) / NUM_GOALS, 0.0)
        obs = jnp.clip(jnp.append(seen, 1.0) * 64.0, -127, 127)
        return Moved(place, obs, reward, jnp.zeros((), bool))

    spec = ObsSpec((3,), "integers"), TWO_FORCES
    env = _family("babble_and_reach", spec, episode_length, draw, start, move)

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        key_turn, key_start = jax.random.split(key)
        return env.reset(key_start, (task, jax.random.uniform(key_turn)))

    suffix = "" if family == "seen" else f"@{family}"
    return env._replace(
        id=env.id + suffix,
        reset=reset,
        obs_names=("x moved, then x to go (64 units)", "y moved, then y to go (64 units)", "64"),
        action_names=("left motor", "right motor"),
    )


def _goal(turn: jax.Array, step: jax.Array) -> jax.Array:
    """Return the goal after some steps of reaching: quarter turns, from a random angle."""
    angle = 2 * jnp.pi * (turn + (step // REACH_STEPS) / NUM_GOALS)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


# ------------------------------------------------------------------------------------ families


class Moved(NamedTuple):
    """What a step makes: the place, what is shown, what is paid, and whether the task has ended.

    `told` is what a policy is told if that is not the reward.
    """

    place: jax.Array
    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    told: jax.Array | None = None


def _point(
    name: str,
    episode_length: int,
    draw: Callable[[Key], Task],
    pay: Callable[[Key, Task, jax.Array], tuple[jax.Array, jax.Array]],
    arena: float,
    unit: float,
) -> Env:
    """Return an environment of a point in a square of +-arena, shown in steps of 1 / unit."""

    def start(key: Key, task: Task) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(2), jnp.zeros(2)

    def move(key: Key, state: MetaState, force: jax.Array, count: jax.Array) -> Moved:
        place = jnp.clip(state.place + SPEED * force, -arena, arena)
        return Moved(place, place * unit, *pay(key, state.task, place))

    env = _family(name, (ObsSpec((2,), "integers"), TWO_FORCES), episode_length, draw, start, move)
    units = f"({unit:g} units)"
    return env._replace(obs_names=(f"x {units}", f"y {units}"), action_names=("x force", "y force"))


def _family(
    name: str,
    spec: tuple[ObsSpec, ActionSpec],
    episode_length: int,
    draw: Callable[[Key], Task],
    start: Callable[[Key, Task], tuple[jax.Array, jax.Array]],
    move: Callable[[Key, MetaState, jax.Array, jax.Array], Moved],
) -> Env:
    """Return an environment.

    Args:
      name: its name.
      spec: its observations and actions.
      episode_length: its time limit.
      draw: maps a key to a task.
      start: maps a key and a task to the first place and observation.
      move: maps a key, a state, an action in [-1, 1] and the steps done with this one to the next.
    """

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        place, obs = start(key, task)
        return MetaState(task, jnp.zeros((), jnp.int32), place, obs), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        count = state.step + 1
        moved = move(key, state, jnp.clip(action, -1.0, 1.0), count)
        truncated = (count >= episode_length) & ~moved.terminated
        timestep = Timestep(moved.obs, moved.reward, moved.terminated, truncated, moved.told)
        return MetaState(state.task, count, moved.place, moved.obs), timestep

    return Env(f"meta/{name}", *spec, episode_length, reset, step, draw)


TASKS: dict[str, Callable[..., Env]] = {
    "navigation": navigation,
    "four_corners": four_corners,
    "noisy_corners": noisy_corners,
    "hidden_direction": hidden_direction,
    "sines": sines,
    "needle": needle,
    "babble_and_reach": babble_and_reach,
    **bodies.TASKS,
    "ant_gaits": gaits.ant_gaits,
}


def names() -> tuple[str, ...]:
    """Return the names of the tasks, without families."""
    return tuple(TASKS)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a family of tasks, described at its function.

    Args:
      name: its name, or "name@family".
      episode_length: the time limit, by default its own.

    Raises:
      UnknownName: there is no such task or family.
    """
    name, at, family = name.partition("@")
    options: dict[str, Any] = {} if episode_length is None else {"episode_length": episode_length}
    if at:
        options["family"] = family
    return lookup("task", name, TASKS)(**options)


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw an episode: of brax's bodies as `bodies.render`, else observations, `<stem>.png`."""
    bare = name.partition("@")[0]
    if bare == "ant_gaits":
        trajectory = [state.walk for state in trajectory]
    if bare in bodies.TASKS or bare == "ant_gaits":
        return bodies.render(name, trajectory, stem)
    observations = np.stack([np.asarray(state.obs) for state in trajectory])
    return traces.draw(f"meta/{name}", observations, stem)
