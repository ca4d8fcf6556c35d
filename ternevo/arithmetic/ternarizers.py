r"""Ternarisers whose threshold and scale follow the latents, beside absmean (`weights.TERNARY`).

A latent w becomes $\mathrm{sign}(w) [|w| > \Delta]$, times the power of two nearest to
$\alpha = \mathrm{mean}(|w| : |w| > \Delta)$, which has the smallest squared error for these trits.

| name | $\Delta$ |
| --- | --- |
| twn | $0.7 \, \mathrm{mean}(|w|)$ |
| ttq | $0.05 \max(|w|)$ |

TTQ learns one scale for +1 and one for -1. Two scales of a layer are not one power of two, so that
sums would not be integers any more: these are left out, and only its threshold is used.

References:
  Li, Zhang and Liu 2016, "Ternary Weight Networks", equations 3 and 4.
  Zhu, Han, Mao and Dally 2017, "Trained Ternary Quantization", equation 9.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ternevo.arithmetic import latents as of_latents
from ternevo.types import Key, Tensor

Threshold = Callable[[jax.Array, jax.Array, tuple[int, ...]], jax.Array]
"""Maps sizes of latents, which of them count, and axes that share a scale to thresholds."""

TWN_SHARE, TTQ_SHARE = 0.7, 0.05
"""The thresholds, as shares of the mean and of the largest size."""

JITTER = 0.1
"""How far latents that are drawn for trits are from the scale, as a share of it."""


def twn(
    sizes: Float[Array, "..."], there: Bool[Array, "..."], axes: tuple[int, ...]
) -> Float[Array, "*outputs"]:
    """Return 0.7 times the mean size."""
    total = jnp.sum(jnp.where(there, sizes, 0.0), axes)
    return TWN_SHARE * total / jnp.maximum(jnp.sum(there, axes), 1)


def ttq(
    sizes: Float[Array, "..."], there: Bool[Array, "..."], axes: tuple[int, ...]
) -> Float[Array, "*outputs"]:
    """Return 0.05 times the largest size."""
    return TTQ_SHARE * jnp.max(jnp.where(there, sizes, 0.0), axes)


def cut_at(
    threshold: Threshold,
    latent: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    per_output: bool = False,
) -> Tensor:
    """Return trits and their scale; `mask` says which weights are not pruned.

    Examples:
      >>> cut_at(twn, jnp.array([2.0, -0.5, -2.5, 0.0])).values.tolist()
      [1, 0, -1, 0]
      >>> cut_at(ttq, jnp.array([2.0, -0.5, -2.5, 0.0])).values.tolist()
      [1, -1, -1, 0]
    """
    sizes, axes = jnp.abs(latent), tuple(range(latent.ndim - per_output))
    there = jnp.ones(latent.shape, bool) if mask is None else mask
    kept = there & (sizes > threshold(sizes, there, axes))
    count = jnp.sum(kept, axes)
    level = jnp.sum(jnp.where(kept, sizes, 0.0), axes) / jnp.maximum(count, 1)
    # An output of zeros takes the largest scale: with one of its own the others would be too far.
    most = jnp.max(level)
    level = jnp.where(count > 0, level, jnp.where(most > 0, most, 1.0))
    exponent = of_latents.nearest_exponent(level)
    if per_output:
        exponent = of_latents.within_spread(exponent)
    values = jnp.where(kept, jnp.sign(latent), 0.0).astype(jnp.int8)
    return Tensor(values, exponent)


def latents_for(key: Key, tensor: Tensor) -> Float[Array, "..."]:
    """Draw latents that both thresholds cut into exactly this tensor.

    Trits are near the scale. Zeros are below both thresholds, which are lower the fewer trits there
    are; all zeros stay zeros.
    """
    axes = tuple(range(tensor.values.ndim - of_latents.has_outputs(tensor)))
    level = jnp.exp2(-tensor.exponent.astype(jnp.float32))
    share = jnp.mean(tensor.values != 0, axes)
    most = jnp.minimum(TWN_SHARE * share, TTQ_SHARE) / 2
    draw = jax.random.uniform(key, tensor.values.shape, minval=-1.0)
    trits = tensor.values * (1 + JITTER * draw)
    return level * jnp.where(tensor.values == 0, most * draw, trits)
