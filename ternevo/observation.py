"""From observations to integers: running moments, frozen into a power-of-two quantiser.

The moments move between generations and are frozen within one; at export they
are frozen for good. See docs/architecture.md, "Policy arithmetic".
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, Num

from ternevo.types import ObservationMoments

FULL_SCALE = 127.0
"""Largest integer of a quantised observation."""

FULL_SCALE_DEVIATIONS = 4.0
"""At least this many standard deviations fit into full scale."""

EXPONENT_LIMIT = 24
MIN_DEVIATION = 1e-3
"""A component that never moves is taken to have this standard deviation, not zero."""


LARGEST = 1e15
"""Observations further from the mean than this are no part of it: their squares would overflow."""


class Quantiser(NamedTuple):
    """The frozen moments: x becomes round((x - mean) * scale), and scale is a power of two."""

    mean: Float32[Array, " obs"]
    scale: Float32[Array, " obs"]


class Sums(NamedTuple):
    """Count, sum and sum of squares of observations about a pivot: what a rollout adds up."""

    count: Int32[Array, "*lanes"]
    first: Float32[Array, "*lanes obs"]
    second: Float32[Array, "*lanes obs"]


def empty(obs_size: int) -> ObservationMoments:
    """Return the moments of no observation at all; their quantiser has mean 0 and deviation 1."""
    return ObservationMoments(jnp.zeros(()), jnp.zeros(obs_size), jnp.zeros(obs_size))


def no_sums(lanes: tuple[int, ...], obs_size: int) -> Sums:
    """Return the sums of no observation, for each lane."""
    zeros = jnp.zeros((*lanes, obs_size))
    return Sums(jnp.zeros(lanes, jnp.int32), zeros, zeros)


def add(
    sums: Sums,
    obs: Float[Array, "*lanes obs"],
    counted: Bool[Array, "*lanes"],
    pivot: Float[Array, " obs"],
) -> Sums:
    """Add its observation to each counted lane; one whose square is not finite is left out."""
    counted = counted & jnp.all(jnp.abs(obs - pivot) < LARGEST, axis=-1)
    centred = jnp.where(counted[..., None], obs - pivot, 0.0)
    return Sums(sums.count + counted, sums.first + centred, sums.second + centred**2)


def from_sums(
    count: Num[Array, ""],
    first: Float[Array, " obs"],
    second: Float[Array, " obs"],
    pivot: Float[Array, " obs"],
) -> ObservationMoments:
    """Turn sums about a pivot, over all lanes, into moments."""
    count = count.astype(jnp.float32)
    offset = first / jnp.maximum(count, 1.0)
    m2 = jnp.maximum(second - first * offset, 0.0)
    return ObservationMoments(count, jnp.where(count > 0, pivot + offset, 0.0), m2)


def merge(a: ObservationMoments, b: ObservationMoments) -> ObservationMoments:
    """Combine the moments of two disjoint sets of observations (Chan, Golub and LeVeque 1983).

    Examples:
      >>> one = ObservationMoments(jnp.float32(1), jnp.array([1.0]), jnp.array([0.0]))
      >>> three = ObservationMoments(jnp.float32(1), jnp.array([3.0]), jnp.array([0.0]))
      >>> both = merge(one, three)
      >>> both.count.item(), both.mean.item(), both.m2.item()
      (2.0, 2.0, 2.0)
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1.0)
    delta = b.mean - a.mean
    return ObservationMoments(
        count, a.mean + delta * share, a.m2 + b.m2 + delta**2 * a.count * share
    )


def freeze(moments: ObservationMoments) -> Quantiser:
    """Round the moments to a quantiser with exponents floor(log2(127 / (4 std))), by frexp.

    Examples:
      >>> spread = ObservationMoments(jnp.float32(4), jnp.array([0.5]), jnp.array([4.0]))
      >>> freeze(spread).scale.item()  # a deviation of 1: floor(log2(127 / 4)) is 4
      16.0
    """
    variance = jnp.where(moments.count > 0, moments.m2 / jnp.maximum(moments.count, 1.0), 1.0)
    deviation = jnp.maximum(jnp.sqrt(variance), MIN_DEVIATION)
    _, exponent = jnp.frexp(FULL_SCALE / (FULL_SCALE_DEVIATIONS * deviation))
    exponent = jnp.clip(exponent - 1, -EXPONENT_LIMIT, EXPONENT_LIMIT)
    return Quantiser(moments.mean, jnp.ldexp(jnp.ones_like(deviation), exponent))


def quantise(quantiser: Quantiser, obs: Float[Array, "*lanes obs"]) -> Float[Array, "*lanes obs"]:
    """Return integers in [-127, 127], held in float32: round half to even, NaN becomes 0.

    The scale is a power of two, so the product is exact and a fused
    multiply-add cannot change it.

    Examples:
      >>> quantiser = Quantiser(jnp.zeros(4), jnp.full(4, 16.0))
      >>> quantise(quantiser, jnp.array([0.5, 0.03125, 100.0, jnp.nan])).tolist()
      [8.0, 0.0, 127.0, 0.0]
    """
    scaled = (obs.astype(jnp.float32) - quantiser.mean) * quantiser.scale
    scaled = jnp.where(jnp.isnan(scaled), 0.0, scaled)
    return jnp.round(jnp.clip(scaled, -FULL_SCALE, FULL_SCALE))
