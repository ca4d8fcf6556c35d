"""Matrices of a policy as C tables: an own layout for each kernel of c/runtime.h.

A `Matrix` is a layer with weights as the kernels take it, a `Writer` the header that is written.
"""

import dataclasses
import functools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import adc, integer
from ternevo.deploy.record import PerOutput, PolicyRecord

ADDED_WEIGHTS = 1500
"""Most non-zero weights of a layer of bytes that the portable kernels write out as additions."""

Takes = Literal["bytes", "signs", "trits", "bits", "wide", "sparse"]
"""How kernels take the inputs of a matrix; the last two are of c/layers.h, for all inputs."""
TAKES_OF: Mapping[str, Takes] = {"sign": "signs", "ternary": "trits"}
"""By the activation before; all others give bytes."""

LINE = 96
"""The longest line of a table."""

NO_WEIGHT, ROW_END = 254, 255
"""Gaps of sparse tables that are none: 254 inputs without a weight at their end, and no more
weights in this row. c/layers.h has the same numbers."""

_INT_MAX = 32_767
"""Largest `int` of an AVR, where it has 16 bits."""

_BYTE_COUNT = 254
"""A count that can be compared as a byte, its bound included."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A layer as the kernels take it.

    Signs of -1 and +1 are one plane, and `sum = offset - 2 * count`, where count is how many
    products are negative. Of -1, 0, +1 there are two planes (value < 0, value <= 0), and
    `sum = offset - count`; so it is for 0 and 1 in one plane (value is 0).

    Attributes:
      index: its place.
      weights: int8 [out, in].
      bias: int32 [out].
      activation: what follows.
      shift: of int8 and int4, and of logits where outputs have exponents: one for each output then.
      thresholds: a sum below each of them sets a bit of the planes that follow; each is an int, or
        [out].
      takes: "bytes", "signs", "trits", or "bits".
      largest: the size of what it takes.
      can_be_added: whether it may be written out as additions.
    """

    index: int
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    activation: str
    shift: PerOutput
    thresholds: tuple[PerOutput, ...]
    takes: Takes
    largest: int
    can_be_added: bool = True

    @property
    def num_in(self) -> int:
        """Inputs of a row."""
        return self.weights.shape[1]

    @property
    def num_out(self) -> int:
        """Rows."""
        return self.weights.shape[0]

    @property
    def limit(self) -> int:
        """The largest number that follows."""
        return integer.GRIDS[self.activation][1]

    @property
    def num_weights(self) -> int:
        """Number of weights, zeros among them."""
        return self.weights.size

    @property
    def size(self) -> int:
        """Number of weights that are not 0."""
        return int(np.count_nonzero(self.weights))

    @property
    def sum_type(self) -> str:
        """The C type in which sums, and what rounding adds, do not overflow."""
        sums = np.abs(self.bias).astype(int) + self.largest * np.abs(self.weights).sum(1, dtype=int)
        shift = int(np.max(self.shift))
        half = 2 ** (shift - 1) if shift > 0 else 0
        return "int" if sums.max() + half <= _INT_MAX else "int32_t"

    @property
    def planes(self) -> int:
        """Planes of signs that it takes, if it takes signs."""
        return 2 if self.takes == "trits" else 1

    @property
    def factor(self) -> int:
        """What a negative product takes off the sum."""
        return 2 if self.takes == "signs" else 1

    @property
    def offset(self) -> NDArray[np.int32]:
        """Sums where no product is negative."""
        one = self.weights > 0 if self.takes == "bits" else self.weights != 0
        return (one.sum(1) + self.bias).astype(np.int32)

    @property
    def largest_counts(self) -> NDArray[np.int64]:
        """The most negative products of each row [out]."""
        return self.planes * np.count_nonzero(self.weights, axis=1)

    @property
    def bits(self) -> int:
        """Bits of a count and of the bound it is compared with; the kernel needs at least three."""
        return max(3, int(self.largest_counts.max() + 1).bit_length())

    @property
    def bounds(self) -> NDArray[np.int64]:
        """The smallest counts [thresholds, out] at which the sum is below the threshold."""
        thresholds = np.zeros((len(self.thresholds), self.num_out), np.int64)
        for row, threshold in zip(thresholds, self.thresholds, strict=True):
            row[:] = threshold
        bounds = (self.offset.astype(np.int64) - thresholds) // self.factor + 1
        return np.clip(bounds, 0, self.largest_counts + 1)

    @property
    def is_wide(self) -> bool:
        """Whether counts do not fit into the bytes of the vector kernels."""
        return int(self.largest_counts.max()) > _BYTE_COUNT

    @property
    def has_own_shifts(self) -> bool:
        """Whether a table has a shift for each output: of what follows, or of logits."""
        return isinstance(self.shift, np.ndarray)

    @property
    def has_own_thresholds(self) -> bool:
        """Whether a table has thresholds for each output."""
        return any(isinstance(threshold, np.ndarray) for threshold in self.thresholds)

    def shift_of(self, row: int) -> int:
        """Return the shift of an output."""
        return int(np.broadcast_to(self.shift, self.num_out)[row])

    @property
    def is_wide_valued(self) -> bool:
        """Whether there are weights beyond -1, 0 and +1."""
        return is_wide_valued(self.weights)

    @property
    def is_added(self) -> bool:
        """Whether portable kernels write it out as additions."""
        return self.can_be_added and self.takes == "bytes" and self.size <= ADDED_WEIGHTS


