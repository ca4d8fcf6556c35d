"""A policy as one C99 header: integers, no malloc, nothing of libc but <stdint.h>.

`to_c` writes tables in the layout of each kernel and the calls from layer to layer; the kernels are
in c/runtime.h, and all of them compute the integers of `integer.logits`, bit for bit. Several
headers can be included in one file.
"""

import dataclasses
import functools
import hashlib
import importlib.resources
import re
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ternevo import __version__
from ternevo.deploy import adc, c_comment, c_sizes, capabilities, integer, tvp
from ternevo.deploy.record import PerOutput, PolicyRecord, Vectors

ADDED_WEIGHTS = 1500
"""Most non-zero weights of a layer of bytes that the portable kernels write out as additions."""

TINY_WEIGHTS = 256
"""Most non-zero weights of a policy that is written out whole, except for AVX."""

MAX_NAME = 40
MAX_QUANTISED = 6
"""Number of vectors that the self test also has as floats, before the quantiser."""

COUNTS_FAILED = 100
"""The self test returns minus this and the number of the example where counts fail."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_INT_MAX = 32_767
"""Largest `int` of an AVR, where it has 16 bits."""

_BYTE_COUNT = 254
"""A count that can be compared as a byte, its bound included."""

_SHIFTS = (-7, 25)
"""Shifts beyond these change nothing: all but 0 is clipped, or all is 0, as |sum| < 2**20."""


def to_c(
    record: PolicyRecord,
    name: str = "policy",
    num_vectors: int = 16,
    counts: Sequence[adc.Line] | None = None,
    date: str | None = None,
) -> str:
    """Return the text of a header.

    Args:
      record: an integer policy.
      name: the beginning of every name that the header defines.
      num_vectors: examples for the self test; those of the record come first.
      counts: of each input, what a count of its converter stands for (`adc.parse`); the header then
        has a quantiser of counts.
      date: the day of the export, for the comment; none makes the same text on every day.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run.
      NotIntegerError: the policy computes with floats.
      PolicyFormatError: the record breaks a rule of the file format, so it has no identity.
      ValueError: the name is not a C identifier, num_vectors is below 1, or there are counts for a
        policy that takes integers.
    """
    capabilities.check_export(record, "c")
    net = integer.compile_integer(record)
    _check_name(name)
    if num_vectors < 1:
        raise ValueError(f"num_vectors must be at least 1, got {num_vectors}")
    identity = hashlib.sha256(tvp.encode(record.bare())).hexdigest()
    writer = _Writer(record, net, name, identity, counts, date)
    layers = _layers(record, net)
    body = [
        *_tables(writer, layers),
        *_additions(writer, layers),
        *_forward(writer, layers),
        *_entries(writer),
        *_selftest(writer, num_vectors),
    ]
    text = "\n".join([*_top(writer, layers), _runtime(), "", *body, f"#endif /* {writer.guard} */"])
    return text.replace("@", name).replace(c_comment.AT, "@") + "\n"


def _check_name(name: str) -> None:
    good = _NAME.fullmatch(name) and len(name) <= MAX_NAME
    if not good or name.lower().startswith("ternevo"):
        raise ValueError(
            f"{name!r} cannot begin the names of a C header: a letter, then letters, digits and _, "
            f"at most {MAX_NAME}, and not ternevo, as what is shared begins with it"
        )


def _runtime() -> str:
    files = importlib.resources.files("ternevo.deploy")
    return files.joinpath("c", "runtime.h").read_text(encoding="utf-8").rstrip("\n")


# -------------------------------------------------------------------------------------- layers


@dataclasses.dataclass(frozen=True)
class _Layer:
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
    """

    index: int
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    activation: str
    shift: PerOutput
    thresholds: tuple[PerOutput, ...]
    takes: str
    largest: int

    @property
    def num_in(self) -> int:
        return self.weights.shape[1]

    @property
    def num_out(self) -> int:
        return self.weights.shape[0]

    @property
    def limit(self) -> int:
        """The largest number that follows."""
        return integer.GRIDS[self.activation][1]

    @property
    def num_weights(self) -> int:
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
        return 2 if self.takes == "trits" else 1

    @property
    def factor(self) -> int:
        return 2 if self.takes == "signs" else 1

    @property
    def offset(self) -> NDArray[np.int32]:
        """Sums where no product is negative."""
        one = self.weights > 0 if self.takes == "bits" else self.weights != 0
        return (one.sum(1) + self.bias).astype(np.int32)

    @property
    def largest_counts(self) -> NDArray[np.int64]:
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
    def is_added(self) -> bool:
        return self.takes == "bytes" and self.size <= ADDED_WEIGHTS


