"""Box2D: "box2d/LunarLander-v3" and the other environments of Gymnasium that Box2D simulates.

BipedalWalkerHardcore draws another course for each seed. CarRacing shows pictures of 96 x 96 x 3.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo import installation
from ternevo.host import gymnasium_worlds
from ternevo.host.gymnasium_worlds import GymnasiumWorlds
from ternevo.host.worlds import Rows, Spec, Suite
from ternevo.names import check

NAMES = (
    "LunarLander-v3",
    "LunarLanderContinuous-v3",
    "BipedalWalker-v3",
    "BipedalWalkerHardcore-v3",
    "CarRacing-v3",
)

_LANDER = (
    *("x", "y", "x velocity", "y velocity", "angle (rad)", "angular velocity"),
    *("left leg touches", "right leg touches"),
)
_LEGS = tuple(
    f"{leg} {what}"
    for leg in ("leg 1", "leg 2")
    for what in ("hip angle", "hip speed", "knee angle", "knee speed", "touches")
)
_WALKER = (
    *("hull angle (rad)", "hull angular velocity", "x velocity", "y velocity"),
    *_LEGS,
    *(f"lidar {i}" for i in range(10)),
)
_JOINTS = ("hip 1 torque", "knee 1 torque", "hip 2 torque", "knee 2 torque")
_NAMED = {
    "LunarLander-v3": (_LANDER, ("nothing", "left engine", "main engine", "right engine")),
    "LunarLanderContinuous-v3": (_LANDER, ("main engine", "side engines")),
    "BipedalWalker-v3": (_WALKER, _JOINTS),
    "BipedalWalkerHardcore-v3": (_WALKER, _JOINTS),
    "CarRacing-v3": (("red", "green", "blue"), ("steering", "gas", "brake")),
}


def names() -> tuple[str, ...]:
    """Return the names of the environments."""
    return NAMES


@functools.cache
def spec(name: str) -> Spec:
    """Return what an environment is.

    Raises:
      UnknownName: there is no such environment.
      MissingExtra: Gymnasium or Box2D is not installed.
    """
    _check(name)
    obs_names, action_names = _NAMED[name]
    return gymnasium_worlds.spec_of(
        f"box2d/{name}", name, obs_names=obs_names, action_names=action_names
    )


class Box2DWorlds(GymnasiumWorlds):
    """Worlds of Box2D, each of which begins every episode with a fresh `b2World`.

    Gymnasium only takes its bodies out and puts others in. What remains in the world, such as the
    order of contacts, changes rounding: an episode of BipedalWalker would depend on those before.
    """

    def reset(self, rows: Rows, seeds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Begin an episode in each of these worlds; see `Worlds`."""
        for row in rows:
            _renew(self.envs[row].unwrapped)
        return super().reset(rows, seeds)


def _renew(env: Any) -> None:
    """Give an environment a fresh world with the properties of its own."""
    env._destroy()
    old = env.world
    fresh = type(old)(gravity=old.gravity)
    fresh.contactListener, old.contactListener = old.contactListener, None
    env.world = fresh


def open_worlds(name: str, count: int, num_threads: int) -> Box2DWorlds:
    """Return a number of worlds, which one thread steps; see `spec` for errors."""
    del num_threads
    _check(name)
    return Box2DWorlds(lambda: gymnasium_worlds.make(name), count)


def _check(name: str) -> None:
    check("Box2D environment", name, NAMES)
    installation.require("a Box2D environment", "box2d", "gymnasium", "Box2D")


def fps(name: str) -> float:
    """Return the steps per second of an animation."""
    del name
    return 50.0


SUITE = Suite(names, spec, open_worlds, fps)
