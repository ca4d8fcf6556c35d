"""What a policy file holds, as NumPy arrays: the layers, the quantiser, the action mapping.

Nothing in `ternevo.deploy` needs JAX. Arrays of a layer are [out, in], a row for each output.
"""

import dataclasses
import itertools
import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.life import Life
from ternevo.settings.policies.settings import LARGEST_LEVELS, WeightName

InputKind = Literal["f32", "i8", "bits", "pixels"]
OutputKind = Literal["discrete", "continuous"]
LayerType = Literal["dense", "convolution", "max_pool", "elman", "gated"]

INPUT_KINDS: tuple[InputKind, ...] = ("f32", "i8", "bits", "pixels")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("discrete", "continuous")
WEIGHT_KINDS: tuple[WeightName, ...] = ("ternary", "binary", "float", "int8", "int4", "int2")
ACTIVATIONS = ("none", "int8", "int4", "sign", "ternary", "tanh", "relu")
"""A code in a file is an index into one of these tuples.

Only the last layer and pools have "none".
"""
LAYER_TYPES: tuple[LayerType, ...] = ("dense", "convolution", "max_pool", "elman", "gated")
"""The code of a type in a file is its place here, counted from 1."""
IMAGE_TYPES: tuple[LayerType, ...] = ("convolution", "max_pool")
"""Layers that take an image [height, width, channels], and give one."""
CELL_TYPES: tuple[LayerType, ...] = ("elman", "gated")
"""Layers with a memory, which is also what they give."""

OBS_NAMES, ACTION_NAMES = "obs_names", "action_names"
"""Names in the metadata under which there are names of observations and actions, one a line."""
CPPN, SHEET = "cppn", "sheet"
"""Names in the metadata of what drew the layers (`--policy hyperneat`), and of the shape of the
pictures that they see."""
COPIES = "copies"
"""Name in the metadata of how many consecutive inputs share their links (`--policy graph`)."""
MAX_NAMES_SIZE = 30_000
"""Largest size in bytes of a list of names that is put into a file."""

INTEGER_ACTIVATIONS = ("none", "int8", "int4", "sign", "ternary")

PerOutput = int | NDArray[np.int32]
"""A number of a layer, or one for each of its outputs [out]."""


Shape = tuple[int, ...]
"""Of the values between two layers: (height, width, channels), or (size,)."""


