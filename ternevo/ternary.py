"""Arithmetic on {-1, 0, +1}: draw, sample, sum up, ternarise, flip and cross over.

Trits are int8. An int8 product summed in int8 wraps around, so every sum here
is taken in float32, which is exact below 2**24.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, Num, Shaped

from ternevo.types import Key, Params, Tensor

WeightKind = Literal["ternary", "binary", "float"]

SCALE_FLOOR = 0.02
"""The smallest scale of a latent tensor; it keeps the thresholds of an all-zero one apart."""

LEVEL_PER_SCALE = {"ternary": 1.25, "binary": 1.0}
"""Size of the discrete levels in units of the mean absolute latent."""

HALF_SPACING = 2.0**-24
"""Half of the spacing of float32 uniforms."""

MEAN_ABS_NORMAL = 0.7979
"""Mean absolute value of a standard normal."""

EXPONENT_RANGE = (-8, 16)
"""Exponents stay in this range, so that products with `2**-exponent` are exact in float32."""


def is_tensor(node: object) -> bool:
    """Tell whether a node of a params pytree is a `Tensor`."""
    return isinstance(node, Tensor)


def tensors(params: Params) -> list[Tensor]:
    """Return the `Tensor`s of a params pytree in traversal order."""
    return jax.tree.leaves(params, is_leaf=is_tensor)


def replace_tensors(params: Params, new: list[Tensor]) -> Params:
    """Return the pytree of `params` with its `Tensor`s replaced, in traversal order."""
    return jax.tree.structure(params, is_leaf=is_tensor).unflatten(new)


# ------------------------------------------------------------------ drawing


def draw(key: Key, shape: tuple[int, ...], kind: WeightKind) -> Num[Array, "..."]:
    """Draw independent values: uniform trits, uniform signs, or standard normals."""
    if kind == "float":
        return jax.random.normal(key, shape)
    if kind == "binary":
        return jax.random.rademacher(key, shape, dtype=jnp.int8)
    return jax.random.randint(key, shape, -1, 2, dtype=jnp.int8)


def antithetic_uniforms(
    key: Key, population_size: int, shape: tuple[int, ...]
) -> Float[Array, "population ..."]:
    """Draw uniforms in (0, 1) for half of the population; the other half gets one minus them.

    Through an inverse CDF, partners then sit at opposite quantiles.

    Raises:
      ValueError: `population_size` is odd.
    """
    if population_size % 2:
        raise ValueError(
            f"antithetic sampling needs an even population_size, got {population_size}"
        )
    half = uniforms(key, (population_size // 2, *shape))
    return jnp.concatenate([half, 1.0 - half])


def population_uniforms(
    key: Key, population_size: int, shape: tuple[int, ...], antithetic: bool
) -> Float[Array, "population ..."]:
    """Draw uniforms in (0, 1) for a population, in antithetic pairs or independently.

    Raises:
      ValueError: pairs of an odd population.
    """
    if antithetic:
        return antithetic_uniforms(key, population_size, shape)
    return uniforms(key, (population_size, *shape))


def uniforms(key: Key, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw uniforms in (0, 1), never 0 or 1: a value of probability zero must not come up."""
    return jax.random.uniform(key, shape) + HALF_SPACING


def from_uniforms(
    quantiles: Float[Array, "population ..."], probabilities: Float[Array, "... 3"]
) -> Int8[Array, "population ..."]:
    """Map quantiles in (0, 1) to trits by the inverse CDF in the order -1, 0, +1."""
    below_zero = quantiles < probabilities[..., 0]
    above_zero = 1.0 - quantiles < probabilities[..., 2]  # exact: partners are sign flips
    # Two probabilities that should sum to one may miss it by a rounding error.
    above_zero = jnp.where(probabilities[..., 1] > 0, above_zero, ~below_zero)
    return above_zero.astype(jnp.int8) - below_zero.astype(jnp.int8)


# ---------------------------------------------------------- what a batch says


class Statistics(NamedTuple):
    """The batch means of u, u x and u x^2; for trits the last two carry the whole gradient."""

    utility: Float[Array, ""]
    first: Float[Array, "..."]
    second: Float[Array, "..."]


def statistics(
    utilities: Float[Array, " population"], trits: Num[Array, "population ..."]
) -> Statistics:
    """Average utility, utility times trit and utility times squared trit over the population."""
    size = utilities.shape[0]
    values = trits.astype(jnp.float32)
    first = jnp.tensordot(utilities, values, axes=1) / size
    second = jnp.tensordot(utilities, jnp.abs(values), axes=1) / size
    return Statistics(jnp.mean(utilities), first, second)


def utility_by_value(stats: Statistics) -> Float[Array, "... 3"]:
    """Return the mean of u [x = v] for v in -1, 0, +1, recovered from the two reductions."""
    minus, plus = (stats.second - stats.first) / 2, (stats.second + stats.first) / 2
    return jnp.stack([minus, stats.utility - stats.second, plus], axis=-1)


