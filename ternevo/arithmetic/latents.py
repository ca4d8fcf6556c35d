"""Float latents behind discrete weights: their scale, its power of two, and the inverse.

A tensor has one scale, or one for each output, which is the last axis. Pruned weights, where the
mask is False, do not count towards a scale.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8

from ternevo.types import Key, Tensor

SCALE_FLOOR = 0.02
"""The smallest scale of a latent tensor; it keeps the thresholds of an all-zero tensor apart."""

MEAN_ABS_NORMAL = 0.7979
"""Mean absolute value of a standard normal."""

CUT_MARGIN = 1e-4
"""Distance of latents drawn for given trits from the thresholds, in standard deviations."""

EXPONENT_RANGE = (-8, 16)
"""Range of exponents; it keeps products with `2**-exponent` exact in float32."""

EXPONENT_SPREAD = 8
"""Largest difference between the exponents of a tensor's outputs, as in a policy file.

Integer logits of different exponents are compared after left shifts, and those must fit int32.
"""


def has_outputs(tensor: Tensor) -> bool:
    """Return whether a tensor of one member has an exponent for each output."""
    return tensor.exponent.ndim > 0


def scale(
    latent: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    per_output: bool = False,
) -> Float[Array, "*outputs"]:
    """Return the mean absolute latent of a tensor, at least `SCALE_FLOOR`.

    Args:
      latent: the latents, outputs last.
      mask: which latents count; None counts all.
      per_output: whether to return one scale for each output.

    Examples:
      >>> latent = jnp.array([[0.5, 2.0], [1.5, 4.0]])
      >>> scale(latent).item(), scale(latent, per_output=True).tolist()
      (2.0, [1.0, 3.0])
      >>> scale(latent, jnp.array([[True, False], [True, False]])).item()
      1.0
    """
    # Keep the floor below the N(0, 1/fan_in) start that `draw_for` makes, for any layer width.
    floor = min(SCALE_FLOOR, 0.4 / latent.shape[0] ** 0.5)
    axes = _reduced(latent, per_output)
    if mask is None:
        return jnp.maximum(jnp.mean(jnp.abs(latent), axes), floor)
    sizes = jnp.where(mask, jnp.abs(latent), 0.0)
    kept = jnp.sum(sizes, axes) / jnp.maximum(jnp.sum(mask, axes), 1)
    # XLA divides by a constant differently, and a mask that keeps all weights must change no bit.
    return jnp.maximum(jnp.where(jnp.all(mask, axes), jnp.mean(sizes, axes), kept), floor)


def _reduced(latent: jax.Array, per_output: bool) -> tuple[int, ...]:
    """Return the axes that share a scale."""
    return tuple(range(latent.ndim - per_output))


def nearest_exponent(level: Float[Array, "..."]) -> Int8[Array, "..."]:
    """Return the int8 `k` for which `2**-k` is nearest to `level` on a log scale.

    Examples:
      >>> nearest_exponent(jnp.array([0.25, 0.3, 1.0, 6.0])).tolist()
      [2, 2, 0, -3]
    """
    return jnp.clip(jnp.round(-jnp.log2(level)), *EXPONENT_RANGE).astype(jnp.int8)


def within_spread(exponents: Int8[Array, "*batch outputs"]) -> Int8[Array, "*batch outputs"]:
    """Raise the exponents of outputs to at least the largest one minus `EXPONENT_SPREAD`.

    Examples:
      >>> within_spread(jnp.array([3, -7, 5], jnp.int8)).tolist()
      [3, -3, 5]
    """
    return jnp.maximum(exponents, jnp.max(exponents, axis=-1, keepdims=True) - EXPONENT_SPREAD)


def draw_for(
    key: Key, tensor: Tensor, level_per_scale: float, threshold: float
) -> Float[Array, "..."]:
    """Draw normal latents that discretize to exactly this tensor.

    They have the size of the usual N(0, 1/fan_in) start, as far as the
    tensor's exponents allow. An all-zero tensor gives zeros, and so does an all-zero output
    with its own exponent.

    Args:
      key: the key.
      tensor: the discrete tensor.
      level_per_scale: size of a level in units of the scale.
      threshold: smallest size of a latent that is not cut to 0, in units of the scale.
    """
    axes = _reduced(tensor.values, has_outputs(tensor))
    usual = MEAN_ABS_NORMAL / tensor.values.shape[0] ** 0.5
    centre = jnp.exp2(-tensor.exponent.astype(jnp.float32)) / level_per_scale
    gamma = jnp.clip(usual, centre * 2**-0.49, centre * 2**0.49)
    is_zero = tensor.values == 0
    cut = MEAN_ABS_NORMAL * threshold
    # Keep a margin to the cut: rounding must not carry a draw across it.
    inner, outer = cut - CUT_MARGIN, cut + CUT_MARGIN
    low, high = jnp.where(is_zero, -inner, outer), jnp.where(is_zero, inner, jnp.inf)
    draws = jax.random.truncated_normal(key, low, high, tensor.values.shape) / MEAN_ABS_NORMAL
    # Stretch the part beyond the cut so that the mean absolute latent is exactly gamma.
    inside = jnp.where(is_zero, jnp.abs(draws), cut / MEAN_ABS_NORMAL)
    beyond = jnp.where(is_zero, 0.0, draws - cut / MEAN_ABS_NORMAL)
    count = draws.size if len(axes) == draws.ndim else draws.size // draws.shape[-1]
    stretch = (count - jnp.sum(inside, axes)) / jnp.maximum(jnp.sum(beyond, axes), 1e-6)
    sizes = jnp.where(is_zero, draws, tensor.values * (inside + stretch * beyond))
    return jnp.where(jnp.all(is_zero, axes), 0.0, gamma * sizes)