def _layers(record: PolicyRecord, net: integer.IntegerNet) -> list[_Layer]:
    takes = "bits" if record.input_kind == "bits" else "bytes"
    largest = 1 if takes == "bits" else 128 >> net.input_shift  # -128 can be passed as an integer
    layers = []
    for i, layer in enumerate(net.layers):
        threshold = np.minimum(layer.threshold, 2**24)
        if not isinstance(layer.threshold, np.ndarray):
            threshold = int(threshold)
        thresholds = {"sign": (0,), "ternary": (-threshold, threshold + 1)}
        shift = np.clip(layer.shift, *_SHIFTS)
        if layer.activation == "none":
            shift = np.asarray(layer.shift)  # logits are not clipped
        shift = shift if isinstance(layer.shift, np.ndarray) else int(shift)
        layers.append(
            _Layer(
                i,
                layer.weights,
                layer.bias,
                layer.activation,
                shift,
                thresholds.get(layer.activation, ()),
                takes,
                largest,
            )
        )
        takes = {"sign": "signs", "ternary": "trits"}.get(layer.activation, "bytes")
        largest = integer.GRIDS.get(layer.activation, (0, 0))[1]
    return layers


def _is_tiny(layers: Sequence[_Layer]) -> bool:
    return sum(layer.size for layer in layers) <= TINY_WEIGHTS


@dataclasses.dataclass
class _Writer:
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
        return self.name.upper()

    @property
    def guard(self) -> str:
        return f"TERNEVO_POLICY_{self.name}_H"

    @functools.cached_property
    def fixed(self) -> adc.FixedQuantiser | None:
        """The quantiser of counts, where it was asked for."""
        return adc.fixed_quantiser(self.record, self.counts) if self.counts else None

    @property
    def is_discrete(self) -> bool:
        return self.record.output_kind == "discrete"

    def table(self, kernel: str, type_: str, name: str, values: NDArray, size: str = "") -> str:
        """Return a table; `size` where a kernel wants zeros at its end."""
        widths = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "uint64_t": 8}
        width = widths.get(type_, 4)
        self.table_bytes[kernel] = self.table_bytes.get(kernel, 0) + width * values.size
        numbers = ", ".join(map(_NUMBERS.get(type_, str), values.ravel().tolist()))
        lines = textwrap.fill(numbers, 96, initial_indent="  ", subsequent_indent="  ")
        return f"TERNEVO_CONST {type_} {name}[{size or values.size}] = {{\n{lines}\n}};"


