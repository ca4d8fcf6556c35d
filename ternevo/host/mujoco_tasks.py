"""Gymnasium's MuJoCo tasks as data and functions of arrays: how they begin, observe and reward.

A world is seen as one row of numbers, what a task's `read` lists: positions, velocities and what
else the task needs, in float64. Source of all formulas: gymnasium/envs/mujoco, version 1.3.
MuJoCo computes positions of bodies before the last step of its integrator, so they lag behind the
coordinates. Gymnasium uses them as they are, and so does this module.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.float32]
Draw = Callable[[np.random.Generator, Array, Array], tuple[Array, Array]]
Judge = Callable[[Array, Actions, Array], tuple[Array, NDArray[np.bool_]]]


def _motion(_model: Any, data: Any) -> tuple[Array, ...]:
    return data.qpos, data.qvel


def _ant(_model: Any, data: Any) -> tuple[Array, ...]:
    return data.qpos, data.qvel, data.xpos[1, :1]


def _ant_with_forces(_model: Any, data: Any) -> tuple[Array, ...]:
    return data.qpos, data.qvel, data.cfrc_ext[1:].reshape(-1), data.xpos[1, :1]


def _humanoid(model: Any, data: Any, *, body: int = 1, motor: int = 6) -> tuple[Array, ...]:
    """Return what is observed, and where the bodies' centres are along x and what they weigh.

    Version 4 also observes body 0, the world, and motors 0 to 5, of the root: they are always zero.
    """
    bodies = (data.cinert[body:].reshape(-1), data.cvel[body:].reshape(-1))
    forces = (data.qfrc_actuator[motor:], data.cfrc_ext[body:].reshape(-1))
    return (data.qpos, data.qvel, *bodies, *forces, data.xipos[:, 0], model.body_mass)


def _two_pendulums(_model: Any, data: Any) -> tuple[Array, ...]:
    return data.qpos, data.qvel, data.qfrc_constraint[:1], data.site_xpos[0]


def _with_bodies(*names: str) -> Callable[[Any, Any], tuple[Array, ...]]:
    """Read the positions of bodies as well, three columns each."""

    def read(model: Any, data: Any) -> tuple[Array, ...]:
        return data.qpos, data.qvel, *(data.xpos[model.body(name).id] for name in names)

    return read


def _uniform(rng: np.random.Generator, qpos: Array, qvel: Array, *, scale: float) -> Any:
    return (
        qpos + rng.uniform(low=-scale, high=scale, size=qpos.size),
        qvel + rng.uniform(low=-scale, high=scale, size=qvel.size),
    )


def _normal_speeds(rng: np.random.Generator, qpos: Array, qvel: Array) -> Any:
    place = qpos + rng.uniform(low=-0.1, high=0.1, size=qpos.size)
    return place, qvel + 0.1 * rng.standard_normal(qvel.size)


def _reacher_begin(rng: np.random.Generator, qpos: Array, qvel: Array) -> Any:
    """Place the target anywhere within 0.2 m of the centre."""
    qpos = rng.uniform(low=-0.1, high=0.1, size=qpos.size) + qpos
    while True:
        qpos[-2:] = rng.uniform(low=-0.2, high=0.2, size=2)
        if np.linalg.norm(qpos[-2:]) < 0.2:
            break
    qvel = qvel + rng.uniform(low=-0.005, high=0.005, size=qvel.size)
    qvel[-2:] = 0
    return qpos, qvel


def _pusher_begin(rng: np.random.Generator, qpos: Array, qvel: Array) -> Any:
    """Place the object at least 0.17 m from the goal."""
    qpos = qpos.copy()
    qpos[-2:] = 0
    while True:
        qpos[-4] = rng.uniform(low=-0.3, high=0, size=1)[0]
        qpos[-3] = rng.uniform(low=-0.2, high=0.2, size=1)[0]
        if np.linalg.norm(qpos[-4:-2]) > 0.17:
            break
    qvel = qvel + rng.uniform(low=-0.005, high=0.005, size=qvel.size)
    qvel[-4:] = 0
    return qpos, qvel


def _columns(first: int, end: int) -> Callable[[Array], Array]:
    return lambda seen: seen[:, first:end]


def _column(index: int) -> Callable[[Array], Array]:
    return lambda seen: seen[:, index]


def _calm(seen: Array) -> Array:
    """Observe a body that moves in a plane: not where it is, and no speeds above 10."""
    positions = seen.shape[1] // 2
    return np.concatenate([seen[:, 1:positions], np.clip(seen[:, positions:], -10, 10)], axis=1)


def _ant_observe(seen: Array) -> Array:
    return np.concatenate([seen[:, 2:29], np.clip(seen[:, 29:107], -1, 1)], axis=1)


def _two_pendulums_observe(seen: Array) -> Array:
    angles = np.ascontiguousarray(seen[:, 1:3])
    rest = np.clip(seen[:, 3:7], -10, 10)
    return np.concatenate([seen[:, :1], np.sin(angles), np.cos(angles), rest], axis=1)


def _reacher_observe(seen: Array) -> Array:
    angles = np.ascontiguousarray(seen[:, :2])
    return np.concatenate(
        [np.cos(angles), np.sin(angles), seen[:, 2:6], (seen[:, 8:11] - seen[:, 11:14])[:, :2]],
        axis=1,
    )


def _pusher_observe(seen: Array) -> Array:
    return np.concatenate([seen[:, :7], seen[:, 11:18], seen[:, 22:31]], axis=1)


def _effort(actions: NDArray[np.floating], weight: float) -> NDArray[np.floating]:
    """Return the cost of actions [k], in their own precision, as Gymnasium does."""
    return weight * np.sum(np.square(actions), axis=1)


def _never(seen: Array) -> NDArray[np.bool_]:
    return np.zeros(len(seen), np.bool_)


def _run(seen: Array, actions: Actions, speed: Array, *, weight: float) -> Any:
    return speed - _effort(actions, weight), _never(seen)


def _hopper_is_well(seen: Array) -> NDArray[np.bool_]:
    is_in_range = (np.abs(seen[:, 2:]) < 100).all(axis=1)
    return is_in_range & (seen[:, 1] > 0.7) & (np.abs(seen[:, 2]) < 0.2)


def _walker_is_well(seen: Array) -> NDArray[np.bool_]:
    return (seen[:, 1] > 0.8) & (seen[:, 1] < 2) & (np.abs(seen[:, 2]) < 1)


def _ant_is_well(seen: Array) -> NDArray[np.bool_]:
    return np.isfinite(seen[:, :29]).all(axis=1) & (seen[:, 2] >= 0.2) & (seen[:, 2] <= 1)


def _walk(is_well: Callable[[Array], NDArray[np.bool_]], weight: float, version: int) -> Judge:
    """Reward a body that must stay well; version 4 pays for the step in which it falls, too."""

    def judge(seen: Array, actions: Actions, speed: Array) -> Any:
        well = is_well(seen)
        paid = well if version > 4 else np.True_
        return speed + paid - _effort(actions, weight), ~well

    return judge


def _ant_judge(seen: Array, actions: Actions, speed: Array) -> Any:
    well = _ant_is_well(seen)
    impact = 5e-4 * np.sum(np.square(np.clip(seen[:, 29:107], -1, 1)), axis=1)
    return speed + well - (_effort(actions, 0.5) + impact), ~well


def _impact(seen: Array) -> Array:
    """Return the cost [k] of the forces between a humanoid and the floor."""
    return np.minimum(5e-7 * np.sum(np.square(seen[:, 272:350]), axis=1), 10.0)


def _humanoid_is_well(seen: Array) -> NDArray[np.bool_]:
    return (seen[:, 2] > 1) & (seen[:, 2] < 2)


def _humanoid_judge(seen: Array, actions: Actions, speed: Array) -> Any:
    well = _humanoid_is_well(seen)
    cost = _effort(actions.astype(np.float64), 0.1) + _impact(seen)
    return 1.25 * speed + 5.0 * well - cost, ~well


def _old_humanoid_judge(seen: Array, actions: Actions, speed: Array) -> Any:
    """Reward as version 4 does: forces cost nothing, and a fall is paid for as any step."""
    effort = _effort(actions.astype(np.float64), 0.1)
    return 1.25 * speed + 5.0 - effort, ~_humanoid_is_well(seen)


def _stand_up(seen: Array, actions: Actions, _speed: Array) -> Any:
    height = seen[:, 2] / 0.003  # Gymnasium divides by a step of the simulator
    effort = _effort(actions.astype(np.float64), 0.1)
    return height - effort - _impact(seen) + 1, _never(seen)


def _mass_centre(seen: Array) -> Array:
    """Return where the centre of mass is along x, of `_humanoid`'s last two parts."""
    masses = seen[:, -14:]
    return np.sum(masses * seen[:, -28:-14], axis=1) / np.sum(masses, axis=1)


