"""Params as lists of tensors, and arithmetic on their trits: draw, cross over, average.

Trits are int8. An int8 product summed in int8 wraps around, so every sum here
is taken in float32, which is exact below 2**24.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, Num, Shaped

from ternevo.arithmetic.latents import EXPONENT_RANGE
from ternevo.settings.policies.settings import WeightName as WeightName
from ternevo.types import Key, Params, Tensor

HALF_SPACING = 2.0**-24
"""Half the spacing of float32 uniforms."""


def is_tensor(node: object) -> bool:
    """Return whether a node of a params pytree is a `Tensor`."""
    return isinstance(node, Tensor)


def tensors(params: Params) -> list[Tensor]:
    """Return the `Tensor`s of a params pytree in traversal order."""
    return jax.tree.leaves(params, is_leaf=is_tensor)


def replace_tensors(params: Params, new: list[Tensor]) -> Params:
    """Return the pytree of `params` with its `Tensor`s replaced, in traversal order."""
    return jax.tree.structure(params, is_leaf=is_tensor).unflatten(new)


def num_weights(params: Params) -> int:
    """Return the number of weights and biases."""
    return sum(tensor.values.size for tensor in tensors(params))


# ------------------------------------------------------------------ trits


def uniforms(key: Key, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw uniforms in (0, 1), never 0 or 1: a value of probability zero must not be drawn."""
    return jax.random.uniform(key, shape) + HALF_SPACING


def from_uniforms(
    quantiles: Float[Array, "population ..."], probabilities: Float[Array, "... 3"]
) -> Int8[Array, "population ..."]:
    """Map quantiles in (0, 1) to trits by the inverse CDF in the order -1, 0, +1.

    Examples:
      >>> table = jnp.array([0.5, 0.3, 0.2])  # P(-1), P(0), P(+1)
      >>> from_uniforms(jnp.array([0.1, 0.6, 0.9]), table).tolist()
      [-1, 0, 1]
    """
    below_zero = quantiles < probabilities[..., 0]
    above_zero = 1.0 - quantiles < probabilities[..., 2]  # exact: partners are sign flips
    # Two probabilities that should sum to one may differ from it by a rounding error.
    above_zero = jnp.where(probabilities[..., 1] > 0, above_zero, ~below_zero)
    return above_zero.astype(jnp.int8) - below_zero.astype(jnp.int8)


def with_density(key: Key, params: Params, density: float) -> Params:
    """Return params whose weights are drawn anew, a share of each tensor not 0; biases stay.

    Exponents follow the root of the density, which is 2/3 of trits that are equally likely, so that
    the sums of a layer keep their size.
    """
    found = tensors(params)
    shift = round(math.log2(density * 3 / 2) / 2)
    drawn = [
        Tensor(
            _sparse_trits(own, x.values.shape, density) if x.values.ndim > 1 else x.values,
            jnp.clip(x.exponent + shift, *EXPONENT_RANGE).astype(jnp.int8),
        )
        for own, x in zip(jax.random.split(key, len(found)), found, strict=True)
    ]
    return replace_tensors(params, drawn)


def _sparse_trits(key: Key, shape: tuple[int, ...], density: float) -> Int8[Array, "..."]:
    """Draw trits of which the nearest number to a share, but one at least, is not 0."""
    key_places, key_signs = jax.random.split(key)
    size = math.prod(shape)
    is_there = jax.random.permutation(key_places, jnp.arange(size) < max(1, round(density * size)))
    return is_there.reshape(shape) * jax.random.rademacher(key_signs, shape, dtype=jnp.int8)


def crossover(
    key: Key, first: Num[Array, "..."], second: Num[Array, "..."], rate: Float[Array, ""] | float
) -> Num[Array, "..."]:
    """Take each value from `second` with probability `rate`, else from `first`."""
    return jnp.where(jax.random.uniform(key, first.shape) < rate, second, first)


def zero_fraction(params: Params) -> Float[Array, ""]:
    """Return the share of values that are zero."""
    return mean_over([tensor.values == 0 for tensor in tensors(params)])


def mean_over(arrays: list[Shaped[Array, "..."]]) -> Float[Array, ""]:
    """Return the mean over the elements of all arrays."""
    total = jnp.sum(jnp.stack([jnp.sum(x, dtype=jnp.float32) for x in arrays]))
    return total / sum(x.size for x in arrays)