def _float(value: float) -> str:
    """Return a literal of a float32, the shortest that gives it back."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


_NUMBERS = {
    "uint32_t": "0x{:x}u".format,
    "uint64_t": "0x{:x}u".format,
    "float": _float,
}

# -------------------------------------------------------------------------------------- tables


def _tables(writer: _Writer, layers: Sequence[_Layer]) -> Iterable[str]:
    yield f"/* {'-' * 85} policy */"
    if writer.record.input_kind == "f32":
        count = writer.record.obs_size
        size = f"TERNEVO_X86 ? {-(-count // 16) * 16} : {count}"
        scale = np.ldexp(np.float32(1), writer.record.exponent.astype(np.int32))
        yield "#ifndef TERNEVO_NO_FLOAT"
        yield writer.table("quantiser", "float", "@_mean", writer.record.mean, size)
        yield "#if !TERNEVO_SOFT_FLOAT || TERNEVO_X86"
        yield writer.table("quantiser", "float", "@_scale", scale, size)
        yield "#else"
        yield writer.table("soft", "int8_t", "@_scale", writer.record.exponent)
        yield "#endif"
        yield "#endif"
    if writer.fixed:
        yield writer.table("counts", "int16_t", "@_i16_multiplier", writer.fixed.multiplier)
        yield writer.table("counts", "int32_t", "@_i16_offset", writer.fixed.offset)
        yield writer.table("counts", "uint8_t", "@_i16_shift", writer.fixed.shift)
    if _is_tiny(layers):
        yield "#if !TERNEVO_GENERATED || TERNEVO_X86"
    for layer in layers:
        tables = _byte_tables if layer.takes == "bytes" else _sign_tables
        yield from tables(writer, layer)
        yield from _own_tables(writer, layer)
    if _is_tiny(layers):
        yield "#endif"


def _byte_tables(writer: _Writer, layer: _Layer) -> Iterable[str]:
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


def _own_tables(writer: _Writer, layer: _Layer) -> Iterable[str]:
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


def _sign_tables(writer: _Writer, layer: _Layer) -> Iterable[str]:
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


def _columns(layer: _Layer) -> NDArray[np.uint32]:
    """Return [groups, in, 2]: for 32 outputs, which weights are negative and which are not 0."""
    words = _words(_signs(np.pad(layer.weights, ((0, 0), (0, -layer.num_in % 8))).T), "<u4")
    return np.moveaxis(words, (0, 1, 2), (2, 1, 0))


def _vertical_bounds(layer: _Layer) -> NDArray[np.uint32]:
    """Return [groups, thresholds, bits]: of 32 outputs a bit of their bounds."""
    planes = (layer.bounds[:, None] >> np.arange(layer.bits)[:, None]) & 1
    return np.moveaxis(_words(planes.astype(bool), "<u4"), -1, 0)


def _interleaved(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return [in / 8, 2, out]: of eight inputs a byte for each output."""
    bytes_ = _words(_signs(weights), "u1")  # [2, out, in / 8]
    return np.moveaxis(_padded(np.moveaxis(bytes_, 1, 2)), 1, 0)


# ----------------------------------------------------------------------------------- additions


def _additions(writer: _Writer, layers: Sequence[_Layer]) -> Iterable[str]:
    """Write out small layers: where all is constant, a sum costs an instruction for a weight."""
    if _is_tiny(layers):
        yield from _tiny(writer, layers)
        return
    for layer in layers:
        if not layer.is_added:
            continue
        yield "#if TERNEVO_GENERATED && !TERNEVO_SIMD"
        yield f"TERNEVO_FN void @_added{layer.index}(const ternevo_byte *x, int32_t *sums) {{"
        for i in np.flatnonzero(layer.weights.any(0)):
            yield f"  const {layer.sum_type} v{i} = x[{i}];"
        if not layer.size:
            yield "  (void)x;"
        for r in range(layer.num_out):
            yield _statement(f"sums[{r}] = ", _sum(layer, r, "v"))
        yield "}"
        yield "#endif"


def _tiny(writer: _Writer, layers: Sequence[_Layer]) -> Iterable[str]:
    used = _used(layers)
    yield "#if TERNEVO_GENERATED && !TERNEVO_X86"
    yield "TERNEVO_INLINE void @_forward(const int8_t *q, int32_t *sums) {"
    first = layers[0]
    for i in used[0]:
        value = f"q[{i}] != 0" if first.takes == "bits" else f"q[{i}] >> {writer.net.input_shift}"
        yield f"  const {first.sum_type} v0_{i} = {value};"
    if not used[0]:
        yield "  (void)q;"
    for layer, following, rows in zip(layers, layers[1:], used[1:], strict=False):
        for r in rows:
            found = _sum(layer, r, f"v{layer.index}_")
            yield _statement(f"const {layer.sum_type} a{layer.index}_{r} = ", found)
            value = _activated(layer, r, f"a{layer.index}_{r}")
            yield f"  const {following.sum_type} v{layer.index + 1}_{r} = {value};"
    last = layers[-1]
    for r in range(last.num_out):
        found, shift = _sum(last, r, f"v{last.index}_"), -last.shift_of(r)
        aligned = f"(int32_t)({found}) * {2**shift}" if shift else found
        yield _statement(f"sums[{r}] = ", aligned)
    yield "}"
    yield "#endif"


def _used(layers: Sequence[_Layer]) -> list[list[int]]:
    """Return the inputs of each layer on which a logit depends: compilers warn of others."""
    used, rows = [], list(range(layers[-1].num_out))
    for layer in reversed(layers):
        rows = np.flatnonzero(layer.weights[rows].any(0)).tolist()
        used.append(rows)
    return used[::-1]


