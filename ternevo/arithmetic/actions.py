"""Turn a policy's raw output into an action: the shipped one, or one drawn to explore.

Evolution needs only `mode`. A gradient learner draws from a distribution
around it. The parameters of a distribution (a temperature, a
standard deviation) are dropped at export, as the mode does not depend on them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ternevo.types import ActionSpec, Key

LARGEST_MEDIAN = 0.98
"""Bound on the size of a tanh-normal's median: at 1 the normal's mean would be infinite."""


class Distribution(NamedTuple):
    """A distribution of actions around a policy's raw output, as pure functions.

    `params` is a separate float32 array, learned with the policy. `sample` returns raw actions;
    `to_action` turns a raw action into one of the environment. Outputs and raw actions may have
    any leading axes.
    """

    init: Callable[[], jax.Array]
    sample: Callable[[Key, jax.Array, jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    entropy: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    to_action: Callable[[jax.Array], jax.Array]


def mode(spec: ActionSpec, output: Float[Array, " size"]) -> Shaped[Array, "..."]:
    """Return the action that the output encodes.

    Discrete: the argmax; the lowest index wins a tie. Continuous: the output
    clipped to [-1, 1] and mapped linearly to [low, high]; the mapping is the
    one step outside the integer contract.

    Examples:
      >>> mode(ActionSpec("discrete", 3), jnp.array([1.0, 4.0, 4.0])).item()
      1
      >>> mode(ActionSpec("continuous", 1, (-2.0,), (2.0,)), jnp.array([0.5])).tolist()
      [1.0]
    """
    if spec.kind == "discrete":
        return jnp.argmax(output).astype(jnp.int32)
    return _in_range(spec, output)


def _in_range(spec: ActionSpec, output: jax.Array) -> jax.Array:
    low, high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
    # Scale about the centre: a symmetric range then adds 0, which avoids a second rounding.
    action = (low + high) / 2 + jnp.clip(output, -1.0, 1.0) * ((high - low) / 2)
    return jnp.clip(action, low, high)


def distribution(name: str, spec: ActionSpec, init_log_std: float) -> Distribution:
    """Return a distribution for an action space; "auto" is categorical or clipped_normal.

    Args:
      name: "auto", "categorical", "clipped_normal" or "tanh_normal".
      spec: the action space.
      init_log_std: where the log standard deviations of a normal start.

    Raises:
      ValueError: a discrete distribution for continuous actions, or the other way round.
    """
    allowed = ("categorical",) if spec.kind == "discrete" else ("clipped_normal", "tanh_normal")
    name = allowed[0] if name == "auto" else name
    if name not in allowed:
        raise ValueError(
            f"--action_distribution {name} does not fit {spec.kind} actions; "
            f"use {' or '.join(allowed)}, or auto"
        )
    if name == "categorical":
        return _categorical()
    make = _clipped_normal if name == "clipped_normal" else _tanh_normal
    return make(spec, init_log_std)


def log_probabilities(
    log_scale: Float[Array, ""], output: Float[Array, "*batch actions"]
) -> Float[Array, "*batch actions"]:
    """Return log softmax(output * exp(log_scale)): ternary outputs have only coarse scales."""
    return jax.nn.log_softmax(output * jnp.exp(log_scale))


def _categorical() -> Distribution:
    """Return the distribution of `log_probabilities`."""

    def sample(key: Key, param: jax.Array, output: jax.Array) -> jax.Array:
        # The inverse CDF needs one random number; the Gumbel trick needs one per action.
        below = jnp.cumsum(jnp.exp(log_probabilities(param, output)), axis=-1)[..., :-1]
        quantiles = jax.random.uniform(key, output.shape[:-1])
        return jnp.sum(quantiles[..., None] >= below, axis=-1, dtype=jnp.int32)

    def log_prob(param: jax.Array, output: jax.Array, raw: jax.Array) -> jax.Array:
        logs = log_probabilities(param, output)
        return jnp.take_along_axis(logs, raw[..., None], axis=-1)[..., 0]

    def entropy(param: jax.Array, output: jax.Array, raw: jax.Array) -> jax.Array:
        del raw  # it is known in closed form
        logs = log_probabilities(param, output)
        return -jnp.sum(jnp.exp(logs) * logs, axis=-1)

    return Distribution(lambda: jnp.zeros(()), sample, log_prob, entropy, lambda raw: raw)


def _normal_log_prob(log_std: jax.Array, mean: jax.Array, value: jax.Array) -> jax.Array:
    squares = ((value - mean) * jnp.exp(-log_std)) ** 2
    return jnp.sum(-0.5 * (squares + math.log(2 * math.pi)) - log_std, axis=-1)


def _normal_entropy(log_std: jax.Array, output: jax.Array) -> jax.Array:
    entropy = jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e))
    return jnp.broadcast_to(entropy, output.shape[:-1])


def _clipped_normal(spec: ActionSpec, init_log_std: float) -> Distribution:
    """Return a normal around the output; `to_action` clips it to [-1, 1]."""

    def sample(key: Key, log_std: jax.Array, output: jax.Array) -> jax.Array:
        return output + jnp.exp(log_std) * jax.random.normal(key, output.shape)

    def entropy(log_std: jax.Array, output: jax.Array, raw: jax.Array) -> jax.Array:
        del raw  # it is known in closed form
        return _normal_entropy(log_std, output)

    return Distribution(
        lambda: jnp.full(spec.size, init_log_std),
        sample,
        _normal_log_prob,
        entropy,
        lambda raw: _in_range(spec, raw),
    )


def median(output: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    """Return the numbers whose tanh is the clipped output: the median of a tanh-normal."""
    wanted = jnp.arctanh(jnp.clip(output, -LARGEST_MEDIAN, LARGEST_MEDIAN))
    # Slope 1: arctanh has slope 25 near the clip, and an output beyond it would get none.
    return output + jax.lax.stop_gradient(wanted - output)


def _tanh_normal(spec: ActionSpec, init_log_std: float) -> Distribution:
    """Return the tanh of a normal whose median is the clipped output: the action that ships."""

    def sample(key: Key, log_std: jax.Array, output: jax.Array) -> jax.Array:
        return median(output) + jnp.exp(log_std) * jax.random.normal(key, output.shape)

    def log_slope(raw: jax.Array) -> jax.Array:
        """Return log(1 - tanh(raw)^2) without cancellation."""
        return jnp.sum(2 * (math.log(2) - raw - jax.nn.softplus(-2 * raw)), axis=-1)

    def log_prob(log_std: jax.Array, output: jax.Array, raw: jax.Array) -> jax.Array:
        return _normal_log_prob(log_std, median(output), raw) - log_slope(raw)

    def entropy(log_std: jax.Array, output: jax.Array, raw: jax.Array) -> jax.Array:
        """Estimate the entropy from one earlier raw action, moved to the current distribution."""
        noise = jax.lax.stop_gradient((raw - median(output)) * jnp.exp(-log_std))
        return _normal_entropy(log_std, output) + log_slope(
            median(output) + jnp.exp(log_std) * noise
        )

    return Distribution(
        lambda: jnp.full(spec.size, init_log_std),
        sample,
        log_prob,
        entropy,
        lambda raw: _in_range(spec, jnp.tanh(raw)),
    )
