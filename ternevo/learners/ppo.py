"""The arithmetic of proximal policy optimisation: advantages, losses, epochs of minibatches.

Nothing here knows about environments. Axis names: a batch has `steps` of `envs`.

References:
  Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage
  Estimation", equation 16.
  Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equations 7 and 9.
  Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from ternevo.learners import descent
from ternevo.machine import devices
from ternevo.types import Key, Metrics, Number


class Coefficients(NamedTuple):
    """Coefficients of the loss; see the settings of the same names in `strategies/ppo.py`."""

    clip_epsilon: Number
    value_clip_epsilon: float
    value_coefficient: Number
    entropy_coefficient: Number


class Sample(NamedTuple):
    """The data of each transition in a minibatch; policy and critic take `inputs`."""

    inputs: Any
    raw_action: jax.Array
    log_prob: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
    target: Float[Array, "*batch"]


class Prediction(NamedTuple):
    """What the current policy and critic predict for the transitions of a minibatch."""

    log_prob: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]
    value: Float[Array, "*batch"]


def advantages(
    rewards: Float[Array, "steps envs"],
    values: Float[Array, "steps envs"],
    last_value: Float[Array, " envs"],
    final_values: Float[Array, "steps envs"],
    terminated: Bool[Array, "steps envs"],
    truncated: Bool[Array, "steps envs"],
    discount: Number,
    gae_lambda: Number,
) -> Float[Array, "steps envs"]:
    r"""Return generalised advantage estimates of transitions under auto-reset.

    $\hat A_t = \delta_t + \gamma \lambda \hat A_{t+1}$ within an episode, where
    $\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)$. After a termination no reward follows.
    A truncation only ends the recording: the value of the final observation estimates the
    rewards that would have followed.

    Args:
      rewards: the reward of each step.
      values: the value of the observation before each step.
      last_value: the value of the observations after the last step.
      final_values: the value of the final observation where an episode was truncated; elsewhere
        ignored.
      terminated: whether the task ended in the step.
      truncated: whether the time limit ended the episode in the step.
      discount: gamma.
      gae_lambda: lambda; 1 gives the discounted return minus the value, 0 the TD error.
    """
    following = jnp.concatenate([values[1:], last_value[None]])
    following = jnp.where(truncated, final_values, following)
    errors = rewards + discount * jnp.where(terminated, 0.0, following) - values
    decay = discount * gae_lambda * ~(terminated | truncated)

    def one_step(later: jax.Array, row: tuple) -> tuple[jax.Array, jax.Array]:
        error, share = row
        advantage = error + share * later
        return advantage, advantage

    return jax.lax.scan(one_step, jnp.zeros_like(last_value), (errors, decay), reverse=True)[1]


def normalise(estimates: Float[Array, "steps envs"]) -> Float[Array, "steps envs"]:
    """Scale advantages to mean 0 and standard deviation 1 over the batch of all devices."""
    mean, squares = devices.mean((jnp.mean(estimates), jnp.mean(estimates**2)))
    deviation = jnp.sqrt(jnp.maximum(squares - mean**2, 0.0))
    return (estimates - mean) / (deviation + 1e-8)


def loss(
    coefficients: Coefficients, now: Prediction, batch: Sample
) -> tuple[Float[Array, ""], Metrics]:
    """Return the loss of a minibatch, and its parts.

    The value loss is half the mean squared error. If `value_clip_epsilon` is positive, the value is
    also clipped to that distance from the old value, and the larger of the two errors counts.
    """
    log_ratio = now.log_prob - batch.log_prob
    ratio, epsilon = jnp.exp(log_ratio), coefficients.clip_epsilon
    clipped = jnp.clip(ratio, 1 - epsilon, 1 + epsilon)
    policy_loss = -jnp.mean(jnp.minimum(ratio * batch.advantage, clipped * batch.advantage))
    value_loss = 0.5 * jnp.mean(_squared_error(coefficients.value_clip_epsilon, now.value, batch))
    entropy = jnp.mean(now.entropy)
    total = (
        policy_loss
        + coefficients.value_coefficient * value_loss
        - coefficients.entropy_coefficient * entropy
    )
    return total, {
        "loss/policy": policy_loss,
        "loss/value": value_loss,
        "ppo/entropy": entropy,
        "ppo/approx_kl": jnp.mean(ratio - 1 - log_ratio),  # Schulman 2020, always positive
        "ppo/clip_fraction": jnp.mean(jnp.abs(ratio - 1) > epsilon),
    }


def _squared_error(epsilon: float, value: jax.Array, batch: Sample) -> jax.Array:
    error = (value - batch.target) ** 2
    if not epsilon:
        return error
    near = batch.value + jnp.clip(value - batch.value, -epsilon, epsilon)
    return jnp.maximum(error, (near - batch.target) ** 2)


def update(
    predict: Callable[[Any, Any, jax.Array], Prediction],
    coefficients: Coefficients,
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    num_minibatches: int,
    key: Key,
    params: Any,
    opt_state: optax.OptState,
    batch: Sample,
) -> tuple[Any, optax.OptState, Metrics]:
    """Go through the batch `num_epochs` times, each time in a new random order.

    Inside `devices.split` each device has its own transitions, and gradients are averaged.

    Args:
      predict: (params, inputs, raw actions) of a minibatch to the current `Prediction`.
      coefficients: the coefficients of the loss.
      optimizer: the optimiser.
      num_epochs: number of passes over the batch.
      num_minibatches: number of gradient steps in a pass; must divide the number of rows.
      key: the key of the random order.
      params: the learned parameters.
      opt_state: the state of the optimiser.
      batch: the transitions, with leaves [rows, ...]. A row is a transition, or a whole sequence
        of them [rows, steps, ...] for a policy with memory.

    Returns:
      The new params and optimiser state, and the mean metrics over all gradient steps.
    """
    size = batch.advantage.shape[0]

    def total_loss(params: Any, minibatch: Sample) -> tuple[jax.Array, Metrics]:
        now = predict(params, minibatch.inputs, minibatch.raw_action)
        return loss(coefficients, now, minibatch)

    one_minibatch = descent.on_rows(total_loss, optimizer, batch)

    def one_epoch(carry: tuple, key: Key) -> tuple[tuple, Metrics]:
        order = jax.random.permutation(key, size).reshape(num_minibatches, -1)
        return jax.lax.scan(one_minibatch, carry, order)

    keys = jax.random.split(key, num_epochs)
    (params, opt_state), metrics = jax.lax.scan(one_epoch, (params, opt_state), keys)
    return params, opt_state, jax.tree.map(jnp.mean, metrics)