def _sum(layer: _Layer, row: int, prefix: str) -> str:
    """Return the sum of a row; after a sign the variables are 1 where it is negative."""
    weights, constant = layer.weights[row], int(layer.bias[row])
    terms = " ".join(
        f"{'-' if weights[i] < 0 else '+'} {prefix}{i}" for i in np.flatnonzero(weights)
    )
    if layer.takes != "signs" or not terms:
        return f"{constant} {terms}".strip()
    return f"{constant + int(weights.sum())} - 2 * (0 {terms})"


def _activated(layer: _Layer, row: int, value: str) -> str:
    if layer.activation == "sign":
        return f"{value} < 0"
    if layer.activation == "ternary":
        low, high = (np.broadcast_to(x, layer.num_out)[row] for x in layer.thresholds)
        return f"({value} >= {high}) - ({value} < {low})"
    of_int = "_int" if layer.sum_type == "int" else ""
    return f"ternevo_round{of_int}({value}, {layer.shift_of(row)}, {layer.limit})"


def _statement(start: str, expression: str) -> str:
    return textwrap.fill(
        f"{start}{expression};", 98, initial_indent="  ", subsequent_indent="      "
    )


# -------------------------------------------------------------------------------------- layers


def _forward(writer: _Writer, layers: Sequence[_Layer]) -> Iterable[str]:
    if _is_tiny(layers):
        yield "#if !TERNEVO_GENERATED || TERNEVO_X86"
    yield "TERNEVO_INLINE void @_forward(const int8_t *q, int32_t *sums) {"
    for layer in layers:
        yield "  " + _buffer(layer)
    if layers[0].takes == "bits":
        yield f"  ternevo_take_bits(q, {layers[0].num_in}, s0);"
    else:
        yield f"  ternevo_take(q, {layers[0].num_in}, {writer.net.input_shift}, x0);"
    for layer in layers:
        yield from _dot(layer) if layer.takes == "bytes" else _count(layer)
    yield "}"
    if _is_tiny(layers):
        yield "#endif"


def _buffer(layer: _Layer) -> str:
    if layer.takes == "bytes":
        return f"ternevo_byte x{layer.index}[TERNEVO_PADDED({layer.num_in})];"
    return f"ternevo_word s{layer.index}[{layer.planes} * TERNEVO_WORDS({layer.num_in})];"


def _dot(layer: _Layer) -> Iterable[str]:
    i = layer.index
    if layer.is_added:
        yield "#if TERNEVO_GENERATED && !TERNEVO_SIMD"
        yield f"  @_added{i}(x{i}, sums);"
        yield "#else"
    yield f"  ternevo_dot(@_w{i}, @_b{i}, x{i}, {layer.num_in}, {layer.num_out}, sums);"
    if layer.is_added:
        yield "#endif"
    yield from _activate(layer)


def _count(layer: _Layer) -> Iterable[str]:
    i = layer.index
    rest = f"s{i}, {layer.planes}, {layer.num_in}, {layer.num_out}, {layer.bits}"
    count = f"  ternevo_count(@_w{i}, @_b{i}, {layer.factor}, {rest}, sums);"
    compare = f"  ternevo_compare(@_w{i}, @_t{i}, {len(layer.thresholds)}, {rest}, s{i + 1});"
    if not layer.thresholds:
        yield count
        yield from _activate(layer)
        return
    if not layer.is_wide:
        yield compare
        return
    yield "#if TERNEVO_SIMD"
    yield count
    yield from _activate(layer)
    yield "#else"
    yield compare
    yield "#endif"


def _activate(layer: _Layer) -> Iterable[str]:
    i, n = layer.index + 1, layer.num_out
    if layer.activation in ("int8", "int4"):
        each, shift = ("_each", f"@_s{i - 1}") if layer.has_own_shifts else ("", layer.shift)
        yield f"  ternevo_bytes{each}(sums, {n}, {shift}, {layer.limit}, x{i});"
    for place, threshold in enumerate(layer.thresholds):
        to = f"s{i} + {place} * TERNEVO_WORDS({n})"
        if layer.has_own_thresholds:
            yield f"  ternevo_signs_each(sums, {n}, @_h{i - 1} + {place * n}, {to});"
        else:
            yield f"  ternevo_signs(sums, {n}, {threshold}, {to});"
    if layer.activation == "none" and layer.has_own_shifts:
        yield f"  ternevo_align(sums, {n}, @_a{i - 1});"


# ------------------------------------------------------------------------------------- entries


