"""What a policy computes after the quantiser: integers. The reference for every other backend.

`compile_integer` folds exponents into integer biases and shifts; `logits` and `step` run them. Each
backend (C, ONNX, JavaScript) computes exactly these numbers, so tests compare them with `==`.
"""

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import forward, functions
from ternevo.deploy.record import LayerType, PerOutput, PolicyRecord, Shape, Vectors, Window
from ternevo.settings.policies.settings import bias_shift_limit

GRIDS = {"int8": (7, 127), "int4": (3, 7), "sign": (0, 1), "ternary": (0, 1)}
"""Of each activation: the bits of a unit, and the largest number, which is also the full scale."""


EXACT = 2**24
"""Integers below this in size are exact in float32, in any order of summation."""

MEANS = {"i8": 0.0, "pixels": 128.0}
"""What stands for 0 in the kinds of inputs that are rounded and have no moments."""


class NotIntegerError(ValueError):
    """The policy computes with floats: a float twin, or the activation tanh or relu."""


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
    """A layer of integers: `sums = weights @ x + bias`, then the activation.

    What x is, `type` says: all values; the patch of a place; values and then the memory.

    Attributes:
      weights: int8 [rows, in]: -1, 0, +1, or integers of some bits; [0, 0] of a pool.
      bias: int32 [rows]; at most 127 * 2**8 in size, and of integers of some bits 127**2 * 2**4.
      activation: "int8" or "int4": `sums * 2**-shift`, rounded half to even, plus what a skip adds,
        clipped to the grid; "sign": +1 where a sum is 0 or more, else -1; "ternary": +1 above
        `threshold`, -1 below `-threshold`, else 0; "none": `sums * 2**-shift` are the logits.
      shift: of int8 and int4, may be negative; else 0. An int, or int32 [out] where outputs have
        exponents of their own: then also of "none", 0 or below, so that logits have one exponent.
      threshold: of ternary; else 0. An int, or int32 [out].
      type: as in the record.
      window: of a convolution or a pool.
      skip: how many layers back the input is added, or 0.
      shape: of the values that it takes.
      gate_shift: of "gated" on int8 and int4, whose `shift` and `threshold` are those of its
        candidates; else 0. An int, or int32 [out].
      functions: int8 [out], of what follows the activation; None without.
      largest_sum: no sum is larger; below 2**31.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    activation: str
    shift: PerOutput
    threshold: PerOutput
    type: LayerType = "dense"
    window: Window | None = None
    skip: int = 0
    shape: Shape = ()
    gate_shift: PerOutput = 0
    functions: NDArray[np.int8] | None = None
    largest_sum: int = 0

    @property
    def memory_size(self) -> int:
        """Numbers that it carries from step to step."""
        return {"elman": len(self.weights), "gated": len(self.weights) // 2}.get(self.type, 0)


@dataclasses.dataclass(frozen=True)
class IntegerNet:
    """A policy after the quantiser.

    Attributes:
      input_shift: the first layer takes `q >> input_shift`.
      layers: the last has activation "none".
      output_exponent: continuous actions are `clip(logits * 2**-output_exponent, -1, 1)`.
      memory: int8 [memory], that of the first step; empty for a policy without memory.
    """

    input_shift: int
    layers: tuple[IntegerLayer, ...]
    output_exponent: int
    memory: NDArray[np.int8] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int8))


def compile_integer(record: PolicyRecord) -> IntegerNet:
    """Return the integer form.

    Raises:
      NotIntegerError: the policy computes with floats.
    """
    check_integer(record)
    layers = []
    bits, full_scale = input_grid(record)
    unit_bits: PerOutput = 0
    for layer, shape in zip(record.layers, record.shapes, strict=False):
        if layer.type == "max_pool":
            layers.append(_pool(layer.window, shape))
            continue
        unit_bits = layer.exponents + bits  # one unit is 2**unit_bits of the sums
        bias = np.zeros(len(layer.weights), np.int32)
        if layer.bias is not None:
            bias = layer.bias.astype(np.int32) * bias_size(
                full_scale, layer.exponents - layer.bias_exponent, bias_shift_limit(layer.kind)
            )
        bits, limit = GRIDS.get(layer.activation, (0, 0))
        own, gates = _of_gates(unit_bits, layer.size) if layer.type == "gated" else (unit_bits, 0)
        layers.append(
            IntegerLayer(
                layer.weights,
                bias,
                layer.activation,
                _shift(layer.activation, own, bits),
                _threshold(own) if layer.activation == "ternary" else 0,
                layer.type,
                layer.window,
                layer.skip,
                shape,
                gates + 1 - bits if layer.type == "gated" and bits else 0,
                layer.functions,
                _largest_sum(layer.weights, bias, full_scale),
            )
        )
        full_scale = limit
    output_exponent = int(np.max(unit_bits)) + record.output_shift
    return IntegerNet(input_shift(record), tuple(layers), output_exponent, first_memory(record))


def first_memory(record: PolicyRecord) -> NDArray[np.int8]:
    """Return the memory [memory] of the first step: 0, or +1 after a sign, which has no 0."""
    cells = [layer for layer in record.layers if layer.is_cell]
    parts = [np.full(cell.size, cell.activation == "sign", np.int8) for cell in cells]
    return np.concatenate([np.zeros(0, np.int8), *parts])


def _pool(window: Window | None, shape: Shape) -> IntegerLayer:
    nothing = np.zeros((0, 0), np.int8)
    return IntegerLayer(nothing, np.zeros(0, np.int32), "none", 0, 0, "max_pool", window, 0, shape)


def _largest_sum(weights: NDArray[np.int8], bias: NDArray[np.int32], full_scale: int) -> int:
    """Return the largest sum of a layer; integers may be given that are one below full scale."""
    products = np.abs(weights).sum(1, dtype=np.int64) * (full_scale + 1)
    return int(np.max(products + np.abs(bias)))


def _of_gates(unit_bits: PerOutput, size: int) -> tuple[PerOutput, PerOutput]:
    """Return the bits of a unit of candidates, and those of gates."""
    if isinstance(unit_bits, np.ndarray):
        return unit_bits[:size], unit_bits[size:]
    return unit_bits, unit_bits


def _shift(activation: str, unit_bits: PerOutput, bits: int) -> PerOutput:
    """Return the shift of a layer whose unit is 2**unit_bits of its sums."""
    if activation in ("int8", "int4"):
        return unit_bits - bits
    if activation == "none" and isinstance(unit_bits, np.ndarray):
        return unit_bits - unit_bits.max()  # the smallest unit is that of all logits
    return 0


def _threshold(unit_bits: PerOutput) -> PerOutput:
    """Return half a unit, rounded down."""
    if isinstance(unit_bits, np.ndarray):
        return np.where(unit_bits >= 1, 1 << np.maximum(unit_bits - 1, 0), 0).astype(np.int32)
    return 2 ** (unit_bits - 1) if unit_bits >= 1 else 0


def check_integer(record: PolicyRecord) -> None:
    """Raise `NotIntegerError` unless all after the quantiser is integer, and stays as it is."""
    if record.life is not None:
        raise NotIntegerError(
            f"the policy learns while it acts ({record.life.kind}); only a .tvp and a C header "
            "hold how"
        )
    for i, layer in enumerate(record.layers):
        if layer.kind == "float":
            raise NotIntegerError(
                f"layer {i} has float weights; integer exports take ternary, binary and int8 ones "
                "(--ternarize cuts float weights into trits, --weights int8 rounds them)"
            )
        if layer.activation in ("tanh", "relu"):
            raise NotIntegerError(
                f"layer {i} has the float activation {layer.activation}; integer exports take "
                "int8, int4, sign and ternary"
            )


def input_shift(record: PolicyRecord) -> int:
    """Return how many low bits of a quantised observation are dropped."""
    return 0 if record.input_kind == "bits" else 8 - record.observation_bits


def input_grid(record: PolicyRecord) -> tuple[int, int]:
    """Return how many bits of what the first layer takes make up a unit, and its full scale."""
    bits = record.observation_bits
    return bits - 1 - record.observation_shift, max(2 ** (bits - 1) - 1, 1)


def bias_size(full_scale: int, shift: PerOutput, limit: int = 8) -> PerOutput:
    """Return what a bias of 1 adds: the full scale of the inputs times 2**shift, rounded.

    The shift is at most `limit`, that of a kind of weights.

    Examples:
      >>> bias_size(127, 0), bias_size(127, -1), bias_size(1, 3)  # 127, 63.5 to even, 8
      (127, 64, 8)
    """
    size = np.rint(np.ldexp(float(full_scale), np.int32(np.minimum(shift, limit))))
    return size.astype(np.int32) if isinstance(shift, np.ndarray) else int(size)


def quantise(record: PolicyRecord, obs: NDArray) -> NDArray[np.int8]:
    """Return the integers int8 [..., in] of observations [..., in].

    One rule for all kinds: `(obs - mean) * 2**exponent` in float32, clipped to [-127, 127],
    rounded half to even; NaN gives 0. "i8", "pixels" and "bits" have the means of `MEANS` and
    exponent 0, and "bits" are clipped to [0, 1]: they are 1 where obs is above a half.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.asarray(obs, np.float32)
        if record.input_kind == "bits":
            return (scaled > 0.5).astype(np.int8)
        if record.input_kind == "f32":
            scale = np.ldexp(np.float32(1), record.exponent.astype(np.int32))
            scaled = (scaled - record.mean) * scale
        else:
            scaled = scaled - np.float32(MEANS[record.input_kind])
    scaled = np.where(np.isnan(scaled), np.float32(0), scaled)
    return np.rint(np.clip(scaled, -127, 127)).astype(np.int8)


