"""Acting, in one place: quantise, apply, take the mode.

Rollouts, recordings and shipped policies all call `act`, so that the trained policy is what ships.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ternevo.arithmetic import actions, observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.types import ActionSpec, Inputs, Memory, ObsSpec, Policy, Timestep


class Seen(NamedTuple):
    """What an environment shows a policy before a step; see `ternevo.types.Inputs`."""

    obs: Float[Array, "*batch obs"]
    feedback: Float[Array, "*batch"]
    is_first: Bool[Array, "*batch"]


def seen_first(obs: Float[Array, "*batch obs"]) -> Seen:
    """Return what an environment shows at the start of an episode."""
    batch = obs.shape[:-1]
    return Seen(obs, jnp.zeros(batch), jnp.ones(batch, bool))


def seen_after(timestep: Timestep) -> Seen:
    """Return what an environment shows after a step."""
    feedback, is_first = timestep.feedback, timestep.is_first
    return Seen(
        timestep.obs,
        timestep.reward if feedback is None else feedback,
        jnp.zeros(timestep.reward.shape, bool) if is_first is None else is_first,
    )


def inputs(spec: ObsSpec, quantiser: Quantiser, seen: Seen) -> Inputs:
    """Return the inputs of a policy for one observation [obs]."""
    integers = observation.quantise(quantiser, seen.obs, spec.kind)
    return Inputs(integers.reshape(spec.shape), seen.feedback, seen.is_first)


class Actor(NamedTuple):
    """A policy with the observations and actions that it was built for."""

    policy: Policy
    obs: ObsSpec
    action: ActionSpec

    def act(
        self, params: Any, quantiser: Quantiser, memory: Memory, seen: Seen
    ) -> tuple[Memory, jax.Array]:
        """Return the new memory and the action, for plain or packed params."""
        memory, output = self.policy.apply(params, memory, inputs(self.obs, quantiser, seen))
        return memory, actions.mode(self.action, output)
