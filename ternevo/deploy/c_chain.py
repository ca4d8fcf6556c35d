"""A chain of dense layers in C: what one layer gives is what the next kernel takes.

Signs go from layer to layer as bits. A policy of few weights is written out as additions.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ternevo.deploy import c_sizes, c_tables, integer
from ternevo.deploy.c_tables import Matrix, Takes, Writer
from ternevo.deploy.record import PolicyRecord

TINY_WEIGHTS = 256
"""Most non-zero weights of a policy that is written out whole, except for AVX."""

SHIFTS = (-7, 25)
"""Shifts beyond these change nothing: all but 0 is clipped, or all is 0, as |sum| < 2**20."""


def layers_of(record: PolicyRecord, net: integer.IntegerNet) -> list[Matrix]:
    """Return the layers as the kernels take them."""
    takes: Takes = "bits" if record.input_kind == "bits" else "bytes"
    largest = 1 if takes == "bits" else 128 >> net.input_shift  # -128 can be passed as an integer
    layers = []
    for i, layer in enumerate(net.layers):
        threshold = np.minimum(layer.threshold, 2**24)
        if not isinstance(layer.threshold, np.ndarray):
            threshold = int(threshold)
        thresholds = {"sign": (0,), "ternary": (-threshold, threshold + 1)}
        shift = np.clip(layer.shift, *SHIFTS)
        if layer.activation == "none":
            shift = np.asarray(layer.shift)  # logits are not clipped
        shift = shift if isinstance(layer.shift, np.ndarray) else int(shift)
        layers.append(
            Matrix(
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
        takes = c_tables.TAKES_OF.get(layer.activation, "bytes")
        largest = integer.GRIDS.get(layer.activation, (0, 0))[1]
    return layers


def _is_tiny(layers: Sequence[Matrix]) -> bool:
    return sum(layer.size for layer in layers) <= TINY_WEIGHTS


def tables(writer: Writer, layers: Sequence[Matrix]) -> Iterable[str]:
    """Write the tables of all layers."""
    if _is_tiny(layers):
        yield "#if !TERNEVO_GENERATED || TERNEVO_X86"
    for layer in layers:
        yield from c_tables.of_kernels(writer, layer)
        yield from c_tables.of_outputs(writer, layer)
    if _is_tiny(layers):
        yield "#endif"


def additions(writer: Writer, layers: Sequence[Matrix]) -> Iterable[str]:
    """Write out small layers: where all is constant, a sum costs an instruction for a weight."""
    if _is_tiny(layers):
        yield from _tiny(writer, layers)
        return
    for layer in layers:
        yield from c_tables.added(layer)


def _tiny(writer: Writer, layers: Sequence[Matrix]) -> Iterable[str]:
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
            found = c_tables.sum_of(layer, r, f"v{layer.index}_")
            yield c_tables.statement(f"const {layer.sum_type} a{layer.index}_{r} = ", found)
            value = _activated(layer, r, f"a{layer.index}_{r}")
            yield f"  const {following.sum_type} v{layer.index + 1}_{r} = {value};"
    last = layers[-1]
    for r in range(last.num_out):
        found, shift = c_tables.sum_of(last, r, f"v{last.index}_"), -last.shift_of(r)
        aligned = f"(int32_t)({found}) * {2**shift}" if shift else found
        yield c_tables.statement(f"sums[{r}] = ", aligned)
    yield "}"
    yield "#endif"


def _used(layers: Sequence[Matrix]) -> list[list[int]]:
    """Return the inputs of each layer on which a logit depends: compilers warn of others."""
    used, rows = [], list(range(layers[-1].num_out))
    for layer in reversed(layers):
        rows = np.flatnonzero(layer.weights[rows].any(0)).tolist()
        used.append(rows)
    return used[::-1]


def _activated(layer: Matrix, row: int, value: str) -> str:
    if layer.activation == "sign":
        return f"{value} < 0"
    if layer.activation == "ternary":
        low, high = (np.broadcast_to(x, layer.num_out)[row] for x in layer.thresholds)
        return f"({value} >= {high}) - ({value} < {low})"
    of_int = "_int" if layer.sum_type == "int" else ""
    return f"ternevo_round{of_int}({value}, {layer.shift_of(row)}, {layer.limit})"


# -------------------------------------------------------------------------------------- layers


def forward(writer: Writer, layers: Sequence[Matrix]) -> Iterable[str]:
    """Write the function from quantised observations to logits."""
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


def _buffer(layer: Matrix) -> str:
    if layer.takes == "bytes":
        return f"ternevo_byte x{layer.index}[TERNEVO_PADDED({layer.num_in})];"
    return f"ternevo_word s{layer.index}[{layer.planes} * TERNEVO_WORDS({layer.num_in})];"


def _dot(layer: Matrix) -> Iterable[str]:
    i = layer.index
    if layer.is_added:
        yield "#if TERNEVO_GENERATED && !TERNEVO_SIMD"
        yield f"  @_added{i}(x{i}, sums);"
        yield "#else"
    yield f"  ternevo_dot(@_w{i}, @_b{i}, x{i}, {layer.num_in}, {layer.num_out}, sums);"
    if layer.is_added:
        yield "#endif"
    yield from _activate(layer)


def _count(layer: Matrix) -> Iterable[str]:
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


def _activate(layer: Matrix) -> Iterable[str]:
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


def parts_of(writer: Writer, layers: Sequence[Matrix]) -> c_sizes.Parts:
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


def _buffer_size(layer: Matrix) -> int:
    """Return the bytes of what a layer takes, and of the sums of fours that a table needs."""
    if layer.takes == "bytes":
        return _eights_up(layer.num_in) + (0 if layer.is_added else 2 * 2 * 81)
    return 4 * layer.planes * -(-layer.num_in // 32)
