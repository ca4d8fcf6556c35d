"""The policy file .tvp: a fixed header, packed weights, and a check sum. NumPy only.

Little-endian, one contiguous file, every size determined by the header. `decode` refuses whatever
`encode` would not have written, byte for byte, so the SHA-256 of a file is the policy's identity.
Nothing in a file is executed, and no size is believed before it is checked. The layout is
documented in docs/file_format.md.
"""

import dataclasses
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import codes, forward, functions, integer, living
from ternevo.deploy.codes import TRITS_PER_BYTE as TRITS_PER_BYTE, pack_trits as pack_trits
from ternevo.deploy.life import LIFE_KINDS, Life, Rules
from ternevo.deploy.reader import PolicyFormatError as PolicyFormatError, Reader
from ternevo.deploy.record import (
    ACTIVATIONS,
    CELL_TYPES,
    IMAGE_TYPES,
    INPUT_KINDS,
    LAYER_TYPES,
    OUTPUT_KINDS,
    WEIGHT_KINDS,
    InputKind,
    Layer,
    LayerType,
    Moments,
    OutputKind,
    PolicyRecord,
    Shape,
    Squares,
    Vectors,
    WeightName,
    Window,
)
from ternevo.names import check
from ternevo.reading import read_bytes
from ternevo.settings.policies.settings import (
    FUNCTIONS,
    LARGEST_LEVELS,
    exponent_spread,
    largest_sum,
)

Parsed = TypeVar("Parsed")

MAGIC = b"\x89TVP\r\n\x1a\n"
HEADER = struct.Struct("<8sBBHIHHBBBBbB3H")
LAYER = struct.Struct("<BBBBHbb4s")
LAYER_2 = struct.Struct("<BBBBHbb5B3s")
"""A layer of version 2, with its window and its skip."""
CHUNK = struct.Struct("<4sI")
DENSE = 1
COMPACT = 1
"""Flag of a file: each layer is in its smallest storage."""
HAS_BIAS, HAS_OUTPUTS, HAS_FUNCTIONS = 1, 2, 4
"""Flags of a layer: it has biases; each of its outputs has an exponent; and a function."""
CHUNKS = (b"LIFE", b"META", b"MOMT", b"MOMD", b"TEST")
"""Optional parts, each at most once, in this order, and not both MOMT and MOMD.

Older files have MOMT; new ones have MOMD. A policy that learns while it acts has LIFE, which
readers that do not know how must refuse.
"""
LIFE_HEAD = struct.Struct("<BBH")
"""Of LIFE: the kind, the number of options, the number of tensors."""
RULES_HEAD = struct.Struct("<BbHI")
"""Of a tensor in LIFE: the kind of values, their exponent, rows and columns."""

MAX_BYTES = 16 * 2**20
MAX_WIDTH = 4096
"""Largest number of a layer's outputs, and in version 1 of observations."""
MAX_LAYERS = 16
MAX_LAYERS_2 = 48
MAX_WEIGHTS = 2**24
MAX_OBSERVATION = 65_535
MAX_FAN_IN = 65_536
MAX_VALUES = 2**18
"""Largest number of values between two layers of version 2."""
MAX_WINDOW = 16
"""Largest height, width and stride of a window."""
MAX_EVALUATION = 2**30
"""Products in one evaluation."""
MAX_METADATA = 65_536
MAX_VECTORS = 65_535
MAX_PRODUCTS = 2**28
"""In all test vectors together: every reader of a file computes them."""
MAX_BOUND = np.float32(1e30)
"""Largest bound of an action: sums and differences of two bounds must not overflow."""
EXPONENT_LIMIT = 24
"""Largest size of an exponent of weights or biases."""
EXPONENT_SPREAD = 8
"""How far the exponents of a layer's outputs may be apart: integer logits must fit into int32.

Of integers of some bits it is less, as their sums are larger: `exponent_spread`.
"""
INPUT_EXPONENT_LIMIT = 120
"""The limit of `ternevo.arithmetic.observation`, which says why."""
MAX_SHIFT = 8
assert 127 * (MAX_FAN_IN + 2**8) < 2**24  # so that sums of trits are exact in float32
assert largest_sum("int8", 127, MAX_FAN_IN) < 2**30  # so that int32 holds sums, also as C rounds


def load(path: str | Path) -> PolicyRecord:
    """Read a policy file.

    Raises:
      FileNotFoundError, NotAFile: there is no such regular file.
      PolicyFormatError: it is not a policy of this version, or damaged.
    """
    return read(path, decode)


