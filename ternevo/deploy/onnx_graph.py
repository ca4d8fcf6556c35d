"""A policy as an ONNX graph that computes exactly the integers of `integer.py`.

Sums are taken in float32, which is exact as long as they stay below 2**24, so every runtime, in
any order of summation, returns the same logits; a policy with larger sums is refused. A policy with
floats (a float twin, or the activation tanh or relu) is written with the same operators and agrees
up to rounding.

Images are [batch, channels, height, width] inside, as Conv and MaxPool want them; observations and
weights stay in the order [height, width, channels] of the file.

The package onnx is imported when a graph is made, and only then.
"""

import dataclasses
import hashlib
import json
import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ternevo import __version__
from ternevo.deploy import capabilities, integer, tvp
from ternevo.deploy.record import Layer, PolicyRecord, Shape
from ternevo.installation import load
from ternevo.settings.policies.settings import FUNCTIONS, bias_shift_limit

WeightFormat = Literal["int8", "int2"]

VERSIONS = {"int8": (13, 8), "int2": (25, 13)}
"""Opset and IR version of a graph, the lowest that has what it needs."""

MEMORY, NEXT_MEMORY = "memory", "next_memory"
"""Names of the memory before a step, an input, and after it, an output."""


@dataclasses.dataclass(frozen=True)
class _Matrix:
    """Weights of a layer in the numbers of its graph: `sums = x @ weights.T + bias`.

    Attributes:
      weights: [rows, in], int8 or float32.
      bias: float32 [rows].
      scale: of int8 and int4, sums times this are on the grid; of tanh and relu, and of the last
        layer of a policy with floats, sums times this are units. Of the last layer of integers,
        sums times this are logits. Of gates, sums times this are on the grid of the gate, less its
        half. float32 [], or [rows] for one of each row.
      threshold: of ternary; the same.
    """

    weights: NDArray
    bias: NDArray[np.float32]
    scale: NDArray[np.float32]
    threshold: NDArray[np.float32]

    def of_images(self) -> "_Matrix":
        """Return it with numbers of rows that fit [batch, rows, height, width]."""
        spread = lambda x: x[:, None, None] if x.ndim else x  # noqa: E731
        return dataclasses.replace(self, scale=spread(self.scale), threshold=spread(self.threshold))


@dataclasses.dataclass(frozen=True)
class _Step:
    """A layer of the graph.

    Attributes:
      layer: as in the record.
      shape: of the values that it takes.
      matrix: None for a pool; of "gated" that of the candidates.
      gate: of "gated", that of the gates.
      memory_scale: what the memory of a cell is multiplied by, before its weights.
    """

    layer: Layer
    shape: Shape
    matrix: _Matrix | None
    gate: _Matrix | None = None
    memory_scale: float = 1.0


def to_bytes(record: PolicyRecord, weights: WeightFormat = "int8") -> bytes:
    """Return the file of a policy's graph; see `to_onnx`."""
    return to_onnx(record, weights).SerializeToString(deterministic=True)


def to_onnx(record: PolicyRecord, weights: WeightFormat = "int8") -> "onnx.ModelProto":  # pyright: ignore
    """Return the graph from observations to actions.

    Input "obs" [batch, in]: float32, or int8 where the policy takes integers ("i8"). Outputs
    "action", int64 [batch] or float32 [batch, out], and "logits" [batch, out], int32, or
    float32 for a policy with floats. A policy with memory has the input "memory" too, int8
    [batch, memory] or float32 for one with floats, and the output "next_memory", which goes into
    the next step; the first memory, one row, is JSON in the metadata "first_memory".

    Args:
      record: the policy.
      weights: how trits are stored. "int8" runs in every runtime (opset 13); "int2" takes a
        quarter of the bytes and needs opset 25, such as onnxruntime 1.24. Float weights stay
        floats.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run, or sums that
        float32 would round.
      ModuleNotFoundError: onnx is not installed.
      ImportError: the installed onnx has no 2-bit integers.
      ValueError: `weights` is neither "int8" nor "int2".
    """
    capabilities.check_export(record, "onnx")
    if weights == "int2" and any(layer.kind in ("int8", "int4") for layer in record.layers):
        raise ValueError(
            "--onnx_weights int2 holds trits and signs; weights of more bits need int8"
        )
    if weights not in VERSIONS:
        raise ValueError(f"weights are stored as {' or '.join(VERSIONS)}, not {weights!r}")
    onnx = _import_onnx(weights)
    graph = _Graph(onnx, weights)
    values, carried = _layers(graph, record, _observations(graph, record))
    _action(graph, record, values)
    if carried:
        _next_memory(graph, record, carried)
    model = graph.model(_metadata(record))
    onnx.checker.check_model(model, full_check=True)
    return model


