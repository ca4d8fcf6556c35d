r"""An arithmetic coder of weights, in integers: the same bytes on every machine.

A number is coded as bits: whether it is 0, its sign, how many bits its size has, and these bits but
for the first. Each bit is coded with the share that it had so far in its context (Krichevsky and
Trofimov 1981: $(n_1 + 1/2) / (n + 1)$), so no table is stored. Whether a number is 0 has the
numbers to its left and above as a context: pruned networks have empty rows and columns.

References:
  Martin 1979, "Range encoding".
  Krichevsky and Trofimov 1981, "The performance of universal encoding".
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TOP, BOTTOM = 1 << 32, 1 << 24
"""The range is below 2**32, and above 2**24 before a bit is coded."""

BIAS = 4
"""The context of biases, after those of weights, by their neighbours."""

_SIGN = 5
_SIZE = 6  # and a context for each number of bits
_NEXT = 16  # the same
_NUM_CONTEXTS = 32
_EQUAL, _NONE = -1, -2


class Symbols(NamedTuple):
    """The bits of numbers, in order: their contexts, -1 for those of equal odds, and the bits."""

    contexts: NDArray[np.int8]
    bits: NDArray[np.int8]


def symbols(numbers: NDArray[np.int8], width: int, rows: int, largest: int) -> Symbols:
    """Return what is coded of numbers: rows of a width, then as many biases as rows, or none.

    Args:
      numbers: integers up to `largest` in size; with 0 only whether they are 0 is coded.
      width: numbers in a row.
      rows: the number of rows.
      largest: see `numbers`.
    """
    places = 2 + 2 * largest.bit_length()
    contexts = np.full((numbers.size, places), _NONE, np.int8)
    bits = np.zeros((numbers.size, places), np.int8)
    is_there = numbers != 0
    contexts[:, 0], bits[:, 0] = _contexts(is_there, width, rows), is_there
    if largest:
        contexts[is_there, 1], bits[is_there, 1] = _SIGN, numbers[is_there] < 0
    sizes = np.abs(numbers.astype(np.int64))
    most = largest.bit_length()
    counts = np.array([int(size).bit_length() for size in range(largest + 1)] or [0])
    count = counts[np.minimum(sizes, largest)]
    for i in range(1, most):  # whether there is one more bit, for as long as there is
        asked = (count >= i) & is_there
        contexts[asked, 1 + i], bits[asked, 1 + i] = _SIZE + i, count[asked] > i
    for i in range(most - 1):  # the bits below the first, from the highest on
        place = count - 2 - i
        asked = (place >= 0) & is_there
        contexts[asked, 1 + most + i] = np.where(i == 0, _NEXT + count, _EQUAL)[asked]
        bits[asked, 1 + most + i] = (sizes[asked] >> place[asked]) & 1
    kept = contexts != _NONE
    return Symbols(contexts[kept], bits[kept])


def _contexts(is_there: NDArray[np.bool_], width: int, rows: int) -> NDArray[np.int8]:
    """Return the context of whether each number is 0: what is to the left of it and above."""
    matrix = is_there[: width * rows].reshape(rows, width)
    left = np.pad(matrix, ((0, 0), (1, 0)))[:, :-1]
    above = np.pad(matrix, ((1, 0), (0, 0)))[:-1]
    found = (2 * above + left).ravel()
    return np.append(found, np.full(is_there.size - found.size, BIAS)).astype(np.int8)


def expected_size(found: Symbols) -> float:
    """Return the bytes of the code, to within a few: the sum of the logarithms of all shares."""
    bits = float(np.count_nonzero(found.contexts == _EQUAL))
    for context in range(_NUM_CONTEXTS):
        own = found.bits[found.contexts == context]
        ones, total = int(own.sum()), own.size
        terms = math.lgamma(ones + 0.5), math.lgamma(total - ones + 0.5), -math.lgamma(total + 1)
        bits -= (sum(terms) - math.log(math.pi)) / math.log(2)
    return bits / 8


def encode(found: Symbols) -> bytes:
    """Return the code of symbols."""
    machine = _Encoder()
    machine.put(found)
    return machine.finish()


def decode(code: bytes, count: int, width: int, rows: int, largest: int) -> list[int]:
    """Return the numbers that `encode` was given; of damaged bytes, some numbers of that many."""
    machine = _Decoder(code)
    numbers: list[int] = []
    for i in range(count):
        if not machine.bit(_context(numbers, i, width, rows)):
            numbers.append(0)
        elif largest == 0:
            numbers.append(1)
        else:
            is_negative = machine.bit(_SIGN)
            size = _decode_size(machine, largest.bit_length()) if largest > 1 else 1
            numbers.append(-size if is_negative else size)
    return numbers


def _decode_size(machine: "_Decoder", most: int) -> int:
    count = 1
    while count < most and machine.bit(_SIZE + count):
        count += 1
    size = 1
    for place in range(count - 2, -1, -1):
        size = 2 * size + machine.bit(_NEXT + count if place == count - 2 else _EQUAL)
    return size


def _context(numbers: Sequence[int], i: int, width: int, rows: int) -> int:
    """Return the context of whether number i is 0: what is to the left of it and above."""
    if i >= width * rows:
        return BIAS
    left = i % width > 0 and numbers[i - 1] != 0
    above = i >= width and numbers[i - width] != 0
    return 2 * above + left


class _Shares:
    """How often each bit was there in each context."""

    def __init__(self) -> None:
        self.ones = [0] * _NUM_CONTEXTS
        self.total = [0] * _NUM_CONTEXTS

    def bound(self, context: int, size: int) -> int:
        """Return the part of a range that a 0 has."""
        if context == _EQUAL:
            return size >> 1
        total = 2 * self.total[context] + 2
        zeros = total - 2 * self.ones[context] - 1
        return size * zeros // total

    def saw(self, context: int, bit: int) -> None:
        """Count a bit."""
        if context != _EQUAL:
            self.ones[context] += bit
            self.total[context] += 1


class _Encoder:
    """Narrow a range, and put out its upper bytes as soon as they are certain."""

    def __init__(self) -> None:
        self.shares = _Shares()
        self.low, self.size = 0, TOP - 1
        self.out = bytearray()

    def put(self, found: Symbols) -> None:
        """Code all symbols; `_Shares` is written out, as this loop is what takes the time."""
        size, ones, totals = self.size, self.shares.ones, self.shares.total
        for context, bit in zip(found.contexts.tolist(), found.bits.tolist(), strict=True):
            if context == _EQUAL:
                bound = size >> 1
            else:
                total = 2 * totals[context] + 2
                bound = size * (total - 2 * ones[context] - 1) // total
                ones[context] += bit
                totals[context] += 1
            if bit:
                self.low += bound
                size -= bound
            else:
                size = bound
            while size < BOTTOM:
                self._put()
                size <<= 8
        self.size = size

    def _put(self) -> None:
        """Put out the upper byte; a carry goes back through bytes of 255."""
        if self.low >= TOP:
            self.low -= TOP
            at = len(self.out) - 1
            while self.out[at] == 255:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1
        self.out.append(self.low >> 24)
        self.low = self.low << 8 & TOP - 1

    def finish(self) -> bytes:
        """Return the bytes, the last number in the range with the fewest: zeros may follow."""
        for zeros in range(32, -1, -1):
            end = -(-self.low >> zeros) << zeros
            if end < self.low + self.size:
                break
        self.low = end
        for _ in range(5):
            self._put()
        return bytes(self.out).rstrip(b"\0")


class _Decoder:
    """Follow the range of `_Encoder`; past the end of the code there are zeros."""

    def __init__(self, code: bytes):
        self.shares = _Shares()
        self.code, self.at = code, 4
        self.size = TOP - 1
        self.value = int.from_bytes(code[:4].ljust(4, b"\0"), "big")

    def bit(self, context: int) -> int:
        bound = self.shares.bound(context, self.size)
        bit = int(self.value >= bound)
        if bit:
            self.value -= bound
            self.size -= bound
        else:
            self.size = bound
        self.shares.saw(context, bit)
        while self.size < BOTTOM:
            following = self.code[self.at] if self.at < len(self.code) else 0
            self.value = (self.value << 8 | following) & (1 << 40) - 1
            self.at += 1
            self.size <<= 8
        return bit
