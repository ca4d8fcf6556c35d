"""Layers beyond a chain of dense ones, in C: convolutions, pools, cells, skips, images.

Every layer with weights is a matrix that the kernels of c/runtime.h multiply by what was gathered
for it: all values, the patch of a place, or values and memory. Values between layers are int8 in
one array, `maps`, where those share a place that are not needed at the same time (`plan`). What
gathers and what follows sums is in c/layers.h.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import c_sizes, c_tables, integer
from ternevo.deploy.c_tables import Matrix, Takes, Writer
from ternevo.deploy.integer import IntegerLayer
from ternevo.deploy.record import CELL_TYPES, PerOutput, PolicyRecord

MAX_SIGNS = 2**15
"""Most products of a row that kernels of signs count; a row of more is one of bytes."""

_SHIFTS = (-9, 31)
"""Shifts beyond these change nothing: what is not 0 is clipped, twice the limit, or all is 0."""
_INT_MAX = 32_767


class Step(NamedTuple):
    """A layer in C.

    Attributes:
      layer: what it computes.
      matrix: as the kernels take it; None of a pool.
      source: where its values are, in C.
      target: where it writes; of a cell its memory, and of the last layer "sums".
      added: what a skip adds, or "".
    """

    layer: IntegerLayer
    matrix: Matrix | None
    source: str
    target: str
    added: str

    @property
    def places(self) -> tuple[int, int]:
        """How often a window fits."""
        assert self.layer.window is not None
        return self.layer.window.places(*self.layer.shape[:2])


class Plan(NamedTuple):
    """All layers, and the bytes of `maps`."""

    steps: tuple[Step, ...]
    map_size: int

    @property
    def matrices(self) -> list[Matrix]:
        """Those of the layers with weights."""
        return [step.matrix for step in self.steps if step.matrix is not None]


# ---------------------------------------------------------------------------------------- plan


def plan(record: PolicyRecord, net: integer.IntegerNet) -> Plan:
    """Return where all values are, and how the kernels take each matrix."""
    values, map_size = _places_of_values(record, net)
    matrices = _matrices(record, net)
    steps = []
    for i, layer in enumerate(net.layers):
        added = values[i - layer.skip + 1] if layer.skip else ""
        steps.append(Step(layer, matrices[i], values[i], values[i + 1], added))
    return Plan(tuple(steps), map_size)


def _places_of_values(record: PolicyRecord, net: integer.IntegerNet) -> tuple[list[str], int]:
    """Return where the input of each layer and the logits are, and the bytes of `maps`.

    Value i is what layer i takes. A value has a place from the layer that gives it to the last one
    that takes it or adds it; the first place that is free then is its own.
    """
    count, memory = len(net.layers), 0
    last_use = list(range(count))
    for i, layer in enumerate(net.layers):
        if layer.skip:
            last_use[i - layer.skip + 1] = max(last_use[i - layer.skip + 1], i)
    taken: list[tuple[int, int, int]] = []  # begin, end, last use
    found = ["q" if net.input_shift == 0 else _place(taken, record.sizes[0], -1, last_use[0])]
    for i, layer in enumerate(net.layers[:-1]):
        if layer.type in CELL_TYPES:
            found.append(_at("memory", memory))
            memory += layer.memory_size
        else:
            found.append(_place(taken, record.sizes[i + 1], i, last_use[i + 1]))
    return [*found, "sums"], max((end for _, end, _ in taken), default=0)


def _place(taken: list[tuple[int, int, int]], size: int, born: int, last_use: int) -> str:
    live = sorted((begin, end) for begin, end, last in taken if last >= born)
    start = 0
    for begin, end in live:
        if start + size <= begin:
            break
        start = max(start, end)
    taken.append((start, start + size, last_use))
    return _at("maps", start)


def _at(array: str, start: int) -> str:
    return f"{array} + {start}" if start else array


def _matrices(record: PolicyRecord, net: integer.IntegerNet) -> list[Matrix | None]:
    takes: Takes = "bits" if record.input_kind == "bits" else "bytes"
    largest = 1 if takes == "bits" else 128 >> net.input_shift  # -128 can be passed as an integer
    matrices: list[Matrix | None] = []
    for i, layer in enumerate(net.layers):
        if layer.type == "max_pool":
            matrices.append(None)
            continue
        limit = integer.GRIDS.get(layer.activation, (0, 0))[1]
        most = max(largest, limit) if layer.type in CELL_TYPES else largest
        how = _takes(layer, takes)
        named = (i, layer.weights, layer.bias, layer.activation)
        matrices.append(Matrix(*named, 0, (), how, most, can_be_added=False))
        takes, largest = c_tables.TAKES_OF.get(layer.activation, "bytes"), limit
    return matrices


def is_needed(net: integer.IntegerNet) -> bool:
    """Return whether a chain of dense layers has what only kernels of layers run."""
    return any(
        layer.functions is not None
        or c_tables.is_wide_valued(layer.weights)
        or c_tables.is_sparse(layer.weights)
        for layer in net.layers
        if layer.weights.size
    )


def _takes(layer: IntegerLayer, before: Takes) -> Takes:
    """Return how a kernel takes what a layer multiplies; `before` is how its values come."""
    kinds = {before}
    if c_tables.is_sparse(layer.weights):
        return "sparse"
    if c_tables.is_wide_valued(layer.weights):
        return "wide"
    if layer.type in CELL_TYPES:
        kinds.add(c_tables.TAKES_OF.get(layer.activation, "bytes"))
    if 2 * layer.weights.shape[1] > MAX_SIGNS:
        return "bytes"
    if len(kinds) == 1:
        return before
    return "trits" if kinds == {"signs", "trits"} else "bytes"


# ---------------------------------------------------------------------------------------- code


def code(writer: Writer, layers: Plan) -> Iterable[str]:
    """Write tables, a function for each matrix, and `@_forward`, from integers to logits."""
    most = max(layers.map_size, writer.record.obs_size, *(m.num_in for m in layers.matrices))
    if most > _INT_MAX:
        yield "#if UINTPTR_MAX <= 0xffffu"
        yield f'#error "ternevo: this policy has {most} values in a layer, too many for 16 bits"'
        yield "#endif"
    for step in layers.steps:
        if step.matrix is not None:
            yield from c_tables.of_kernels(writer, step.matrix)
            yield from _function(writer, step, step.matrix)
    yield from _forward(writer, layers)
    if writer.record.memory_size:
        yield from _reset(writer)


def _function(writer: Writer, step: Step, matrix: Matrix) -> Iterable[str]:
    """Write what takes the gathered integers of a matrix to what follows its sums."""
    layer, i = step.layer, matrix.index
    yield from _own_tables(writer, layer, i)
    added = "const int8_t *added, " if step.added else ""
    if layer.activation == "none":
        yield f"TERNEVO_FN void @_layer{i}(int8_t *q, int32_t *sums) {{"
    else:
        yield f"TERNEVO_FN void @_layer{i}(int8_t *q, {added}int8_t *y) {{"
        yield f"  int32_t sums[TERNEVO_PADDED({matrix.num_out})];"
    if layer.type == "gated":
        yield f"  int8_t candidates[{layer.memory_size}];"
    yield from _sums(matrix)
    yield from _follow(step, i)
    yield "}"


def _own_tables(writer: Writer, layer: IntegerLayer, i: int) -> Iterable[str]:
    """Write what differs between outputs that have exponents or functions of their own."""
    tables = (
        ("a" if layer.activation == "none" else "s", layer.shift),
        ("g", layer.gate_shift),
        ("h", layer.threshold),
    )
    for letter, values in tables:
        if isinstance(values, np.ndarray):
            type_ = {"a": "uint8_t", "h": "int32_t"}.get(letter, "int8_t")
            yield writer.table("own", type_, f"@_{letter}{i}", _for_c(letter, values))
    if layer.functions is not None:
        yield writer.table("own", "uint8_t", f"@_f{i}", layer.functions)


def _for_c(letter: str, values: NDArray[np.int32]) -> NDArray[np.int32]:
    if letter == "a":
        return -values
    return np.minimum(values, 2**30) if letter == "h" else np.clip(values, *_SHIFTS)


def _sums(matrix: Matrix) -> Iterable[str]:
    i, count, rows = matrix.index, matrix.num_in, matrix.num_out
    if matrix.takes == "wide":
        yield f"  ternevo_dot_wide(@_w{i}, @_b{i}, q, {count}, {rows}, sums);"
        return
    if matrix.takes == "sparse":
        weights = f"@_w{i}" if matrix.is_wide_valued else "0"  # trits have none
        yield f"  ternevo_dot_sparse(@_p{i}, {weights}, @_b{i}, q, {rows}, sums);"
        return
    if matrix.takes == "bytes":
        raised = f"ternevo_raised(q, {count})"
        yield f"  ternevo_dot(@_w{i}, @_b{i}, {raised}, {count}, {rows}, sums);"
        return
    yield f"  ternevo_word s[{matrix.planes} * TERNEVO_WORDS({count})];"
    if matrix.takes == "bits":
        yield f"  ternevo_take_bits(q, {count}, s);"
    else:
        yield f"  ternevo_pack(q, {count}, {matrix.planes}, s);"
    rest = f"s, {matrix.planes}, {count}, {rows}, {matrix.bits}, sums"
    yield f"  ternevo_count(@_w{i}, @_b{i}, {matrix.factor}, {rest});"


def _follow(step: Step, i: int) -> Iterable[str]:
    yield from _activation(step, i)
    layer = step.layer
    if layer.functions is not None:
        limit = integer.GRIDS[layer.activation][1]
        yield f"  ternevo_to_functions(@_f{i}, {len(layer.weights)}, {limit}, y);"


def _activation(step: Step, i: int) -> Iterable[str]:
    layer = step.layer
    out = layer.memory_size or len(layer.weights)
    if layer.activation == "none":
        if isinstance(layer.shift, np.ndarray):
            yield f"  ternevo_align(sums, {out}, @_a{i});"
        return
    to = "candidates" if layer.type == "gated" else "y"
    if layer.activation == "sign":
        yield f"  ternevo_to_signs(sums, {out}, {to});"
    elif layer.activation == "ternary":
        yield f"  ternevo_to_trits(sums, {out}, {_either('h', layer.threshold, i)}, {to});"
    else:
        limit, added = integer.GRIDS[layer.activation][1], "added" if step.added else "0"
        shifts = _either("s", layer.shift, i)
        yield f"  ternevo_to_grid(sums, {out}, {shifts}, {limit}, {added}, {to});"
    if layer.type == "gated":
        bits, shifts = integer.GRIDS[layer.activation][0], _either("g", layer.gate_shift, i)
        yield f"  ternevo_gate(sums + {out}, {out}, {shifts}, {bits}, candidates, y);"


def _either(letter: str, value: PerOutput, i: int) -> str:
    """Return two arguments: a table, or 0 and the number of all outputs."""
    if isinstance(value, np.ndarray):
        return f"@_{letter}{i}, 0"
    return f"0, {_for_c(letter, np.array([value], np.int32))[0]}"


def _forward(writer: Writer, layers: Plan) -> Iterable[str]:
    record, shift = writer.record, writer.net.input_shift
    memory = "int8_t *memory, " if record.memory_size else ""
    widest = max(matrix.num_in for matrix in layers.matrices)
    yield f"TERNEVO_FN void @_forward({memory}const int8_t *q, int32_t *sums) {{"
    if layers.map_size:
        yield f"  TERNEVO_MAPS int8_t maps[{layers.map_size}];"
    yield f"  int8_t taken[TERNEVO_PADDED({widest})] = {{0}};"
    if any(step.layer.window for step in layers.steps):
        yield "  int y, x;"
    if shift:
        yield "  int i;"
        yield f"  for (i = 0; i < {record.obs_size}; i++) maps[i] = (int8_t)(q[i] >> {shift});"
    for i, step in enumerate(layers.steps):
        yield f"  /* {i}: {_said(step.layer)} */"
        yield from _call(step, i)
    yield "}\n"


def _call(step: Step, i: int) -> Iterable[str]:
    layer = step.layer
    if layer.window is not None:
        yield from _windows(step, i)
        return
    size = math.prod(layer.shape)
    yield f"  ternevo_copy({step.source}, {size}, taken);"
    if layer.type in CELL_TYPES:
        yield f"  ternevo_copy({step.target}, {layer.memory_size}, taken + {size});"
    added = f"{step.added}, " if step.added else ""
    yield f"  @_layer{i}(taken, {added}{step.target});"


def _windows(step: Step, i: int) -> Iterable[str]:
    layer, window = step.layer, step.layer.window
    assert window is not None
    (height, width, channels), (down, across) = layer.shape, step.places
    out = channels if step.matrix is None else step.matrix.num_out
    less = f" - {window.padding}" if window.padding else ""
    at = f"{step.source}, {height}, {width}, {channels}"
    at += f", {window.stride} * y{less}, {window.stride} * x{less}"
    at += f", {window.height}, {window.width}"
    place = f"(y * {across} + x) * {out}"
    yield f"  for (y = 0; y < {down}; y++) {{"
    yield f"    for (x = 0; x < {across}; x++) {{"
    if step.matrix is None:
        yield f"      ternevo_pooled({at}, {step.target} + {place});"
    else:
        added = f"{step.added} + {place}, " if step.added else ""
        yield f"      ternevo_patch({at}, taken);"
        yield f"      @_layer{i}(taken, {added}{step.target} + {place});"
    yield "    }"
    yield "  }"


def _reset(writer: Writer) -> Iterable[str]:
    """Write what the memory begins with: numbers of a layer that are all 0, or all 1."""
    at = 0
    yield "/* The memory with which an episode begins. */"
    yield f"TERNEVO_FN void @_reset(int8_t memory[{writer.upper}_MEMORY]) {{"
    yield "  int i;"
    for layer in writer.net.layers:
        first, at = at, at + layer.memory_size
        if layer.memory_size:
            value = int(writer.net.memory[first])
            yield f"  for (i = {first}; i < {at}; i++) memory[i] = {value};"
    yield "}\n"


# ------------------------------------------------------------------------------------- comment


def described(layers: Plan) -> list[tuple[str, str]]:
    """Return the rows of the comment that say what each layer is."""
    said = [f"{i} {_said(step.layer)}" for i, step in enumerate(layers.steps)]
    return [("layers" if i == 0 else "", text) for i, text in enumerate(said)]


def _said(layer: IntegerLayer) -> str:
    words, window = [layer.type.replace("_", " ")], layer.window
    if window is not None:
        words.append(f"{window.height}x{window.width} stride {window.stride}")
        words += [f"padding {window.padding}"] if window.padding else []
    parts = [" ".join(words)]
    if layer.type != "max_pool":
        parts.append(f"{layer.memory_size or len(layer.weights)} outputs")
    parts += [layer.activation] if layer.activation != "none" else []
    parts += ["and a function of each"] if layer.functions is not None else []
    parts += [f"and what the layer {layer.skip - 1} before takes"] if layer.skip > 1 else []
    parts += ["and what it takes"] if layer.skip == 1 else []
    return ", ".join(parts)


def products(layers: Plan) -> int:
    """Return how many weights an evaluation takes, zeros among them."""
    return sum(_places(step) * step.matrix.num_weights for step in layers.steps if step.matrix)


def _places(step: Step) -> int:
    return math.prod(step.places) if step.layer.window else 1


def parts_of(writer: Writer, layers: Plan) -> c_sizes.Parts:
    """Return what there is to compile, once the bytes of all tables are known."""
    tables = writer.table_bytes
    return c_sizes.Parts(
        added=0,
        rounded=0,
        compared=0,
        has_kernels=True,
        tables=sum(tables.get(kernel, 0) for kernel in ("vertical", "plain", "own")),
        copied=0,
        buffers=_buffers(layers),
        is_continuous=not writer.is_discrete,
        inputs=writer.record.obs_size,
        takes_floats=writer.record.input_kind == "f32",
        calls=len(layers.matrices) + any(step.matrix is None for step in layers.steps),
        maps=layers.map_size,
    )


def _buffers(layers: Plan) -> int:
    """Return the bytes of gathered integers, of the largest sums and of what their kernel takes."""
    gathered = _eights_up(max(matrix.num_in for matrix in layers.matrices))
    return gathered + max(map(_layer_size, layers.matrices))


def _layer_size(matrix: Matrix) -> int:
    sums = 4 * _eights_up(matrix.num_out) + matrix.num_out
    if matrix.takes in ("wide", "sparse"):
        return sums
    if matrix.takes == "bytes":
        return sums + 2 * 2 * 81  # sums of fours that a table needs
    return sums + 8 * matrix.planes * -(-matrix.num_in // 64)


def _eights_up(count: int) -> int:
    return -(-count // 8) * 8
