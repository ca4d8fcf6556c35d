"""Random numbers that are the same in JAX, NumPy and C: a counter through an integer hash.

A policy that learns while it lives draws numbers in each life, also on a device. Everything here is
operators of unsigned 32-bit integers, so the functions take arrays of NumPy and of JAX alike.
"""

from typing import Any

SPREAD = 0x9E3779B9
"""The golden ratio times 2**32: it keeps the streams of neighbouring seeds apart."""


def bits(seed: Any, stream: int, counter: Any) -> Any:
    """Return 32 random bits for each counter.

    The hash is "lowbias32" (Wellons 2018), applied to the seed and then to the counter.

    Args:
      seed: uint32 array, which broadcasts with `counter`.
      stream: which use of the seed it is, so that two uses share no numbers; below 2**16.
      counter: uint32 array.
    """
    return mixed(mixed(seed + seed.dtype.type(stream * SPREAD % 2**32)) + counter)


def mixed(x: Any) -> Any:
    """Return a permutation of the uint32 numbers without a visible pattern."""
    word = x.dtype.type
    x = (x ^ (x >> word(16))) * word(0x7FEB352D)
    x = (x ^ (x >> word(15))) * word(0x846CA68B)
    return x ^ (x >> word(16))


START, BABBLE, GROUP, FLIP, VALUE, EXPLORE = range(1, 7)
"""The streams: start weights, babbling, groups of synapses, which weights flip, to what, and
exploration."""