def _entries(writer: _Writer) -> Iterable[str]:
    up = writer.upper
    yield f"""\
/* Logits of a quantised observation: the integers that every ternevo backend gives. */
TERNEVO_FN void @_logits_q(const int8_t q[{up}_N_IN], int32_t out[{up}_N_OUT]) {{
  int8_t padded[TERNEVO_PADDED({up}_N_IN)] = {{0}};
  int32_t sums[TERNEVO_PADDED({up}_WIDTH)];
  int i;
  ternevo_copy(q, {up}_N_IN, padded);
  @_forward(padded, sums);
  for (i = 0; i < {up}_N_OUT; i++) out[i] = sums[i];
}}
"""
    if writer.fixed:
        yield f"""\
/* The integers that the first layer takes, from counts of a converter; without a float. */
#define {up}_HAS_I16 1
TERNEVO_FN void @_quantise_i16(const int16_t raw[{up}_N_IN], int8_t q[{up}_N_IN]) {{
  ternevo_quantise_i16(raw, @_i16_multiplier, @_i16_offset, @_i16_shift, {up}_N_IN, q);
}}
"""
    yield from _discrete(writer) if writer.is_discrete else _continuous(writer)


def _quantise(writer: _Writer) -> Iterable[str]:
    """Write the quantiser; the buffer of prepare is padded."""
    up = writer.upper
    call = {
        "f32": f"ternevo_quantise(obs, @_mean, @_scale, {up}_N_IN, q);",
        "i8": f"ternevo_integers(obs, {up}_N_IN, q);",
        "bits": f"ternevo_nonzero(obs, {up}_N_IN, q);",
    }[writer.record.input_kind]
    yield f"""\
TERNEVO_INLINE void @_prepare(const float obs[{up}_N_IN], int8_t *q) {{
  {call}
}}

/* The integers that the first layer takes. */
TERNEVO_FN void @_quantise(const float obs[{up}_N_IN], int8_t q[{up}_N_IN]) {{
  int8_t padded[TERNEVO_PADDED({up}_N_IN)] = {{0}};
  @_prepare(obs, padded);
  ternevo_copy(padded, {up}_N_IN, q);
}}
"""


def _discrete(writer: _Writer) -> Iterable[str]:
    up = writer.upper
    is_aligned = bool(np.any(writer.net.layers[-1].shift))
    argmax = "ternevo_argmax_wide" if is_aligned else "ternevo_argmax"
    yield f"""\
/* The action of a quantised observation. */
TERNEVO_FN int @_act_q(const int8_t q[{up}_N_IN]) {{
  int32_t logits[{up}_N_OUT];
  @_logits_q(q, logits);
  return {argmax}(logits, {up}_N_OUT);
}}

#ifndef TERNEVO_NO_FLOAT"""
    yield from _quantise(writer)
    yield f"""\
/* The action of an observation. */
TERNEVO_FN int @_act(const float obs[{up}_N_IN]) {{
  {_obs_buffer(writer)}
  int32_t sums[TERNEVO_PADDED({up}_WIDTH)];
  @_prepare(obs, q);
  @_forward(q, sums);
  return {argmax}(sums, {up}_N_OUT);
}}
#endif
"""


def _obs_buffer(writer: _Writer) -> str:
    # The quantiser of floats fills whole vectors, the other ways to prepare do not.
    zeros = "" if writer.record.input_kind == "f32" else " = {0}"
    return f"int8_t q[TERNEVO_PADDED({writer.upper}_N_IN)]{zeros};"


def _continuous(writer: _Writer) -> Iterable[str]:
    up, exponent = writer.upper, writer.net.output_exponent
    yield f"""\
/* Actions without floats: action[i] / 2**{up}_ACTION_SHIFT is in [-1, 1], the whole range. */
#define {up}_ACTION_SHIFT {max(exponent, 0)}
TERNEVO_FN void @_act_fixed(const int8_t q[{up}_N_IN], int32_t action[{up}_N_OUT]) {{
  const int32_t one = (int32_t)1 << {min(max(exponent, 0), 30)};
  int i;
  @_logits_q(q, action);
  for (i = 0; i < {up}_N_OUT; i++) {{
    action[i] = action[i] > one ? one : action[i] < -one ? -one : action[i];
  }}
}}

#ifndef TERNEVO_NO_FLOAT"""
    yield from _action_range(writer)
    yield from _quantise(writer)
    yield f"""\
/* The action of a quantised observation. */
TERNEVO_FN void @_act_q(const int8_t q[{up}_N_IN], float action[{up}_N_OUT]) {{
  int32_t logits[{up}_N_OUT];
  @_logits_q(q, logits);
  @_in_range(logits, action);
}}

/* The action of an observation. */
TERNEVO_FN void @_act(const float obs[{up}_N_IN], float action[{up}_N_OUT]) {{
  {_obs_buffer(writer)}
  int32_t sums[TERNEVO_PADDED({up}_WIDTH)];
  @_prepare(obs, q);
  @_forward(q, sums);
  @_in_range(sums, action);
}}
#endif
"""