def _balance(seen: Array, _actions: Actions, _speed: Array) -> Any:
    terminated = ~np.isfinite(seen).all(axis=1) | (np.abs(seen[:, 1]) > 0.2)
    return np.where(terminated, 0.0, 1.0), terminated


def _balance_two(seen: Array, _actions: Actions, _speed: Array) -> Any:
    x, height = seen[:, 7], seen[:, 9]
    terminated = height <= 1
    distance = 0.01 * x**2 + (height - 2) ** 2
    speeds = 1e-3 * seen[:, 4] ** 2 + 5e-3 * seen[:, 5] ** 2
    return np.where(terminated, 0.0, 10.0) - distance - speeds, terminated


def _distance(seen: Array, first: int, second: int) -> Array:
    """Return the distances [k] between two points, each in three columns from the given one."""
    difference = seen[:, first : first + 3] - seen[:, second : second + 3]
    return np.sqrt(np.sum(np.square(difference), axis=1))


def _reach(seen: Array, actions: Actions, _speed: Array) -> Any:
    return -_distance(seen, 8, 11) - _effort(actions, 1.0), _never(seen)


def _push(seen: Array, actions: Actions, _speed: Array) -> Any:
    to_tip, to_goal = _distance(seen, 25, 22), _distance(seen, 25, 28)
    return -to_goal - _effort(actions, 0.1) - 0.5 * to_tip, _never(seen)


