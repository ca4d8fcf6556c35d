"""Learn a policy from labelled states: what a teacher does there, or how it rates each action.

Nothing here knows about environments or teachers. The policy computes in the integers in which it
ships; gradients go straight through to the latents of its weights, as in PPO.

References:
  Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
  Rusu et al. 2016, "Policy Distillation".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Float32, Int

from ternevo.arithmetic import actions
from ternevo.arithmetic.observation import Quantiser
from ternevo.arithmetic.weights import (
    WeightKind,
    discretize_all,
    latents_of,
    straight_through_all,
)
from ternevo.learners import descent
from ternevo.policies.acting import inputs, seen_first
from ternevo.types import ActionSpec, Key, Metrics, ObsSpec, Params, Policy


class Labelled(NamedTuple):
    """States and what is wanted in them.

    Attributes:
      obs: observations as the environment gives them.
      target: probabilities of discrete actions, or a continuous action as a share of its range,
        -1 to 1.
    """

    obs: Float32[Array, "states obs"]
    target: Float32[Array, "states outputs"]


class Learned(NamedTuple):
    """Latents of the policy's tensors, and the scale of its outputs, which does not ship."""

    latents: list[Float32[Array, "..."]]
    log_scale: Float[Array, ""]


class Student(NamedTuple):
    """A policy that learns, without a memory; `template` has the shapes of its params."""

    policy: Policy
    template: Params
    weights: WeightKind
    obs: ObsSpec
    action: ActionSpec

    def init(self, key: Key) -> Learned:
        """Return latents that represent a policy from `policy.init`."""
        key_policy, key_latents = jax.random.split(key)
        latents = latents_of(key_latents, self.policy.init(key_policy), self.weights)
        return Learned(latents, jnp.zeros(()))

    def shipped(self, learned: Learned) -> Params:
        """Return the params as they would be shipped."""
        return discretize_all(self.template, learned.latents, self.weights)

    def outputs(
        self, params: Params, quantiser: Quantiser, obs: Float[Array, "batch obs"]
    ) -> Float[Array, "batch outputs"]:
        """Return the raw outputs, from which `actions.mode` takes the action."""

        def output(obs: jax.Array) -> jax.Array:
            memory = self.policy.reset(params, jax.random.key(0))
            seen = inputs(self.obs, quantiser, seen_first(obs))
            return self.policy.apply(params, memory, seen)[1]

        return jax.vmap(output)(obs)

    def loss(
        self, quantiser: Quantiser, learned: Learned, batch: Labelled
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of a minibatch, and its metrics.

        Discrete actions: the cross-entropy. Continuous ones: the mean squared error.
        """
        params = straight_through_all(self.template, learned.latents, self.weights)
        output = self.outputs(params, quantiser, batch.obs)
        if self.action.kind == "discrete":
            logs = actions.log_probabilities(learned.log_scale, output)
            value = -jnp.mean(jnp.sum(batch.target * logs, axis=-1))
        else:
            value = jnp.mean((_clipped(output) - batch.target) ** 2)
        return value, {"loss/imitation": value}


def _clipped(output: jax.Array) -> jax.Array:
    """Clip outputs to [-1, 1] with slope 1: one beyond a wanted bound is right, and stays there."""
    return output + jax.lax.stop_gradient(jnp.clip(output, -1.0, 1.0) - output)


def train(
    student: Student,
    optimizer: optax.GradientTransformation,
    quantiser: Quantiser,
    learned: Learned,
    data: Labelled,
    rows: Int[Array, "updates batch"],
) -> tuple[Learned, Metrics]:
    """Make one gradient step for each row of `rows`, from a fresh state of the optimiser.

    Args:
      student: the policy.
      optimizer: the optimiser.
      quantiser: the frozen quantiser that would ship.
      learned: where to begin.
      data: the labelled states.
      rows: which states are in each minibatch.

    Returns:
      What was learned, and the mean metrics over all gradient steps.
    """

    def loss(learned: Learned, batch: Labelled) -> tuple[jax.Array, Metrics]:
        return student.loss(quantiser, learned, batch)

    step = descent.on_rows(loss, optimizer, data)
    (learned, _), metrics = jax.lax.scan(step, (learned, optimizer.init(learned)), rows)
    return learned, jax.tree.map(jnp.mean, metrics)