def logits(net: IntegerNet, q: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the logits int32 [..., out] of quantised observations int8 [..., in].

    Inputs of the kind "bits" are 0 or 1.

    Raises:
      ValueError: the policy has a memory; `step` and `episode` run it.
    """
    if net.memory.size:
        raise ValueError("the policy has a memory; use step or episode")
    return step(net, np.zeros((*q.shape[:-1], 0), np.int8), q)[1]


def step(
    net: IntegerNet, memory: NDArray[np.int8], q: NDArray[np.int8]
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Return the memory int8 [..., memory] after a step, and its logits int32 [..., out].

    Args:
      net: the policy.
      memory: int8 [..., memory] before the step; that of the first is `net.memory`.
      q: quantised observations int8 [..., in].
    """
    batch = q.shape[:-1]
    count = math.prod(batch)
    rows = memory.reshape(count, memory.shape[-1]).astype(np.int64)
    values = q.reshape(count, q.shape[-1]).astype(np.int64) >> net.input_shift
    carried, found = forward.walk(steps(net, np.int64), rows, values)
    found = found.reshape(*batch, found.shape[-1])
    return carried.reshape(memory.shape).astype(np.int8), found.astype(np.int32)


def episode(net: IntegerNet, q: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the logits int32 [n, out] of one step after another, from the first memory on.

    Without memory that is `logits`.
    """
    if not net.memory.size:
        return logits(net, q)
    memory, found = net.memory, []
    for row in q:
        memory, now = step(net, memory, row)
        found.append(now)
    return np.stack(found)


def steps(net: IntegerNet, dtype: type) -> tuple[forward.Step, ...]:
    """Return the layers for `forward.walk`.

    Args:
      net: the policy.
      dtype: of the products: int64, or float32, which is fast; a layer whose sums would not be
        exact then takes float64.
    """
    return tuple(
        forward.Step(
            layer.type,
            layer.window,
            layer.skip,
            layer.memory_size,
            layer.shape,
            layer.weights.T.astype(
                np.float64 if dtype == np.float32 and layer.largest_sum >= EXACT else dtype
            ),
            functools.partial(_follow, layer),
        )
        for layer in net.layers
    )


def _follow(
    layer: IntegerLayer, products: NDArray, other: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return what the next layer takes; `other` is the memory of a cell, or what a skip adds."""
    sums = products.astype(np.int64) + layer.bias
    if layer.type == "gated":
        assert other is not None
        return _gated(layer, sums, other)
    values = activate(layer, sums, other if layer.skip else None)
    if layer.functions is None:
        return values
    return functions.shaped(np, layer.functions, values, GRIDS[layer.activation][1])


def _gated(
    layer: IntegerLayer, sums: NDArray[np.int64], memory: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the memory, moved by a gate of 0 to G parts of G towards the candidates.

    G is a unit of the grid; `round(G * (u + 1) / 2)` is `round(u * G / 2) + G / 2`, as G / 2 is
    even, and for G = 1 whether u is above 0.
    """
    candidates, gates = np.split(sums, 2, axis=-1)
    change = activate(layer, candidates) - memory
    bits = GRIDS[layer.activation][0]
    if bits == 0:
        return memory + change * (gates > 0)
    unit = 1 << bits
    opened = np.clip(shift_half_to_even(gates, layer.gate_shift) + unit // 2, 0, unit)
    return memory + shift_half_to_even(opened * change, bits)


def activate(
    layer: IntegerLayer, sums: NDArray[np.int64], added: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return what the next layer takes of integer sums; a skip adds values before the clipping."""
    if layer.activation == "none":
        return sums << -layer.shift
    if layer.activation == "sign":
        return np.where(sums >= 0, 1, -1)
    if layer.activation == "ternary":
        return (sums > layer.threshold).astype(np.int64) - (sums < -layer.threshold)
    limit = GRIDS[layer.activation][1]
    on_grid = shift_half_to_even(sums, layer.shift)
    return np.clip(on_grid if added is None else on_grid + added, -limit, limit)


def shift_half_to_even(sums: NDArray[np.int64], shift: PerOutput) -> NDArray[np.int64]:
    """Return `sums * 2**-shift`, rounded half to even; sums are [..., out].

    Examples:
      >>> shift_half_to_even(np.array([2, 6, 10, -6]), 2).tolist()  # 0.5, 1.5, 2.5, -1.5
      [0, 2, 2, -2]
    """
    right = np.maximum(shift, 1).astype(np.int64)
    half_less = (np.int64(1) << (right - 1)) - 1
    rounded = (sums + half_less + ((sums >> right) & 1)) >> right
    return np.where(shift > 0, rounded, sums << np.maximum(-shift, 0))


def actions(
    record: PolicyRecord, output_exponent: int, found: NDArray[np.int32]
) -> NDArray[np.int32] | NDArray[np.float32]:
    """Return the actions of logits [..., out]: int32 [...], or float32 [..., out].

    Continuous actions are clipped logits, which are exact, mapped to the range in float32.
    """
    if record.output_kind == "discrete":
        return np.argmax(found, axis=-1).astype(np.int32)
    units = np.ldexp(found.astype(np.float32), -output_exponent)
    return in_range(record, np.clip(units, -1, 1).astype(np.float32))


def in_range(record: PolicyRecord, units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map [-1, 1] to the action range, about its centre, in float32."""
    low, high = record.low, record.high
    half = np.float32(2)
    action = (low + high) / half + units * ((high - low) / half)
    return np.clip(action, low, high).astype(np.float32)


def examples(record: PolicyRecord, count: int, seed: int = 0) -> Vectors:
    """Return random inputs, some of them all at an end of the range, and their logits.

    Those of a policy with memory are one episode.

    Raises:
      NotIntegerError: the policy computes with floats.
    """
    net = compile_integer(record)
    random = np.random.default_rng(seed)
    low, high = (0, 1) if record.input_kind == "bits" else (-127, 127)
    inputs = random.integers(low, high, (count, record.obs_size), np.int8, endpoint=True)
    ends = np.array([low, 0, high], np.int8)[: max(count - 1, 0)]
    inputs[: len(ends)] = ends[:, None]
    return Vectors(inputs, episode(net, inputs))