def is_wide_valued(weights: NDArray[np.int8]) -> bool:
    """Return whether there are weights beyond -1, 0 and +1."""
    return bool(weights.size) and bool(np.abs(weights.astype(int)).max() > 1)


def is_sparse(weights: NDArray[np.int8]) -> bool:
    """Return whether tables of the weights that are not 0 have fewer bytes than those of all.

    Tables of all have a byte for a weight, or two bits for a trit. On a small device flash is what
    lacks, and without vector instructions fewer weights take less time, too.
    """
    is_wide = is_wide_valued(weights)
    size = gaps(weights).size + is_wide * np.count_nonzero(weights)
    return bool(size < weights.size / (1 if is_wide else 4))


def gaps(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return how far each weight that is not 0 is from the one before, or from the first input.

    Rows are one after another, each with a `ROW_END`. Trits have two for each output: the places
    of +1, and of -1, so that they need no table of weights.
    """
    rows = weights
    if not is_wide_valued(weights):
        rows = np.stack([weights > 0, weights < 0], axis=1).reshape(-1, weights.shape[1])
    row, place = np.nonzero(rows)
    gap = np.where(np.diff(row, prepend=-1) > 0, place, np.diff(place, prepend=0))
    ends = np.cumsum(np.count_nonzero(rows, axis=1))
    skips = np.repeat(np.arange(gap.size), gap // NO_WEIGHT)
    marks = np.repeat([ROW_END, NO_WEIGHT], [ends.size, skips.size])  # a row ends, then skips
    return np.insert(gap % NO_WEIGHT, np.append(ends, skips), marks).astype(np.uint8)


@dataclasses.dataclass
class Writer:
    """The policy, and the bytes of the tables that were written, by kernel.

    @ stands for the policy's name in what is written, so that no name can be mistaken for it.
    """

    record: PolicyRecord
    net: integer.IntegerNet
    name: str
    identity: str
    counts: Sequence[adc.Line] | None
    date: str | None
    table_bytes: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def upper(self) -> str:
        """The beginning of macros."""
        return self.name.upper()

    @property
    def guard(self) -> str:
        """The macro that says that the header was included."""
        return f"TERNEVO_POLICY_{self.name}_H"

    @functools.cached_property
    def fixed(self) -> adc.FixedQuantiser | None:
        """The quantiser of counts, where it was asked for."""
        return adc.fixed_quantiser(self.record, self.counts) if self.counts else None

    @property
    def is_discrete(self) -> bool:
        """Whether an action is a number and not a vector of floats."""
        return self.record.output_kind == "discrete"

    def table(self, kernel: str, type_: str, name: str, values: NDArray, size: str = "") -> str:
        """Return a table; `size` where a kernel wants zeros at its end."""
        widths = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "uint64_t": 8}
        width = widths.get(type_, 4)
        self.table_bytes[kernel] = self.table_bytes.get(kernel, 0) + width * values.size
        lines = _in_lines(map(_NUMBERS.get(type_, str), values.ravel().tolist()))
        return f"TERNEVO_CONST {type_} {name}[{size or values.size}] = {{\n{lines}\n}};"


def _in_lines(numbers: Iterable[str]) -> str:
    """Return numbers with commas between, in the lines of textwrap.fill, which is slow."""
    words = [f"{number}," for number in numbers]
    words[-1] = words[-1][:-1]
    lines, size = [], LINE
    for word in words:
        size += 1 + len(word)
        if size > LINE:
            lines.append([])
            size = 2 + len(word)
        lines[-1].append(word)
    return "\n".join(f"  {' '.join(line)}" for line in lines)


def float_literal(value: float) -> str:
    """Return a literal of a float32, the shortest that gives it back."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


_NUMBERS = {
    "uint32_t": "0x{:x}u".format,
    "uint64_t": "0x{:x}u".format,
    "float": float_literal,
}


# -------------------------------------------------------------------------------- of kernels


def of_kernels(writer: Writer, layer: Matrix) -> Iterable[str]:
    """Write the matrix and what its sums begin with, once for each layout of a kernel."""
    writers = {"bytes": _byte_tables, "wide": _wide_tables, "sparse": _sparse_tables}
    return writers.get(layer.takes, _sign_tables)(writer, layer)


def _wide_tables(writer: Writer, layer: Matrix) -> Iterable[str]:
    i = layer.index
    yield writer.table("plain", "int8_t", f"@_w{i}", layer.weights)
    yield writer.table("plain", "int32_t", f"@_b{i}", layer.bias)


def _sparse_tables(writer: Writer, layer: Matrix) -> Iterable[str]:
    i, weights = layer.index, layer.weights
    yield writer.table("plain", "uint8_t", f"@_p{i}", gaps(weights))
    if layer.is_wide_valued:
        yield writer.table("plain", "int8_t", f"@_w{i}", weights[weights != 0])
    yield writer.table("plain", "int32_t", f"@_b{i}", layer.bias)


def _byte_tables(writer: Writer, layer: Matrix) -> Iterable[str]:
    i, added = layer.index, " && !TERNEVO_GENERATED" if layer.is_added else ""
    kernel = "added" if layer.is_added else "plain"
    yield f"#if !TERNEVO_SIMD{added}"
    yield writer.table(kernel, "uint8_t", f"@_w{i}", _codes(layer.weights))
    yield writer.table(kernel, "int32_t", f"@_b{i}", layer.bias)
    yield "#elif TERNEVO_SIMD"
    yield writer.table("vector", "int8_t", f"@_w{i}", _quads(layer.weights))
    rows = -(-layer.num_out // 16) * 16
    bias = np.pad(layer.bias, (0, rows - layer.num_out))
    # Bytes with 128 added give 128 times the sum of the weights too much.
    raised = bias - 128 * np.pad(layer.weights.sum(1, dtype=np.int32), (0, rows - layer.num_out))
    yield "#if TERNEVO_X86"
    yield writer.table("vector", "int32_t", f"@_b{i}", raised)
    yield "#else"
    yield writer.table("neon", "int32_t", f"@_b{i}", bias)
    yield "#endif"
    yield "#endif"


def of_outputs(writer: Writer, layer: Matrix) -> Iterable[str]:
    """Write what differs between outputs that have exponents of their own."""
    i = layer.index
    if layer.has_own_shifts and layer.activation == "none":
        yield writer.table("own", "uint8_t", f"@_a{i}", -np.asarray(layer.shift))
    elif layer.has_own_shifts:
        yield writer.table("own", "int8_t", f"@_s{i}", np.asarray(layer.shift))
    if layer.has_own_thresholds and (layer.takes == "bytes" or layer.is_wide):
        yield writer.table("own", "int32_t", f"@_h{i}", np.stack(layer.thresholds))


def _codes(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return bytes [in / 4, out] of four trits each; the number of fours is even."""
    count = -(-weights.shape[1] // 8) * 8
    padded = np.pad(weights, ((0, 0), (0, count - weights.shape[1])))
    digits = padded.T.reshape(-1, 4, len(weights)).astype(int) + 1
    return np.einsum("gdr,d->gr", digits, 3 ** np.arange(4)).astype(np.uint8)


def _quads(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights [in / 4, out, 4], which one instruction multiplies by four inputs."""
    out, num_in = weights.shape
    padded = np.pad(weights, ((0, -out % 16), (0, -num_in % 4)))
    return padded.reshape(len(padded), -1, 4).swapaxes(0, 1)


def _sign_tables(writer: Writer, layer: Matrix) -> Iterable[str]:
    i = layer.index
    offset = layer.offset
    layouts = {
        "portable": ("uint64_t", _rows(layer.weights), offset, "uint16_t", layer.bounds),
        "vertical": ("uint32_t", _columns(layer), offset, "uint32_t", _vertical_bounds(layer)),
        "vector": ("uint8_t", _interleaved(layer.weights), _padded(offset), "uint8_t", None),
    }
    if not layer.is_wide:
        layouts["vector"] = (*layouts["vector"][:4], _padded(layer.bounds))
    tests = ("#if TERNEVO_KERNEL == TERNEVO_PORTABLE", "#elif !TERNEVO_SIMD", "#else")
    has_counts = not layer.thresholds or layer.is_wide
    if has_counts:
        yield "#if TERNEVO_KERNEL == TERNEVO_AVX512"
        yield writer.table("avx512", "uint64_t", f"@_w{i}", _eights(layer.weights))
        yield writer.table("avx512", "int32_t", f"@_b{i}", _padded(offset))
        yield "#else"
    for test, (kernel, layout) in zip(tests, layouts.items(), strict=True):
        type_, weights, offsets, bound_type, bounds = layout
        yield test
        yield writer.table(kernel, type_, f"@_w{i}", weights)
        if not layer.thresholds or bounds is None:
            yield writer.table(kernel, "int32_t", f"@_b{i}", offsets)
        else:
            yield writer.table(kernel, bound_type, f"@_t{i}", bounds)
    yield "#endif"
    if has_counts:
        yield "#endif"


def _padded(rows: NDArray) -> NDArray:
    """Return [..., out] with zeros up to a multiple of 32."""
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -rows.shape[-1] % 32)])