class Window(NamedTuple):
    """What a convolution or a pool looks at: `height` by `width` places, every `stride` places.

    `padding` places lie on each side of the image: zeros for a convolution, nothing for a pool.
    """

    height: int
    width: int
    stride: int
    padding: int

    def fits(self, height: int, width: int) -> bool:
        """Return whether an image of this size holds the window at least once."""
        pad = 2 * self.padding
        return self.height <= height + pad and self.width <= width + pad

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Return how often it fits into an image, in height and in width.

        Examples:
          >>> Window(8, 8, 4, 0).places(84, 84), Window(3, 3, 1, 1).places(5, 7)
          ((20, 20), (5, 7))
        """
        pad = 2 * self.padding
        down, across = height + pad - self.height, width + pad - self.width
        return down // self.stride + 1, across // self.stride + 1


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer: sums are `weights @ x + bias * size`, see `integer.py`.

    Types differ in what x is: all values ("dense"), the patch [height, width, channels] of each
    place ("convolution"), values and then the memory ("elman", "gated"). A "max_pool" has no
    weights: int8 [0, 0], of the kind "ternary", and the activation "none".

    Attributes:
      weights: [rows, in], int8 trits, signs or integers of some bits, or float32. A row for each
        output; "gated" has a row for each candidate and then one for each gate.
      bias: [rows] of the same dtype; None without biases.
      kind: what the weights may be.
      activation: what follows; "none" for the last layer.
      exponent: weights stand for `weights * 2**-exponent`; 0 for floats. An int, or int8 [rows],
        one for each row.
      bias_exponent: the same for biases, of which all rows have one; 0 without.
      type: what the weights multiply.
      window: of a convolution or a pool, else None.
      skip: 0, or how many layers back the input of a layer is added before clipping: 1 is the
        layer's own input, 2 that of the layer before.
      functions: int8 [rows], places in `FUNCTIONS`, of what follows the activation; None without.
    """

    weights: NDArray
    bias: NDArray | None
    kind: WeightName
    activation: str
    exponent: int | NDArray[np.int8]
    bias_exponent: int
    type: LayerType = "dense"
    window: Window | None = None
    skip: int = 0
    functions: NDArray[np.int8] | None = None

    @property
    def is_cell(self) -> bool:
        """Whether it has a memory."""
        return self.type in CELL_TYPES

    @property
    def size(self) -> int:
        """Values that a dense layer or a cell gives, channels of a convolution; a pool has 0."""
        rows = self.weights.shape[0]
        return rows // 2 if self.type == "gated" else rows

    @property
    def memory_size(self) -> int:
        """Numbers that it carries from step to step."""
        return self.size if self.is_cell else 0

    def shape_after(self, shape: Shape) -> Shape:
        """Return the shape of what it gives for values of a shape.

        Raises:
          ValueError: it takes an image, and the values are none, or its window does not fit.
        """
        if self.window is None:
            return (self.size,)
        if len(shape) != 3 or not self.window.fits(*shape[:2]):
            raise ValueError(f"a {self.type} with the window {self.window} takes no {shape}")
        channels = shape[2] if self.type == "max_pool" else self.size
        return (*self.window.places(*shape[:2]), channels)

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
        "bits": 0 or 1; "pixels": 0 to 255, of which 128 is taken off.
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
      vectors: examples to test an implementation with; of a policy with memory one episode.
      obs_shape: (height, width, channels) where the first layer takes an image, else ().
      life: how the layers change while the policy acts; None if they do not.
      is_compact: whether the file has each layer in its smallest storage, see `codes`.
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
    obs_shape: Shape = ()
    life: Life | None = None
    is_compact: bool = False

    @property
    def obs_size(self) -> int:
        """Components of an observation."""
        if self.obs_shape:
            return math.prod(self.obs_shape)
        first = self.layers[0]
        return first.weights.shape[1] - first.memory_size

    @property
    def num_outputs(self) -> int:
        """Actions, or components of one."""
        return self.layers[-1].weights.shape[0]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes from the observation to the output, one more than there are layers.

        Raises:
          ValueError: a layer takes an image, and there is none, or its window does not fit.
        """
        first: Shape = self.obs_shape or (self.obs_size,)
        steps = itertools.accumulate(
            self.layers, lambda shape, layer: layer.shape_after(shape), initial=first
        )
        return tuple(steps)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of values from the observation to the output."""
        return tuple(map(math.prod, self.shapes))

    @property
    def memory_size(self) -> int:
        """Numbers that are carried from step to step: 0 for a policy without memory."""
        if self.life is not None:
            return self.life.memory_size(self.layers)
        return sum(layer.memory_size for layer in self.layers)

    @property
    def types(self) -> tuple[LayerType, ...]:
        """The types of layers that it has, each once, in the order of `LAYER_TYPES`."""
        own = {layer.type for layer in self.layers}
        return tuple(name for name in LAYER_TYPES if name in own)

    @property
    def has_few_bits(self) -> bool:
        """Whether a layer has integers of some bits, which files have since version 1.1."""
        return any(layer.kind in LARGEST_LEVELS for layer in self.layers)

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

    @property
    def sheet(self) -> Shape:
        """The shape of what dense layers see as a picture, from the metadata, or ()."""
        words = self.metadata.get(SHEET, "").split()
        shape = tuple(int(word) for word in words if word.isdecimal() and len(word) < 6)
        is_whole = len(shape) == len(words) and math.prod(shape) == self.obs_size
        return shape if shape and is_whole else ()

    def _names(self, key: str) -> tuple[str, ...]:
        names = tuple(self.metadata.get(key, "").split("\n"))
        return names if all(names) else ()

    def bare(self) -> "PolicyRecord":
        """Return only what a device needs, laid out plainly: the policy's identity."""
        return dataclasses.replace(self, moments=None, metadata={}, vectors=None, is_compact=False)
