"""A deceptive maze that a robot sees by range finders (after Lehman and Stanley 2011).

The goal is behind a wall of the room in which the robot begins: whoever goes towards it ends in
that corner. The way leads away from it first. Walls and sizes are our own.

References:
  Lehman and Stanley, "Abandoning Objectives: Evolution through the Search for Novelty Alone", 2011.
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
from ternevo.types import ActionSpec, Descriptor, Env, EnvState, Key, ObsSpec, Task, Timestep

WALLS = np.array(
    [
        *([0, 0, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]),  # around the maze
        [0, 0.8, 0.8, 0.8],  # below the corridor of the goal
        [0.3, 0.2, 0.3, 0.8],  # beside the first room
        [0.55, 0, 0.55, 0.6],
        [0.8, 0.25, 0.8, 0.8],
    ],
    np.float32,
)
"""Walls from (x, y) to (x, y)."""
START, GOAL = np.array([0.12, 0.1], np.float32), np.array([0.1, 0.9], np.float32)
REACHED, RADIUS = 0.06, 0.02
"""How near to the goal is enough, and how near to a wall the robot gets."""
STEP, TURN = 0.015, 0.35
"""Largest distance (of the width of the maze) and largest turn (rad) of a step."""
RANGE = 0.3
"""How far range finders see."""
FINDERS = np.array([-np.pi / 2, -np.pi / 4, 0, np.pi / 4, np.pi / 2, np.pi], np.float32)
"""Directions of the range finders, from the heading, to the left."""
OBS_NAMES = (
    *("wall to the right", "wall ahead right", "wall ahead"),
    *("wall ahead left", "wall to the left", "wall behind"),
    *("goal ahead", "goal to the left", "goal behind", "goal to the right"),
)


class MazeState(NamedTuple):
    """Where the robot is [2], where it heads (rad), the steps done, and what it sees."""

    place: Float32[Array, "2"]
    heading: Float32[Array, ""]
    step: Int32[Array, ""]
    obs: Float32[Array, "10"]


def distances(place: Float32[Array, "2"], angles: Float32[Array, " rays"]) -> jax.Array:
    """Return how far rays from a place go until they meet a wall, at most `RANGE`.

    A ray p + t d meets the wall from a to b, with e = b - a, where t = (a - p) x e / (d x e) and
    u = (a - p) x d / (d x e) is 0 to 1.
    """
    a, e = jnp.asarray(WALLS[:, :2]), jnp.asarray(WALLS[:, 2:] - WALLS[:, :2])
    d = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)[:, None]
    across = _cross(d, e)
    safe = jnp.where(jnp.abs(across) < 1e-9, 1e-9, across)
    t, u = _cross(a - place, e) / safe, _cross(a - place, d) / safe
    meets = (jnp.abs(across) >= 1e-9) & (t >= 0) & (u >= 0) & (u <= 1)
    return jnp.min(jnp.where(meets, t, RANGE), axis=1, initial=RANGE)


def _cross(a: jax.Array, b: jax.Array) -> jax.Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def clearance(place: Float32[Array, "2"]) -> jax.Array:
    """Return the distance to the nearest wall."""
    a, e = jnp.asarray(WALLS[:, :2]), jnp.asarray(WALLS[:, 2:] - WALLS[:, :2])
    share = jnp.sum((place - a) * e, -1) / jnp.sum(e * e, -1)
    nearest = a + jnp.clip(share, 0, 1)[:, None] * e
    return jnp.min(jnp.linalg.norm(place - nearest, axis=-1))


def seen(place: Float32[Array, "2"], heading: jax.Array) -> Float32[Array, "10"]:
    """Return six ranges, as shares of `RANGE`, and in which quarter around it the goal is."""
    ranges = distances(place, heading + FINDERS) / RANGE
    to_goal = jnp.asarray(GOAL) - place
    angle = jnp.arctan2(to_goal[1], to_goal[0]) - heading
    quarter = jnp.floor((angle + np.pi / 4) / (np.pi / 2)).astype(jnp.int32) % 4
    return jnp.concatenate([ranges, jax.nn.one_hot(quarter, 4)])


def maze(episode_length: int = 300) -> Env:
    """Find the way to a goal behind a wall, from ranges and the direction of the goal.

    The return is minus the final distance to the goal, 0 where it was reached: -0.8 for not
    moving, about -0.12 in the corner that deceives. Behaviour is the final place. Nothing is left
    to chance.
    """

    def reset(key: Key, task: Task) -> tuple[MazeState, jax.Array]:
        del key, task
        heading = jnp.zeros(())
        obs = seen(jnp.asarray(START), heading)
        return MazeState(jnp.asarray(START), heading, jnp.zeros((), jnp.int32), obs), obs

    def step(key: Key, state: MazeState, action: jax.Array) -> tuple[MazeState, Timestep]:
        del key
        turn, speed = jnp.clip(action, -1, 1)
        heading = state.heading + TURN * turn
        heading = jnp.mod(heading + np.pi, 2 * np.pi) - np.pi
        way = STEP * (speed + 1) / 2 * jnp.stack([jnp.cos(heading), jnp.sin(heading)])
        moved = state.place + way
        place = jnp.where(clearance(moved) >= RADIUS, moved, state.place)
        count = state.step + 1
        distance = jnp.linalg.norm(place - GOAL)
        is_there = distance <= REACHED
        truncated = (count >= episode_length) & ~is_there
        obs = seen(place, heading)
        reward = jnp.where(truncated, -distance, 0.0)
        return MazeState(place, heading, count, obs), Timestep(obs, reward, is_there, truncated)

    return Env(
        "control/maze",
        ObsSpec((10,)),
        ActionSpec("continuous", 2, (-1.0, -1.0), (1.0, 1.0)),
        episode_length,
        reset,
        step,
        obs_names=OBS_NAMES,
        action_names=("turn to the left (0.35 rad)", "speed, from none to full"),
        descriptor=Descriptor(
            ("final x", "final y"), (0.0, 0.0), (1.0, 1.0), lambda state: state.place
        ),
    )


def draw(trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw the way of the robot through the maze into `<stem>.png`."""
    places = np.stack([np.asarray(state.place) for state in trajectory])
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for x, y, x2, y2 in WALLS:
        axes.plot([x, x2], [y, y2], color="0.3", lw=2)
    axes.plot(places[:, 0], places[:, 1], color="C0", lw=1.5)
    axes.plot(*START, "o", color="C0", label="start")
    axes.plot(*GOAL, "*", color="C1", ms=14, label="goal")
    axes.set(aspect="equal", title=f"control/maze, {len(places) - 1} steps")
    axes.set_axis_off()
    figure.legend(loc="outside lower center", ncols=2)
    return traces.write_figure(figure, stem)
