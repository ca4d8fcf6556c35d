"""How a file holds the weights of a layer: a code for each, or only those that are not 0.

A layer is a matrix [rows, in] and, if it has them, biases [rows], as one sequence: row by row, then
the biases. `pack_plain` gives each number a code of its kind: trits five in a byte, signs as bits,
integers of 8 bits as bytes, of 4 bits two in a byte, floats as float32. `pack` chooses the smallest
of `STORAGES`, which is in its first byte. Bits fill bytes from the lowest place on.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import coder
from ternevo.deploy.reader import Reader
from ternevo.settings.policies.settings import LARGEST_LEVELS, WeightName

TRITS_PER_BYTE = 5
"""3**5 = 243 fits into a byte."""

STORAGES = ("plain", "bitmap", "gaps", "coded")
"""plain: all numbers. bitmap: a bit for each number, whether it is not 0, then those that are not.
gaps: the numbers of zeros before them, Rice-coded. coded: an arithmetic coder that adapts."""

MAX_CODED = 2**16
"""Most numbers of a layer that is coded; decoding takes some microseconds for each."""
MAX_GAPS = 2**22
"""The same for gaps."""
MAX_RICE = 15
MARGIN = 16
"""Bytes by which the size of a code may differ from what is expected; it is a few."""

_POWERS = 3 ** np.arange(TRITS_PER_BYTE)
_TRITS = ("ternary", "int2")


class Shape(NamedTuple):
    """Rows and inputs of a matrix, and whether biases follow."""

    rows: int
    inputs: int
    has_bias: bool

    @property
    def count(self) -> int:
        """Numbers in all."""
        return self.rows * (self.inputs + self.has_bias)


# --------------------------------------------------------------------------------------- plain


def pack_plain(kind: WeightName, values: NDArray) -> bytes:
    """Return a code for each number of a sequence."""
    if kind == "float":
        return values.astype("<f4").tobytes()
    if kind == "binary":
        return np.packbits(values > 0, bitorder="little").tobytes()
    if kind == "int8":
        return values.astype(np.int8).tobytes()
    if kind == "int4":
        low, high = np.resize(np.append(values, 0), (-(-values.size // 2), 2)).T & 15
        return (low | high << 4).astype(np.uint8).tobytes()
    return pack_trits(values)


def pack_trits(values: NDArray[np.int8]) -> bytes:
    """Return trits [n] as base-3 numbers, five in a byte, the first in the lowest place.

    Examples:
      >>> pack_trits(np.array([1, 0, -1, -1, 1, 1], np.int8)).hex()  # digits 21002 and 2
      'a77a'
    """
    digits = np.ones(-(-values.size // TRITS_PER_BYTE) * TRITS_PER_BYTE, np.int64)
    digits[: values.size] = values + 1  # a digit that is not used is 1, the weight 0
    return (digits.reshape(-1, TRITS_PER_BYTE) @ _POWERS).astype(np.uint8).tobytes()


def read_plain(reader: Reader, kind: WeightName, count: int) -> NDArray:
    """Read a code for each number of a sequence."""
    if kind == "float":
        return reader.floats(count, "weight")
    if kind == "binary":
        return _read_signs(reader, count)
    if kind in ("int8", "int4"):
        return _read_integers(reader, kind, count)
    return _read_trits(reader, count)


def _read_trits(reader: Reader, count: int) -> NDArray[np.int8]:
    start = reader.at
    size = -(-count // TRITS_PER_BYTE)
    packed = np.frombuffer(reader.take(size, "weights"), np.uint8)
    bad = np.flatnonzero(packed >= 3**TRITS_PER_BYTE)
    if bad.size:
        reader.refuse(start + int(bad[0]), f"{packed[bad[0]]} is not five base-3 digits")
    digits = (packed[:, None] // _POWERS) % 3
    values = (digits.ravel() - 1).astype(np.int8)
    if values[count:].any():
        reader.refuse(start + size - 1, "unused trits are not 0")
    return values[:count]


def _read_signs(reader: Reader, count: int) -> NDArray[np.int8]:
    bits = _read_bits(reader, count, "weights")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def _read_bits(reader: Reader, count: int, what: str) -> NDArray[np.uint8]:
    start = reader.at
    size = -(-count // 8)
    packed = np.frombuffer(reader.take(size, what), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")
    if bits[count:].any():
        reader.refuse(start + size - 1, "unused bits are not 0")
    return bits[:count]


def _read_integers(reader: Reader, kind: WeightName, count: int) -> NDArray[np.int8]:
    start, per_byte = reader.at, 1 if kind == "int8" else 2
    packed = np.frombuffer(reader.take(-(-count // per_byte), "weights"), np.int8)
    values = packed.copy()
    if per_byte == 2:
        values = np.stack([packed << 4 >> 4, packed >> 4], axis=1).ravel().astype(np.int8)
    if values[count:].any():
        reader.refuse(reader.at - 1, "an unused half of a byte is not 0")
    bad = np.flatnonzero(values == -LARGEST_LEVELS[kind] - 1)
    if bad.size:
        reader.refuse(start + int(bad[0]) // per_byte, f"{values[bad[0]]} among {kind} weights")
    return values[:count]


# ------------------------------------------------------------------------------------ smallest


def pack(kind: WeightName, weights: NDArray, bias: NDArray | None) -> bytes:
    """Return a layer in the smallest storage, the first of equals; its number is the first byte."""
    values = weights.ravel() if bias is None else np.concatenate([weights.ravel(), bias])
    rows, inputs = weights.shape
    shape = Shape(rows, inputs, bias is not None)
    found = [(0, pack_plain(kind, values))]
    if kind != "binary":  # which has no 0
        nonzero = _pack_nonzero(kind, values[values != 0])
        mask = np.packbits(values != 0, bitorder="little").tobytes()
        found.append((1, mask + nonzero))
        if values.size <= MAX_GAPS:
            found.append((2, _pack_gaps(values) + nonzero))
        best = min(len(data) for _, data in found)
        if values.size <= MAX_CODED:
            found += [(3, code) for code in _pack_coded(kind, values, shape, best + MARGIN)]
    number, data = min(found, key=lambda pair: len(pair[1]))
    return bytes([number]) + data


def read(reader: Reader, kind: WeightName, shape: Shape) -> NDArray:
    """Read a layer in the smallest storage; refuse any other."""
    start = reader.at
    number = reader.take(1, "storage of weights")[0]
    is_known = number < (1 if kind == "binary" else len(STORAGES))
    most = {2: MAX_GAPS, 3: MAX_CODED}.get(number, shape.count)
    if not is_known or shape.count > most:
        reader.refuse(start, f"storage {number} of {shape.count} {kind} weights")
    if number == 0:
        values = read_plain(reader, kind, shape.count)
    elif number == 3:
        values = _read_coded(reader, kind, shape)
    else:
        take = _read_gaps if number == 2 else lambda r, n: _read_bits(r, n, "bitmap").astype(bool)
        is_nonzero = take(reader, shape.count)
        values = np.zeros(shape.count, np.float32 if kind == "float" else np.int8)
        values[is_nonzero] = _read_nonzero(reader, kind, int(is_nonzero.sum()))
    split = shape.rows * shape.inputs
    weights, bias = values[:split].reshape(shape[:2]), values[split:] if shape.has_bias else None
    if pack(kind, weights, bias) != reader.data[start : reader.at]:
        reader.refuse(start, "the weights are not in their smallest storage")
    return values


def _pack_nonzero(kind: WeightName, values: NDArray) -> bytes:
    if kind in _TRITS:
        return np.packbits(values > 0, bitorder="little").tobytes()
    return pack_plain(kind, values)


def _read_nonzero(reader: Reader, kind: WeightName, count: int) -> NDArray:
    start = reader.at
    values = _read_signs(reader, count) if kind in _TRITS else read_plain(reader, kind, count)
    if np.any(values == 0):
        reader.refuse(start, "a 0 among the weights that are not 0")
    return values


# ---------------------------------------------------------------------------------------- gaps


def _gaps_of(values: NDArray) -> NDArray[np.int64]:
    """Return the numbers of zeros before each number that is not 0, and before the end."""
    places = np.append(np.flatnonzero(values), values.size)
    return np.diff(places, prepend=-1) - 1


def _pack_gaps(values: NDArray) -> bytes:
    """Return the Rice parameter k in a byte, then `gap >> k` ones, a zero and k bits for each."""
    gaps = _gaps_of(values)
    sizes = [int(((gaps >> k) + 1 + k).sum()) for k in range(MAX_RICE + 1)]
    k = int(np.argmin(sizes))
    bits = np.zeros(sizes[k], np.uint8)
    ends = np.cumsum((gaps >> k) + 1 + k)  # of each code
    starts = ends - ((gaps >> k) + 1 + k)
    change = np.zeros(sizes[k] + 1, np.int64)  # ones from a start up to the zero
    np.add.at(change, starts, 1)
    np.add.at(change, ends - k - 1, -1)
    bits[:] = np.cumsum(change)[:-1]
    for place in range(k):
        bits[ends - k + place] = gaps >> place & 1
    return bytes([k]) + np.packbits(bits, bitorder="little").tobytes()


def _read_gaps(reader: Reader, count: int) -> NDArray[np.bool_]:
    """Return which numbers are not 0."""
    start = reader.at
    k = reader.take(1, "gaps")[0]
    if k > MAX_RICE:
        reader.refuse(start, f"Rice parameter {k}; at most {MAX_RICE}")
    left = min(reader.end - reader.at, count + (count * (k + 1) + 7) // 8)
    bits = np.unpackbits(np.frombuffer(reader.data, np.uint8, left, reader.at), bitorder="little")
    zeros = np.flatnonzero(bits == 0)
    found = np.zeros(count + 1, bool)
    at, place, next_zero = 0, -1, 0
    low = bits.tobytes()  # quick to index
    while place < count:
        next_zero = int(np.searchsorted(zeros, at)) if zeros.size else 0
        if next_zero >= zeros.size or int(zeros[next_zero]) + k >= bits.size:
            reader.refuse(start, "gaps are cut off")
        end = int(zeros[next_zero])
        rest = sum(low[end + 1 + i] << i for i in range(k))
        place += 1 + ((end - at) << k) + rest
        at = end + 1 + k
        if place > count:
            reader.refuse(start, "gaps end beyond the weights")
        found[place] = True
    size = -(-at // 8)
    if bits[at : 8 * size].any():
        reader.refuse(reader.at + size - 1, "unused bits are not 0")
    reader.take(size, "gaps")
    return found[:count]


# --------------------------------------------------------------------------------------- coded


def _pack_coded(kind: WeightName, values: NDArray, shape: Shape, most: int) -> list[bytes]:
    """Return the size of the code in three bytes, and the code; of floats, then those not 0.

    Nothing is returned if it takes more than `most` bytes, which is known before it is coded.
    """
    numbers = (values != 0).astype(np.int8) if kind == "float" else values
    symbols = coder.symbols(numbers, shape.inputs, shape.rows, _largest(kind))
    floats = values[values != 0].astype("<f4").tobytes() if kind == "float" else b""
    if coder.expected_size(symbols) + len(floats) > most:
        return []
    code = coder.encode(symbols)
    return [len(code).to_bytes(3, "little") + code + floats]


def _read_coded(reader: Reader, kind: WeightName, shape: Shape) -> NDArray:
    start = reader.at
    size = int.from_bytes(reader.take(3, "size of a code"), "little")
    code = reader.take(size, "code")
    found = coder.decode(code, shape.count, shape.inputs, shape.rows, _largest(kind))
    numbers = np.array(found, np.int8)
    if kind != "float":
        return numbers
    values = np.zeros(shape.count, np.float32)
    values[numbers != 0] = reader.floats(int((numbers != 0).sum()), "weight")
    if np.count_nonzero(values) != np.count_nonzero(numbers):
        reader.refuse(start, "a 0 among the weights that are not 0")
    return values


def _largest(kind: WeightName) -> int:
    """Return the largest number that is coded; 0 says that only whether it is 0 is."""
    return 0 if kind == "float" else LARGEST_LEVELS.get(kind, 1)


def entropy(kind: WeightName, values: NDArray) -> float:
    """Return the bits of a sequence if each number had the code that its share allows.

    Floats count 32 bits where they are not 0. A code that knows what neighbours are may be smaller.
    """
    symbols = values != 0 if kind == "float" else values
    _, counts = np.unique(symbols, return_counts=True)
    bits = float((counts * np.log2(values.size / counts)).sum()) if values.size else 0.0
    return bits + (32 * int(np.count_nonzero(values)) if kind == "float" else 0)