def read(path: str | Path, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Return `parse` of the bytes of a file; no more than the allowed size is read.

    Raises:
      FileNotFoundError, NotAFile: there is no such regular file.
      PolicyFormatError: that of `parse`, with the path.
    """
    data = read_bytes(path, MAX_BYTES)
    try:
        return parse(data)
    except PolicyFormatError as error:
        raise PolicyFormatError(error.offset, error.reason, path) from error


# -------------------------------------------------------------------------------------- writing


def encode(record: PolicyRecord) -> bytes:
    """Return the file's bytes.

    Raises:
      PolicyFormatError: the record breaks a rule of the format, or has values that would not
        come back as they are.
    """
    _check_shapes(record)
    is_second = needs_second(record)
    try:
        body = b"".join(
            [
                *_layer_records(record, is_second),
                *_input_table(record),
                *_action_table(record),
                *(_payload(layer, record.is_compact) for layer in record.layers),
                *_chunks(record),
            ]
        )
        header = _header(record, HEADER.size + len(body) + 4, 1 + is_second)
    except (struct.error, OverflowError, ValueError) as error:
        raise PolicyFormatError(0, f"the policy does not fit into a file: {error}") from error
    data = header + body
    data += struct.pack("<I", zlib.crc32(data))
    found = decode(data)  # the rules are written down there, and only there
    if not _equal(found, record):
        raise PolicyFormatError(0, "the policy has values that the format cannot hold")
    return data


def smallest(record: PolicyRecord) -> PolicyRecord:
    """Return the record with layers in their smallest storages, if an eighth of the file is saved.

    Else it is laid out plainly, as readers of version 1.0 know it.
    """
    plain = dataclasses.replace(record, is_compact=False)
    saved = sum(len(_plain(layer)) - len(_packed(layer)) for layer in record.layers)
    pays = 8 * saved >= len(encode(plain))
    return dataclasses.replace(record, is_compact=True) if pays else plain


class Sizes(NamedTuple):
    """Bytes of weights and biases, and of the exponents and functions of outputs.

    Attributes:
      stored: in the file.
      plain: with a code for each number.
      bound: with the code that the shares of numbers allow, see `codes.entropy`; storages that see
        what neighbours are may be below it.
    """

    stored: int
    plain: int
    bound: int


def sizes(record: PolicyRecord) -> Sizes:
    """Return what the weights of a policy take."""
    layers = [layer for layer in record.layers if layer.type != "max_pool"]
    own = sum(len(layer.weights) if layer.has_outputs else 1 for layer in layers)
    own += sum(len(layer.functions) for layer in layers if layer.functions is not None)
    bits = sum(codes.entropy(layer.kind, _values(layer)) for layer in layers)
    plain = sum(len(_plain(layer)) for layer in layers)
    packed = sum(len(_packed(layer)) for layer in layers) if record.is_compact else plain
    return Sizes(packed + own, plain + own, math.ceil(bits / 8) + own)


def needs_second(record: PolicyRecord) -> bool:
    """Return whether version 1 of the format cannot hold the policy."""
    return (
        record.input_kind == "pixels"
        or record.types != ("dense",)
        or any(layer.skip for layer in record.layers)
        or len(record.layers) > MAX_LAYERS
        or record.obs_size > MAX_WIDTH
    )


def _check_shapes(record: PolicyRecord) -> None:
    """Refuse arrays that do not fit together: the bytes would mean something else."""
    try:
        taken = record.shapes
    except ValueError as error:
        raise PolicyFormatError(0, str(error)) from error
    inputs = record.obs_size if record.input_kind == "f32" else 0
    outputs = record.num_outputs if record.output_kind == "continuous" else 0
    wanted = {"mean": inputs, "exponent": inputs, "low": outputs, "high": outputs}
    shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        (name, getattr(record, name).shape, (size,)) for name, size in wanted.items()
    ]
    for i, (layer, shape) in enumerate(zip(record.layers, taken, strict=False)):
        rows = layer.weights.shape[0]
        shapes.append((f"weights of layer {i}", layer.weights.shape, (rows, _fan_in(layer, shape))))
        if layer.bias is not None:
            shapes.append((f"bias of layer {i}", layer.bias.shape, (rows,)))
        if isinstance(layer.exponent, np.ndarray):
            shapes.append((f"exponent of layer {i}", layer.exponent.shape, (rows,)))
        if layer.functions is not None:
            shapes.append((f"functions of layer {i}", layer.functions.shape, (rows,)))
        if layer.type == "gated":
            shapes.append((f"rows of layer {i}", (rows,), (2 * layer.size,)))
    for name, found, shape in shapes:
        if found != shape:
            raise PolicyFormatError(0, f"{name} has shape {found}; must be {shape}")


def _fan_in(layer: Layer, shape: Shape) -> int:
    """Return what a row of a layer multiplies, of values of a shape."""
    if layer.type == "max_pool":
        return 0
    if layer.type == "convolution" and layer.window is not None:
        return layer.window.height * layer.window.width * shape[2]
    return math.prod(shape) + layer.memory_size


def _equal(a: Any, b: Any) -> bool:
    """Return whether two records are equal, apart from the dtypes of their arrays."""
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        return type(a) is type(b) and all(_equal(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a == b


def _header(record: PolicyRecord, total: int, major: int) -> bytes:
    return HEADER.pack(
        MAGIC,
        major,
        int(record.is_compact or record.has_few_bits),
        COMPACT * record.is_compact,
        total,
        record.obs_size,
        record.num_outputs,
        len(record.layers),
        _code("kind of input", record.input_kind, INPUT_KINDS),
        record.observation_bits,
        _code("kind of output", record.output_kind, OUTPUT_KINDS),
        record.output_shift,
        record.observation_shift,
        *(record.obs_shape or (0, 0, 0)),
    )


def _layer_records(record: PolicyRecord, is_second: bool) -> list[bytes]:
    """Return the record of each layer, in the form of the version."""
    records = []
    for layer, shape in zip(record.layers, record.shapes[1:], strict=True):
        flags = HAS_BIAS * (layer.bias is not None) + HAS_OUTPUTS * layer.has_outputs
        first = (
            1 + _code("type of layer", layer.type, LAYER_TYPES),
            _code("activation", layer.activation, ACTIVATIONS),
            _code("kind of weights", layer.kind, WEIGHT_KINDS),
            flags + HAS_FUNCTIONS * (layer.functions is not None),
            shape[-1],
            0 if layer.has_outputs else layer.exponent,
            layer.bias_exponent,
        )
        window = layer.window or (0, 0, 0, 0)
        second = LAYER_2.pack(*first, *window, layer.skip, b"") if is_second else b""
        records.append(second or LAYER.pack(*first, b""))
    return records


def _code(what: str, name: str, table: tuple[str, ...]) -> int:
    return table.index(check(what, name, table))


def _input_table(record: PolicyRecord) -> list[bytes]:
    return [record.mean.astype("<f4").tobytes(), record.exponent.astype(np.int8).tobytes()]


def _action_table(record: PolicyRecord) -> list[bytes]:
    return [record.low.astype("<f4").tobytes(), record.high.astype("<f4").tobytes()]


def _payload(layer: Layer, is_compact: bool) -> bytes:
    """Exponents and functions of outputs, if any; then weights row by row and biases, in one."""
    own = b""
    if isinstance(layer.exponent, np.ndarray):
        own = layer.exponent.astype(np.int8).tobytes()
    if layer.functions is not None:
        own += layer.functions.astype(np.int8).tobytes()
    return own + (_packed(layer) if is_compact else _plain(layer))


def _packed(layer: Layer) -> bytes:
    return b"" if layer.type == "max_pool" else codes.pack(layer.kind, layer.weights, layer.bias)


def _plain(layer: Layer) -> bytes:
    return codes.pack_plain(layer.kind, _values(layer))


def _values(layer: Layer) -> NDArray:
    """Return weights row by row, and then biases."""
    values = layer.weights.ravel()
    return values if layer.bias is None else np.concatenate([values, layer.bias])


def _chunks(record: PolicyRecord) -> list[bytes]:
    chunks = []
    if record.life is not None:
        chunks.append((b"LIFE", _life(record.life)))
    if record.metadata:
        pairs = sorted((k.encode(), v.encode()) for k, v in record.metadata.items())
        texts = (text for pair in pairs for text in pair)
        chunks.append((b"META", b"".join(struct.pack("<H", len(t)) + t for t in texts)))
    if isinstance(record.moments, Squares):
        values = [np.array([record.moments.count]), record.moments.m2]
        chunks.append((b"MOMT", np.concatenate(values).astype("<f4").tobytes()))
    elif record.moments is not None:
        values = [record.moments.count, record.moments.deviation]
        chunks.append((b"MOMD", np.concatenate(values).astype("<f4").tobytes()))
    if record.vectors is not None:
        inputs, logits = record.vectors.inputs, record.vectors.logits
        pieces = (inputs.astype(np.int8).tobytes(), logits.astype("<i4").tobytes())
        chunks.append((b"TEST", struct.pack("<I", len(inputs)) + b"".join(pieces)))
    return [CHUNK.pack(tag, len(data)) + data for tag, data in chunks]


def _life(life: Life) -> bytes:
    """Return the part of a policy that learns: options, then tensors row by row."""
    kind = _code("kind of life", life.kind, LIFE_KINDS)
    options = struct.pack(f"<{len(life.options)}i", *life.options)
    head = LIFE_HEAD.pack(kind, len(life.options), len(life.rules))
    return head + options + b"".join(map(_rules, life.rules))


def _rules(rules: Rules) -> bytes:
    is_float = rules.values.dtype == np.float32
    kind = WEIGHT_KINDS.index("float" if is_float else "ternary")
    head = RULES_HEAD.pack(kind, rules.exponent, *rules.values.shape)
    flat = rules.values.ravel()
    return head + (flat.astype("<f4").tobytes() if is_float else pack_trits(flat))


# -------------------------------------------------------------------------------------- reading


def decode(data: bytes) -> PolicyRecord:
    """Return what the bytes hold; `encode` of it gives the same bytes.

    Raises:
      PolicyFormatError: they are not a policy of this version, or damaged.
    """
    reader = Reader(data)
    head = _read_header(reader)
    heads = _read_layer_records(reader, head)
    is_float = head.input_kind == "f32"
    mean = reader.floats(head.obs_size if is_float else 0, "mean")
    exponent = reader.exponents(head.obs_size if is_float else 0, "input", INPUT_EXPONENT_LIMIT)
    low, high = _read_range(reader, head.num_outputs if head.output_kind == "continuous" else 0)
    layers = tuple(_read_payload(reader, h, head.is_compact) for h in heads)
    record = PolicyRecord(
        head.input_kind,
        head.observation_bits,
        head.observation_shift,
        head.output_shift,
        mean,
        exponent,
        head.output_kind,
        low,
        high,
        layers,
        obs_shape=head.obs_shape,
        is_compact=head.is_compact,
    )
    return _read_chunks(reader, record, sum(h.products for h in heads))


@dataclasses.dataclass(frozen=True)
class _Head:
    major: int
    obs_size: int
    num_outputs: int
    num_layers: int
    input_kind: InputKind
    observation_bits: int
    output_kind: OutputKind
    output_shift: int
    observation_shift: int
    obs_shape: Shape
    minor: int
    is_compact: bool


@dataclasses.dataclass(frozen=True)
class _LayerHead:
    """What the record of a layer says, and what follows from the layers before it.

    `before` is the activation of the grid that its inputs are on: that of the last layer which is
    not a pool, and "" for the observation.
    """

    type: LayerType
    kind: WeightName
    activation: str
    has_bias: bool
    has_outputs: bool
    has_functions: bool
    out: int
    exponent: int
    bias_exponent: int
    window: Window | None
    skip: int
    shape: Shape
    before: str

    @property
    def rows(self) -> int:
        if self.type == "max_pool":
            return 0
        return 2 * self.out if self.type == "gated" else self.out

    @property
    def fan_in(self) -> int:
        if self.type == "max_pool":
            return 0
        if self.window is not None:
            return self.window.height * self.window.width * self.shape[2]
        return math.prod(self.shape) + (self.out if self.type in CELL_TYPES else 0)

    @property
    def count(self) -> int:
        return self.rows * (self.fan_in + self.has_bias)

    @property
    def shape_after(self) -> Shape:
        if self.window is None:
            return (self.out,)
        return (*self.window.places(*self.shape[:2]), self.out)

    @property
    def grid_after(self) -> str:
        return self.before if self.type == "max_pool" else self.activation

    @property
    def products(self) -> int:
        """Products of an evaluation; comparisons of a pool count as much."""
        places = math.prod(self.shape_after[:-1])
        if self.type == "max_pool" and self.window is not None:
            return places * self.out * self.window.height * self.window.width
        return places * self.rows * self.fan_in


def _read_frame(reader: Reader) -> tuple[Any, ...]:
    """Check what frames the file, and return the fields of its header."""
    data = reader.data
    reader.need(len(data) <= MAX_BYTES, 0, f"larger than {MAX_BYTES} bytes")
    if data[: len(MAGIC)] != MAGIC:
        is_own = data[:2] == b"PK"  # a .npz, see ternevo/policies/policy_archive.py
        what = "; it is a .npz, of a --policy that only JAX and its module can run"
        reader.refuse(0, f"not a .tvp policy file{what if is_own else ''}")
    reader.need(len(data) >= HEADER.size + LAYER.size + 4, len(data), "the file is cut off")
    reader.take(HEADER.size, "header")
    _, major, minor, flags, total, *rest = HEADER.unpack_from(data)
    if major not in (1, 2) or minor > 1:
        reader.refuse(8, f"version {major}.{minor}; this ternevo reads 1.0, 1.1, 2.0 and 2.1")
    reader.need(flags <= COMPACT * minor, 10, f"unknown flags {flags:#06x}")
    reader.need(total == len(data), 12, f"{total} bytes were written, and there are {len(data)}")
    check_sum = struct.unpack_from("<I", data, len(data) - 4)[0]
    found = zlib.crc32(data[:-4])
    if found != check_sum:
        reader.refuse(len(data) - 4, f"check sum {found:08x} instead of {check_sum:08x}")
    return (major, minor, bool(flags), *rest)


def _read_header(reader: Reader) -> _Head:
    major, minor, is_compact, obs_size, num_outputs, num_layers, *rest = _read_frame(reader)
    inputs, bits, outputs, out_shift, shift, *image = rest
    most = MAX_WIDTH if major == 1 else MAX_OBSERVATION
    reader.need(1 <= obs_size <= most, 16, f"{obs_size} inputs; must be 1 to {most}")
    reason = f"{num_outputs} outputs; must be 1 to {MAX_WIDTH}"
    reader.need(1 <= num_outputs <= MAX_WIDTH, 18, reason)
    most = MAX_LAYERS if major == 1 else MAX_LAYERS_2
    reader.need(1 <= num_layers <= most, 20, f"{num_layers} layers; must be 1 to {most}")
    kinds = len(INPUT_KINDS) - (major == 1)  # pixels came with version 2
    reader.need(inputs < kinds, 21, f"kind of input {inputs}; must be 0 to {kinds - 1}")
    largest = 1 if INPUT_KINDS[inputs] == "bits" else 8
    reader.need(1 <= bits <= largest, 22, f"{bits} observation bits; must be 1 to {largest}")
    reader.need(outputs < len(OUTPUT_KINDS), 23, f"kind of output {outputs}; must be 0 to 1")
    reader.need(0 <= out_shift <= MAX_SHIFT, 24, f"output shift {out_shift}; 0 to {MAX_SHIFT}")
    reader.need(shift <= MAX_SHIFT, 25, f"observation shift {shift}; 0 to {MAX_SHIFT}")
    reader.need(major == 2 or not any(image), 26, "reserved bytes are not 0")
    reason = f"an image of {image[0]} by {image[1]} by {image[2]} is not {obs_size} inputs"
    reader.need(not any(image) or math.prod(image) == obs_size, 26, reason)
    return _Head(
        major,
        obs_size,
        num_outputs,
        num_layers,
        INPUT_KINDS[inputs],
        bits,
        OUTPUT_KINDS[outputs],
        out_shift,
        shift,
        tuple(image) if any(image) else (),
        minor,
        is_compact,
    )


def _read_layer_records(reader: Reader, head: _Head) -> list[_LayerHead]:
    heads: list[_LayerHead] = []
    for _ in range(head.num_layers):
        heads.append(_read_layer_record(reader, head, heads))
    if heads[-1].out != head.num_outputs:
        reader.refuse(18, f"{head.num_outputs} outputs, and the last layer has {heads[-1].out}")
    if sum(h.count for h in heads) > MAX_WEIGHTS:
        reader.refuse(20, f"more than {MAX_WEIGHTS} weights")
    needs_minor = head.is_compact or any(h.kind in LARGEST_LEVELS for h in heads)
    is_older = f"version {head.major}.1 of a policy that version {head.major}.0 can hold"
    reader.need(needs_minor or not head.minor, 8, is_older)
    if head.major == 1:
        return heads
    many = sum(h.products for h in heads) > MAX_EVALUATION
    reader.need(not many, 20, f"an evaluation takes more than {MAX_EVALUATION} products")
    sees = heads[0].type in IMAGE_TYPES
    reader.need(sees or not head.obs_shape, 26, "the first layer does not take an image")
    is_first = head.input_kind != "pixels" and head.obs_size <= MAX_WIDTH
    is_first = is_first and head.num_layers <= MAX_LAYERS
    is_first = is_first and all(h.type == "dense" and h.skip == 0 for h in heads)
    reader.need(not is_first, 8, "version 2.0 of a policy that version 1.0 can hold")
    return heads


def _read_layer_record(reader: Reader, head: _Head, heads: list[_LayerHead]) -> _LayerHead:
    """Read a layer; `heads` are those before it."""
    at, is_last = reader.at, len(heads) + 1 == head.num_layers
    if head.major == 1:
        *fields, geometry = LAYER.unpack(reader.take(LAYER.size, "layer"))
        window, skip, zeros = Window(*geometry), 0, b""
    else:
        *fields, height, width, stride, padding, skip, zeros = LAYER_2.unpack(
            reader.take(LAYER_2.size, "layer")
        )
        window = Window(height, width, stride, padding)
    types = 1 if head.major == 1 else len(LAYER_TYPES)
    reader.need(1 <= fields[0] <= types, at, f"unknown type of layer {fields[0]}")
    is_dense = fields[0] == DENSE
    reader.need(is_dense or not is_last, at, "the last layer must be dense")
    found = _read_layer_start(reader, at, fields, is_last, head.minor)
    shape, before = head.obs_shape or (head.obs_size,), ""
    if heads:
        shape, before = heads[-1].shape_after, heads[-1].grid_after
    found = dataclasses.replace(found, shape=shape, before=before, skip=skip)
    if found.type in IMAGE_TYPES:
        found = dataclasses.replace(found, window=window)
        _check_window(reader, at, found)
    else:
        what = "dense layer" if is_dense else "cell"
        reader.need(not any(window), at + 8, f"a {what} has no geometry")
    if found.kind in LARGEST_LEVELS:
        _check_sum(reader, at, head, found)
    if head.major == 2:
        _check_sizes(reader, at, found)
        _check_skip(reader, at + 12, found, heads, is_last)
        reader.need(not any(zeros), at + 13, "reserved bytes are not 0")
    return found


def _read_layer_start(
    reader: Reader, at: int, fields: list[int], is_last: bool, minor: int
) -> _LayerHead:
    """Check the part of a record that both versions have; a pool has 0 there but for its size."""
    type_, activation, kind, flags, out, exponent, bias_exponent = fields
    reader.need(activation < len(ACTIVATIONS), at + 1, f"activation {activation}; must be 0 to 6")
    is_pool = LAYER_TYPES[type_ - 1] == "max_pool"
    if is_pool:
        reader.need(activation == 0, at + 1, "a pool has no activation")
        reader.need(kind == 0 and flags == 0, at + 2, "a pool has no weights")
    else:
        reader.need((activation == 0) == is_last, at + 1, "only the last layer has no activation")
    most = len(WEIGHT_KINDS) - 1 if minor else 2
    reader.need(kind <= most, at + 2, f"kind of weights {kind}; must be 0 to {most}")
    reader.need(flags < 2 * HAS_FUNCTIONS, at + 3, f"layer flags {flags}; must be 0 to 7")
    has_bias, has_outputs = bool(flags & HAS_BIAS), bool(flags & HAS_OUTPUTS)
    has_functions = bool(flags & HAS_FUNCTIONS)
    has_grid = LAYER_TYPES[type_ - 1] in ("dense", "elman")
    has_grid = has_grid and ACTIVATIONS[activation] in functions.GRIDS
    reason = "functions need a dense layer or an Elman cell, on int8, int4 or ternary"
    reader.need(has_grid or not has_functions, at + 3, reason)
    is_float = WEIGHT_KINDS[kind] == "float"
    reader.need(not (has_outputs and is_float), at + 3, "float weights have no exponents")
    reader.need(1 <= out <= MAX_WIDTH, at + 4, f"{out} outputs; must be 1 to {MAX_WIDTH}")
    limit = 0 if is_float or has_outputs or is_pool else EXPONENT_LIMIT
    reader.need(abs(exponent) <= limit, at + 6, f"exponent {exponent}; at most {limit} in size")
    limit = EXPONENT_LIMIT if has_bias and not is_float else 0
    reason = f"exponent of biases {bias_exponent}; at most {limit} in size"
    reader.need(abs(bias_exponent) <= limit, at + 7, reason)
    return _LayerHead(
        LAYER_TYPES[type_ - 1],
        WEIGHT_KINDS[kind],
        ACTIVATIONS[activation],
        has_bias,
        has_outputs,
        has_functions,
        out,
        exponent,
        bias_exponent,
        window=None,
        skip=0,
        shape=(),
        before="",
    )


def _check_window(reader: Reader, at: int, found: _LayerHead) -> None:
    """Check the window of a convolution or a pool against the image that it takes."""
    window, shape = found.window, found.shape
    assert window is not None
    reader.need(len(shape) == 3, at, "a convolution or a pool takes an image")
    names = ("height", "width", "stride")
    for i, (name, size) in enumerate(zip(names, window, strict=False)):
        reason = f"{name} {size} of a window; must be 1 to {MAX_WINDOW}"
        reader.need(1 <= size <= MAX_WINDOW, at + 8 + i, reason)
    most = min(window.height, window.width) - 1
    reader.need(window.padding <= most, at + 11, f"padding {window.padding}; must be 0 to {most}")
    is_pool = found.type == "max_pool"
    is_sign = found.before == "sign" and not is_pool
    reader.need(not (is_sign and window.padding), at + 11, "signs have no 0 to pad with")
    reason = f"a window of {window.height} by {window.width} does not fit an image of {shape[0]}"
    reader.need(window.fits(*shape[:2]), at + 8, f"{reason} by {shape[1]}")
    reader.need(not is_pool or found.out == shape[2], at + 4, f"a pool gives {shape[2]} channels")


def _check_sum(reader: Reader, at: int, head: _Head, found: _LayerHead) -> None:
    """Check that logits of integers of some bits stay below 2**24, whatever the weights are.

    An int32 holds the sums of all other layers, see `MAX_FAN_IN`.
    """
    if found.activation != "none":
        return
    full_scale = integer.GRIDS.get(found.before, (0, 1))[1]
    if not found.before:
        full_scale = max(2 ** (head.observation_bits - 1) - 1, 1)
    most = largest_sum(found.kind, full_scale, found.fan_in)
    reader.need(most < 2**24, at, f"{found.fan_in} inputs of {found.kind} weights: sums of {most}")


def _check_sizes(reader: Reader, at: int, found: _LayerHead) -> None:
    reason = f"{found.fan_in} inputs of an output; at most {MAX_FAN_IN}"
    reader.need(found.fan_in <= MAX_FAN_IN, at, reason)
    values = math.prod(found.shape_after)
    reader.need(values <= MAX_VALUES, at + 4, f"a layer of {values} values; at most {MAX_VALUES}")


def _check_skip(
    reader: Reader, at: int, found: _LayerHead, heads: list[_LayerHead], is_last: bool
) -> None:
    """Check that what a skip adds is there, on the same grid, and of the same shape."""
    skip = found.skip
    if skip == 0:
        return
    takes = found.type in ("dense", "convolution") and not is_last
    reader.need(takes, at, "only a convolution or a dense layer before the last has a skip")
    reader.need(not found.has_functions, at, "a skip of a layer with functions")
    no_grid = found.activation in ("sign", "ternary")
    reader.need(not no_grid, at, f"a skip before the activation {found.activation}")
    reader.need(skip <= len(heads), at, f"skip {skip} of layer {len(heads)}; at most {len(heads)}")
    source = (*heads, found)[len(heads) - skip + 1]
    reader.need(source.before == found.activation, at, "a skip adds values of another grid")
    reader.need(source.shape == found.shape_after, at, "a skip adds values of another shape")


def _read_range(reader: Reader, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    start = reader.at
    low = reader.floats(count, "low of action")
    high = reader.floats(count, "high of action")
    bad = np.flatnonzero(low > high)
    if bad.size:
        reader.refuse(start + 4 * int(bad[0]), f"action {bad[0]} has low above high")
    bad = np.flatnonzero((low < -MAX_BOUND) | (high > MAX_BOUND))
    if bad.size:
        at = start + 4 * int(bad[0])
        reader.refuse(at, f"action {bad[0]} has a bound above {MAX_BOUND:g} in size")
    return low, high


def _read_payload(reader: Reader, head: _LayerHead, is_compact: bool) -> Layer:
    exponent = _read_exponents(reader, head) if head.has_outputs else head.exponent
    own_functions = _read_functions(reader, head) if head.has_functions else None
    if is_compact and head.type != "max_pool":
        values = codes.read(reader, head.kind, codes.Shape(head.rows, head.fan_in, head.has_bias))
    else:
        values = codes.read_plain(reader, head.kind, head.count)
    split = head.rows * head.fan_in
    weights = values[:split].reshape(head.rows, head.fan_in)
    return Layer(
        weights,
        values[split:] if head.has_bias else None,
        head.kind,
        head.activation,
        exponent,
        head.bias_exponent,
        head.type,
        head.window,
        head.skip,
        own_functions,
    )


def _read_functions(reader: Reader, head: _LayerHead) -> NDArray[np.int8]:
    start, most = reader.at, len(FUNCTIONS) - 1
    found = np.frombuffer(reader.take(head.rows, "functions"), np.uint8)
    bad = np.flatnonzero(found > most)
    if bad.size:
        reason = f"function {found[bad[0]]} of output {bad[0]}; must be 0 to {most}"
        reader.refuse(start + int(bad[0]), reason)
    return found.astype(np.int8)


def _read_exponents(reader: Reader, head: _LayerHead) -> NDArray[np.int8]:
    start, most = reader.at, exponent_spread(head.kind)
    exponents = reader.exponents(head.rows, "output", EXPONENT_LIMIT)
    apart = int(exponents.max()) - int(exponents.min())
    reader.need(apart <= most, start, f"exponents of outputs are {apart} apart; at most {most}")
    return exponents


def _read_chunks(reader: Reader, record: PolicyRecord, products: int) -> PolicyRecord:
    """Read the optional parts; an evaluation takes so many products."""
    expected = list(CHUNKS)
    while reader.at < reader.end:
        at = reader.at
        tag, size = CHUNK.unpack(reader.take(CHUNK.size, "chunk"))
        reader.need(tag in CHUNKS, at, f"unknown chunk {tag.hex()}")
        reader.need(tag in expected, at, f"chunk {tag.decode()} is out of order, or there twice")
        expected = expected[expected.index(tag) + 1 :]
        if size > reader.end - reader.at:
            reader.refuse(at + 4, f"chunk of {size} bytes, and {reader.end - reader.at} are left")
        if tag == b"LIFE":
            record = _read_life(reader, record, size)
        elif tag == b"META":
            record = dataclasses.replace(record, metadata=_read_metadata(reader, size))
        elif tag == b"MOMT":
            values = _read_moments(reader, record, size, 1)
            moments = Squares(float(values[0]), values[1:])
            record = dataclasses.replace(record, moments=moments)
        elif tag == b"MOMD":
            reader.need(record.moments is None, at, "moments are there twice")
            count, deviation = np.split(_read_moments(reader, record, size, record.obs_size), 2)
            record = dataclasses.replace(record, moments=Moments(count, deviation))
        else:
            vectors = _read_vectors(reader, record, size, products)
            record = dataclasses.replace(record, vectors=vectors)
    return record


def _read_life(reader: Reader, record: PolicyRecord, size: int) -> PolicyRecord:
    """Read how a policy learns; refuse what does not fit its layers."""
    at, stop = reader.at, reader.at + size
    kind, num_options, count = LIFE_HEAD.unpack(reader.take(LIFE_HEAD.size, "LIFE"))
    reader.need(kind < len(LIFE_KINDS), at, f"unknown kind of life {kind}")
    data = reader.take(4 * num_options, "options of LIFE")
    options = struct.unpack(f"<{num_options}i", data)
    rules = tuple(_read_rules(reader) for _ in range(count))
    reader.need(reader.at == stop, at - 4, f"LIFE takes {reader.at - at} bytes, not {size}")
    found = dataclasses.replace(record, life=Life(LIFE_KINDS[kind], options, rules))
    try:
        living.check(found)
    except ValueError as error:
        reader.refuse(at, str(error))
    return found


def _read_rules(reader: Reader) -> Rules:
    at = reader.at
    kind, exponent, rows, columns = RULES_HEAD.unpack(reader.take(RULES_HEAD.size, "tensor"))
    name = WEIGHT_KINDS[kind] if kind < len(WEIGHT_KINDS) else "unknown"
    reader.need(name in ("ternary", "float"), at, f"kind of values {kind}; must be 0 or 2")
    reader.need(0 < rows * columns <= MAX_WEIGHTS, at + 2, f"a tensor of {rows} by {columns}")
    read = (
        reader.floats
        if name == "float"
        else lambda count, _: codes.read_plain(reader, "ternary", count)
    )
    return Rules(read(rows * columns, "value").reshape(rows, columns), exponent)


def _read_metadata(reader: Reader, size: int) -> dict[str, str]:
    """Read pairs of texts, each with its length in front; names ascend by their bytes."""
    reader.need(0 < size <= MAX_METADATA, reader.at - 4, f"{size} bytes of metadata")
    stop = reader.at + size
    pairs, previous = {}, b""
    while reader.at < stop:
        at = reader.at
        name, value = _read_text(reader, stop), _read_text(reader, stop)
        reader.need(name > previous, at, "names of metadata are empty, or do not ascend")
        try:
            pairs[name.decode()] = value.decode()
        except UnicodeDecodeError:
            reader.refuse(at, "metadata are not UTF-8")
        previous = name
    return pairs


def _read_text(reader: Reader, stop: int) -> bytes:
    at = reader.at
    reader.need(stop - at >= 2, at, "metadata are cut off")
    size = struct.unpack("<H", reader.take(2, "metadata"))[0]
    reader.need(stop - reader.at >= size, at, "metadata are cut off")
    return reader.take(size, "metadata")


def _read_moments(
    reader: Reader, record: PolicyRecord, size: int, counts: int
) -> NDArray[np.float32]:
    """Read `counts` counts, then a number for each input."""
    wanted = 4 * (counts + record.obs_size)
    reader.need(record.input_kind == "f32", reader.at - 8, "moments of inputs that are not floats")
    reader.need(size == wanted, reader.at - 4, f"moments take {wanted} bytes, not {size}")
    at = reader.at
    values = reader.floats(counts + record.obs_size, "moment")
    negative = np.flatnonzero(np.signbit(values))
    if negative.size:
        reader.refuse(at + 4 * int(negative[0]), f"moment {negative[0]} is negative")
    return values


def _read_vectors(reader: Reader, record: PolicyRecord, size: int, products: int) -> Vectors:
    """Read the examples; refuse them if the policy computes other logits.

    `products` are those of an evaluation.
    """
    at = reader.at
    reader.need(record.is_integer, at - 8, "test vectors of a policy with floats")
    reader.need(record.life is None, at - 8, "test vectors of a policy that learns while it acts")
    reader.need(size >= 4, at - 4, "test vectors are cut off")
    count = struct.unpack("<I", reader.take(4, "test vectors"))[0]
    reader.need(1 <= count <= MAX_VECTORS, at, f"{count} test vectors; must be 1 to {MAX_VECTORS}")
    reason = f"{count} test vectors take more than 2**28 products"
    reader.need(count * products <= MAX_PRODUCTS, at, reason)
    per_vector = record.obs_size + 4 * record.num_outputs
    reader.need(size == 4 + count * per_vector, at - 4, f"{count} test vectors do not take {size}")
    start = reader.at
    raw = reader.take(count * record.obs_size, "inputs")
    inputs = np.frombuffer(raw, np.int8).reshape(count, record.obs_size).copy()
    low, high = (0, 1) if record.input_kind == "bits" else (-127, 127)
    bad = np.flatnonzero((inputs < low) | (inputs > high))
    if bad.size:
        reader.refuse(start + int(bad[0]), f"input {inputs.flat[bad[0]]} is not {low} to {high}")
    start = reader.at
    raw = reader.take(4 * count * record.num_outputs, "logits")
    logits = np.frombuffer(raw, "<i4").reshape(count, record.num_outputs).astype(np.int32)
    found = _tried(record, inputs)
    wrong = np.flatnonzero(found != logits)
    if wrong.size:
        reader.refuse(start + 4 * int(wrong[0]), "the policy does not give the logits of its test")
    return Vectors(inputs, logits)


def _tried(record: PolicyRecord, inputs: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the logits of the examples, computed in pieces."""
    net = integer.compile_integer(record)
    if net.memory.size:
        return integer.episode(net, inputs)
    found = np.empty((len(inputs), record.num_outputs), np.int32)
    run = lambda rows: integer.logits(net, inputs[rows])  # noqa: E731
    return forward.in_pieces(record.sizes, len(inputs), run, found)