class Task(NamedTuple):
    """An environment of Gymnasium.

    Attributes:
      model: the file of the model, in Gymnasium's folder of assets.
      frame_skip: the number of steps of the simulator in a step of the environment.
      timestep: the seconds of a step of the simulator.
      obs_size: the number of components of an observation.
      action_size: the number of components of an action.
      begin: maps a random generator and the model's own qpos [nq] and qvel [nv] to those that an
        episode begins with.
      observe: maps seen [k, columns] to observations [k, obs_size].
      judge: maps seen [k, columns], actions float32 [k, action_size] and forward speeds [k] in m/s
        to rewards [k] and whether an episode has terminated [k].
      limit: a component of an action is from -limit to limit.
      episode_length: Gymnasium's time limit in steps.
      read: maps an MjModel and an MjData to the parts of their memory that are a row of `seen`,
        each a view of one dimension; qpos and qvel are the first two.
      place: maps seen [k, columns] to the positions [k] whose change is the forward speed.
      has_forces: whether `read` needs the forces of contacts, which take time to compute.
    """

    model: str
    frame_skip: int
    timestep: float
    obs_size: int
    action_size: int
    begin: Draw
    observe: Callable[[Array], Array]
    judge: Judge
    limit: float = 1.0
    episode_length: int = 1000
    read: Callable[[Any, Any], tuple[Array, ...]] = _motion
    place: Callable[[Array], Array] = _column(0)
    has_forces: bool = False

    @property
    def seconds(self) -> float:
        """Return the seconds of a step of the environment."""
        return self.timestep * self.frame_skip


