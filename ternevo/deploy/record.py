"""What a policy file holds, as NumPy arrays: the layers, the quantiser, the action mapping.

Nothing in `ternevo.deploy` needs JAX. Arrays of a layer are [out, in], a row for each output.
"""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ternevo.settings.policies.settings import WeightName

InputKind = Literal["f32", "i8", "bits"]
OutputKind = Literal["discrete", "continuous"]

INPUT_KINDS: tuple[InputKind, ...] = ("f32", "i8", "bits")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("discrete", "continuous")
WEIGHT_KINDS: tuple[WeightName, ...] = ("ternary", "binary", "float")
ACTIVATIONS = ("none", "int8", "int4", "sign", "ternary", "tanh", "relu")
"""A code in a file is an index into one of these tuples; only the last layer has "none"."""

OBS_NAMES, ACTION_NAMES = "obs_names", "action_names"
"""Names in the metadata under which there are names of observations and actions, one a line."""
MAX_NAMES_SIZE = 30_000
"""Largest size in bytes of a list of names that is put into a file."""

INTEGER_ACTIVATIONS = ("none", "int8", "int4", "sign", "ternary")

PerOutput = int | NDArray[np.int32]
"""A number of a layer, or one for each of its outputs [out]."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A dense layer: sums are `weights @ x + bias * size`, see `integer.py`.

    Attributes:
      weights: [out, in], int8 trits or signs, or float32.
      bias: [out] of the same dtype; None without biases.
      kind: what the weights may be.
      activation: what follows; "none" for the last layer.
      exponent: weights stand for `weights * 2**-exponent`; 0 for floats. An int, or int8 [out],
        one for each output.
      bias_exponent: the same for biases, of which all outputs have one; 0 without.
    """

    weights: NDArray
    bias: NDArray | None
    kind: WeightName
    activation: str
    exponent: int | NDArray[np.int8]
    bias_exponent: int

    @property
    def has_outputs(self) -> bool:
        """Whether each output has an exponent of its own."""
        return isinstance(self.exponent, np.ndarray)

    @property
    def exponents(self) -> PerOutput:
        """The exponent, or the exponents of all outputs, in a type that does not overflow."""
        own = self.exponent
        return own.astype(np.int32) if isinstance(own, np.ndarray) else own


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Examples: quantised inputs, int8 [n, in], and the logits they give, int32 [n, out]."""

    inputs: NDArray[np.int8]
    logits: NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Moments:
    """What training needs to resume: how often each input was seen and its standard deviation [in].

    The mean is the quantiser's.
    """

    count: NDArray[np.float32]
    deviation: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Squares:
    """The moments of older files: one count for all inputs, and centred sums of squares [in]."""

    count: float
    m2: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class PolicyRecord:
    """A policy as a file holds it.

    Attributes:
      input_kind: "f32": floats, quantised by `mean` and `exponent`; "i8": integers in [-127, 127];
        "bits": 0 or 1.
      observation_bits: the upper bits of a quantised observation that the first layer takes.
      observation_shift: full scale of an observation is 2**observation_shift units.
      output_shift: outputs are multiplied by 2**-output_shift.
      mean: float32 [in] for "f32", else empty.
      exponent: int8 [in] for "f32": observations are scaled by 2**exponent; else empty.
      output_kind: "discrete": the action is the argmax; "continuous": outputs clipped to [-1, 1]
        and mapped to [low, high].
      low: float32 [out] for "continuous", else empty.
      high: the same.
      layers: at least one; the last has activation "none".
      moments: what training needs, `Squares` in an older file, None in a file for a device.
      metadata: strings by name, such as "env".
      vectors: examples to test an implementation with.
    """

    input_kind: InputKind
    observation_bits: int
    observation_shift: int
    output_shift: int
    mean: NDArray[np.float32]
    exponent: NDArray[np.int8]
    output_kind: OutputKind
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    layers: tuple[Layer, ...]
    moments: Moments | Squares | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    vectors: Vectors | None = None

    @property
    def obs_size(self) -> int:
        """Components of an observation."""
        return self.layers[0].weights.shape[1]

    @property
    def num_outputs(self) -> int:
        """Actions, or components of one."""
        return self.layers[-1].weights.shape[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the observation to the output."""
        return (self.obs_size, *(layer.weights.shape[0] for layer in self.layers))

    @property
    def is_integer(self) -> bool:
        """Whether everything after the quantiser is integer arithmetic, the same everywhere."""
        return all(
            layer.kind != "float" and layer.activation in INTEGER_ACTIVATIONS
            for layer in self.layers
        )

    @property
    def obs_names(self) -> tuple[str, ...]:
        """What observations are: a name for each, or one for each channel, or none.

        Names of channels repeat: input i is channel `i % len(obs_names)`. A list that does not fit
        the policy is left out, as anybody may write metadata.
        """
        names = self._names(OBS_NAMES)
        return names if names and self.obs_size % len(names) == 0 else ()

    @property
    def action_names(self) -> tuple[str, ...]:
        """What actions are, a name for each output, or none."""
        names = self._names(ACTION_NAMES)
        return names if len(names) == self.num_outputs else ()

    def _names(self, key: str) -> tuple[str, ...]:
        names = tuple(self.metadata.get(key, "").split("\n"))
        return names if all(names) else ()

    def bare(self) -> "PolicyRecord":
        """Return only what a device needs."""
        return dataclasses.replace(self, moments=None, metadata={}, vectors=None)
