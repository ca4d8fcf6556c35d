"""gymnax: classic control, bsuite, MinAtar and others, all in JAX.

MNISTBandit-bsuite is left out, because it downloads a data set. Images, grids
and integers are observed as flat float32 vectors; integers are one-hot.

Oddities: MemoryChain-bsuite shows each observation one step late, so the first is seen twice. Its
last of 6 steps pays 1 for the action of the cue and otherwise -1: optimum 1, and 0 on average
without memory. UmbrellaChain-bsuite needs no memory: its last of 10 steps pays 1 if the *first*
action was the one that the first observation asks for, and otherwise -1; each other step pays
-1 or 1 by a fair coin. So the best mean return is 1, and a single return has a standard deviation
of 3. MetaMaze-misc moves an agent that reaches the goal to a random cell and continues; it ends
early only if that cell is the goal too.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from gymnax.environments import spaces
from PIL import Image

from ternevo.envs import pictures, traces
from ternevo.host.gymnasium_worlds import draw_in_memory
from ternevo.installation import require
from ternevo.names import check
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep

NEEDS_DOWNLOAD = ("MNISTBandit-bsuite",)
CLASSIC_CONTROL = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
)
OBS_NAMES = {
    "CartPole-v1": (
        "cart position (m)",
        "cart velocity (m/s)",
        "pole angle (rad)",
        "pole angular velocity (rad/s)",
    ),
    "Pendulum-v1": (
        "cosine of the angle, 1 upright",
        "sine of the angle",
        "angular velocity (rad/s)",
    ),
    "Acrobot-v1": (
        "cosine of the first joint's angle, 1 hanging",
        "sine of the first joint's angle",
        "cosine of the second joint's angle, 1 straight",
        "sine of the second joint's angle",
        "first joint velocity (rad/s)",
        "second joint velocity (rad/s)",
    ),
    "MountainCar-v0": ("car position", "car velocity (position per step)"),
    "MountainCarContinuous-v0": ("car position", "car velocity (position per step)"),
    "MemoryChain-bsuite": (
        "share of time left",
        "query, always 0",
        "cue, -1 or +1 in the first two steps, then 0",
    ),
    "UmbrellaChain-bsuite": (
        "1 if an umbrella is needed",
        "1 if there is one",
        "share of time left",
    ),
    "Asterix-MinAtar": ("player", "enemy", "trail", "gold"),
    "Breakout-MinAtar": ("paddle", "ball", "trail of the ball", "brick"),
    "Freeway-MinAtar": ("chicken", "car", *(f"trail of a car, speed {i}" for i in range(1, 6))),
    "SpaceInvaders-MinAtar": (
        *("cannon", "alien", "alien moving left", "alien moving right"),
        *("own bullet", "enemy bullet"),
    ),
    "Seaquest-MinAtar": (
        *("front of the submarine", "back of the submarine", "own bullet", "trail"),
        *("enemy bullet", "enemy fish", "enemy submarine", "oxygen gauge", "diver gauge", "diver"),
    ),
}
"""What the components of an observation are; in MinAtar the channels, the last axis."""
ACTION_NAMES = {
    "CartPole-v1": ("push left", "push right"),
    "Pendulum-v1": ("torque (N m)",),
    "Acrobot-v1": ("torque -1 N m", "no torque", "torque +1 N m"),
    "MountainCar-v0": ("push left", "coast", "push right"),
    "MountainCarContinuous-v0": ("force",),
    "MemoryChain-bsuite": ("say -1", "say +1"),
    "UmbrellaChain-bsuite": ("take no umbrella", "take an umbrella"),
    "Asterix-MinAtar": ("do nothing", "left", "up", "right", "down"),
    "Breakout-MinAtar": ("do nothing", "left", "right"),
    "Freeway-MinAtar": ("do nothing", "up", "down"),
    "SpaceInvaders-MinAtar": ("do nothing", "left", "right", "fire"),
    "Seaquest-MinAtar": ("do nothing", "left", "up", "right", "down", "fire"),
}
BITS = "-MinAtar"
"""Suffix of the names of environments whose observations are 0 and 1."""
GRID_SECONDS = 0.1
"""Seconds for which a picture shows one step of a grid world."""
GRID_PIXELS = 320
"""Approximate height of a picture of a grid world."""


def names() -> tuple[str, ...]:
    """Return the names of gymnax's registry, without those that need a download."""
    return tuple(name for name in gymnax.registered_envs if name not in NEEDS_DOWNLOAD)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a gymnax environment without its auto-reset.

    Args:
      name: a name of gymnax's registry, such as "CartPole-v1".
      episode_length: replaces the environment's own `max_steps_in_episode`.

    Raises:
      UnknownName: gymnax has no such environment.
    """
    env, params = gymnax.make(check("gymnax environment", name, names()))
    action, to_action = _action(env.action_space(params))
    flatten = _flattener(env.observation_space(params))
    if episode_length is not None:
        # BernoulliBandit's limit is a float, and its code relies on it.
        limit = type(params.max_steps_in_episode)(episode_length)
        params = params.replace(max_steps_in_episode=limit)

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        obs, state = env.reset_env(key, params)
        return _strongly_typed(state), flatten(obs)

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        # Not env.step: it computes a reset in every step.
        obs, state, reward, terminated, _ = env.step_env(key, state, to_action(action), params)
        terminated = jnp.asarray(terminated, bool)
        truncated = env.is_truncated(state, params) & ~terminated
        reward = jnp.asarray(reward, jnp.float32)
        return _strongly_typed(state), Timestep(flatten(obs), reward, terminated, truncated)

    _, obs = jax.eval_shape(reset, jax.eval_shape(jax.random.key, 0), ())
    spec = _obs_spec(name, env.observation_space(params), obs.shape[0])
    length = int(params.max_steps_in_episode)
    return Env(
        f"gymnax/{name}",
        spec,
        action,
        length,
        reset,
        step,
        obs_names=OBS_NAMES.get(name, ()),
        action_names=ACTION_NAMES.get(name, ()),
    )


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw an episode: classic control and grids as `<stem>.gif`, the others as `<stem>.png`.

    Raises:
      UnknownName: gymnax has no such environment.
      ModuleNotFoundError: drawing classic control needs pygame, which is not installed.
    """
    env, params = gymnax.make(check("gymnax environment", name, names()))
    if name in CLASSIC_CONTROL:
        return _save_classic_control(name, params, trajectory, stem)
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trajectory)
    key = jax.random.key(0)
    obs = np.asarray(jax.vmap(lambda state: env.observe(key, state, None, params))(states))
    if obs.ndim >= 3 and min(obs.shape[1:3]) > 1:
        shown = pictures.evenly(obs)
        seconds = GRID_SECONDS * len(obs) / len(shown)
        return pictures.save_gif(map(_draw_grid, shown), seconds, stem)
    return traces.draw(f"gymnax/{name}", obs.reshape(len(obs), -1), stem)


