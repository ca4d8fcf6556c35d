"""What a policy computes after the quantiser: integers. The reference for every other backend.

`compile_integer` folds exponents into integer biases and shifts; `logits` runs them. Each backend
(C, ONNX, JavaScript) computes exactly these numbers, so tests compare them with `==`.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.record import PerOutput, PolicyRecord, Vectors

BIAS_SHIFT_LIMIT = 8
"""A bias is at most 2**8 times the full scale of its layer's inputs."""

GRIDS = {"int8": (7, 127), "int4": (3, 7), "sign": (0, 1), "ternary": (0, 1)}
"""Of each activation: the bits of a unit, and the largest number, which is also the full scale."""


class NotIntegerError(ValueError):
    """The policy computes with floats: a float twin, or the activation tanh or relu."""


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
    """A layer of integers: `sums = weights @ x + bias`, then the activation.

    Attributes:
      weights: int8 [out, in] in {-1, 0, +1}.
      bias: int32 [out]; at most 127 * 2**8 in size.
      activation: "int8" or "int4": `sums * 2**-shift`, rounded half to even, clipped to the grid;
        "sign": +1 where a sum is 0 or more, else -1; "ternary": +1 above `threshold`, -1 below
        `-threshold`, else 0; "none": `sums * 2**-shift` are the logits.
      shift: of int8 and int4, may be negative; else 0. An int, or int32 [out] where outputs have
        exponents of their own: then also of "none", 0 or below, so that logits have one exponent.
      threshold: of ternary; else 0. An int, or int32 [out].
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    activation: str
    shift: PerOutput
    threshold: PerOutput


@dataclasses.dataclass(frozen=True)
class IntegerNet:
    """A policy after the quantiser.

    Attributes:
      input_shift: the first layer takes `q >> input_shift`.
      layers: the last has activation "none".
      output_exponent: continuous actions are `clip(logits * 2**-output_exponent, -1, 1)`.
    """

    input_shift: int
    layers: tuple[IntegerLayer, ...]
    output_exponent: int


def compile_integer(record: PolicyRecord) -> IntegerNet:
    """Return the integer form.

    Raises:
      NotIntegerError: the policy computes with floats.
    """
    check_integer(record)
    layers = []
    bits, full_scale = input_grid(record)
    unit_bits: PerOutput = 0
    for layer in record.layers:
        unit_bits = layer.exponents + bits  # one unit is 2**unit_bits of the sums
        bias = np.zeros(len(layer.weights), np.int32)
        if layer.bias is not None:
            bias = layer.bias.astype(np.int32) * bias_size(
                full_scale, layer.exponents - layer.bias_exponent
            )
        bits, limit = GRIDS.get(layer.activation, (0, 0))
        layers.append(
            IntegerLayer(
                layer.weights,
                bias,
                layer.activation,
                _shift(layer.activation, unit_bits, bits),
                _threshold(unit_bits) if layer.activation == "ternary" else 0,
            )
        )
        full_scale = limit
    output_exponent = int(np.max(unit_bits)) + record.output_shift
    return IntegerNet(input_shift(record), tuple(layers), output_exponent)


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
    """Raise `NotIntegerError` unless all after the quantiser is integer."""
    for i, layer in enumerate(record.layers):
        if layer.kind == "float":
            raise NotIntegerError(
                f"layer {i} has float weights; integer exports take ternary and binary ones "
                "(--ternarize cuts float weights into trits)"
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


def bias_size(full_scale: int, shift: PerOutput) -> PerOutput:
    """Return what a bias of 1 adds: the full scale of the inputs times 2**shift, rounded.

    Examples:
      >>> bias_size(127, 0), bias_size(127, -1), bias_size(1, 3)  # 127, 63.5 to even, 8
      (127, 64, 8)
    """
    size = np.rint(np.ldexp(float(full_scale), np.int32(np.minimum(shift, BIAS_SHIFT_LIMIT))))
    return size.astype(np.int32) if isinstance(shift, np.ndarray) else int(size)


def quantise(record: PolicyRecord, obs: NDArray) -> NDArray[np.int8]:
    """Return the integers int8 [..., in] of observations [..., in].

    "f32": `(obs - mean) * 2**exponent` in float32, NaN gives 0, clipped to [-127, 127], rounded
    half to even. "i8": clipped to [-127, 127], NaN gives 0. "bits": 1 where not 0.
    """
    if record.input_kind == "bits":
        return (np.asarray(obs) != 0).astype(np.int8)
    if record.input_kind == "i8":
        return np.clip(np.nan_to_num(obs, posinf=127, neginf=-127), -127, 127).astype(np.int8)
    scale = np.ldexp(np.float32(1), record.exponent.astype(np.int32))
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (np.asarray(obs, np.float32) - record.mean) * scale
    scaled = np.where(np.isnan(scaled), np.float32(0), scaled)
    return np.rint(np.clip(scaled, -127, 127)).astype(np.int8)


def logits(net: IntegerNet, q: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the logits int32 [..., out] of quantised observations int8 [..., in].

    Inputs of the kind "bits" are 0 or 1.
    """
    values = q.astype(np.int64) >> net.input_shift
    for layer in net.layers:
        sums = values @ layer.weights.T.astype(np.int64) + layer.bias
        values = activate(layer, sums)
    return values.astype(np.int32)


def activate(layer: IntegerLayer, sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what the next layer takes of integer sums."""
    if layer.activation == "none":
        return sums << -layer.shift
    if layer.activation == "sign":
        return np.where(sums >= 0, 1, -1)
    if layer.activation == "ternary":
        return (sums > layer.threshold).astype(np.int64) - (sums < -layer.threshold)
    limit = GRIDS[layer.activation][1]
    return np.clip(shift_half_to_even(sums, layer.shift), -limit, limit)


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

    Raises:
      NotIntegerError: the policy computes with floats.
    """
    net = compile_integer(record)
    random = np.random.default_rng(seed)
    low, high = (0, 1) if record.input_kind == "bits" else (-127, 127)
    inputs = random.integers(low, high, (count, record.obs_size), np.int8, endpoint=True)
    ends = np.array([low, 0, high], np.int8)[: max(count - 1, 0)]
    inputs[: len(ends)] = ends[:, None]
    return Vectors(inputs, logits(net, inputs))
