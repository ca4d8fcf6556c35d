"""MuJoCo Playground: the tasks of DeepMind's control suite in JAX, "playground/CheetahRun".

They simulate with MJX, whose programs take 5 to 60 seconds to compile, and are fast on GPUs. The
tasks of the package that download models when they are made, of manipulation and of legged robots,
are left out. So are ReacherEasy and ReacherHard, which call a function that MuJoCo 3.17 lacks.
"""

import contextlib
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ternevo import installation
from ternevo.envs import brax, pictures
from ternevo.host.mujoco import draw_without_screen
from ternevo.names import check
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep

LEFT_OUT = ("ReacherEasy", "ReacherHard")
NAMES = (  # copied because importing the package takes seconds; a test compares it
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "BallInCup",
    "CartpoleBalance",
    "CartpoleBalanceSparse",
    "CartpoleSwingup",
    "CartpoleSwingupSparse",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "FishSwim",
    "HopperHop",
    "HopperStand",
    "HumanoidStand",
    "HumanoidWalk",
    "HumanoidRun",
    "PendulumSwingup",
    "PointMass",
    "SwimmerSwimmer6",
    "WalkerRun",
    "WalkerStand",
    "WalkerWalk",
)
IN_JAX = {"impl": "jax"}
"""The simulator: the package's default is warp, which needs a GPU and another package."""


def names() -> tuple[str, ...]:
    """Return the names of the tasks."""
    return NAMES


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a task; its time limit is 1,000 steps unless `episode_length` says otherwise.

    Raises:
      UnknownName: there is no such task.
      MissingExtra: MuJoCo Playground is not installed.
    """
    bare = _load(check("playground environment", name, NAMES))
    length = int(bare._config.episode_length) if episode_length is None else episode_length

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        with brax.quiet():
            state = bare.reset(key)
        return (state, jnp.zeros((), jnp.int32)), state.obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        before, count = state
        with brax.quiet():
            after = bare.step(before, action)
        after = jax.tree.map(lambda old, new: new.astype(old.dtype), before, after)
        count = count + 1
        terminated = after.done > 0.5
        truncated = (count >= length) & ~terminated
        return (after, count), Timestep(after.obs, after.reward, terminated, truncated)

    size = bare.action_size
    low, high = (-1.0,) * size, (1.0,) * size
    obs = ObsSpec((int(bare.observation_size),))
    return Env(
        f"playground/{name}", obs, ActionSpec("continuous", size, low, high), length, reset, step
    )


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Write an episode as an animation, `<stem>.gif`."""
    draw_without_screen()
    bare = _load(check("playground environment", name, NAMES))
    states = jax.device_get([state for state, _ in trajectory])
    shown = pictures.evenly(states)
    with brax.quiet():
        frames = bare.render(shown, height=240, width=320)
    seconds = len(states) / len(shown) * bare.dt
    images = map(Image.fromarray, np.asarray(frames, np.uint8))
    return pictures.save_gif(images, seconds, stem)


@functools.cache
def _load(name: str) -> Any:
    """Return the package's own environment."""
    with brax.quiet(), contextlib.redirect_stderr(io.StringIO()):
        suite: Any = installation.load(
            "a playground environment", "playground", "mujoco_playground"
        )
        return suite.registry.load(name, config_overrides=IN_JAX)
