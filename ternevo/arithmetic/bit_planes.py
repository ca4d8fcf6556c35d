"""Trits as bit planes: 32 weights of one output in a word, and dot products by counting bits.

A weight is two bits: whether it is non-zero (the plane M) and whether it is negative (N, a
subset of M). An activation q is an integer of b bits. With u = q + 2^(b-1) and its bits
u_j, q is the sum of +-2^(j-1) over the bits, minus 1/2; a 0 bit gives the minus sign.
If x holds the *inverted* bits at one position of a whole vector,
`popcount(N ^ (x & M))` counts the weights whose product with that position is
negative, and a dot product is a sum of such counts. Everything is integer: the
result equals the float32 dot product of the same numbers bit for bit.

References:
  The exclusive-or and popcount product of binary networks: Courbariaux et al.,
  "Binarized Neural Networks", NeurIPS 2016. The plane for zeros adds one `and`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int8, Int32, Num, UInt32

WORD = 32


class Planes(NamedTuple):
    """A matrix of trits, with the bits of 32 inputs in a word; outputs are the minor axis."""

    nonzero: UInt32[Array, "*population words out"]
    negative: UInt32[Array, "*population words out"]


def pack_bits(bits: Bool[Array, "*batch n"]) -> UInt32[Array, "*batch words"]:
    """Pack 32 bits into a word, the first in the lowest position; zeros fill the last word.

    Examples:
      >>> pack_bits(jnp.array([True, False, True])).tolist()  # positions 0 and 2
      [5]
    """
    return jnp.moveaxis(_pack_rows(jnp.moveaxis(bits, -1, 0)), 0, -1)


def planes_of(trits: Int8[Array, "inputs out"]) -> Planes:
    """Return the bit planes of a matrix of trits.

    Examples:
      >>> planes = planes_of(jnp.array([[1], [0], [-1]], jnp.int8))
      >>> planes.nonzero.tolist(), planes.negative.tolist()
      ([[5]], [[4]])
    """
    return Planes(_pack_rows(trits != 0), _pack_rows(trits < 0))


def _pack_rows(bits: Bool[Array, "n *batch"]) -> UInt32[Array, "words *batch"]:
    """Pack 32 rows of bits into one row of words."""
    count, *batch = bits.shape
    words = -(-count // WORD)
    padded = jnp.pad(bits, [(0, words * WORD - count)] + [(0, 0)] * len(batch))
    places = jnp.arange(WORD, dtype=jnp.uint32).reshape(-1, *[1] * len(batch))
    grouped = padded.reshape(words, WORD, *batch).astype(jnp.uint32)
    return jnp.sum(grouped << places, axis=1, dtype=jnp.uint32)


def dot_signs(
    planes: Planes, offset: Int32[Array, " out"], signs: Num[Array, " inputs"]
) -> Int32[Array, " out"]:
    """Multiply signs, -1 or +1, by a matrix of trits: one popcount for 32 weights.

    `offset` does not depend on the signs: it is the number of non-zero weights of each output.

    Examples:
      >>> planes = planes_of(jnp.array([[1], [0], [-1]], jnp.int8))
      >>> dot_signs(planes, offset_of_signs(planes), jnp.array([1, 1, -1])).tolist()  # 1 + 0 + 1
      [2]
    """
    return offset - 2 * _count_negative(planes, pack_bits(signs < 0))


def dot_integers(
    planes: Planes, offset: Int32[Array, " out"], values: Int32[Array, " inputs"], num_bits: int
) -> Int32[Array, " out"]:
    """Multiply integers in [-2^(b-1), 2^(b-1)) by a matrix of trits: b popcounts for 32 weights.

    `offset` does not depend on the values, see `offset_of_integers`; b is `num_bits`.

    Examples:
      >>> planes = planes_of(jnp.array([[1], [0], [-1]], jnp.int8))
      >>> offset = offset_of_integers(planes, 8)
      >>> dot_integers(planes, offset, jnp.array([100, 3, -27]), 8).tolist()  # 100 + 27
      [127]
    """
    places = jnp.arange(num_bits, dtype=jnp.int32)[:, None]
    unsigned = values + 2 ** (num_bits - 1)
    inverted = pack_bits((unsigned >> places) & 1 == 0)
    counts = jax.vmap(_count_negative, (None, 0))(planes, inverted)
    return offset - jnp.sum(counts << places, axis=0)


def dot_bits(
    planes: Planes, offset: Int32[Array, " out"], bits: Num[Array, " inputs"]
) -> Int32[Array, " out"]:
    """Multiply bits, 0 or 1, by a matrix of trits: one popcount for 32 weights.

    A bit is half of a sign, plus a half. `offset` does not depend on the bits: it is the number of
    positive weights of each output.

    Examples:
      >>> planes = planes_of(jnp.array([[1], [0], [-1]], jnp.int8))
      >>> dot_bits(planes, offset_of_bits(planes), jnp.array([0, 1, 1])).tolist()  # 0 + 0 - 1
      [-1]
    """
    return offset - _count_negative(planes, pack_bits(bits == 0))


def offset_of_bits(planes: Planes) -> Int32[Array, " out"]:
    """Return the number of positive weights of each output."""
    return _count_bits(planes.nonzero ^ planes.negative)


def offset_of_signs(planes: Planes) -> Int32[Array, " out"]:
    """Return the number of non-zero weights of each output."""
    return _count_bits(planes.nonzero)


def offset_of_integers(planes: Planes, num_bits: int) -> Int32[Array, " out"]:
    """Return (2^(b-1) - 1) times the count of non-zero weights of each output, plus its negatives.

    b is `num_bits`.
    """
    factor = 2 ** (num_bits - 1) - 1
    return factor * _count_bits(planes.nonzero) + _count_bits(planes.negative)


def _count_bits(words: UInt32[Array, "words out"]) -> Int32[Array, " out"]:
    return jnp.sum(jax.lax.population_count(words).astype(jnp.int32), axis=0)


def _count_negative(planes: Planes, negative: UInt32[Array, " words"]) -> Int32[Array, " out"]:
    """Count the negative products of each output with inputs that are +-1."""
    return _count_bits(planes.negative ^ (negative[:, None] & planes.nonzero))
