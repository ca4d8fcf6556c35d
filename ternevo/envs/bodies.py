"""brax's ant and cheetah as families of tasks: short legs, weak motors, a payload, a direction.

Each is an environment of the suite `meta`, on brax's backend spring. The task that changes nothing
is brax's own body, bit for bit.

References:
  Najarro and Risi, "Meta-Learning through Hebbian Plasticity in Random Networks", NeurIPS 2020 (the
  damaged ant, of which `ant_legs` is the counterpart in brax).
  Song et al., "ES-MAML", ICLR 2020 (motors that lose power, and a payload).
  Finn et al., "Model-Agnostic Meta-Learning", ICML 2017 (forward or backward).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.envs import brax
from ternevo.names import lookup
from ternevo.types import Env, EnvState, Key, Task

# ------------------------------------------------------------------------------------ short legs

LEGS = {"normal": None, "right_front": 1, "left_front": 0}
"""Which leg is short. brax's ant names its legs by their sign in x and y; the first two are in
front."""
SHORT = 0.25
"""Length of the last segment of a damaged leg, relative to a whole one."""


def ant_legs(episode_length: int = 1000, family: str = "seen") -> Env:
    """Walk as brax's ant, some of which have a short front leg; the task is which leg.

    The last segment of the damaged leg is a quarter as long, with its foot, which alone touches
    the ground; the masses and inertias of an ant are all 1 in brax's backend spring. Otherwise it
    is brax/ant, and pays the same.

    Args:
      episode_length: the time limit.
      family: "seen" has whole ants and such with a short right front leg; or a key of `LEGS`.

    Raises:
      UnknownName: there is no such family.
    """
    families = {"seen": ("normal", "right_front"), **{name: (name,) for name in LEGS}}
    legs = with_legs(lookup("family", family, families))
    return named("ant_legs", family, brax.make("ant", episode_length, legs))


def with_legs(names: Sequence[str]) -> brax.Bodies:
    """Return ants of which an episode draws one, by names of `LEGS`."""
    legs = [LEGS[name] for name in names]
    codes = np.array([-1 if leg is None else leg for leg in legs], np.int32)
    return brax.Bodies(_one_of(codes), _with_short_leg)


def _with_short_leg(leg: jax.Array, system: Any) -> Any:
    """Return brax's ant whose leg of this number, if it is not negative, has a short end.

    The feet are the four shapes that touch the ground, and the end of leg i is link 2 + 2 i.
    """
    feet = np.flatnonzero(np.asarray(system.geom_contype))
    ends = 2 + 2 * np.arange(len(feet))
    factor = jnp.where(leg == jnp.arange(len(feet)), SHORT, 1.0)
    inertia, place = system.link.inertia, jnp.asarray(system.geom_pos)
    return system.tree_replace(
        {
            "geom_pos": place.at[feet].multiply(factor[:, None]),
            "link.inertia.transform.pos": inertia.transform.pos.at[ends].multiply(factor[:, None]),
        }
    )


# ------------------------------------------------------------------------------------ weak motors

NUM_MOTORS = 8
GAINS = {"seen": (0.5, 1.0), "unseen": (0.25, 0.5), "normal": (1.0, 1.0)}
"""Least and largest torque of a motor, relative to brax's, by family."""


def ant_gains(episode_length: int = 1000, family: str = "seen") -> Env:
    """Walk as brax's ant whose motors have lost power; the task is what is left of each, [8].

    The torque of each motor is multiplied by a number that is drawn for it alone. What an action
    costs does not change. Otherwise it is brax/ant.

    Args:
      episode_length: the time limit.
      family: the range of these numbers, a key of `GAINS`: in "unseen" every motor is weaker than
        any of "seen".

    Raises:
      UnknownName: there is no such family.
    """
    low, high = lookup("family", family, GAINS)

    def draw(key: Key) -> Task:
        return jax.random.uniform(key, (NUM_MOTORS,), minval=low, maxval=high)

    made = brax.make("ant", episode_length, brax.Bodies(draw, _with_gains))
    return named("ant_gains", family, made)


def _with_gains(gains: jax.Array, system: Any) -> Any:
    """Return a system whose motors have these shares of their torque."""
    return system.tree_replace({"actuator.gear": system.actuator.gear * gains})


# --------------------------------------------------------------------------------------- payloads

