"""Turn observations into integers: running moments, frozen into a power-of-two quantiser.

The moments change between generations and are frozen within one; at export they
are frozen for good. See docs/architecture.md, "Policy arithmetic".

Observations may have any unit and any offset that float32 holds. Values are therefore scaled to
about one before they are squared, and sums are taken about a pivot near the values.
"""

from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, Num

from ternevo.types import ObservationMoments, ObsKind, ObsSpec

FULL_SCALE = 127.0
"""Largest integer of a quantised observation."""

FULL_SCALE_DEVIATIONS = 4.0
"""Full scale covers at least this many standard deviations."""

HELD = 2.0**0.5
"""How far beyond its octave the deviation of a generation must be for a late exponent to move: half
an octave, so that what moved does not move back."""

LATE = 0.01
"""Exponents hold once a generation is less than this share of all that was seen. Before, the
search can follow, and a finer scale may be what it needs: Pendulum loses by exponents that hold at
once."""

EXPONENT_LIMIT = 120
"""Largest size of an observation's exponent; the limit for weights and biases is 24.

XLA treats subnormal numbers as 0, but NumPy, C and JavaScript do not. With exponents of at most 125
all of them give the same integers for normal observations: a subnormal difference x - mean,
below 2**-126, is below 1/2 once scaled, and rounds to 0. With exponents of at least -120,
a scaled difference of 2**127 is still beyond full scale.
"""

UNMOVED_SHARE = 2.0**-10
"""Standard deviation assumed for a component that never changed, as a share of its mean."""

UNMOVED_DEVIATION = 1e-3
"""Standard deviation assumed for a component that was always 0: its unit is unknown."""

LARGEST = 2.0**126
"""Observations of this size or more count as infinite: the difference of two might overflow."""

LARGEST_SCALED = 2.0**100
"""Scaled differences are clipped at this size, so that their sums do not overflow."""


NUM_LOOKS = 2
"""Number of looks at the first steps of the first episodes, before training starts.

During a look, policies see the signs of observations, which need no unit. The first look finds the
unit, the second measures in it, and the first generation sees observations scaled by the result.
The looks themselves are not part of the moments.
"""

LOOK_STEPS = 32
"""Largest number of steps of an episode in a look."""

FIXED = {"integers": (0.0, 1.0), "pixels": (128.0, 1.0), "planes": (0.0, 1.0)}
"""Mean and scale of the kinds of observations that have no moments.

The same as in `ternevo.deploy.integer`, and so are the ranges of `quantise`.

Bits have moments: a bit that is rarely 1 tells more than one that is nearly always 1. Without
them, PPO with ternary weights and an MLP learned 7 instead of 25 points of Breakout. "planes" are
bits without moments.
"""

T = TypeVar("T")


class Quantiser(NamedTuple):
    """The frozen moments: x becomes round((x - mean) * scale); scale is a power of two."""

    mean: Float32[Array, " obs"]
    scale: Float32[Array, " obs"]


class Sums(NamedTuple):
    """Sums over a rollout: count, sum and sum of squares of `(x - pivot) * scale`.

    Each lane and component has its own pivot, usually the lane's first observation. The pivot is
    one of the n summed observations, so its squared distance from their mean is at most n
    variances. A variance then loses a share of about n * 2**-24 to rounding, at any offset from 0.
    """

    pivot: Float32[Array, "*lanes obs"]
    count: Int32[Array, "*lanes obs"]
    first: Float32[Array, "*lanes obs"]
    second: Float32[Array, "*lanes obs"]


def empty(obs_size: int) -> ObservationMoments:
    """Return the moments before any observation; their quantiser has mean 0 and deviation 1."""
    return ObservationMoments(*jnp.zeros((3, obs_size)))


