"""What a simulator outside JAX is: worlds that are reset and stepped, some at a time."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
"""Indices of worlds, without repetition."""


class Spec(NamedTuple):
    """An environment as data, without its time limit being applied.

    Attributes:
      id: "suite/name".
      obs_shape: the shape of an observation, such as (17,) or (84, 84, 4).
      obs_kind: see `ternevo.types.ObsSpec`.
      action_kind: see `ternevo.types.ActionSpec`.
      action_size: the number of actions, or of components of an action.
      low: the smallest value of each component of a continuous action.
      high: the largest.
      episode_length: the environment's own time limit in steps.
      obs_names: see `ternevo.types.Env`.
      action_names: see `ternevo.types.Env`.
    """

    id: str
    obs_shape: tuple[int, ...]
    obs_kind: Literal["floats", "pixels"]
    action_kind: Literal["discrete", "continuous"]
    action_size: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    episode_length: int
    obs_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()

    @property
    def obs_size(self) -> int:
        """Return the number of components of an observation."""
        return math.prod(self.obs_shape)


class Stepped(NamedTuple):
    """What `k` worlds show after a step.

    `terminated` is by the task. The caller counts steps and applies the time limit.
    """

    obs: NDArray[np.float32]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]


@runtime_checkable
class Worlds(Protocol):
    """A number of independent worlds of one environment, each in an episode of its own.

    An episode depends on its seed and its actions only: not on the world it runs in, on other
    worlds, or on episodes before it.
    """

    def reset(self, rows: Rows, seeds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Begin an episode in each of these worlds.

        Args:
          rows: [k], which worlds.
          seeds: [k], from 0 to 2**31 - 1.

        Returns:
          The first observations [k, obs], flat.
        """
        ...

    def step(self, rows: Rows, actions: NDArray[Any]) -> Stepped:
        """Step these worlds, none of which has terminated since its reset.

        Args:
          rows: [k], which worlds.
          actions: int32 [k], or float32 [k, size] between `low` and `high`.
        """
        ...

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return a picture [height, width, 3] of a world."""
        ...

    def close(self) -> None:
        """Free what the worlds hold; afterwards they must not be used."""
        ...


class Suite(NamedTuple):
    """A family of environments.

    Attributes:
      names: returns the names of its environments, without importing a simulator.
      spec: maps a name to what the environment is.
      open_worlds: maps a name and a number to that many worlds. `num_threads` is how many threads
        may step them.
      fps: maps a name to the steps per second of an animation.
    """

    names: Callable[[], tuple[str, ...]]
    spec: Callable[[str], Spec]
    open_worlds: Callable[[str, int, int], Worlds]
    fps: Callable[[str], float]