def session(model: bytes | str) -> Any:
    """Return a session of onnxruntime that runs a model, or the file of one, on one core.

    Raises:
      ModuleNotFoundError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ONNX models are run by the package onnxruntime: pip install onnxruntime",
            name="onnxruntime",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _import_onnx(weights: str) -> Any:
    load("an ONNX graph", "onnx", "onnx.checker")
    onnx = load("an ONNX graph", "onnx", "onnx")
    opset, _ = VERSIONS[weights]
    if onnx.defs.onnx_opset_version() < opset:
        raise ImportError(
            f"weights={weights!r} needs opset {opset}, and onnx {onnx.__version__} ends at "
            f'{onnx.defs.onnx_opset_version()}: pip install "onnx>=1.20", or use weights="int8"'
        )
    return onnx


class _Graph:
    """The nodes and constants of a graph, as they are added."""

    def __init__(self, onnx: Any, weights: str):
        self.onnx, self.weights = onnx, weights
        self.nodes, self.inputs, self.outputs = [], [], []
        self.constants = {}

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        output = output or f"{op}{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], **attributes))
        return output

    def cast(self, values: str, dtype: str, output: str = "") -> str:
        """Add a conversion to the ONNX type of that name."""
        kind = getattr(self.onnx.TensorProto, dtype)
        return self.add("Cast", values, output=output, to=kind)

    def constant(self, values: Any) -> str:
        """Return the name of a float32 constant; equal ones are stored once."""
        array = np.asarray(values, np.float32)
        key = (array.shape, array.tobytes())
        return self._store(key, "FLOAT", array.shape, array.astype("<f4").tobytes())

    def integers(self, *values: int) -> str:
        """Return the name of an int64 constant [n], such as a shape."""
        array = np.asarray(values, "<i8")
        return self._store(("INT64", values), "INT64", array.shape, array.tobytes())

    def split(self, values: str, sizes: list[int]) -> list[str]:
        """Add a node that cuts [batch, n] into pieces of these sizes; return their names."""
        if len(sizes) == 1:
            return [values]
        names = [f"Split{len(self.nodes)}_{i}" for i in range(len(sizes))]
        inputs = [values, self.integers(*sizes)]
        self.nodes.append(self.onnx.helper.make_node("Split", inputs, names, axis=1))
        return names

    def matrix(self, values: NDArray) -> str:
        """Return the name of weights as float32, stored in as few bytes as possible."""
        if values.dtype != np.int8:
            return self.constant(values)
        packed = values.tobytes() if self.weights == "int8" else _two_bits(values)
        stored = self._store(len(self.constants), self.weights.upper(), values.shape, packed)
        return self.cast(stored, "FLOAT")

    def _store(self, key: Any, dtype: str, shape: tuple[int, ...], raw: bytes) -> str:
        if key not in self.constants:
            kind = getattr(self.onnx.TensorProto, dtype)
            name = f"c{len(self.constants)}"
            self.constants[key] = self.onnx.helper.make_tensor(name, kind, shape, raw, raw=True)
        return self.constants[key].name

    def declare(self, where: list, name: str, dtype: str, *shape: str | int) -> str:
        """Add an input or an output."""
        kind = getattr(self.onnx.TensorProto, dtype)
        where.append(self.onnx.helper.make_tensor_value_info(name, kind, shape))
        return name

    def model(self, metadata: dict[str, str]) -> Any:
        """Return the complete model."""
        helper = self.onnx.helper
        opset, ir_version = VERSIONS[self.weights]
        constants = list(self.constants.values())
        model = helper.make_model(
            helper.make_graph(self.nodes, "policy", self.inputs, self.outputs, constants),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=ir_version,
            producer_name="ternevo",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        return model


def _two_bits(values: NDArray[np.int8]) -> bytes:
    """Pack four integers into a byte, the first into its lowest bits."""
    digits = np.zeros(-(-values.size // 4) * 4, np.uint8)
    digits[: values.size] = values.ravel() & 3
    return (digits.reshape(-1, 4) << np.arange(0, 8, 2, dtype=np.uint8)).sum(1, np.uint8).tobytes()


# --------------------------------------------------------------------------- what is in the graph


def _steps(record: PolicyRecord) -> list[_Step]:
    if not record.is_integer:
        return _float_steps(record)
    net = integer.compile_integer(record)
    steps = []
    for i, (layer, compiled) in enumerate(zip(record.layers, net.layers, strict=True)):
        if compiled.largest_sum >= integer.EXACT:
            raise capabilities.UnsupportedError(
                f"--to onnx takes sums in float32, exact below 2**24, and those of layer {i} may "
                f"be {compiled.largest_sum:,}; --to tvp, c and numpy take int32"
            )
        matrix = _Matrix(
            compiled.weights,
            compiled.bias.astype(np.float32),
            _power_of_two(-compiled.shift),
            np.asarray(compiled.threshold, np.float32),
        )
        gate_scale = _power_of_two(-compiled.gate_shift)
        steps.append(_step(layer, compiled.shape, matrix, gate_scale))
    return steps


def _step(
    layer: Layer,
    shape: Shape,
    matrix: _Matrix,
    gate_scale: NDArray[np.float32],
    memory_scale: float = 1.0,
) -> _Step:
    """Return a layer of the graph; `matrix` has the rows of candidates and gates alike."""
    if layer.type == "max_pool":
        return _Step(layer, shape, None)
    if layer.type == "convolution":
        return _Step(layer, shape, matrix.of_images())
    if layer.type != "gated":
        return _Step(layer, shape, matrix, memory_scale=memory_scale)
    rows = slice(layer.size), slice(layer.size, None)
    own, gates = (
        dataclasses.replace(matrix, weights=matrix.weights[r], bias=matrix.bias[r]) for r in rows
    )
    return _Step(
        layer, shape, own, dataclasses.replace(gates, scale=gate_scale), memory_scale=memory_scale
    )


def _float_steps(record: PolicyRecord) -> list[_Step]:
    """Return the layers of a policy with floats: the arithmetic of the JAX policy."""
    bits, full_scale = integer.input_grid(record)
    is_rounded = True  # the bias of a layer that takes integers is an integer
    steps = []
    for layer, shape in zip(record.layers, record.shapes, strict=False):
        if layer.type == "max_pool":
            steps.append(_Step(layer, shape, None))
            continue
        unit_bits = layer.exponents + bits
        bias = _float_bias(layer, full_scale, is_rounded)
        had_integers, is_rounded = is_rounded, layer.activation in integer.GRIDS
        memory_scale = 2.0**bits if had_integers and not is_rounded else 1.0  # in the inputs' unit
        bits, full_scale = integer.GRIDS.get(layer.activation, (0, 1))
        if layer.activation == "none":
            unit_bits += record.output_shift
        own = gates = unit_bits
        if layer.type == "gated" and layer.has_outputs:
            own, gates = np.split(np.asarray(unit_bits), 2)
        matrix = _Matrix(layer.weights, bias, _power_of_two(bits - own), _power_of_two(own - 1))
        steps.append(_step(layer, shape, matrix, _power_of_two(bits - gates - 1), memory_scale))
    return steps


def _power_of_two(exponent: Any) -> NDArray[np.float32]:
    return np.asarray(np.ldexp(np.float32(1), np.int32(exponent)))


def _float_bias(layer: Layer, full_scale: int, is_rounded: bool) -> NDArray[np.float32]:
    if layer.bias is None:
        return np.zeros(len(layer.weights), np.float32)
    shift = np.minimum(layer.exponents - layer.bias_exponent, bias_shift_limit(layer.kind))
    size = full_scale * _power_of_two(shift)
    return (layer.bias * (np.rint(size) if is_rounded else size)).astype(np.float32)


def _observations(graph: _Graph, record: PolicyRecord) -> str:
    """Add the quantiser; return its integers, as float32."""
    dtype = "INT8" if record.input_kind == "i8" else "FLOAT"
    obs = graph.declare(graph.inputs, "obs", dtype, "batch", record.obs_size)
    if record.input_kind == "bits":
        is_one = graph.add("Greater", obs, graph.constant(0.5))
        return graph.add("Where", is_one, graph.constant(1), graph.constant(0))
    if record.input_kind == "i8":
        values = graph.add("Max", graph.cast(obs, "FLOAT"), graph.constant(-127))
    elif record.input_kind == "pixels":
        values = graph.add("Sub", obs, graph.constant(integer.MEANS["pixels"]))
        values = graph.add("Round", _clipped(graph, values))
    else:
        values = _quantise(graph, record, obs)
    shift = integer.input_shift(record)
    if shift == 0:
        return values
    return graph.add("Floor", graph.add("Mul", values, graph.constant(2.0**-shift)))


def _quantise(graph: _Graph, record: PolicyRecord, obs: str) -> str:
    scale = np.ldexp(np.float32(1), record.exponent.astype(np.int32))
    centred = graph.add("Sub", obs, graph.constant(record.mean))
    scaled = graph.add("Mul", centred, graph.constant(scale))
    # Round goes half to even, by definition of the operator.
    return graph.add("Round", _clipped(graph, scaled))


def _clipped(graph: _Graph, values: str) -> str:
    # Clip may return anything for NaN, so it must not see one.
    is_nan = graph.add("IsNaN", values)
    values = graph.add("Where", is_nan, graph.constant(0), values)
    return graph.add("Clip", values, graph.constant(-127), graph.constant(127))


def _layers(graph: _Graph, record: PolicyRecord, values: str) -> tuple[str, list[str]]:
    """Add all layers; return what the last gives, and the memory of each cell after the step."""
    if record.obs_shape:
        values = graph.add("Reshape", values, graph.integers(-1, *record.obs_shape))
        values = graph.add("Transpose", values, perm=[0, 3, 1, 2])
    memories = iter(_memories(graph, record))
    taken, carried = [], []
    for step in _steps(record):
        is_cell = step.layer.is_cell
        if len(step.shape) == 3 and step.layer.window is None:
            values = graph.add("Reshape", values, graph.integers(-1, math.prod(step.shape)))
        taken.append(values)
        memory = next(memories) if is_cell else ""
        added = taken[-step.layer.skip] if step.layer.skip else ""
        values = _layer(graph, step, values, memory, added)
        if is_cell:
            carried.append(values)
    return values, carried


def _memories(graph: _Graph, record: PolicyRecord) -> list[str]:
    """Declare the memory before a step; return that of each cell, as float32."""
    sizes = [layer.memory_size for layer in record.layers if layer.is_cell]
    if not sizes:
        return []
    dtype = "INT8" if record.is_integer else "FLOAT"
    memory = graph.declare(graph.inputs, MEMORY, dtype, "batch", record.memory_size)
    return graph.split(graph.cast(memory, "FLOAT") if record.is_integer else memory, sizes)


def _next_memory(graph: _Graph, record: PolicyRecord, carried: list[str]) -> None:
    dtype = "INT8" if record.is_integer else "FLOAT"
    values = carried[0] if len(carried) == 1 else graph.add("Concat", *carried, axis=1)
    graph.cast(values, dtype, output=NEXT_MEMORY)
    graph.declare(graph.outputs, NEXT_MEMORY, dtype, "batch", record.memory_size)


def _layer(graph: _Graph, step: _Step, values: str, memory: str, added: str) -> str:
    """Add a layer; `memory` is that of a cell, and `added` what a skip adds."""
    layer = step.layer
    if step.matrix is None:
        return graph.add("MaxPool", values, **_geometry(layer))
    if layer.type == "convolution":
        return _activate(graph, layer, step.matrix, _convolved(graph, step, values), added)
    if layer.is_cell:
        scaled = memory
        if step.memory_scale != 1:
            scaled = graph.add("Mul", memory, graph.constant(step.memory_scale))
        values = graph.add("Concat", values, scaled, axis=1)
    sums = _product(graph, step, step.matrix, values)
    found = _activate(graph, layer, step.matrix, sums, added)
    if layer.functions is not None:
        found = _shaped(graph, layer, layer.functions, found)
    if step.gate is None:
        return found
    gates = _product(graph, step, step.gate, values)
    return _gated(graph, layer, step.gate, found, gates, memory)


def _geometry(layer: Layer) -> dict[str, Any]:
    assert layer.window is not None
    height, width, stride, padding = layer.window
    return {
        "kernel_shape": [height, width],
        "strides": [stride, stride],
        "pads": [padding] * 4,
    }


def _convolved(graph: _Graph, step: _Step, values: str) -> str:
    """Add the sums of a convolution, whose weights become [out, channels, height, width]."""
    layer, matrix = step.layer, step.matrix
    assert layer.window is not None and matrix is not None
    kernel = (len(matrix.weights), *layer.window[:2], step.shape[2])
    weights = graph.matrix(matrix.weights.reshape(kernel).transpose(0, 3, 1, 2))
    bias = (graph.constant(matrix.bias),) if matrix.bias.any() else ()
    return graph.add("Conv", values, weights, *bias, **_geometry(layer))


def _product(graph: _Graph, step: _Step, matrix: _Matrix, values: str) -> str:
    """Add the sums of a matrix; values of an image come by channel, so its columns do, too."""
    weights, size = matrix.weights, math.prod(step.shape)
    if len(step.shape) == 3:
        order = np.arange(size).reshape(step.shape).transpose(2, 0, 1).ravel()
        weights = np.concatenate([weights[:, order], weights[:, size:]], axis=1)
    sums = graph.add("MatMul", values, graph.matrix(weights.T))
    return graph.add("Add", sums, graph.constant(matrix.bias)) if matrix.bias.any() else sums


def _gated(
    graph: _Graph, layer: Layer, matrix: _Matrix, candidate: str, sums: str, memory: str
) -> str:
    """Add the memory of a gated cell after a step, as `integer.py` has it."""
    change = graph.add("Sub", candidate, memory)
    bits = integer.GRIDS.get(layer.activation, (None, 0))[0]
    if bits == 0:
        is_open = graph.add("Greater", sums, graph.constant(0))
        moved = graph.add("Where", is_open, change, graph.constant(0))
        return graph.add("Add", memory, moved)
    unit = 1.0 if bits is None else 2.0**bits
    opened = _scaled(graph, sums, matrix.scale)
    opened = opened if bits is None else graph.add("Round", opened)
    opened = graph.add("Add", opened, graph.constant(unit / 2))
    opened = graph.add("Clip", opened, graph.constant(0), graph.constant(unit))
    moved = graph.add("Mul", opened, change)
    if bits is not None:
        moved = graph.add("Round", graph.add("Mul", moved, graph.constant(1 / unit)))
    return graph.add("Add", memory, moved)


def _scaled(graph: _Graph, values: str, scale: NDArray[np.float32]) -> str:
    return values if np.all(scale == 1) else graph.add("Mul", values, graph.constant(scale))


def _activate(graph: _Graph, layer: Layer, matrix: _Matrix, sums: str, added: str) -> str:
    """Add the activation; of the last layer of an integer policy, only a scale of each output."""
    if layer.activation == "sign":
        # Not the operator Sign, as functions have it: that of 0 is 0, and here it is 1.
        is_negative = graph.add("Less", sums, graph.constant(0))
        return graph.add("Where", is_negative, graph.constant(-1), graph.constant(1))
    if layer.activation == "ternary":
        above = graph.add("Greater", sums, graph.constant(matrix.threshold))
        below = graph.add("Less", sums, graph.constant(-matrix.threshold))
        rest = graph.add("Where", below, graph.constant(-1), graph.constant(0))
        return graph.add("Where", above, graph.constant(1), rest)
    scaled = _scaled(graph, sums, matrix.scale)
    if layer.activation in integer.GRIDS:
        scaled = graph.add("Round", scaled)
    if added:
        scaled = graph.add("Add", scaled, added)
    if layer.activation in ("tanh", "relu"):
        return graph.add(layer.activation.capitalize(), scaled)
    if layer.activation == "none":
        return scaled
    limit = integer.GRIDS[layer.activation][1]
    return graph.add("Clip", scaled, graph.constant(-limit), graph.constant(limit))


def _shaped(graph: _Graph, layer: Layer, codes: NDArray[np.int8], values: str) -> str:
    """Add the functions of outputs: each is a sum of x, its size, its sign and 1 with weights."""
    limit = integer.GRIDS[layer.activation][1]
    weights = {  # of x, |x|, the sign of x, and 1
        "tanh": (1, 0, 0, 0),
        "relu": (0.5, 0.5, 0, 0),
        "absolute": (0, 1, 0, 0),
        "sign": (0, 0, limit, 0),
        "hat": (0, -1, 0, limit),
    }
    *each, total = np.array([weights[FUNCTIONS[code]] for code in codes]).T
    parts = values, graph.add("Abs", values), graph.add("Sign", values)
    found = graph.constant(total)
    for part, own in zip(parts, each, strict=True):
        found = graph.add("Add", found, graph.add("Mul", part, graph.constant(own)))
    return found


def _action(graph: _Graph, record: PolicyRecord, values: str) -> None:
    """Add what comes after the last layer, and declare the outputs."""
    if record.output_kind == "discrete":
        graph.declare(graph.outputs, "action", "INT64", "batch")
        graph.add("ArgMax", values, output="action", axis=1, keepdims=0)  # the first of equals
    else:
        graph.declare(graph.outputs, "action", "FLOAT", "batch", record.num_outputs)
        _in_range(graph, record, _units(graph, record, values))
    dtype = "INT32" if record.is_integer else "FLOAT"
    graph.declare(graph.outputs, "logits", dtype, "batch", record.num_outputs)
    graph.cast(values, dtype, output="logits")


def _units(graph: _Graph, record: PolicyRecord, values: str) -> str:
    if record.is_integer:
        scale = 2.0 ** -integer.compile_integer(record).output_exponent
        values = graph.add("Mul", values, graph.constant(scale))
    return graph.add("Clip", values, graph.constant(-1), graph.constant(1))


def _in_range(graph: _Graph, record: PolicyRecord, units: str) -> None:
    """Add the operations of `integer.in_range`, in its order."""
    low, high, half = record.low, record.high, np.float32(2)
    moved = graph.add("Mul", units, graph.constant((high - low) / half))
    moved = graph.add("Add", graph.constant((low + high) / half), moved)
    moved = graph.add("Max", moved, graph.constant(low))
    graph.add("Min", moved, graph.constant(high), output="action")


def _metadata(record: PolicyRecord) -> dict[str, str]:
    """Return the metadata of the file; all values are strings."""
    told = {
        "policy_id": hashlib.sha256(tvp.encode(record.bare())).hexdigest(),
        "ternevo_version": __version__,
    }
    if "env" in record.metadata:
        told["env"] = record.metadata["env"]
    if record.memory_size:
        told["first_memory"] = json.dumps(integer.first_memory(record).tolist())
    if record.output_kind == "continuous":
        bounds = (record.low, record.high)
        told["action_range"] = json.dumps([[float(x) for x in bound] for bound in bounds])
    return told
