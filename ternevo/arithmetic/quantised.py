r"""Weights that are integers of a few bits, symmetric about 0, times a power of two.

A latent w becomes $\mathrm{round}(w 2^k)$, half to even and clipped to the largest level L: 127, 7
or 1. The exponent k of a tensor, or of each output, is the one of a few with the smallest squared
error. The first is the largest with which no latent is clipped; each further one halves the step
and clips more, which pays at few bits. A tensor that comes from here comes back as it is.

References:
  Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
  Only Inference", section 3: rounding in the forward pass, gradients straight through.
  Nagel et al. 2021, "A White Paper on Neural Network Quantization", sections 2 and 3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from ternevo.arithmetic.latents import EXPONENT_RANGE
from ternevo.types import Key, Tensor

NUM_EXPONENTS = 4
"""How many exponents are tried."""

SMALLEST = 2.0**-30
"""Stands for the largest latent of a tensor of zeros, whose exponent scales nothing."""


def quantise(latent: Float[Array, "..."], largest: int, per_output: bool, spread: int) -> Tensor:
    """Return the integers nearest to latents, outputs last, and their exponents.

    Args:
      latent: the latents.
      largest: the largest integer.
      per_output: whether each output has an exponent of its own.
      spread: how far the exponents of outputs may be apart.

    Examples:
      >>> quantise(jnp.array([1.0, -0.5, 0.126, 0.0]), 127, False, 6)
      Tensor(values=Array([ 64, -32,   8,   0], dtype=int8), exponent=Array(6, dtype=int8))
      >>> quantise(jnp.array([1.0, -0.5, 0.126, 0.0]), 7, False, 6)
      Tensor(values=Array([ 4, -2,  1,  0], dtype=int8), exponent=Array(2, dtype=int8))
    """
    axes = tuple(range(latent.ndim - per_output))
    first = unclipped_exponent(jnp.max(jnp.abs(latent), axes), largest)
    tried = first[None] + jnp.arange(NUM_EXPONENTS).reshape(-1, *[1] * first.ndim)
    errors = jax.vmap(lambda k: jnp.sum((_restored(latent, k, largest) - latent) ** 2, axes))(tried)
    exponent = first + jnp.argmin(errors, axis=0)  # the smallest of equals
    exponent = jnp.clip(exponent, *EXPONENT_RANGE)
    if per_output:
        exponent = jnp.minimum(exponent, jnp.min(exponent) + spread)
    return Tensor(rounded(latent, exponent, largest), exponent.astype(jnp.int8))


def unclipped_exponent(most: Float[Array, "*outputs"], largest: int) -> jax.Array:
    """Return the largest exponent k, int32, for which `most * 2**k` does not round above `largest`.

    Examples:
      >>> unclipped_exponent(jnp.array([1.0, 0.9921, 0.9965]), 127).tolist()
      [6, 7, 6]
    """
    share, exponent = jnp.frexp(jnp.maximum(most, SMALLEST))  # exact, where a logarithm is not
    bits = largest.bit_length()
    fits = share * 2**bits < largest + 0.5
    return bits - exponent.astype(jnp.int32) - jnp.where(fits, 0, 1)


def rounded(latent: Float[Array, "..."], exponent: jax.Array, largest: int) -> Int8[Array, "..."]:
    """Return `round(latent * 2**exponent)`, half to even, clipped to the largest integer."""
    return jnp.clip(jnp.round(jnp.ldexp(latent, exponent)), -largest, largest).astype(jnp.int8)


def _restored(latent: jax.Array, exponent: jax.Array, largest: int) -> jax.Array:
    return jnp.ldexp(rounded(latent, exponent, largest).astype(jnp.float32), -exponent)


def latents(key: Key, tensor: Tensor) -> Float[Array, "..."]:
    """Return what a tensor stands for, which is quantised to the very tensor if it came from here.

    No number is drawn: integers of many levels differ enough.
    """
    del key
    return jnp.ldexp(tensor.values.astype(jnp.float32), -tensor.exponent.astype(jnp.int32))
