"""What an environment of Gymnasium shows and accepts, as teacher and student need it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo import gym
from ternevo.types import ActionSpec, ObsSpec

Rows = NDArray[np.float32]
"""Observations [n, obs], flat, as a student takes them; an integer is one-hot."""


class Spaces(NamedTuple):
    """The spaces of an environment, for the student and as Gymnasium has them.

    Attributes:
      env_id: Gymnasium's name of the environment.
      obs: the observations of the student.
      action: its actions.
      observation_space: the space of the environment's observations.
      action_space: the space of its actions.
    """

    env_id: str
    obs: ObsSpec
    action: ActionSpec
    observation_space: Any
    action_space: Any

    @property
    def first_action(self) -> int:
        """What the environment calls the first of its discrete actions."""
        return int(self.action_space.start) if self.action.kind == "discrete" else 0

    def shares(self, actions: NDArray) -> NDArray[np.float32]:
        """Return continuous actions [n, size] as shares of their range, -1 to 1."""
        low, high = (np.asarray(x, np.float32) for x in (self.action.low, self.action.high))
        half = np.where(high > low, (high - low) / 2, np.float32(1))
        return ((actions - (low + high) / 2) / half).astype(np.float32)

    def as_given(self, rows: Rows) -> NDArray:
        """Return rows as the environment gives observations: [n, *shape] with its dtype."""
        space = self.observation_space
        if gym.is_a(space, "Box"):
            return rows.reshape(-1, *space.shape).astype(space.dtype)
        return rows.argmax(1) + space.start


def spaces_of(env_id: str, make_kwargs: dict[str, Any]) -> Spaces:
    """Make the environment once, and return its spaces.

    Raises:
      UnknownName: Gymnasium does not have it.
      ValueError: it cannot be made, or policies do not have such observations or actions.
    """
    env = gym.make(env_id, make_kwargs)
    try:
        seen, taken = env.observation_space, env.action_space
        obs = ObsSpec((gym.obs_size(seen),))
        action = _action_of(env_id, taken)
    finally:
        env.close()
    return Spaces(env_id, obs, action, seen, taken)


def _action_of(env_id: str, space: Any) -> ActionSpec:
    """Return the actions of the student."""
    gym.actions_of(space)  # raises for other spaces
    if gym.is_a(space, "Discrete"):
        return ActionSpec("discrete", int(space.n))
    low, high = (np.ravel(bound).astype(np.float32) for bound in (space.low, space.high))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(
            f"{env_id} takes actions from {low.min()} to {high.max()}; a policy needs finite "
            "bounds: put gymnasium.wrappers.RescaleAction or ClipAction around the environment"
        )
    return ActionSpec("continuous", low.size, tuple(low.tolist()), tuple(high.tolist()))
