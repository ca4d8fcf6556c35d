"""Critics: float networks that estimate what a policy will earn. They never ship."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.learners.replay import Sampled
from ternevo.policies import acting
from ternevo.policies.acting import Seen
from ternevo.types import Inputs, Key, ObservationMoments, ObsSpec

CRITIC_SCALE = 1 / 32
"""Scales the integers of an observation to about one standard deviation, for the critic.

"planes" stay as they are: a 32nd of a bit would be next to nothing.
"""

MOST_DEVIATIONS = 5.0
"""Observations further from their mean are cut, for critics that see floats."""

ACTIVATIONS = {"tanh": nn.tanh, "relu": nn.relu, "swish": nn.swish}


class Critic(nn.Module):
    """A float multi-layer perceptron from observations to values, orthogonally initialised.

    Beside the observation it sees the policy's memory, scaled to about 1. An observation alone may
    not tell what is to come. What the policy has forgotten cannot change what it does, so the value
    of both together is what the policy can expect. A critic of actions sees them in the same way.
    """

    hidden_sizes: tuple[int, ...]
    activation: str
    obs_scale: float = CRITIC_SCALE

    @nn.compact
    def __call__(self, obs: jax.Array, beside: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Return values [...] of observations [..., obs] and of numbers [..., size] beside."""
        activate = ACTIVATIONS[self.activation]
        x = obs.astype(jnp.float32) * self.obs_scale
        if beside:
            x = jnp.concatenate([x, *beside], axis=-1)
        for size in self.hidden_sizes:
            x = activate(nn.Dense(size, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
        return nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(x)[..., 0]


class Twins(NamedTuple):
    """Some critics of actions that differ in their first weights only."""

    critic: Critic
    count: int

    def init(self, key: Key, obs_size: int, action_size: int) -> Any:
        """Return the params of all, [count, ...].

        One after the other: LAPACK hands a batch to the threads of XLA, and waits for them. If each
        of these threads runs a device that is itself waiting, that never ends.
        """
        obs, action = jnp.zeros(obs_size), jnp.zeros(action_size)
        keys = jax.random.split(key, self.count)
        return jax.lax.map(lambda key: self.critic.init(key, obs, (action,)), keys)

    def values(
        self, params: Any, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, "count batch"]:
        """Return the values of actions according to each critic."""
        return jax.vmap(lambda own: self.critic.apply(own, obs, (action,)))(params)  # pyright: ignore


class View(NamedTuple):
    """What off-policy learners see of a batch of observations.

    `inputs` are the policy's. `floats` [batch, obs] are for critics: of about one, and without the
    steps of the integers. Those jump by a factor of two where a deviation passes a power of two,
    and a value that bootstraps would take long to follow.
    """

    inputs: Inputs
    floats: Float[Array, "batch obs"]


class Batch(NamedTuple):
    """What off-policy learners learn from, leaves [batch, ...]: a `Sampled` through a `Lens`.

    `reward` is that of n steps, and `discount` the factor of the value of `after`.
    """

    seen: View
    action: Num[Array, "batch *action"]
    reward: Float[Array, " batch"]
    after: View
    discount: Float[Array, " batch"]


class Lens(NamedTuple):
    """How the observations of an environment become a `View`."""

    obs: ObsSpec
    moments: ObservationMoments
    quantiser: Quantiser

    def view(self, seen: Seen) -> View:
        """Return what learners see; for critics, what is not finite becomes 0 or is cut."""
        inputs = jax.vmap(lambda row: acting.inputs(self.obs, self.quantiser, row))(seen)
        return View(inputs, self._floats(seen.obs, inputs.obs))

    def batch(self, sampled: Sampled) -> Batch:
        """Return what a learner learns from."""
        seen, after = self.view(sampled.seen), self.view(sampled.after)
        return Batch(seen, sampled.action, sampled.reward, after, sampled.discount)

    def _floats(self, obs: jax.Array, integers: jax.Array) -> jax.Array:
        if not observation.summed_size(self.obs):
            scale = 1.0 if self.obs.kind == "planes" else CRITIC_SCALE
            return integers.reshape(obs.shape) * scale
        deviation = jnp.where(self.moments.deviation > 0, self.moments.deviation, 1.0)
        scaled = (obs - self.moments.mean) / deviation
        scaled = jnp.where(jnp.isnan(scaled), 0.0, scaled)
        return jnp.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS)
