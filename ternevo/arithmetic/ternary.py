"""Arithmetic on {-1, 0, +1}: draw, sample, sum up, ternarise, flip and cross over.

Trits are int8. An int8 product summed in int8 wraps around, so every sum here
is taken in float32, which is exact below 2**24.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8, Num, Shaped

from ternevo.machine import devices
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

CUT_MARGIN = 1e-4
"""How far latents that stand for given trits stay from the thresholds, in standard deviations."""

SAMPLED_AT_ONCE = 2**19
"""Weights of rows that are drawn together: enough to keep a core busy, and to stay in its cache."""

ROWS_AT_ONCE = 16
"""Rows that are added to a weighted sum in one pass."""

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


def num_weights(params: Params) -> int:
    """Return the number of weights and biases."""
    return sum(tensor.values.size for tensor in tensors(params))


# ------------------------------------------------------------------ drawing


def draw(key: Key, shape: tuple[int, ...], kind: WeightKind) -> Num[Array, "..."]:
    """Draw independent values: uniform trits, uniform signs, or standard normals."""
    if kind == "float":
        return jax.random.normal(key, shape)
    if kind == "binary":
        return jax.random.rademacher(key, shape, dtype=jnp.int8)
    return jax.random.randint(key, shape, -1, 2, dtype=jnp.int8)


def sample(
    key: Key,
    probabilities: list[Float[Array, "... 3"]],
    population_size: int,
    antithetic: bool,
) -> list[Int8[Array, "population ..."]]:
    """Draw a population of trits, on each device its own members, a few rows at a time.

    Each row of random numbers has a key of its own, so that nothing depends on
    who draws it and no array of uniforms of the size of the population is ever made.

    Args:
      key: the key.
      probabilities: P(-1), P(0), P(+1) of every weight, an array for each tensor.
      population_size: members.
      antithetic: make members 2 i and 2 i + 1 of the same uniforms u and 1 - u, so that they
        sit at opposite quantiles of every weight.

    Raises:
      ValueError: pairs of an odd population.
    """
    if antithetic and population_size % 2:
        raise ValueError(
            f"antithetic sampling needs an even population_size, got {population_size}"
        )
    copies = 2 if antithetic else 1
    num_weights = sum(p.size // 3 for p in probabilities)
    batch_size = max(1, SAMPLED_AT_ONCE // num_weights)

    def draw_row(key: Key, probabilities: list[jax.Array]) -> list[jax.Array]:
        keys = jax.random.split(key, len(probabilities))
        quantiles = [uniforms(k, p.shape[:-1]) for k, p in zip(keys, probabilities, strict=True)]
        if antithetic:
            quantiles = [jnp.stack([u, 1.0 - u]) for u in quantiles]
        else:
            quantiles = [u[None] for u in quantiles]
        return [from_uniforms(u, p) for u, p in zip(quantiles, probabilities, strict=True)]

    def draw(_: jax.Array, probabilities: list[jax.Array], keys: Key) -> list[jax.Array]:
        rows = jax.lax.map(lambda key: draw_row(key, probabilities), keys, batch_size=batch_size)
        return [x.reshape(-1, *x.shape[2:]) for x in rows]

    keys = jax.random.split(key, population_size // copies)
    if not is_spread(population_size, antithetic):
        return devices.replicated(draw(jnp.zeros((), jnp.int32), probabilities, keys))

    def draw_own(device: jax.Array, probabilities: list, keys: Key) -> list[jax.Array]:
        return draw(device, probabilities, devices.own_rows(device, keys))

    return devices.split(draw_own, (False, False), is_result_split=True)(probabilities, keys)


def is_spread(population_size: int, antithetic: bool) -> bool:
    """Return whether `sample` leaves each member on one device only: if they share them evenly."""
    rows = population_size // 2 if antithetic else population_size
    return devices.count() > 1 and devices.shares_evenly(rows)


def uniforms(key: Key, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw uniforms in (0, 1), never 0 or 1: a value of probability zero must not come up."""
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
    utilities: Float[Array, " population"],
    population: list[Num[Array, "population ..."]],
    member: Int[Array, ""] | int = 0,
    is_spread: bool = False,
) -> tuple[list[Statistics], list[Num[Array, "..."]]]:
    """Average utility, utility times trit and utility times squared trit over the population.

    Where members are spread over devices, each adds up its own, so only the sums travel.

    Args:
      utilities: of every member.
      population: an array for each tensor.
      member: of whom the trits are returned too, for it may live elsewhere.
      is_spread: see `ternary.is_spread`.

    Returns:
      For each tensor the statistics, the same on any devices; and the trits of the member.
    """
    size = utilities.shape[0]
    padded = devices.padded(size)
    blocks = devices.blocks_here() if is_spread else devices.num_blocks()

    def add_up(device: jax.Array, member: jax.Array, utilities: jax.Array, trits: list) -> tuple:
        if is_spread:
            utilities = devices.own_rows(device, utilities)
        own = member - device * utilities.shape[0]
        rows = [jnp.take(x, own[None], axis=0, mode="clip").astype(jnp.float32) for x in trits]
        sums = [
            _weighted_sums(utilities, devices.pad(x, utilities.shape[0]), blocks) for x in trits
        ]
        return devices.gather((sums, rows)) if is_spread else (sums, rows)

    arguments = (jnp.asarray(member, jnp.int32), jnp.pad(utilities, (0, padded - size)), population)
    if is_spread:
        sums, rows = devices.split(add_up, (False, False, True))(*arguments)
    else:
        sums, rows = devices.replicated(add_up(jnp.zeros((), jnp.int32), *arguments))
    utility = devices.sum_in_order(utilities) / size
    stats = [
        Statistics(utility, *(devices.sum_in_order(x) / size for x in blocks)) for blocks in sums
    ]
    owner = member // (padded // rows[0].shape[0])
    return stats, [x[owner].astype(t.dtype) for x, t in zip(rows, population, strict=True)]