PAYLOADS = {"seen": (0.5, 1.5), "unseen": (1.5, 2.5), "normal": (1.0, 1.0)}
"""Least and largest mass of the torso, relative to brax's, by family."""


def ant_payload(episode_length: int = 1000, family: str = "seen") -> Env:
    """Walk as brax's ant whose torso has another mass; the task is the mass, where brax's is 1.

    In brax's backend spring all nine links of an ant have the mass 1, whatever the model says, so
    that a torso of 1.5 makes the ant 6 % heavier; its rotational inertia stays 1. Otherwise it is
    brax/ant.

    Args:
      episode_length: the time limit.
      family: the range of the mass, a key of `PAYLOADS`: in "unseen" every torso is heavier than
        any of "seen".

    Raises:
      UnknownName: there is no such family.
    """
    low, high = lookup("family", family, PAYLOADS)

    def draw(key: Key) -> Task:
        return jax.random.uniform(key, minval=low, maxval=high)

    made = brax.make("ant", episode_length, brax.Bodies(draw, _with_payload))
    return named("ant_payload", family, made)


def _with_payload(mass: jax.Array, system: Any) -> Any:
    """Return brax's ant whose torso, link 0, has this mass.

    spring simulates a link of mass m as one of `m ** (1 - spring_mass_scale)`, and the scale of an
    ant is 1. So the torso needs a scale of its own, without which its mass would not matter.
    """
    is_torso = jnp.arange(system.num_links()) == 0
    return system.tree_replace(
        {
            "link.inertia.mass": jnp.where(is_torso, mass, system.link.inertia.mass),
            "spring_mass_scale": jnp.where(is_torso, 0.0, system.spring_mass_scale),
        }
    )


# ------------------------------------------------------------------------------------- directions

DIRECTIONS = {"seen": (-1.0, 1.0), "forward": (1.0,), "backward": (-1.0,)}
"""The signs of the velocity that pays, by family."""


def ant_direction(episode_length: int = 1000, family: str = "seen") -> Env:
    """Walk forward or backward as brax's ant; the task is the direction, +1 or -1.

    The direction is not shown. A step pays what brax/ant pays, with the velocity along x times the
    direction in place of the velocity: 1 for not falling, and minus half the squared action.

    Args:
      episode_length: the time limit.
      family: "seen" has both directions; or "forward", or "backward".

    Raises:
      UnknownName: there is no such family.
    """
    return _directed("ant", "forward_reward", episode_length, family)


def halfcheetah_direction(episode_length: int = 1000, family: str = "seen") -> Env:
    """Run forward or backward as brax's cheetah; the task is the direction, +1 or -1.

    The direction is not shown. A step pays what brax/halfcheetah pays, with the velocity along x
    times the direction in place of the velocity: minus a tenth of the squared action.

    Args:
      episode_length: the time limit.
      family: "seen" has both directions; or "forward", or "backward".

    Raises:
      UnknownName: there is no such family.
    """
    return _directed("halfcheetah", "reward_run", episode_length, family)


def _directed(body: str, metric: str, episode_length: int, family: str) -> Env:
    """Return a body of brax that is paid for a direction; brax's metric is the forward part."""
    signs = np.array(lookup("family", family, DIRECTIONS), np.float32)

    def pay(direction: Task, after: Any) -> jax.Array:
        return after.reward + (direction - 1.0) * after.metrics[metric]

    made = brax.make(body, episode_length, brax.Bodies(_one_of(signs), pay=pay))
    return named(f"{body}_direction", family, made)


# --------------------------------------------------------------------------------------------- all

TASKS: dict[str, Callable[..., Env]] = {
    "ant_legs": ant_legs,
    "ant_gains": ant_gains,
    "ant_payload": ant_payload,
    "ant_direction": ant_direction,
    "halfcheetah_direction": halfcheetah_direction,
}


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Write an episode of a task as `envs.brax.render` does; all ants look whole."""
    return brax.render(name.partition("_")[0], trajectory, stem)


def _one_of(tasks: np.ndarray) -> Callable[[Key], Task]:
    """Return the function that draws one of some tasks."""

    def draw(key: Key) -> Task:
        return jnp.asarray(tasks)[jax.random.randint(key, (), 0, len(tasks))]

    return draw


def named(name: str, family: str, made: Env) -> Env:
    """Return an environment under its id in the suite `meta`."""
    suffix = "" if family == "seen" else f"@{family}"
    return made._replace(id=f"meta/{name}{suffix}")
