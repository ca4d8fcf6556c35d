"""envpool: "envpool/CarRacing-v3" and the other tasks of `box2d`, in another simulator.

envpool (Weng et al. 2022, arXiv 2206.10558) has copies of Gymnasium's tasks in C++, with a Box2D of
its own. They observe, do and reward the same, but a seed means another start, physics rounds
differently, and CarRacing draws other pixels. Its tasks of MuJoCo are left out: `mujoco` is faster,
and where a picture of one finds no OpenGL, the process ends.

The seeds of a pool are fixed when it is made; a reset goes on with the random numbers of the
episode before. So episodes that begin together get a pool of their own, which ends with the last of
them: an episode depends on its seed only. A pool resets a world by itself in the step after an end,
which nobody takes here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo import installation
from ternevo.host import box2d
from ternevo.host.worlds import Rows, Spec, Stepped, Suite
from ternevo.names import check

NEVER = 10**9
"""A time limit in steps that no episode reaches: the caller applies it."""


def names() -> tuple[str, ...]:
    """Return the names of the environments: Gymnasium's ids."""
    return box2d.names()


def spec(name: str) -> Spec:
    """Return what an environment is: the same as in `box2d`.

    Raises:
      UnknownName: there is none with this name.
      MissingExtra: envpool, Gymnasium or Box2D is not installed.
    """
    _check(name)
    return box2d.spec(name)._replace(id=f"envpool/{name}")


def fps(name: str) -> float:
    """Return the steps per second of an animation."""
    return box2d.fps(name)


def open_worlds(name: str, count: int, num_threads: int) -> "EnvpoolWorlds":
    """Return a number of worlds; `num_threads` step those that begin together. See `spec`."""
    _check(name)
    envpool = installation.load("an environment of envpool", "envpool", "envpool")

    def open_pool(seeds: list[int]) -> Any:
        return envpool.make_gymnasium(
            name,
            num_envs=len(seeds),
            seed=seeds,
            num_threads=min(num_threads, len(seeds)),
            max_episode_steps=NEVER,
            render_mode="rgb_array",
        )

    return EnvpoolWorlds(open_pool, count)


def _check(name: str) -> None:
    check("environment of envpool", name, names())
    installation.require("an environment of envpool", "envpool")


class _Place(NamedTuple):
    """Where an episode runs: in which pool, and its number there."""

    pool: Any
    number: int


class EnvpoolWorlds:
    """Worlds of envpool; see `ternevo.host.worlds.Worlds`."""

    def __init__(self, open_pool: Callable[[list[int]], Any], count: int):
        """Open nothing yet.

        Args:
          open_pool: maps seeds to a pool with an environment for each.
          count: how many worlds there are.
        """
        self._open_pool = open_pool
        self._places: list[_Place | None] = [None] * count

    def reset(self, rows: Rows, seeds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Begin an episode in each of these worlds."""
        pool = self._open_pool(seeds.tolist())
        obs, _ = pool.reset()
        for number, row in enumerate(rows.tolist()):
            self._places[row] = _Place(pool, number)
        return _flat(obs)

    def step(self, rows: Rows, actions: NDArray[Any]) -> Stepped:
        """Step these worlds."""
        places = [self._place(row) for row in rows.tolist()]
        by_pool: dict[Any, list[int]] = {}
        for i, place in enumerate(places):
            by_pool.setdefault(place.pool, []).append(i)
        parts = []
        for pool, mine in by_pool.items():
            numbers = np.asarray([places[i].number for i in mine], np.int32)
            obs, reward, terminated, *_ = pool.step(actions[mine], numbers)
            parts.append((_flat(obs), reward.astype(np.float64), terminated))
        back = np.argsort(np.concatenate(list(by_pool.values())))
        return Stepped(*(np.concatenate(part)[back] for part in zip(*parts, strict=True)))

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return a picture [height, width, 3] of a world."""
        pool, number = self._place(row)
        return pool.render([number])[0]

    def close(self) -> None:
        """Close the pools, which their last reference does."""
        self._places = []

    def _place(self, row: int) -> _Place:
        place = self._places[row]
        assert place is not None, "a world is reset before it is stepped"
        return place


def _flat(obs: NDArray[Any]) -> NDArray[np.float32]:
    return obs.reshape(len(obs), -1).astype(np.float32)


SUITE = Suite(names, spec, open_worlds, fps)