def of_all(obs: Num[np.ndarray, "observations obs"]) -> ObservationMoments:
    """Return the moments of observations that are all there, computed in float64.

    Examples:
      >>> moments = of_all(np.array([[1.0, 0.0], [3.0, np.nan]]))
      >>> moments.count.tolist(), moments.mean.tolist(), moments.deviation.tolist()
      ([2.0, 1.0], [2.0, 0.0], [1.0, 0.0])
    """
    values = np.asarray(obs, np.float64)
    is_counted = np.abs(values) < LARGEST
    count = is_counted.sum(0)
    shares = np.maximum(count, 1)
    mean = np.where(is_counted, values, 0.0).sum(0) / shares
    distance = np.where(is_counted, values - mean, 0.0)
    deviation = np.sqrt((distance * distance).sum(0) / shares)
    return ObservationMoments(*(jnp.asarray(x, jnp.float32) for x in (count, mean, deviation)))


def is_unit_known(spec: ObsSpec, moments: ObservationMoments) -> Bool[Array, ""]:
    """Return whether a quantiser can be frozen: moments need a component that was finite."""
    return jnp.asarray(True) if spec.kind in FIXED else jnp.any(moments.count > 0)


def summed_size(spec: ObsSpec) -> int:
    """Return the number of components whose moments a rollout sums: none of a `FIXED` kind."""
    return 0 if spec.kind in FIXED else spec.size