def _weighted_sums(
    utilities: Float[Array, " rows"], trits: Num[Array, "rows ..."], blocks: int
) -> tuple[Float[Array, "blocks ..."], Float[Array, "blocks ..."]]:
    """Sum u x and u x^2 over each block of rows, a few rows at a time.

    XLA would make a float32 copy of all trits for one large product.
    """
    rows = trits.shape[0] // blocks
    at_once = max(n for n in range(1, ROWS_AT_ONCE + 1) if rows % n == 0)
    steps = (blocks, rows // at_once, at_once)

    def add(sums: tuple, row: tuple) -> tuple[tuple, None]:
        utility, values = row[0][:, None], row[1].astype(jnp.float32)
        first = devices.sum_in_order(utility * values)
        second = devices.sum_in_order(utility * jnp.abs(values))
        return (sums[0] + first, sums[1] + second), None

    def sum_block(block: tuple) -> tuple:
        zeros = jnp.zeros(block[1].shape[-1])
        return jax.lax.scan(add, (zeros, zeros), block)[0]

    first, second = jax.lax.map(sum_block, (utilities.reshape(steps), trits.reshape(*steps, -1)))
    return first.reshape(blocks, *trits.shape[1:]), second.reshape(blocks, *trits.shape[1:])


def utility_by_value(stats: Statistics) -> Float[Array, "... 3"]:
    """Return the mean of u [x = v] for v in -1, 0, +1, recovered from the two reductions.

    Examples:
      >>> trits = jnp.array([[1], [0], [-1], [1]], jnp.int8)  # four members, one weight
      >>> stats, _ = statistics(jnp.array([2.0, 1.0, 0.0, 5.0]), [trits])
      >>> utility_by_value(stats[0]).tolist()  # 0 / 4, 1 / 4 and (2 + 5) / 4
      [[0.0, 0.25, 1.75]]
    """
    minus, plus = (stats.second - stats.first) / 2, (stats.second + stats.first) / 2
    return jnp.stack([minus, stats.utility - stats.second, plus], axis=-1)


# -------------------------------------------------------- from float to trits


def scale(latent: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the mean absolute latent of a tensor, at least `SCALE_FLOOR`."""
    # Below the N(0, 1/fan_in) start that `latent_of` makes, however wide the layer.
    floor = min(SCALE_FLOOR, 0.4 / latent.shape[0] ** 0.5)
    return jnp.maximum(jnp.mean(jnp.abs(latent)), floor)


def nearest_exponent(level: Float[Array, "..."]) -> Int8[Array, "..."]:
    """Return the int8 `k` for which `2**-k` is nearest to `level` on a log scale.

    Examples:
      >>> nearest_exponent(jnp.array([0.25, 0.3, 1.0, 6.0])).tolist()
      [2, 2, 0, -3]
    """
    return jnp.clip(jnp.round(-jnp.log2(level)), *EXPONENT_RANGE).astype(jnp.int8)


def discretize(latent: Float[Array, "..."], kind: WeightKind) -> Tensor:
    """Turn float latents into a tensor of the given kind, each tensor with a power-of-two scale.

    Ternary: thresholds at plus and minus half of the mean absolute latent, as
    in absmean quantisation (Ma et al. 2024, "The Era of 1-bit LLMs"). Binary:
    the sign, with sign(0) = +1. Float: the latents as they are.

    Examples:
      >>> discretize(jnp.array([0.9, -0.1, -1.4, 0.0]), "ternary").values.tolist()
      [1, 0, -1, 0]
      >>> discretize(jnp.array([0.9, -0.1, -1.4, 0.0]), "binary").values.tolist()
      [1, -1, -1, 1]
    """
    if kind == "float":
        return Tensor(latent, jnp.zeros((), jnp.int8))
    gamma = scale(latent)
    exponent = nearest_exponent(LEVEL_PER_SCALE[kind] * gamma)
    if kind == "binary":
        return Tensor(jnp.where(latent >= 0, 1, -1).astype(jnp.int8), exponent)
    above, below = latent > gamma / 2, latent < -gamma / 2
    return Tensor(above.astype(jnp.int8) - below.astype(jnp.int8), exponent)


def straight_through(latent: Float[Array, "..."], kind: WeightKind) -> Tensor:
    r"""Return `discretize(latent, kind)` in float32, differentiable as if it were the latent.

    The forward value is that of the int8 tensor, bit for bit, as `z - stop_gradient(z)` is
    exactly zero. The derivative of `values * 2**-exponent` with respect to the latent is one
    (Bengio, Leonard and Courville 2013; Ma et al. 2024, "The Era of 1-bit LLMs").
    """
    hard = discretize(latent, kind)
    if kind == "float":
        return hard
    soft = latent * jnp.exp2(hard.exponent.astype(jnp.float32))
    return Tensor(hard.values + (soft - jax.lax.stop_gradient(soft)), hard.exponent)


def latent_of(key: Key, tensor: Tensor, kind: WeightKind) -> Float[Array, "..."]:
    """Draw normal latents that `discretize` turns back into exactly this tensor.

    Their size is that of the usual N(0, 1/fan_in) start, as far as the
    tensor's exponent allows. An all-zero tensor gives zeros. Floats are latents already.
    """
    if kind == "float":
        return tensor.values
    level = LEVEL_PER_SCALE[kind]
    usual = MEAN_ABS_NORMAL / tensor.values.shape[0] ** 0.5
    centre = jnp.exp2(-tensor.exponent.astype(jnp.float32)) / level
    gamma = jnp.clip(usual, centre * 2**-0.49, centre * 2**0.49)
    is_zero = tensor.values == 0
    cut = MEAN_ABS_NORMAL / 2 if kind == "ternary" else 0.0
    # A little apart from the cut: rounding must not carry a draw over it.
    inner, outer = cut - CUT_MARGIN, cut + CUT_MARGIN
    low, high = jnp.where(is_zero, -inner, outer), jnp.where(is_zero, inner, jnp.inf)
    draws = jax.random.truncated_normal(key, low, high, tensor.values.shape) / MEAN_ABS_NORMAL
    # Stretch what lies beyond the cut so that the mean absolute latent is gamma, exactly.
    inside = jnp.where(is_zero, jnp.abs(draws), cut / MEAN_ABS_NORMAL)
    beyond = jnp.where(is_zero, 0.0, draws - cut / MEAN_ABS_NORMAL)
    stretch = (draws.size - jnp.sum(inside)) / jnp.maximum(jnp.sum(beyond), 1e-6)
    sizes = jnp.where(is_zero, draws, tensor.values * (inside + stretch * beyond))
    return jnp.where(jnp.all(is_zero), 0.0, gamma * sizes)


def latents_of(key: Key, params: Params, kind: WeightKind) -> list[Float[Array, "..."]]:
    """Draw latents for all tensors of params, see `latent_of`."""
    keys = jax.random.split(key, len(tensors(params)))
    return [latent_of(k, tensor, kind) for k, tensor in zip(keys, tensors(params), strict=True)]


def discretize_all(
    template: Params, latents: list[Float[Array, "..."]], kind: WeightKind
) -> Params:
    """Return params like `template` of discretised latents, one for each tensor."""
    return replace_tensors(template, [discretize(latent, kind) for latent in latents])


# ------------------------------------------------------------------ operators


def flip(
    key: Key, values: Int8[Array, "..."], rate: Float[Array, ""], kind: WeightKind
) -> Int8[Array, "..."]:
    """Redraw values at a rate: trits with odds (1/4, 1/2, 1/4), signs with (1/2, 1/2)."""
    key_where, key_value = jax.random.split(key)
    coins = jax.random.randint(key_value, (2, *values.shape), 0, 2, dtype=jnp.int8)
    redrawn = 2 * coins[0] - 1 if kind == "binary" else coins[0] - coins[1]
    return jnp.where(jax.random.uniform(key_where, values.shape) < rate, redrawn, values)


def other_value(key: Key, values: Int8[Array, "..."], kind: WeightKind) -> Int8[Array, "..."]:
    """Draw for each value one of the others of its kind, all equally probable."""
    if kind == "binary":
        return -values
    shift = jax.random.randint(key, values.shape, 1, 3, dtype=jnp.int8)
    return (values + 1 + shift) % 3 - 1


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
