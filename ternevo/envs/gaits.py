"""brax's ant for archives of gaits: behaviour is how much of the time each foot is on the ground.

It is "meta/ant_gaits". MAP-Elites on it collects many ways to walk. An ant with a short leg can
then try some of them, instead of learning.

References:
  Cully et al., "Robots that can adapt like animals", Nature 2015.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from ternevo.envs import bodies, brax
from ternevo.names import lookup
from ternevo.types import Descriptor, Env, EnvState, Key, Task, Timestep

FEET = ("left front", "right front", "right back", "left back")
"""In the order of brax's legs. As in `bodies.LEGS`, front is +y and left is +x; the ant is paid for
walking along +x, so its left feet lead."""
NEAR = 0.01
"""Distance from the ground, in m, up to which a foot touches it: the simulator lets feet bounce."""


class GaitState(NamedTuple):
    """The state of the ant, and in how many steps each foot touched the ground."""

    walk: brax.BraxState
    touched: Int32[Array, " feet"]


def ant_gaits(episode_length: int = 1000, family: str = "seen") -> Env:
    """Walk as brax's ant; the descriptor is the share of steps in which each foot is on the ground.

    Steps count as they end. Otherwise it is brax/ant, and pays the same.

    Args:
      episode_length: the time limit.
      family: "seen" is the whole ant; or a key of `bodies.LEGS`, such as "right_front", for an ant
        of which that leg is short.

    Raises:
      UnknownName: there is no such family.
    """
    legs = lookup("family", family, {"seen": "normal", **{name: name for name in bodies.LEGS}})
    own = bodies.with_legs([legs])
    ant, distances = brax.make("ant", episode_length, own), brax.distances("ant", own)

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        walk, obs = ant.reset(key, task)
        return GaitState(walk, jnp.zeros(len(FEET), jnp.int32)), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        walk, timestep = ant.step(key, state.walk, action)
        return GaitState(walk, state.touched + (distances(walk) <= NEAR)), timestep

    names = tuple(f"{foot} foot on the ground, share of steps" for foot in FEET)
    descriptor = Descriptor(names, (0.0,) * len(FEET), (1.0,) * len(FEET), shares)
    made = ant._replace(reset=reset, step=step, descriptor=descriptor)
    return bodies.named("ant_gaits", family, made)


def shares(state: GaitState) -> jax.Array:
    """Return the share of steps so far in which each foot was on the ground [feet]."""
    return state.touched / jnp.maximum(state.walk.step, 1)
