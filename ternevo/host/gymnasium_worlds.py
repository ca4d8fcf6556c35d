"""Worlds that are environments of Gymnasium, stepped one after the other."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo import installation
from ternevo.host.worlds import Rows, Spec, Stepped

HEADLESS = {  # frames are drawn in memory: no greeting, no window, no search for a sound card
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
}


def draw_in_memory() -> None:
    """Keep pygame, with which Gymnasium draws, from opening windows; call before it is imported."""
    for variable, value in HEADLESS.items():
        os.environ.setdefault(variable, value)


class GymnasiumWorlds:
    """Worlds, each an environment of Gymnasium without its time limit."""

    def __init__(self, make: Callable[[], Any], count: int):
        """Make the environments.

        Args:
          make: returns an environment.
          count: how many.
        """
        self.envs = [make() for _ in range(count)]
        action = self.envs[0].action_space
        self._first = int(getattr(action, "start", 0))
        self._like: tuple[Any, tuple[int, ...]] = action.dtype, action.shape

    def reset(self, rows: Rows, seeds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Begin an episode in each of these worlds; see `Worlds`."""
        return np.stack(
            [
                _flat(self.envs[row].reset(seed=int(seed))[0])
                for row, seed in zip(rows, seeds, strict=True)
            ]
        )

    def step(self, rows: Rows, actions: NDArray[Any]) -> Stepped:
        """Step these worlds; see `Worlds`."""
        found = [
            self.envs[row].step(self._to_action(action))
            for row, action in zip(rows, actions, strict=True)
        ]
        # An environment that truncates by itself, as CarRacing does, has ended all the same.
        return Stepped(
            np.stack([_flat(obs) for obs, *_ in found]),
            np.asarray([reward for _, reward, *_ in found], np.float64),
            np.asarray([terminated or truncated for _, _, terminated, truncated, _ in found]),
        )

    def _to_action(self, action: Any) -> Any:
        dtype, shape = self._like
        if shape:
            return np.asarray(action, dtype).reshape(shape)
        return int(action) + self._first

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return a picture of a world; see `Worlds`."""
        # Not from the start: LunarLander adds sparks then, with which a step takes three times as
        # long. They touch nothing, and episodes are the same to the last bit.
        self.envs[row].unwrapped.render_mode = "rgb_array"
        return np.asarray(self.envs[row].render(), np.uint8)

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()


def _flat(obs: Any) -> NDArray[np.float32]:
    return np.ravel(obs).astype(np.float32)


def make(gym_id: str) -> Any:
    """Return a registered environment without time limit.

    Raises:
      MissingExtra: Gymnasium is not installed.
    """
    gymnasium = installation.load("a Gymnasium environment", "gym", "gymnasium")
    draw_in_memory()
    with warnings.catch_warnings():
        # Box2D's extension warns while it is imported; as an error that would end the process.
        warnings.simplefilter("ignore")
        return gymnasium.make(gym_id, max_episode_steps=-1, disable_env_checker=True)


def spec_of(env_id: str, gym_id: str, **names: tuple[str, ...]) -> Spec:
    """Return what a registered environment is.

    Args:
      env_id: the id that the `Spec` gets.
      gym_id: Gymnasium's name.
      **names: the fields `obs_names` and `action_names`, if known.
    """
    env = make(gym_id)
    try:
        obs, action = env.observation_space, env.action_space
        is_box = bool(action.shape)
        bounds = [np.ravel(side).tolist() if is_box else [] for side in _bounds(action)]
        return Spec(
            env_id,
            tuple(obs.shape),
            "pixels" if obs.dtype == np.uint8 else "floats",
            "continuous" if is_box else "discrete",
            int(np.prod(action.shape)) if is_box else int(action.n),
            tuple(bounds[0]),
            tuple(bounds[1]),
            time_limit(gym_id),
            **names,
        )
    finally:
        env.close()


def _bounds(space: Any) -> tuple[Any, Any]:
    return (space.low, space.high) if space.shape else ((), ())


def time_limit(gym_id: str) -> int:
    """Return the time limit that Gymnasium registers for an environment, in steps."""
    gymnasium = installation.load("a Gymnasium environment", "gym", "gymnasium")
    return int(gymnasium.spec(gym_id).max_episode_steps)
