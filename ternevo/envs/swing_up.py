"""Cart-pole swing-up with the constants of EvoJAX: swing a hanging pole up, and keep it there.

References:
  Tang, Tian and Ha, "EvoJAX: Hardware-Accelerated Neuroevolution", 2022; the numbers are those of
  its task, which is the cart and pole of PILCO (Deisenroth and Rasmussen 2011).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from ternevo.types import ActionSpec, Env, Key, ObsSpec, Task, Timestep

GRAVITY, CART_MASS, POLE_MASS, POLE_LENGTH = 9.82, 0.5, 0.5, 0.6
FRICTION, FORCE, TIME_STEP, TRACK = 0.1, 10.0, 0.01, 2.4
SPREAD = 0.2
"""Standard deviation of all numbers of an easy start around hanging at rest."""
HARD = np.array([TRACK, 10.0, np.pi / 2, 10.0], np.float32)
"""Half ranges of a hard start: position, velocity, angle from hanging, angular velocity."""
HANGING = np.array([0, 0, np.pi, 0], np.float32)
OBS_NAMES = (
    *("cart position (m)", "cart velocity (m/s)", "cosine of the angle from upright"),
    *("sine of the angle", "angular velocity (rad/s)"),
)


class SwingState(NamedTuple):
    """Position, velocity, angle from upright and angular velocity [4], steps done, and `obs`."""

    x: Float32[Array, "4"]
    step: Int32[Array, ""]
    obs: Float32[Array, "5"]


def accelerations(x: Float32[Array, "4"], force: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the acceleration of the cart and of the angle, for a force in newtons.

    The pole is a rod whose weight is spread along its length; the cart has friction.
    """
    _, velocity, angle, rate = x
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    pull = force - FRICTION * velocity
    swing = POLE_MASS * POLE_LENGTH * rate**2 * sin / 2
    weight = 0.75 * POLE_MASS * GRAVITY * sin * cos
    inertia = CART_MASS + POLE_MASS - 0.75 * POLE_MASS * cos**2
    of_cart = (pull + weight - swing) / inertia
    return of_cart, 1.5 / POLE_LENGTH * (of_cart * cos + GRAVITY * sin)


def moved(x: Float32[Array, "4"], force: jax.Array) -> Float32[Array, "4"]:
    """Return the state after a step of Euler's."""
    of_cart, of_angle = accelerations(x, force)
    return x + TIME_STEP * jnp.stack([x[1], of_cart, x[3], of_angle])


def easy(episode_length: int = 1000) -> Env:
    """Swing a pole up from about hanging at rest; a step pays at most 1. Good: 900 of 1000.

    A step pays (cos(angle) + 1) / 2 * cos(pi x / 4.8). Beyond 2.4 m the episode ends.
    """

    def draw_task(key: Key) -> Task:
        return SPREAD * jax.random.normal(key, (4,)) + HANGING

    return _swing_up("cartpole_swing_up_easy", episode_length, draw_task)


def hard(episode_length: int = 1000) -> Env:
    """Swing a pole up from anywhere and any speed, some of which run off the track. Good: 600.

    A step pays as in `cartpole_swing_up_easy`.
    """

    def draw_task(key: Key) -> Task:
        return HARD * jax.random.uniform(key, (4,), minval=-1.0) + HANGING

    return _swing_up("cartpole_swing_up_hard", episode_length, draw_task)


def _swing_up(name: str, episode_length: int, draw_task: Callable[[Key], Task]) -> Env:
    """Return the task whose episodes begin at its tasks, [4]."""

    def seen(x: jax.Array) -> jax.Array:
        return jnp.stack([x[0], x[1], jnp.cos(x[2]), jnp.sin(x[2]), x[3]])

    def reset(key: Key, task: Task) -> tuple[SwingState, jax.Array]:
        del key
        obs = seen(task)
        return SwingState(task, jnp.zeros((), jnp.int32), obs), obs

    def step(key: Key, state: SwingState, action: jax.Array) -> tuple[SwingState, Timestep]:
        del key
        x = moved(state.x, FORCE * jnp.clip(action[0], -1, 1))
        count, obs = state.step + 1, seen(x)
        reward = (jnp.cos(x[2]) + 1) / 2 * jnp.cos(np.pi / 2 * x[0] / TRACK)
        is_off = jnp.abs(x[0]) > TRACK
        truncated = (count >= episode_length) & ~is_off
        return SwingState(x, count, obs), Timestep(obs, reward, is_off, truncated)

    return Env(
        f"control/{name}",
        ObsSpec((5,)),
        ActionSpec("continuous", 1, (-1.0,), (1.0,)),
        episode_length,
        reset,
        step,
        draw_task,
        obs_names=OBS_NAMES,
        action_names=("force (10 N)",),
    )