# -------------------------------------------------------- from float to trits


def scale(latent: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the mean absolute latent of a tensor, at least `SCALE_FLOOR`."""
    # Below the N(0, 1/fan_in) start that `latent_of` makes, however wide the layer.
    floor = min(SCALE_FLOOR, 0.4 / latent.shape[0] ** 0.5)
    return jnp.maximum(jnp.mean(jnp.abs(latent)), floor)


def nearest_exponent(level: Float[Array, "..."]) -> Int8[Array, "..."]:
    """Return the int8 `k` for which `2**-k` is nearest to `level` on a log scale."""
    return jnp.clip(jnp.round(-jnp.log2(level)), *EXPONENT_RANGE).astype(jnp.int8)


def discretize(latent: Float[Array, "..."], kind: WeightKind) -> Tensor:
    """Turn float latents into a tensor of the given kind, each tensor with a power-of-two scale.

    Ternary: thresholds at plus and minus half of the mean absolute latent, as
    in absmean quantisation (Ma et al. 2024, "The Era of 1-bit LLMs"). Binary:
    the sign, with sign(0) = +1. Float: the latents as they are.
    """
    if kind == "float":
        return Tensor(latent, jnp.zeros((), jnp.int8))
    gamma = scale(latent)
    exponent = nearest_exponent(LEVEL_PER_SCALE[kind] * gamma)
    if kind == "binary":
        return Tensor(jnp.where(latent >= 0, 1, -1).astype(jnp.int8), exponent)
    above, below = latent > gamma / 2, latent < -gamma / 2
    return Tensor(above.astype(jnp.int8) - below.astype(jnp.int8), exponent)


def latent_of(key: Key, tensor: Tensor, kind: WeightKind) -> Float[Array, "..."]:
    """Draw normal latents that `discretize` turns back into exactly this tensor.

    Their size is that of the usual N(0, 1/fan_in) start, as far as the
    tensor's exponent allows. An all-zero tensor gives zeros.
    """
    level = LEVEL_PER_SCALE[kind]
    usual = MEAN_ABS_NORMAL / tensor.values.shape[0] ** 0.5
    centre = jnp.exp2(-tensor.exponent.astype(jnp.float32)) / level
    gamma = jnp.clip(usual, centre * 2**-0.49, centre * 2**0.49)
    is_zero = tensor.values == 0
    cut = MEAN_ABS_NORMAL / 2 if kind == "ternary" else 0.0
    low, high = jnp.where(is_zero, -cut, cut), jnp.where(is_zero, cut, jnp.inf)
    draws = jax.random.truncated_normal(key, low, high, tensor.values.shape) / MEAN_ABS_NORMAL
    # Stretch what lies beyond the cut so that the mean absolute latent is gamma, exactly.
    inside = jnp.where(is_zero, jnp.abs(draws), cut / MEAN_ABS_NORMAL)
    beyond = jnp.where(is_zero, 0.0, draws - cut / MEAN_ABS_NORMAL)
    stretch = (draws.size - jnp.sum(inside)) / jnp.maximum(jnp.sum(beyond), 1e-6)
    sizes = jnp.where(is_zero, draws, tensor.values * (inside + stretch * beyond))
    return jnp.where(jnp.all(is_zero), 0.0, gamma * sizes)


# ------------------------------------------------------------------ operators


def flip(
    key: Key, values: Int8[Array, "..."], rate: Float[Array, ""], kind: WeightKind
) -> Int8[Array, "..."]:
    """Redraw values at a rate: trits with odds (1/4, 1/2, 1/4), signs with (1/2, 1/2)."""
    key_where, key_value = jax.random.split(key)
    coins = jax.random.randint(key_value, (2, *values.shape), 0, 2, dtype=jnp.int8)
    redrawn = 2 * coins[0] - 1 if kind == "binary" else coins[0] - coins[1]
    return jnp.where(jax.random.uniform(key_where, values.shape) < rate, redrawn, values)


def crossover(
    key: Key, first: Int8[Array, "..."], second: Int8[Array, "..."], rate: Float[Array, ""] | float
) -> Int8[Array, "..."]:
    """Take each value from `second` with probability `rate`, else from `first`."""
    return jnp.where(jax.random.uniform(key, first.shape) < rate, second, first)


def zero_fraction(params: Params) -> Float[Array, ""]:
    """Return the share of values that are zero."""
    return mean_over([tensor.values == 0 for tensor in tensors(params)])


def mean_over(arrays: list[Shaped[Array, "..."]]) -> Float[Array, ""]:
    """Return the mean over the elements of all arrays."""
    total = jnp.sum(jnp.stack([jnp.sum(x, dtype=jnp.float32) for x in arrays]))
    return total / sum(x.size for x in arrays)