CHEETAH = Task(
    model="half_cheetah.xml",
    frame_skip=5,
    timestep=0.01,
    obs_size=17,
    action_size=6,
    begin=_normal_speeds,
    observe=_columns(1, 18),
    judge=partial(_run, weight=0.1),
)
SWIMMER = Task(
    model="swimmer.xml",
    frame_skip=4,
    timestep=0.01,
    obs_size=8,
    action_size=2,
    begin=partial(_uniform, scale=0.1),
    observe=_columns(2, 10),
    judge=partial(_run, weight=1e-4),
)
HOPPER = Task(
    model="hopper.xml",
    frame_skip=4,
    timestep=0.002,
    obs_size=11,
    action_size=3,
    begin=partial(_uniform, scale=5e-3),
    observe=_calm,
    judge=_walk(_hopper_is_well, 1e-3, 5),
)
WALKER = HOPPER._replace(
    model="walker2d_v5.xml",
    obs_size=17,
    action_size=6,
    judge=_walk(_walker_is_well, 1e-3, 5),
)
ANT = Task(
    model="ant.xml",
    frame_skip=5,
    timestep=0.01,
    obs_size=105,
    action_size=8,
    begin=_normal_speeds,
    observe=_ant_observe,
    judge=_ant_judge,
    read=_ant_with_forces,
    place=_column(107),
    has_forces=True,
)
HUMANOID = Task(
    model="humanoid.xml",
    frame_skip=5,
    timestep=0.003,
    obs_size=348,
    action_size=17,
    begin=partial(_uniform, scale=0.01),
    observe=_columns(2, 350),
    judge=_humanoid_judge,
    limit=0.4,
    read=_humanoid,
    place=_mass_centre,
    has_forces=True,
)
PENDULUM = Task(
    model="inverted_pendulum.xml",
    frame_skip=2,
    timestep=0.02,
    obs_size=4,
    action_size=1,
    begin=partial(_uniform, scale=0.01),
    observe=_columns(0, 4),
    judge=_balance,
    limit=3.0,
)
TWO_PENDULUMS = Task(
    model="inverted_double_pendulum.xml",
    frame_skip=5,
    timestep=0.01,
    obs_size=9,
    action_size=1,
    begin=_normal_speeds,
    observe=_two_pendulums_observe,
    judge=_balance_two,
    read=_two_pendulums,
)
REACHER = Task(
    model="reacher.xml",
    frame_skip=2,
    timestep=0.01,
    obs_size=10,
    action_size=2,
    begin=_reacher_begin,
    observe=_reacher_observe,
    judge=_reach,
    episode_length=50,
    read=_with_bodies("fingertip", "target"),
)
PUSHER = Task(
    model="pusher_v5.xml",
    frame_skip=5,
    timestep=0.01,
    obs_size=23,
    action_size=7,
    begin=_pusher_begin,
    observe=_pusher_observe,
    judge=_push,
    limit=2.0,
    episode_length=100,
    read=_with_bodies("tips_arm", "object", "goal"),
)
TASKS = {
    "HalfCheetah-v5": CHEETAH,
    "Hopper-v5": HOPPER,
    "Walker2d-v5": WALKER,
    "Swimmer-v5": SWIMMER,
    "Ant-v5": ANT,
    "Humanoid-v5": HUMANOID,
    "HumanoidStandup-v5": HUMANOID._replace(
        model="humanoidstandup.xml", judge=_stand_up, place=_column(0)
    ),
    "InvertedPendulum-v5": PENDULUM,
    "InvertedDoublePendulum-v5": TWO_PENDULUMS,
    "Reacher-v5": REACHER,
    "Pusher-v5": PUSHER,
    "HalfCheetah-v4": CHEETAH,
    "Hopper-v4": HOPPER._replace(judge=_walk(_hopper_is_well, 1e-3, 4)),
    "Walker2d-v4": WALKER._replace(model="walker2d.xml", judge=_walk(_walker_is_well, 1e-3, 4)),
    "Swimmer-v4": SWIMMER,
    "Ant-v4": ANT._replace(
        obs_size=27,
        observe=_columns(2, 29),
        judge=_walk(_ant_is_well, 0.5, 4),
        read=_ant,
        place=_column(29),
        has_forces=False,
    ),
    "Humanoid-v4": HUMANOID._replace(
        obs_size=376,
        observe=_columns(2, 378),
        judge=_old_humanoid_judge,
        read=partial(_humanoid, body=0, motor=0),
    ),
}
"""The environments by Gymnasium's id. Version 4 is what older tables of results are about."""
