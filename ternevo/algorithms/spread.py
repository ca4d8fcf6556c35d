"""Populations of trits spread over devices: draw them, and average utilities over them.

Each device draws and sums its own members, so only sums travel between devices.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8, Num

from ternevo.algorithms import draws
from ternevo.arithmetic.ternary import from_uniforms, uniforms
from ternevo.machine import devices
from ternevo.types import Key

SAMPLED_AT_ONCE = 2**19
"""Number of weights drawn together: enough to keep a core busy, and few enough for its cache."""

ROWS_AT_ONCE = 16
"""Number of rows added to a weighted sum in one pass."""


def sample(
    key: Key,
    probabilities: list[Float[Array, "... 3"]],
    population_size: int,
    antithetic: bool,
) -> list[Int8[Array, "population ..."]]:
    """Draw a population of trits, a few rows at a time; each device draws its own members.

    Each row of random numbers has its own key. The result therefore does not depend on the device
    that draws a row, and uniforms for the whole population never exist at once.

    Args:
      key: the key.
      probabilities: P(-1), P(0), P(+1) of every weight, an array for each tensor.
      population_size: number of members.
      antithetic: draw members 2 i and 2 i + 1 from the same uniforms, as u and 1 - u, so that they
        are at opposite quantiles of every weight.

    Raises:
      ValueError: `antithetic` is set and the population size is odd.
    """
    if antithetic and population_size % 2:
        raise ValueError(
            f"antithetic sampling needs an even population_size, got {population_size}"
        )
    copies = 2 if antithetic else 1
    shapes = [p.shape[:-1] for p in probabilities]
    num_weights = sum(map(math.prod, shapes))

    def draw_row(key: Key, table: Float[Array, "weights 3"]) -> tuple[jax.Array, ...]:
        quantiles = uniforms(key, (num_weights,))
        pair = [quantiles, 1.0 - quantiles] if antithetic else [quantiles]
        return draws.split(from_uniforms(jnp.stack(pair), table), shapes)

    def draw(_: jax.Array, probabilities: list[jax.Array], keys: Key) -> list[jax.Array]:
        table = jnp.concatenate([p.reshape(-1, 3) for p in probabilities])
        at_once = even_batch(len(keys), SAMPLED_AT_ONCE // num_weights)
        rows = jax.lax.map(lambda key: draw_row(key, table), keys, batch_size=at_once)
        return [x.reshape(-1, *x.shape[2:]) for x in rows]

    keys = jax.random.split(key, population_size // copies)
    if not is_spread(population_size, antithetic):
        return devices.replicated(draw(jnp.zeros((), jnp.int32), probabilities, keys))

    def draw_own(device: jax.Array, probabilities: list, keys: Key) -> list[jax.Array]:
        return draw(device, probabilities, devices.own_rows(device, keys))

    return devices.split(draw_own, (False, False), is_result_split=True)(probabilities, keys)


def even_batch(rows: int, most: int) -> int:
    """Return how many rows to take at once, at most `most`, so that few or none remain.

    `jax.lax.map` compiles its function once more for a remainder. So a divisor is preferred, unless
    it is less than half of what would fit.

    Examples:
      >>> even_batch(64, 116), even_batch(512, 116), even_batch(509, 116)
      (64, 64, 116)
    """
    most = max(1, min(rows, most))
    divisor = max(n for n in range(1, most + 1) if rows % n == 0)
    return divisor if 2 * divisor >= most else most


def is_spread(population_size: int, antithetic: bool) -> bool:
    """Return whether `sample` keeps each member on one device: if members divide evenly."""
    rows = population_size // 2 if antithetic else population_size
    return devices.count() > 1 and devices.shares_evenly(rows)


class Statistics(NamedTuple):
    """The batch means of u, u x and u x^2; for trits the last two hold the whole gradient."""

    utility: Float[Array, ""]
    first: Float[Array, "..."]
    second: Float[Array, "..."]


def sum_up(
    utilities: Float[Array, " population"],
    population: list[Num[Array, "population ..."]],
    member: Int[Array, ""] | int = 0,
    is_spread: bool = False,
) -> tuple[list[Statistics], list[Num[Array, "..."]]]:
    """Average utility, utility times trit and utility times squared trit over the population.

    If members are spread over devices, each device sums its own, so only the sums travel.

    Args:
      utilities: the utility of every member.
      population: an array for each tensor.
      member: the member whose trits are also returned, as it may live on another device.
      is_spread: see the function `is_spread`.

    Returns:
      The statistics of each tensor, independent of the devices; and the trits of `member`.
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

    For one large product, XLA would make a float32 copy of all trits.
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
    """Return the mean of u [x = v] for v in -1, 0, +1, recovered from the statistics.

    Examples:
      >>> trits = jnp.array([[1], [0], [-1], [1]], jnp.int8)  # four members, one weight
      >>> stats, _ = sum_up(jnp.array([2.0, 1.0, 0.0, 5.0]), [trits])
      >>> utility_by_value(stats[0]).tolist()  # 0 / 4, 1 / 4 and (2 + 5) / 4
      [[0.0, 0.25, 1.75]]
    """
    minus, plus = (stats.second - stats.first) / 2, (stats.second + stats.first) / 2
    return jnp.stack([minus, stats.utility - stats.second, plus], axis=-1)
