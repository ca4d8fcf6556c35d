"""Tasks of seeing, at any resolution: the two boxes of HyperNEAT.

Stanley, D'Ambrosio and Gauci 2009: a picture over [-1, 1] in both directions shows a large and a
small box, and the answer is the pixel in the centre of the large one. "vision/boxes@33" has 33 x 33
pixels, where the boxes have the same size in [-1, 1], and so more pixels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32
from PIL import Image

from ternevo.envs import pictures
from ternevo.names import lookup
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep

RESOLUTION = 11
"""Pixels of a side unless the name says otherwise; there the boxes have sides of 3 and 1."""
RESOLUTIONS = (11, 61)
"""The fewest and most pixels of a side; more than 61 x 61 outputs do not fit into a policy file."""
LIT = 127
"""The number of a pixel in a box; others are 0."""
MEAN_DISTANCE = 2 / np.sqrt(3)
"""Root of the mean squared distance of two random points."""


class BoxesState(NamedTuple):
    """A picture: the pixel in the centre of the large box, the trials done, and what is shown."""

    centre: Int32[Array, ""]
    step: Int32[Array, ""]
    obs: Float32[Array, " pixels"]


def sides(resolution: int) -> tuple[int, int]:
    """Return the pixels of a side of the large and of the small box, both odd.

    Examples:
      >>> sides(11), sides(33), sides(55)
      ((3, 1), (9, 3), (15, 5))
    """
    large, small = (2 * round((times * resolution / 11 - 1) / 2) + 1 for times in (3, 1))
    return large, small


def boxes(resolution: int, episode_length: int = 75) -> Env:
    """Point at the centre of the larger one of two boxes; each step is a new picture.

    A step pays `(1 - d / 1.155) / episode_length`, where d is the distance between the chosen
    pixel and the centre and 1.155 that of two random points. So the optimum of a return is 1, and a
    random answer gets about 0.
    """
    size = resolution * resolution
    y, x = np.divmod(np.arange(size), resolution)
    halves = [side // 2 for side in sides(resolution)]
    inside = [
        np.minimum(np.minimum(x, y), resolution - 1 - np.maximum(x, y)) >= half for half in halves
    ]
    places = 2 * np.stack([x, y], 1) / resolution - 1

    def apart(centre: jax.Array) -> jax.Array:
        """Return the larger one of the distances in x and y, in pixels, of all pixels."""
        x0, y0 = centre % resolution, centre // resolution
        return jnp.maximum(jnp.abs(jnp.asarray(x) - x0), jnp.abs(jnp.asarray(y) - y0))

    def shown(key: Key, step: jax.Array) -> BoxesState:
        keys = jax.random.split(key)
        large = _any_of(keys[0], jnp.asarray(inside[0]))
        is_free = jnp.asarray(inside[1]) & (apart(large) > sum(halves) + 1)
        small = _any_of(keys[1], is_free)
        lit = (apart(large) <= halves[0]) | (apart(small) <= halves[1])
        return BoxesState(large, step, jnp.where(lit, float(LIT), 0.0))

    def reset(key: Key, task: Task) -> tuple[BoxesState, jax.Array]:
        del task
        state = shown(key, jnp.zeros((), jnp.int32))
        return state, state.obs

    def step(key: Key, state: BoxesState, action: jax.Array) -> tuple[BoxesState, Timestep]:
        there = jnp.asarray(places, jnp.float32)
        distance = jnp.linalg.norm(there[action] - there[state.centre])
        reward = (1 - distance / MEAN_DISTANCE) / episode_length
        after = shown(key, state.step + 1)
        truncated = after.step >= episode_length
        return after, Timestep(after.obs, reward, jnp.asarray(False), truncated)

    return Env(
        f"vision/boxes@{resolution}",
        ObsSpec((resolution, resolution), "integers"),
        ActionSpec("discrete", size),
        episode_length,
        reset,
        step,
    )


def _any_of(key: Key, mask: jax.Array) -> Int32[Array, ""]:
    """Draw a place where the mask holds."""
    drawn = jnp.argmax(jnp.where(mask, 1 + jax.random.uniform(key, mask.shape), 0))
    return drawn.astype(jnp.int32)


TASKS: dict[str, Callable[..., Env]] = {"boxes": boxes}


def names() -> tuple[str, ...]:
    """Return the names of the tasks."""
    return tuple(TASKS)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a task, described at its function; "boxes@33" has 33 x 33 pixels.

    Raises:
      UnknownName: there is no task of that name.
      ValueError: the resolution is not a number that is allowed.
    """
    task = lookup("task", name.partition("@")[0], TASKS)
    resolution = _resolution_of(name)
    return task(resolution) if episode_length is None else task(resolution, episode_length)


def _resolution_of(name: str) -> int:
    text = name.partition("@")[2]
    least, most = RESOLUTIONS
    if "@" not in name:
        return RESOLUTION
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(
            f"the resolution in vision/{name} must be {least} to {most}, such as vision/boxes@33"
        )
    return int(text)


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw the pictures of an episode into `<stem>.gif`; the centre of the large box is red."""
    side = _resolution_of(name)

    def drawn(state: EnvState) -> Image.Image:
        lit = np.asarray(state.obs).reshape(side, side) > 0
        colours = np.where(lit[..., None], 40, 235) * np.ones(3)
        colours[divmod(int(state.centre), side)] = (200, 30, 40)
        scale = max(1, 264 // side)
        return Image.fromarray(colours.astype(np.uint8)).resize(
            (scale * side, scale * side), Image.Resampling.NEAREST
        )

    return pictures.save_gif(map(drawn, pictures.evenly(trajectory)), 0.4, stem)