def _signs(weights: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return [2, ...]: which are negative, which are not 0."""
    return np.stack([weights < 0, weights != 0])


def _words(bits: NDArray[np.bool_], dtype: str) -> NDArray:
    """Return words [..., n] of bits [..., i], the first in the lowest place."""
    size = np.dtype(dtype).itemsize
    padded = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % (8 * size))])
    packed = np.packbits(padded, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view(dtype)


def _rows(weights: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Return [out, words, 2]: for 64 inputs, which weights are negative and which are not 0."""
    return np.moveaxis(_words(_signs(weights), "<u8"), 0, -1)


def _eights(weights: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Return [out / 8, words, 2, 8]: the same of eight outputs side by side."""
    rows = _rows(np.pad(weights, ((0, -len(weights) % 8), (0, 0))))
    return np.moveaxis(rows.reshape(-1, 8, *rows.shape[1:]), 1, -1)


def _columns(layer: Matrix) -> NDArray[np.uint32]:
    """Return [groups, in, 2]: for 32 outputs, which weights are negative and which are not 0."""
    words = _words(_signs(np.pad(layer.weights, ((0, 0), (0, -layer.num_in % 8))).T), "<u4")
    return np.moveaxis(words, (0, 1, 2), (2, 1, 0))


def _vertical_bounds(layer: Matrix) -> NDArray[np.uint32]:
    """Return [groups, thresholds, bits]: of 32 outputs a bit of their bounds."""
    planes = (layer.bounds[:, None] >> np.arange(layer.bits)[:, None]) & 1
    return np.moveaxis(_words(planes.astype(bool), "<u4"), -1, 0)


def _interleaved(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return [in / 8, 2, out]: of eight inputs a byte for each output."""
    bytes_ = _words(_signs(weights), "u1")  # [2, out, in / 8]
    return np.moveaxis(_padded(np.moveaxis(bytes_, 1, 2)), 1, 0)


# -------------------------------------------------------------------------------- additions


def added(layer: Matrix) -> Iterable[str]:
    """Write out a small layer: where all is constant, a sum costs an instruction for a weight."""
    if not layer.is_added:
        return
    yield "#if TERNEVO_GENERATED && !TERNEVO_SIMD"
    yield f"TERNEVO_FN void @_added{layer.index}(const ternevo_byte *x, int32_t *sums) {{"
    for i in np.flatnonzero(layer.weights.any(0)):
        yield f"  const {layer.sum_type} v{i} = x[{i}];"
    if not layer.size:
        yield "  (void)x;"
    for r in range(layer.num_out):
        yield statement(f"sums[{r}] = ", sum_of(layer, r, "v"))
    yield "}"
    yield "#endif"


def sum_of(layer: Matrix, row: int, prefix: str) -> str:
    """Return the sum of a row; after a sign the variables are 1 where it is negative."""
    weights, constant = layer.weights[row], int(layer.bias[row])
    terms = " ".join(
        f"{'-' if weights[i] < 0 else '+'} {prefix}{i}" for i in np.flatnonzero(weights)
    )
    if layer.takes != "signs" or not terms:
        return f"{constant} {terms}".strip()
    return f"{constant + int(weights.sum())} - 2 * (0 {terms})"


def statement(start: str, expression: str) -> str:
    """Return a statement in lines of a readable length."""
    return textwrap.fill(
        f"{start}{expression};", 98, initial_indent="  ", subsequent_indent="      "
    )