def choose(condition: Bool[Array, ""], chosen: T, other: T) -> T:
    """Return `chosen` where the condition holds, else `other`."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), chosen, other)


# ------------------------------------------------------------------------- within a rollout


def start_sums(obs: Float[Array, "*lanes obs"], mean: Float[Array, " obs"]) -> Sums:
    """Return empty sums with the first observations `obs` as pivots.

    A component whose first observation is not finite gets `mean` as its pivot.
    """
    obs = obs.astype(jnp.float32)
    pivot = jnp.where(_is_finite(obs), obs, mean)
    zeros = jnp.zeros(obs.shape)
    return Sums(pivot, zeros.astype(jnp.int32), zeros, zeros)


def add(
    sums: Sums,
    obs: Float[Array, "*lanes obs"],
    counted: Bool[Array, "*lanes"],
    scale: Float[Array, " obs"],
) -> Sums:
    """Add the observation of each counted lane; skip components that are not finite."""
    obs = obs.astype(jnp.float32)
    is_counted = counted[..., None] & _is_finite(obs)
    scaled = jnp.clip((obs - sums.pivot) * scale, -LARGEST_SCALED, LARGEST_SCALED)
    scaled = jnp.where(is_counted, scaled, 0.0)
    return Sums(
        sums.pivot, sums.count + is_counted, sums.first + scaled, sums.second + scaled * scaled
    )


def _is_finite(obs: jax.Array) -> jax.Array:
    return jnp.abs(obs) < LARGEST


def from_sums(sums: Sums, scale: Float[Array, " obs"]) -> ObservationMoments:
    """Turn the sums of each lane into the moments of each lane.

    Where squares left float32's range, the deviation is about the distance of the mean from the
    pivot. It has the right size, so sums scaled by it stay within the range.
    """
    count = sums.count.astype(jnp.float32)
    offset = sums.first / jnp.maximum(count, 1.0)
    square = sums.second / jnp.maximum(count, 1.0)
    is_lost = (sums.second == 0) | ~jnp.isfinite(sums.second)
    spread = jnp.sqrt(jnp.maximum(square - offset * offset, 0.0))
    deviation = jnp.where(is_lost, jnp.abs(offset), spread)
    unit = _inverse(scale)
    mean = jnp.where(count > 0, sums.pivot + offset * unit, 0.0)
    return ObservationMoments(count, mean, deviation * unit)


# ------------------------------------------------------------------------- between generations


def merge(a: ObservationMoments, b: ObservationMoments) -> ObservationMoments:
    """Combine the moments of two disjoint sets of observations (Chan, Golub and LeVeque 1983).

    Values are scaled to at most two before they are squared. Merging empty moments changes no bit.

    Examples:
      >>> one = ObservationMoments(jnp.ones(1), jnp.array([1.0]), jnp.array([0.0]))
      >>> three = ObservationMoments(jnp.ones(1), jnp.array([3.0]), jnp.array([0.0]))
      >>> both = merge(one, three)
      >>> both.count.item(), both.mean.item(), both.deviation.item()
      (2.0, 2.0, 1.0)
    """
    count = a.count + b.count
    share_a, share_b = a.count / jnp.maximum(count, 1.0), b.count / jnp.maximum(count, 1.0)
    delta = b.mean - a.mean
    unit = _power_near(jnp.maximum(jnp.abs(delta), jnp.maximum(a.deviation, b.deviation)))
    to_unit = _inverse(unit)
    own, other, between = (x * to_unit for x in (a.deviation, b.deviation, delta))
    variance = share_a * own**2 + share_b * (other**2 + share_a * between**2)
    both = ObservationMoments(count, a.mean + delta * share_b, jnp.sqrt(variance) * unit)
    return ObservationMoments(
        *(
            jnp.where(a.count == 0, y, jnp.where(b.count == 0, x, z))
            for x, y, z in zip(a, b, both, strict=True)
        )
    )


def update(moments: ObservationMoments, seen: ObservationMoments) -> ObservationMoments:
    """Return the moments after a generation that has seen `seen`; late exponents hold.

    These are the moments of all observations so far, but for a deviation that drifts into another
    octave, and so to another exponent, when a generation is less than `LATE` of all: it stays
    unless what was just seen is beyond its octave by a factor of `HELD`. An exponent that moves
    doubles or halves what policies are shown, all at once, and trits that have converged cannot
    follow.

    Examples:
      >>> still = ObservationMoments(jnp.array([1e6]), jnp.zeros(1), jnp.array([0.4961]))
      >>> drifting, settled, early = (
      ...     ObservationMoments(jnp.array([count]), jnp.zeros(1), jnp.array([deviation]))
      ...     for count, deviation in ((1e3, 0.45), (1e3, 0.2), (1e5, 0.45))
      ... )
      >>> [freeze(f(still, drifting)).scale.item() for f in (merge, update)]
      [64.0, 32.0]
      >>> [freeze(update(still, x)).scale.item() for x in (settled, early)]
      [64.0, 64.0]
    """
    both = merge(moments, seen)
    held = _exponent(moments.deviation)
    widest = FULL_SCALE / FULL_SCALE_DEVIATIONS * _power_of_two(-held)
    width = jnp.maximum(seen.deviation, jnp.abs(seen.mean - both.mean))
    is_early = seen.count >= LATE * both.count
    is_beyond = (width > HELD * widest) | (width < widest / 2 / HELD)
    is_free = is_early | is_beyond | (_exponent(both.deviation) == held)
    is_free |= moments.deviation == 0  # its unit is not known
    return both._replace(deviation=jnp.where(is_free, both.deviation, moments.deviation))


@partial(jax.jit, static_argnames="kind", inline=True)  # one program where it is called by Python
def freeze(moments: ObservationMoments, kind: ObsKind = "floats") -> Quantiser:
    """Round the moments to a quantiser with exponents floor(log2(127 / (4 std))), by frexp.

    Floats and bits have moments; the other kinds of `ObsSpec` have a fixed quantiser, `FIXED`.

    A component that was never seen has mean 0 and deviation 1. One that never changed has
    the deviation given by `UNMOVED_SHARE` or `UNMOVED_DEVIATION`.

    Examples:
      >>> spread = ObservationMoments(jnp.full(1, 4.0), jnp.array([0.5]), jnp.array([1.0]))
      >>> freeze(spread).scale.item()  # floor(log2(127 / 4)) is 4
      16.0
      >>> freeze(spread, "pixels").mean.item()
      128.0
    """
    if kind in FIXED:
        mean, scale = FIXED[kind]
        return Quantiser(jnp.full(moments.mean.shape, mean), jnp.full(moments.mean.shape, scale))
    size = jnp.abs(moments.mean)
    unmoved = jnp.where(size > 0, UNMOVED_SHARE * size, UNMOVED_DEVIATION)
    deviation = jnp.where(moments.deviation > 0, moments.deviation, unmoved)
    deviation = jnp.where(moments.count > 0, deviation, 1.0)
    # XLA treats a subnormal mean as 0, so it must be 0 elsewhere too.
    mean = jnp.where(size < jnp.finfo(jnp.float32).tiny, 0.0, moments.mean)
    return Quantiser(mean, _power_of_two(_exponent(deviation)))


def _exponent(deviation: Float[Array, " obs"]) -> Int32[Array, " obs"]:
    """Return the exponents of the quantiser of deviations."""
    deviation = jnp.maximum(deviation, 2.0**-EXPONENT_LIMIT)  # otherwise the quotient may overflow
    _, exponent = jnp.frexp(FULL_SCALE / FULL_SCALE_DEVIATIONS / deviation)
    return jnp.clip(exponent - 1, -EXPONENT_LIMIT, EXPONENT_LIMIT)


def from_squares(
    count: Num[Array, ""], mean: Float[Array, " obs"], m2: Float[Array, " obs"]
) -> ObservationMoments:
    """Return the moments in an older file; `freeze` gives the quantiser that it was made with.

    Those files hold one count for all components and centred sums of squares. Deviations were
    at least 1e-3, and exponents at least -24.
    """
    variance = jnp.where(count > 0, m2 / jnp.maximum(count, 1.0), 1.0)
    most = FULL_SCALE / FULL_SCALE_DEVIATIONS * 2.0**24
    deviation = jnp.clip(jnp.sqrt(variance), 1e-3, most)
    return ObservationMoments(jnp.full(mean.shape, count, jnp.float32), mean, deviation)


# ------------------------------------------------------------------------------- integers


def quantise(
    quantiser: Quantiser, obs: Float[Array, "*lanes obs"], kind: ObsKind = "floats"
) -> Float[Array, "*lanes obs"]:
    """Return integers in [-127, 127], or of "planes" in [0, 1], as float32.

    Halves round to even, and NaN becomes 0. The scale is a power of two, so the product is exact
    and a fused multiply-add cannot change it.

    Examples:
      >>> quantiser = Quantiser(jnp.zeros(4), jnp.full(4, 16.0))
      >>> quantise(quantiser, jnp.array([0.5, 0.03125, 100.0, jnp.nan])).tolist()
      [8.0, 0.0, 127.0, 0.0]
      >>> planes = freeze(empty(3), "planes")
      >>> quantise(planes, jnp.array([0.5, 0.6, -3.0]), "planes").tolist()
      [0.0, 1.0, 0.0]
    """
    low, high = (0.0, 1.0) if kind == "planes" else (-FULL_SCALE, FULL_SCALE)
    scaled = (obs.astype(jnp.float32) - quantiser.mean) * quantiser.scale
    scaled = jnp.where(jnp.isnan(scaled), 0.0, scaled)
    return jnp.round(jnp.clip(scaled, low, high))


def signs(obs_size: int) -> Quantiser:
    """Return the quantiser for observations of unknown unit: their signs, at full scale.

    Examples:
      >>> quantise(signs(3), jnp.array([-1e-30, 0.0, 7.0])).tolist()
      [-127.0, 0.0, 127.0]
    """
    return Quantiser(jnp.zeros(obs_size), jnp.full(obs_size, jnp.inf))


def shown(yardstick: Quantiser, is_blind: Bool[Array, ""]) -> Quantiser:
    """Return the quantiser policies see: `signs` while the unit is unknown, else `yardstick`."""
    return choose(is_blind, signs(yardstick.mean.size), yardstick)


# --------------------------------------------------------------------------- powers of two

_MANTISSA_BITS = 23


def _biased_exponent(x: jax.Array) -> jax.Array:
    """Return the biased exponent in the bits of numbers >= 0, clipped away from both ends."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    return jnp.clip(bits >> _MANTISSA_BITS, 1, 253)


def _from_biased(exponent: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(exponent << _MANTISSA_BITS, jnp.float32)


def _power_of_two(exponent: jax.Array) -> jax.Array:
    return _from_biased(exponent.astype(jnp.int32) + 127)


def _power_near(x: jax.Array) -> jax.Array:
    """Return the largest power of two not above numbers > 0; its inverse is normal too."""
    return _from_biased(_biased_exponent(x))


def _inverse(power: jax.Array) -> jax.Array:
    """Return the inverse of powers of two, exact on every device."""
    return _from_biased(254 - _biased_exponent(power))