def _action_range(writer: _Writer) -> Iterable[str]:
    """Write clipped logits, mapped to [low, high] as `integer.in_range` does."""
    low, high = writer.record.low, writer.record.high
    centre, half = (low + high) / np.float32(2), (high - low) / np.float32(2)
    is_plain = bool(np.all(centre == 0) and np.all(half == 1))
    mapped = "    action[i] = unit;"
    if not is_plain:
        for name, values in (("low", low), ("high", high), ("centre", centre), ("half", half)):
            yield writer.table("range", "float", f"@_{name}", values)
        # Through memory, lest the two operations are fused into one that rounds once.
        mapped = """\
    {
      const float low = TERNEVO_F32(@_low + i), high = TERNEVO_F32(@_high + i);
      volatile float part = unit * TERNEVO_F32(@_half + i);
      TERNEVO_FLOAT sum = TERNEVO_F32(@_centre + i) + part;
      action[i] = sum > high ? high : sum < low ? low : sum;
    }"""
    yield f"""\
TERNEVO_INLINE void @_in_range(const int32_t *logits, float *action) {{
  int i;
  for (i = 0; i < {writer.upper}_N_OUT; i++) {{
    float unit = (float)logits[i] * {_float(2.0**-writer.net.output_exponent)};
    unit = unit < 1.0f ? unit : 1.0f;
    unit = unit > -1.0f ? unit : -1.0f;
{mapped}
  }}
}}
"""


# ----------------------------------------------------------------------------------- self test


def _selftest(writer: _Writer, num_vectors: int) -> Iterable[str]:
    up = writer.upper
    vectors = _vectors(writer, num_vectors)
    count = len(vectors.inputs)
    yield "#ifndef TERNEVO_NO_SELFTEST"
    yield writer.table("selftest", "int8_t", "@_test_q", vectors.inputs)
    yield writer.table("selftest", "int32_t", "@_test_logits", vectors.logits)
    has_floats = writer.record.input_kind == "f32"
    if has_floats:
        yield from _quantiser_tables(writer, min(num_vectors, MAX_QUANTISED))
    if writer.fixed:
        yield from _count_tables(writer, min(num_vectors, MAX_QUANTISED))
    also = f", and -{COUNTS_FAILED} - n so are counts" if writer.fixed else ""
    yield f"""\

/* 0: every vector gives its logits. n: vector n - 1 does not. -n: observation n - 1 is quantised
   to other integers{also}. */
TERNEVO_FN int @_selftest(void) {{
  int8_t q[{up}_N_IN];
  int32_t logits[{up}_N_OUT];
  int i, j;
  for (i = 0; i < {count}; i++) {{
    for (j = 0; j < {up}_N_IN; j++) {{
      q[j] = (int8_t)TERNEVO_U8(@_test_q + i * {up}_N_IN + j);
    }}
    @_logits_q(q, logits);
    for (j = 0; j < {up}_N_OUT; j++) {{
      if (logits[j] != (int32_t)TERNEVO_U32(@_test_logits + i * {up}_N_OUT + j)) return i + 1;
    }}
  }}"""
    if has_floats:
        yield _quantiser_test(up, min(num_vectors, MAX_QUANTISED))
    if writer.fixed:
        yield _count_test(up, min(num_vectors, MAX_QUANTISED))
    yield "  return 0;"
    yield "}"
    yield "#endif"


