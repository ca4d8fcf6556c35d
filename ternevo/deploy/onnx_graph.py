"""A policy as an ONNX graph that computes exactly the integers of `integer.py`.

Sums are taken in float32, which is exact as long as they stay below 2**24, so every runtime, in
any order of summation, returns the same logits. A policy with floats (a float twin, or the
activation tanh or relu) is written with the same operators and agrees up to rounding.

The package onnx is imported when a graph is made, and only then.
"""

import dataclasses
import hashlib
import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ternevo import __version__
from ternevo.deploy import capabilities, integer, tvp
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.installation import load

WeightFormat = Literal["int8", "int2"]

VERSIONS = {"int8": (13, 8), "int2": (25, 13)}
"""Opset and IR version of a graph, the lowest that has what it needs."""

EXACT_SUMS = 2**24
"""Integers below this in size are exact in float32, in any order of summation."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """A layer in the numbers of its graph: `sums = x @ weights.T + bias`, then the activation.

    Attributes:
      weights: [out, in], int8 or float32.
      bias: float32 [out].
      activation: as in the record.
      scale: of int8 and int4, sums times this are on the grid; of tanh and relu, and of the last
        layer of a policy with floats, sums times this are units. Of the last layer of integers,
        sums times this are logits. float32 [], or [out] for one of each output.
      threshold: of ternary; the same.
    """

    weights: NDArray
    bias: NDArray[np.float32]
    activation: str
    scale: NDArray[np.float32]
    threshold: NDArray[np.float32]


def to_bytes(record: PolicyRecord, weights: WeightFormat = "int8") -> bytes:
    """Return the file of a policy's graph; see `to_onnx`."""
    return to_onnx(record, weights).SerializeToString(deterministic=True)


def to_onnx(record: PolicyRecord, weights: WeightFormat = "int8") -> "onnx.ModelProto":  # pyright: ignore
    """Return the graph from observations to actions.

    Input "obs" [batch, in]: float32, or int8 where the policy takes integers ("i8"). Outputs
    "action", int64 [batch] or float32 [batch, out], and "logits" [batch, out], int32, or
    float32 for a policy with floats.

    Args:
      record: the policy.
      weights: how trits are stored. "int8" runs in every runtime (opset 13); "int2" takes a
        quarter of the bytes and needs opset 25, such as onnxruntime 1.24. Float weights stay
        floats.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run.
      ModuleNotFoundError: onnx is not installed.
      ImportError: the installed onnx has no 2-bit integers.
      ValueError: `weights` is neither "int8" nor "int2".
    """
    capabilities.check_export(record, "onnx")
    if weights not in VERSIONS:
        raise ValueError(f"weights are stored as {' or '.join(VERSIONS)}, not {weights!r}")
    onnx = _import_onnx(weights)
    graph = _Graph(onnx, weights)
    values = _observations(graph, record)
    for step in _steps(record):
        values = _layer(graph, step, values)
    _action(graph, record, values)
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
    steps = [
        _Step(
            layer.weights,
            layer.bias.astype(np.float32),
            layer.activation,
            _power_of_two(-layer.shift),
            np.asarray(layer.threshold, np.float32),
        )
        for layer in net.layers
    ]
    for step in steps:
        largest = 127 * step.weights.shape[1] + np.abs(step.bias).max()
        assert largest < EXACT_SUMS  # the format's limits on widths and biases see to it
    return steps


def _float_steps(record: PolicyRecord) -> list[_Step]:
    """Return the layers of a policy with floats: the arithmetic of the JAX policy."""
    bits, full_scale = integer.input_grid(record)
    is_rounded = True  # the bias of a layer that takes integers is an integer
    steps = []
    for layer in record.layers:
        unit_bits = layer.exponents + bits
        bias = _float_bias(layer, full_scale, is_rounded)
        is_rounded = layer.activation in integer.GRIDS
        bits, full_scale = integer.GRIDS.get(layer.activation, (0, 1))
        if layer.activation == "none":
            unit_bits += record.output_shift
        scale, threshold = _power_of_two(bits - unit_bits), _power_of_two(unit_bits - 1)
        steps.append(_Step(layer.weights, bias, layer.activation, scale, threshold))
    return steps


def _power_of_two(exponent: Any) -> NDArray[np.float32]:
    return np.asarray(np.ldexp(np.float32(1), np.int32(exponent)))


def _float_bias(layer: Layer, full_scale: int, is_rounded: bool) -> NDArray[np.float32]:
    if layer.bias is None:
        return np.zeros(len(layer.weights), np.float32)
    shift = np.minimum(layer.exponents - layer.bias_exponent, integer.BIAS_SHIFT_LIMIT)
    size = full_scale * _power_of_two(shift)
    return (layer.bias * (np.rint(size) if is_rounded else size)).astype(np.float32)


def _observations(graph: _Graph, record: PolicyRecord) -> str:
    """Add the quantiser; return its integers, as float32."""
    dtype = "INT8" if record.input_kind == "i8" else "FLOAT"
    obs = graph.declare(graph.inputs, "obs", dtype, "batch", record.obs_size)
    if record.input_kind == "bits":
        is_zero = graph.add("Equal", obs, graph.constant(0))
        return graph.add("Where", is_zero, graph.constant(0), graph.constant(1))
    if record.input_kind == "i8":
        values = graph.add("Max", graph.cast(obs, "FLOAT"), graph.constant(-127))
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
    # Clip may return anything for NaN, so it must not see one.
    is_nan = graph.add("IsNaN", scaled)
    scaled = graph.add("Where", is_nan, graph.constant(0), scaled)
    clipped = graph.add("Clip", scaled, graph.constant(-127), graph.constant(127))
    return graph.add("Round", clipped)  # half to even, by definition of the operator


def _layer(graph: _Graph, step: _Step, values: str) -> str:
    sums = graph.add("MatMul", values, graph.matrix(step.weights.T))
    if step.bias.any():
        sums = graph.add("Add", sums, graph.constant(step.bias))
    return _activate(graph, step, sums)


def _activate(graph: _Graph, step: _Step, sums: str) -> str:
    """Add the activation; of the last layer of an integer policy, only a scale of each output."""
    if step.activation == "sign":
        # Not the operator Sign: that of 0 is 0, and here it is 1.
        is_negative = graph.add("Less", sums, graph.constant(0))
        return graph.add("Where", is_negative, graph.constant(-1), graph.constant(1))
    if step.activation == "ternary":
        above = graph.add("Greater", sums, graph.constant(step.threshold))
        below = graph.add("Less", sums, graph.constant(-step.threshold))
        rest = graph.add("Where", below, graph.constant(-1), graph.constant(0))
        return graph.add("Where", above, graph.constant(1), rest)
    scaled = sums if np.all(step.scale == 1) else graph.add("Mul", sums, graph.constant(step.scale))
    if step.activation in ("tanh", "relu"):
        return graph.add(step.activation.capitalize(), scaled)
    if step.activation == "none":
        return scaled
    limit = integer.GRIDS[step.activation][1]
    rounded = graph.add("Round", scaled)
    return graph.add("Clip", rounded, graph.constant(-limit), graph.constant(limit))


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
    if record.output_kind == "continuous":
        bounds = (record.low, record.high)
        told["action_range"] = json.dumps([[float(x) for x in bound] for bound in bounds])
    return told