def _action(space: Any) -> tuple[ActionSpec, Callable[[jax.Array], jax.Array]]:
    """Return the action spec of a gymnax space, and the function that converts actions to it."""
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", space.n), lambda action: jnp.asarray(action, jnp.int32)
    low = np.broadcast_to(np.asarray(space.low, np.float64), space.shape).ravel()
    high = np.broadcast_to(np.asarray(space.high, np.float64), space.shape).ravel()
    spec = ActionSpec("continuous", low.size, tuple(low.tolist()), tuple(high.tolist()))
    return spec, lambda action: jnp.asarray(action, jnp.float32).reshape(space.shape)


def _obs_spec(name: str, space: Any, size: int) -> ObsSpec:
    """Return the observation spec of an environment; the planes of MinAtar are bits."""
    is_bits = name.endswith(BITS)
    shape = tuple(space.shape) if is_bits or len(space.shape) > 1 else (size,)
    return ObsSpec(shape, "bits" if is_bits else "floats")


def _flattener(space: Any) -> Callable[[jax.Array], jax.Array]:
    """Return the function from an observation of `space` to a float32 vector."""
    if isinstance(space, spaces.Discrete):
        return lambda obs: jax.nn.one_hot(obs, space.n, dtype=jnp.float32)
    return lambda obs: jnp.ravel(obs).astype(jnp.float32)


def _strongly_typed(state: EnvState) -> EnvState:
    """Return a state whose types stay the same in the next step.

    Counters start as Python numbers, which JAX types weakly: in a loop that
    carries them the type would change after one step.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)


def _save_classic_control(
    name: str, params: Any, trajectory: Sequence[EnvState], stem: Path
) -> Path:
    require(f"drawing gymnax/{name}", "render")
    draw_in_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame imports a deprecated pkg_resources
        import gymnasium
        from gymnax.visualize import vis_gym

        painter: Any = gymnasium.make(name, render_mode="rgb_array").unwrapped
        shown = pictures.evenly(trajectory)
        seconds = len(trajectory) / len(shown) / painter.metadata["render_fps"]

        def frames() -> Iterator[Image.Image]:
            painter.reset(seed=0)
            vis_gym.set_gym_params(painter, name, params)
            for state in shown:
                painter.state = vis_gym.get_gym_state(state, name)
                if name == "Pendulum-v1":  # for the arrow in the picture
                    painter.last_u = np.asarray(state.last_u, np.float64)
                yield Image.fromarray(painter.render())

        try:
            return pictures.save_gif(frames(), seconds, stem)
        finally:
            painter.close()


def _draw_grid(obs: np.ndarray) -> Image.Image:
    """Paint [height, width] or [height, width, channels], each channel in its colour."""
    planes = obs.reshape(*obs.shape[:2], -1)
    colours = np.asarray(matplotlib.colormaps["tab10"].colors) * 255  # pyright: ignore
    pixels = np.zeros((*planes.shape[:2], 3), np.uint8)
    for channel in range(planes.shape[2]):
        pixels[planes[:, :, channel] > 0] = colours[channel % len(colours)]
    scale = max(1, GRID_PIXELS // planes.shape[0])
    size = (planes.shape[1] * scale, planes.shape[0] * scale)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