def _quantiser_test(up: str, count: int) -> str:
    return f"""\
#ifndef TERNEVO_NO_FLOAT
  for (i = 0; i < {count}; i++) {{
    float obs[{up}_N_IN];
    for (j = 0; j < {up}_N_IN; j++) {{
      union {{
        uint32_t bits;
        float value;
      }} cell;
      cell.bits = (uint32_t)TERNEVO_U32(@_test_obs + i * {up}_N_IN + j);
      obs[j] = cell.value;
    }}
    @_quantise(obs, q);
    for (j = 0; j < {up}_N_IN; j++) {{
      if (q[j] != (int8_t)TERNEVO_U8(@_test_quantised + i * {up}_N_IN + j)) return -i - 1;
    }}
  }}
#endif"""


def _count_test(up: str, count: int) -> str:
    return f"""\
  for (i = 0; i < {count}; i++) {{
    int16_t raw[{up}_N_IN];
    for (j = 0; j < {up}_N_IN; j++) {{
      raw[j] = (int16_t)TERNEVO_U16(@_test_raw + i * {up}_N_IN + j);
    }}
    @_quantise_i16(raw, q);
    for (j = 0; j < {up}_N_IN; j++) {{
      if (q[j] != (int8_t)TERNEVO_U8(@_test_counts + i * {up}_N_IN + j)) {{
        return -{COUNTS_FAILED} - i - 1;
      }}
    }}
  }}"""


def _count_tables(writer: _Writer, count: int) -> Iterable[str]:
    """Write counts, some at the ends of int16, others where they are not clipped."""
    fixed = writer.fixed
    assert fixed is not None
    rng = np.random.default_rng(int(writer.identity[32:48], 16))
    shape = (count, writer.record.obs_size)
    slope = np.where(fixed.multiplier == 0, 1, fixed.multiplier) / np.ldexp(1.0, fixed.shift)
    near = (rng.uniform(-140, 140, shape) - np.ldexp(fixed.offset, -fixed.shift)) / slope
    ends = rng.choice([adc.LOWEST, adc.HIGHEST], shape)
    raw = np.where(rng.random(shape) < 0.1, ends, np.clip(near, adc.LOWEST, adc.HIGHEST))
    raw = raw.astype(np.int16)
    yield writer.table("selftest", "int16_t", "@_test_raw", raw)
    yield writer.table("selftest", "int8_t", "@_test_counts", adc.quantise(fixed, raw))


def _vectors(writer: _Writer, count: int) -> Vectors:
    """Return the record's vectors, and random ones, zeros and extremes first."""
    record = writer.record
    size = record.obs_size
    low, high = (0, 1) if record.input_kind == "bits" else (-127, 127)
    rng = np.random.default_rng(int(writer.identity[:16], 16))
    own = np.zeros((0, size), np.int8) if record.vectors is None else record.vectors.inputs
    wide = rng.integers(low, high + 1, (count, size))
    scale = rng.choice([1, 8, 64], (count, 1))  # small observations are the usual ones
    random = wide if low == 0 else np.trunc(wide / scale).astype(int)
    extreme = rng.choice([low, high], (1, size))
    inputs = np.concatenate([own, np.zeros((1, size), int), extreme, random])[:count]
    inputs = inputs.astype(np.int8)
    return Vectors(inputs, integer.logits(writer.net, inputs))


def _quantiser_tables(writer: _Writer, count: int) -> Iterable[str]:
    """Write observations as bits: usual ones, ties, and what is not a number."""
    record = writer.record
    rng = np.random.default_rng(int(writer.identity[16:32], 16))
    scale = np.ldexp(1.0, -record.exponent.astype(int))
    halves = rng.integers(-300, 301, (count, record.obs_size)) / 2
    with np.errstate(over="ignore"):
        obs = (record.mean + halves * scale).astype(np.float32)
    special = np.asarray([np.nan, np.inf, -np.inf, -0.0, 1e38, -1e-40], np.float32)
    is_special = rng.random(obs.shape) < 0.2
    obs[is_special] = rng.choice(special, int(is_special.sum()))
    quantised = integer.quantise(record, obs)
    yield "#ifndef TERNEVO_NO_FLOAT"
    yield writer.table("selftest", "uint32_t", "@_test_obs", obs.view(np.uint32))
    yield writer.table("selftest", "int8_t", "@_test_quantised", quantised)
    yield "#endif"


# ----------------------------------------------------------------------------------------- top


def _top(writer: _Writer, layers: Sequence[_Layer]) -> Iterable[str]:
    """Write the beginning, once the bytes of all tables are known."""
    up, record = writer.upper, writer.record
    widths = [layers[0].num_in, *(layer.num_out for layer in layers)]
    lines = (f"   {line}".rstrip() for line in _comment(writer, layers))
    yield "/*" + "\n".join(lines)[2:] + " */"
    yield f"""\
#ifndef {writer.guard}
#define {writer.guard}

#include <stdint.h>

#define {up}_N_IN {record.obs_size}
#define {up}_N_OUT {record.num_outputs}
#define {up}_WIDTH {max(widths[1:])} /* the widest layer */
"""


def _comment(writer: _Writer, layers: Sequence[_Layer]) -> Iterable[str]:
    """Yield the lines of the comment that says what the policy is and how it is used."""
    up, record = writer.upper, writer.record
    pairs = [*c_comment.origin(record, writer.date), *_network(writer, layers)]
    parts = [
        [f"{word:<12} {text}" for word, text in pairs],
        c_comment.observations(record),
        c_comment.counts(writer.counts) if writer.counts else [],
        c_comment.actions(record, up),
        c_comment.calls(record, up, bool(writer.counts)),
        c_sizes.lines(_parts(writer, layers), writer.table_bytes.get("selftest", 0)),
        _MACROS.splitlines(),
    ]
    yield f"A policy with weights in {{-1, 0, +1}}, written by ternevo {__version__}."
    for part in map(list, parts):
        if part:
            yield ""
            yield from part


def _parts(writer: _Writer, layers: Sequence[_Layer]) -> c_sizes.Parts:
    """Return what there is to compile, once the bytes of all tables are known."""
    is_tiny, tables = _is_tiny(layers), writer.table_bytes
    units = {"int8": 0, "int4": 0, "ternary": 0}
    for layer in layers:
        units[layer.activation] = units.get(layer.activation, 0) + layer.num_out
    added = [layer for layer in layers if is_tiny or layer.is_added]
    buffers = 4 * _eights_up(max(layer.num_out for layer in layers)) + _eights_up(layers[0].num_in)
    if not is_tiny:
        buffers += sum(map(_buffer_size, layers))
    return c_sizes.Parts(
        added=sum(layer.size for layer in added),
        rounded=is_tiny * (units["int8"] + units["int4"]),
        compared=is_tiny * units["ternary"],
        has_kernels=not is_tiny,
        tables=sum(tables.get(kernel, 0) for kernel in ("vertical", "plain", "own")),
        copied=sum(layer.num_in + layer.num_out for layer in added),
        buffers=buffers,
        is_continuous=not writer.is_discrete,
        inputs=writer.record.obs_size,
        takes_floats=writer.record.input_kind == "f32",
    )


def _eights_up(count: int) -> int:
    return -(-count // 8) * 8


def _buffer_size(layer: _Layer) -> int:
    """Return the bytes of what a layer takes, and of the sums of fours that a table needs."""
    if layer.takes == "bytes":
        return _eights_up(layer.num_in) + (0 if layer.is_added else 2 * 2 * 81)
    return 4 * layer.planes * -(-layer.num_in // 32)


def _network(writer: _Writer, layers: Sequence[_Layer]) -> list[tuple[str, str]]:
    weights, size = (sum(getattr(layer, x) for layer in layers) for x in ("num_weights", "size"))
    return [
        ("identity", writer.identity),
        ("", "(SHA-256 of the policy file without metadata and vectors)"),
        ("widths", "-".join(map(str, writer.record.sizes))),
        ("activations", ", ".join(layer.activation for layer in layers[:-1]) or "none"),
        ("weights", f"{weights}, {size} not 0"),
    ]


_MACROS = """\
Nothing is allocated, and all is bit for bit what ternevo computes in Python. C99 or C++11.
Before the include, or with -D, you can define
    TERNEVO_NO_FLOAT      leave out all that takes floats
    TERNEVO_NO_SELFTEST   leave out the examples
    TERNEVO_KERNEL        choose how it computes, see below
    TERNEVO_GENERATED 0   no additions in place of tables: often slower, smaller
    TERNEVO_SOFT_FLOAT 1  quantise with integers, as where floats are computed in software
Files that include several policies define them alike. @_logits_q(q, out) gives the int32_t
logits; @_selftest() is 0 if the examples below give exactly what they must."""
