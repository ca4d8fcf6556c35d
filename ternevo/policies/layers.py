"""The layers of all built-in networks, on small integers: draw them, pack them, run them.

A network is a value: a tuple of layers, and the grids that their inputs are on. Every layer with
weights is a matrix [fan_in, rows], drawn, scaled and packed alike; layers differ in what they
multiply it by. A params pytree is a tuple of {"weight", "bias"} dicts, one for each such layer;
where nodes have functions, "function" has their codes.

Products are integers, and sums of them below 2**24, so float32 (or bf16 inputs with
float32 sums) computes them exactly, in any order, on any device. Only hidden layers may have larger
sums: they add parts that stay below it as int32 (`wide_dot`). A matrix returns
pre-activations in units, as an integer sum times a power of two; a hard tanh
saturates at one unit. The equations are in docs/explanation/policy_arithmetic.md.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int8, Int32

from ternevo.arithmetic import bit_planes
from ternevo.arithmetic.bit_planes import Planes
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import tvp
from ternevo.deploy.functions import shaped
from ternevo.deploy.record import LayerType, Shape, Window
from ternevo.machine import processor
from ternevo.settings.policies.layered import Layered
from ternevo.settings.policies.settings import (
    LARGEST_LEVELS,
    WeightName,
    bias_shift_limit,
    largest_sum,
)
from ternevo.types import Inputs, Key, Memory, ObsSpec, Packing, Params, Policy, Tensor

EXACT = 2**24
"""Float32 represents every integer up to this size."""

Function = Callable[[jax.Array], jax.Array]

# ------------------------------------------------------------------------------------- grids


class Grid(NamedTuple):
    """The grid of a layer's inputs: the activation, the bits of a unit, the largest number.

    `num_bits` is the bits per number: 1 for a sign or a bit, otherwise two's complement; 0 for a
    float. `add(x, unit)` activates a unit to which numbers x of the same grid are added; None where
    a sum of two such numbers makes no sense.
    """

    activate: Function
    bits: int
    full_scale: int
    num_bits: int
    is_sign: bool = False
    is_bit: bool = False
    add: Callable[[jax.Array, jax.Array], jax.Array] | None = None

    @property
    def unit(self) -> int:
        """Return the size of one unit on the grid of an activation."""
        return 2**self.bits

    @property
    def start(self) -> float:
        """Return the number from which a memory starts: 0, or +1 where there is no 0."""
        return float(self.is_sign)

    def is_same(self, other: "Grid") -> bool:
        """Return whether two grids have the same numbers."""
        return self[2:6] == other[2:6]


def straight_through(hard: Callable, soft: Callable) -> Callable:
    """Return `hard` with the derivative of `soft` (Bengio, Leonard and Courville 2013)."""

    @jax.custom_jvp
    def function(*args: jax.Array) -> jax.Array:
        return hard(*args)

    @function.defjvp
    def differentiate(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
        return hard(*primals), jax.jvp(soft, primals, tangents)[1]

    return function


def _hard_tanh(units: int, largest: int) -> Grid:
    """Return the grid of a rounded hard tanh, with the derivative of the hard tanh."""
    activate = straight_through(
        lambda unit: jnp.clip(jnp.round(unit * units), -largest, largest),
        lambda unit: jnp.clip(unit * units, -largest, largest),
    )
    add = straight_through(
        lambda x, unit: jnp.clip(jnp.round(unit * units) + x, -largest, largest),
        lambda x, unit: jnp.clip(unit * units + x, -largest, largest),
    )
    bits = units.bit_length() - 1
    return Grid(activate, bits, largest, bits + 1, add=add)


def _float(activate: Function) -> Grid:
    return Grid(activate, 0, 1, 0, add=lambda x, unit: activate(unit + x))


def _clipped(unit: jax.Array) -> jax.Array:
    return jnp.clip(unit, -1, 1)


_SIGN = straight_through(lambda unit: jnp.where(unit >= 0, 1.0, -1.0), _clipped)
_TERNARY = straight_through(
    lambda unit: jnp.where(unit > 0.5, 1.0, jnp.where(unit < -0.5, -1.0, 0.0)), _clipped
)

ACTIVATIONS = {
    "int8": _hard_tanh(128, 127),
    "int4": _hard_tanh(8, 7),
    "sign": Grid(_SIGN, bits=0, full_scale=1, num_bits=1, is_sign=True),
    "ternary": Grid(_TERNARY, bits=0, full_scale=1, num_bits=2),
    "tanh": _float(jnp.tanh),
    "relu": _float(jax.nn.relu),
}
"""Hidden activations. Activations on a grid have a straight-through derivative."""

OUTPUT = Grid(lambda unit: unit, 0, 1, 0)
"""The "grid" after the last layer, which has no activation."""


def observation_grid(settings: Layered, obs: ObsSpec) -> Grid:
    """Return the grid of observations, whose full scale is 2**observation_shift units.

    Of "planes" it has the bits as they are, otherwise the upper `observation_bits` bits.
    """
    shift, bits = settings.observation_shift, settings.observation_bits
    if obs.kind == "planes":
        return Grid(lambda obs: obs, -shift, full_scale=1, num_bits=1, is_bit=True)
    return Grid(
        lambda obs: jnp.floor(obs / 2 ** (8 - bits)),
        bits - 1 - shift,
        max(2 ** (bits - 1) - 1, 1),
        bits,
    )


def image_shape(policy: str, obs: ObsSpec) -> Shape:
    """Return the shape [height, width, channels] of images; without channels there is one.

    Raises:
      ValueError: observations are not images.
    """
    if len(obs.shape) not in (2, 3):
        raise ValueError(
            f"--policy {policy} sees images, and these observations are {obs.size} numbers without "
            "height and width; use --policy mlp"
        )
    return obs.shape if len(obs.shape) == 3 else (*obs.shape, 1)


def gate(grid: Grid) -> Function:
    """Return the gate of a memory on a grid: units to 0 (keep) up to `grid.unit` (replace).

    It is `clip(round_half_even(G * (unit + 1) / 2), 0, G)` with G = `grid.unit`, and has the
    derivative of its hard sigmoid. Floats are not rounded.
    """
    size, half = grid.unit, grid.unit / 2

    def soft(unit: jax.Array) -> jax.Array:
        return jnp.clip(half * unit + half, 0, size)

    def hard(unit: jax.Array) -> jax.Array:
        if size == 1:  # a half rounds to 0, and unit + 1 would lose a small unit
            return jnp.where(unit > 0, 1.0, 0.0)
        return jnp.clip(jnp.round(half * unit) + half, 0, size)  # half is even: no bit is lost

    return straight_through(hard, soft) if grid.num_bits else soft


def blend(grid: Grid) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Return the mean of an old and a new number, weighted by a gate, rounded half to even."""

    def soft(share: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
        return old + share * (new - old) / grid.unit

    def hard(share: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
        return old + jnp.round(share * (new - old) / grid.unit)

    return straight_through(hard, soft) if grid.num_bits else soft


# ------------------------------------------------------------------------------------ layers
#
# A layer gets numbers on a grid and returns numbers on a grid. `matrix` is the shape [fan_in, rows]
# of its weights for inputs of a shape, or None without weights, and `after` the shape of its
# outputs. `run` gets the product with the weights, from inputs [..., fan_in] to units [..., rows],
# the grid of the outputs, the inputs and the layer's memory [memory_size], and returns the new
# memory and the outputs. With a positive `skip` the inputs of the layer `skip - 1` places before
# are added to the sums.


def places(window: Window, shape: Shape) -> tuple[int, int]:
    """Return the number of places of a window on an image [height, width, channels].

    Raises:
      ValueError: it does not fit on the image.
    """
    high, wide = shape[:2]
    if not window.fits(high, wide):
        raise ValueError(
            f"a window of {window.height} x {window.width} does not fit on {high} x {wide}"
        )
    return window.places(high, wide)


def slices(window: Window, image: jax.Array, filling: float) -> Iterator[jax.Array]:
    """Yield what each place (y, x) of the window sees, [high, wide, channels], row after row."""
    high, wide = places(window, image.shape)
    around, stride = (window.padding, window.padding), window.stride
    padded = jnp.pad(image, (around, around, (0, 0)), constant_values=filling)
    for y in range(window.height):
        for x in range(window.width):
            rows = slice(y, y + (high - 1) * stride + 1, stride)
            columns = slice(x, x + (wide - 1) * stride + 1, stride)
            yield padded[rows, columns]


class Dense(NamedTuple):
    """All outputs see all inputs, which are flattened."""

    out: int
    skip: int = 0

    memory_size = 0

    def matrix(self, shape: Shape) -> tuple[int, int]:
        """Return the shape of the weights."""
        return math.prod(shape), self.out

    def after(self, shape: Shape) -> Shape:
        """Return the shape of the outputs."""
        del shape
        return (self.out,)

    def run(
        self, product: Function, grid: Grid, values: jax.Array, memory: Memory
    ) -> tuple[Memory, jax.Array]:
        """Return the outputs [out]."""
        return memory, grid.activate(product(values.ravel()))


class Convolution(NamedTuple):
    """The same matrix at each place of a window: inputs in the order (y, x, channel)."""

    out: int
    window: Window
    skip: int = 0

    memory_size = 0

    def matrix(self, shape: Shape) -> tuple[int, int]:
        """Return the shape of the weights."""
        return self.window.height * self.window.width * shape[-1], self.out

    def after(self, shape: Shape) -> Shape:
        """Return the shape of the outputs."""
        return (*places(self.window, shape), self.out)

    def run(
        self, product: Function, grid: Grid, values: jax.Array, memory: Memory
    ) -> tuple[Memory, jax.Array]:
        """Return the outputs [height, width, out]."""
        high, wide, _ = self.after(values.shape)
        patches = jnp.concatenate(list(slices(self.window, values, 0.0)), axis=-1)
        units = product(patches.reshape(high * wide, -1))
        return memory, grid.activate(units.reshape(high, wide, self.out))


class MaxPool(NamedTuple):
    """The maximum of each channel at each place of a window, in which padding never wins."""

    window: Window

    skip = 0
    memory_size = 0

    def matrix(self, shape: Shape) -> None:
        """Return None: there are no weights."""
        del shape

    def after(self, shape: Shape) -> Shape:
        """Return the shape of the outputs."""
        return (*places(self.window, shape), shape[-1])

    def run(
        self, product: Function, grid: Grid, values: jax.Array, memory: Memory
    ) -> tuple[Memory, jax.Array]:
        """Return the maxima [height, width, channels]."""
        del product, grid
        return memory, functools.reduce(jnp.maximum, slices(self.window, values, -jnp.inf))


class Elman(NamedTuple):
    """Elman's cell (1990): a dense layer that also sees its own outputs of the step before."""

    out: int

    skip = 0

    @property
    def memory_size(self) -> int:
        """Return how many numbers are carried from step to step."""
        return self.out

    def matrix(self, shape: Shape) -> tuple[int, int]:
        """Return the shape of the weights."""
        return math.prod(shape) + self.out, self.out

    def after(self, shape: Shape) -> Shape:
        """Return the shape of the outputs."""
        del shape
        return (self.out,)

    def run(
        self, product: Function, grid: Grid, values: jax.Array, memory: Memory
    ) -> tuple[Memory, jax.Array]:
        """Return the outputs [out], as the memory and as the outputs."""
        values = grid.activate(product(jnp.concatenate([values.ravel(), memory])))
        return values, values


class Gated(NamedTuple):
    """A minimal gated unit (Zhou et al. 2016) whose gate is an integer: see `gate`.

    The first `out` rows of the matrix are the candidates, the other `out` the gates.
    """

    out: int

    skip = 0

    @property
    def memory_size(self) -> int:
        """Return how many numbers are carried from step to step."""
        return self.out

    def matrix(self, shape: Shape) -> tuple[int, int]:
        """Return the shape of the weights."""
        return math.prod(shape) + self.out, 2 * self.out

    def after(self, shape: Shape) -> Shape:
        """Return the shape of the outputs."""
        del shape
        return (self.out,)

    def run(
        self, product: Function, grid: Grid, values: jax.Array, memory: Memory
    ) -> tuple[Memory, jax.Array]:
        """Return the outputs [out], as the memory and as the outputs."""
        units = product(jnp.concatenate([values.ravel(), memory]))
        candidate, share = grid.activate(units[: self.out]), gate(grid)(units[self.out :])
        values = blend(grid)(share, candidate, memory)
        return values, values


Layer = Dense | Convolution | MaxPool | Elman | Gated

TYPES: dict[type[Layer], LayerType] = {
    Dense: "dense",
    Convolution: "convolution",
    MaxPool: "max_pool",
    Elman: "elman",
    Gated: "gated",
}
"""What a policy file calls each layer."""

# ---------------------------------------------------------------------------------- networks


class Place(NamedTuple):
    """A layer in its network: the shape and grid of its inputs, and the grid of its outputs.

    `part` is how many products float32 sums exactly, if the layer has more of them; else 0.
    """

    layer: Layer
    shape: Shape
    inputs: Grid
    outputs: Grid
    part: int = 0

    @property
    def matrix(self) -> tuple[int, int] | None:
        """Return the shape of the weights, None without."""
        return self.layer.matrix(self.shape)


class Network(NamedTuple):
    """Layers, from observations of a shape on a grid to outputs: a value that `forward` runs."""

    places: tuple[Place, ...]

    @property
    def weighted(self) -> tuple[Place, ...]:
        """Return the places of the layers that have weights: one for each dict of the params."""
        return tuple(place for place in self.places if place.matrix)

    @property
    def memory_sizes(self) -> tuple[int, ...]:
        """Return the sizes of the memories of all layers that have one."""
        sizes = (place.layer.memory_size for place in self.places)
        return tuple(size for size in sizes if size)


def network(
    layers: tuple[Layer, ...],
    shape: Shape,
    inputs: Grid,
    hidden: Grid,
    weights: WeightName = "ternary",
    weight_bytes: int = 4,
) -> Network:
    """Put layers one after another.

    Args:
      layers: the layers; the last one has no activation.
      shape: the shape of observations.
      inputs: their grid.
      hidden: the grid of all activations.
      weights: the kind of weights, whose largest level bounds the number of inputs.
      weight_bytes: bytes of a weight in memory; by default those of a float, so that the float
        twin also fits into a file.

    Raises:
      ValueError: a layer cannot take what the one before returns, a sum might not be exact, or no
        policy file can hold the network.
    """
    activated = [(layer, hidden) for layer in layers[:-1]]
    net = placed((*activated, (layers[-1], OUTPUT)), shape, inputs, weights)
    check_fits_a_file(net, weight_bytes)
    return net


def placed(
    layers: tuple[tuple[Layer, Grid], ...],
    shape: Shape,
    inputs: Grid,
    weights: WeightName = "ternary",
) -> Network:
    """Put layers, each with the grid of its outputs, one after another; see `network`.

    Raises:
      ValueError: a layer cannot take what the one before returns, or a sum might not be exact.
    """
    found: list[Place] = []
    for layer, outputs in layers:
        if not layer.matrix(shape):
            outputs = inputs  # a pool returns some of its inputs
        part = _part(layer.matrix(shape), inputs, weights)
        found.append(Place(layer, shape, inputs, outputs, part))
        try:
            shape = layer.after(shape)
            _check_place(found, weights)
        except ValueError as error:
            raise ValueError(f"layer {len(found)}, a {TYPES[type(layer)]}: {error}") from error
        inputs = outputs
    return Network(tuple(found))


MAX_REST = 2**20
"""More than a file has beside its weights: metadata, ranges, and 13 bytes for each observation."""


def check_fits_a_file(net: Network, weight_bytes: int = 4) -> None:
    """Reject, before any training, a network that no policy file can hold.

    The limits are those of `ternevo.deploy.tvp`: what is accepted here can be saved and loaded.

    Raises:
      ValueError: it has too many layers or weights, a layer is too wide, or an image too large.
    """
    after = [place.layer.after(place.shape) for place in net.places]
    matrices = [place.matrix for place in net.weighted if place.matrix]
    fan_ins, rows = zip(*matrices, strict=True)
    count = sum((fan_in + 1) * out for fan_in, out in matrices)
    for what, found, most in (
        ("layers", len(net.places), tvp.MAX_LAYERS_2),
        ("observations", math.prod(net.places[0].shape), tvp.MAX_OBSERVATION),
        ("inputs of a layer's output", max(fan_ins), tvp.MAX_FAN_IN),
        ("outputs of a layer", max(*rows, *(x[-1] for x in after)), tvp.MAX_WIDTH),
        ("values between two layers", max(map(math.prod, after)), tvp.MAX_VALUES),
        ("products in a step", sum(map(_work_of, net.places)), tvp.MAX_EVALUATION),
        ("weights", count, (tvp.MAX_BYTES - MAX_REST) // weight_bytes),
    ):
        if found > most:
            raise ValueError(f"{found:,} {what} do not fit into a policy file; at most {most:,}")


def _work_of(place: Place) -> int:
    """Return the products of a step; comparisons of a pool count as much, as in `deploy/tvp`."""
    after = place.layer.after(place.shape)
    if isinstance(place.layer, MaxPool):
        return math.prod(after) * place.layer.window.height * place.layer.window.width
    return math.prod(after[:-1]) * math.prod(place.matrix or ())


def _part(matrix: tuple[int, int] | None, inputs: Grid, weights: WeightName) -> int:
    """Return `Place.part` of a layer with weights of this shape."""
    largest = inputs.full_scale + 1  # observations of few bits reach -2**(bits - 1)
    if not matrix or not inputs.num_bits or largest_sum(weights, largest, matrix[0]) < EXACT:
        return 0
    return (EXACT - 1) // (largest * LARGEST_LEVELS.get(weights, 1))


def _check_place(places: list[Place], weights: WeightName) -> None:
    """Refuse a last place that does not fit the ones before, see `network`."""
    layer, shape, inputs, outputs, _ = places[-1]
    if matrix := layer.matrix(shape):
        # Outputs are float32, which ties of the largest ones would show.
        bits = 24 if outputs is OUTPUT else 31
        is_observed = inputs is places[0].inputs and not inputs.is_bit
        below = is_observed and 2 <= inputs.num_bits < 8  # rounded down to -2**(bits - 1)
        largest = largest_sum(weights, inputs.full_scale + below, matrix[0])
        if inputs.num_bits and largest >= 2**bits:
            instead = " or --weights int4" if weights == "int8" else ""
            raise ValueError(
                f"{matrix[0]:,} inputs: a sum may exceed 2**{bits}; use fewer{instead}"
            )
    if isinstance(layer, Convolution) and layer.window.padding and inputs.is_sign:
        raise ValueError("padding is 0, and signs have no 0: use another --activation")
    if layer.memory_size and not inputs.is_same(outputs):
        raise ValueError(
            "a cell adds up its inputs and its memory, so both must be numbers of the same size; "
            "put a dense layer before it, whose outputs are as the memory"
        )
    if layer.skip:
        _check_skip(places)


def _check_skip(places: list[Place]) -> None:
    layer, shape, _, outputs, _ = places[-1]
    if layer.skip > len(places):
        raise ValueError(f"skip must be 1 to {len(places)} here, got {layer.skip}")
    source = places[-layer.skip]
    if outputs.add is None or source.inputs is not outputs:
        raise ValueError(
            "it cannot add its inputs to its outputs: that needs --activation int8, int4, tanh or "
            "relu, and inputs with the same activation"
        )
    if source.shape != layer.after(shape):
        raise ValueError(f"inputs {source.shape} cannot be added to outputs {layer.after(shape)}")


def policy(settings: Layered, net: Network) -> Policy:
    """Return the policy that runs a network with these settings.

    Raises:
      ValueError: `matmul` needs integers but the settings have floats.
    """
    choose_matmul(settings, net, 1)

    def reset(params: Params, key: Key) -> Memory:
        del params, key
        return start(net)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        is_packed = isinstance(params[0], Product | BitPlanes)
        packed = params if is_packed else pack(settings, net, "float32", params)
        return forward(net, packed, memory, inputs.obs)

    return Policy(
        init=lambda key: init(settings, net, key),
        reset=reset,
        apply=apply,
        packing=lambda num_episodes: packing_of(settings, net, num_episodes),
        memory_scale=float(ACTIVATIONS[settings.activation].full_scale),
    )


def start(net: Network) -> Memory:
    """Return the memory at the start of an episode: float32 integers [size] of each cell."""
    cells = [place for place in net.places if place.layer.memory_size]
    return tuple(jnp.full(cell.layer.memory_size, cell.outputs.start) for cell in cells)


def forward(
    net: Network,
    packed: tuple["Product | BitPlanes", ...],
    memory: Memory,
    obs: Float[Array, "*shape"],
) -> tuple[Memory, Float[Array, "*outputs"]]:
    """Run one quantised observation through the layers; return the new memory and the outputs.

    Without an activation, outputs are the integer sums of the last layer times a power of two:
    argmax and ties are those of the integers.
    """
    first = net.places[0]
    values, seen, memories = first.inputs.activate(obs).reshape(first.shape), [], []
    given, matrices = iter(memory), iter(packed)
    for place in net.places:
        layer, grid = place.layer, place.outputs
        seen.append(values)
        if layer.skip:
            assert grid.add is not None  # see `_check_skip`
            grid = grid._replace(activate=functools.partial(grid.add, seen[-layer.skip]))
        product = OUTPUT.activate  # never called: a pool has no weights
        if place.matrix:
            matrix = next(matrices)
            product = functools.partial(multiply, matrix, place)
            grid = _with_functions(grid, matrix.functions)
        own = next(given) if layer.memory_size else None
        own, values = layer.run(product, grid, values, own)
        if own is not None:
            memories.append(own)
    return tuple(memories), values


def _with_functions(grid: Grid, codes: jax.Array | None) -> Grid:
    """Return the grid whose activation is followed by the functions of outputs, if they have any.

    See `ternevo.deploy.functions`.
    """
    if codes is None:
        return grid
    return grid._replace(
        activate=lambda unit: shaped(jnp, codes, grid.activate(unit), grid.full_scale)
    )


# -------------------------------------------------------------------------------- matrices

MATMULS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "int8": jnp.int8}
"""The possible dtypes of the two factors of a dot product; sums are exact with each of them."""


class Product(NamedTuple):
    """A matrix to multiply by: unit = (values @ weight + bias) * scale.

    There is one scale, or one per output. With `functions`, those follow the activation.
    """

    weight: jax.Array
    bias: Float32[Array, "*population out"]
    scale: Float32[Array, "*population_and_outputs"]
    functions: Int8[Array, "*population out"] | None = None


class BitPlanes(NamedTuple):
    """A matrix to count bits of: unit = (dot of the bit planes + offset with the bias) * scale."""

    planes: Planes
    offset: Int32[Array, "*population out"]
    scale: Float32[Array, "*population_and_outputs"]
    functions: Int8[Array, "*population out"] | None = None


def multiply(matrix: Product | BitPlanes, place: Place, values: jax.Array) -> jax.Array:
    """Return the units [..., rows] of values [..., fan_in]; there is at most one leading axis."""
    if isinstance(matrix, Product):
        dot = wide_dot(place.part) if place.part else _dot
        return dot(values, matrix.weight, matrix.bias) * matrix.scale
    count = functools.partial(_count, matrix, place.inputs)
    return (jax.vmap(count) if values.ndim > 1 else count)(values) * matrix.scale


def packing_of(settings: Layered, net: Network, num_episodes: int) -> Packing:
    """Return how to run `num_episodes` episodes of each member.

    A matrix product shares the weights among episodes that run side by side.
    Counting bits is as fast for a single episode, and then no lane waits for another.
    """
    matmul = choose_matmul(settings, net, num_episodes)
    together = 1 if matmul == "planes" else num_episodes
    return Packing(lambda params: pack(settings, net, matmul, params), together)


def choose_matmul(settings: Layered, net: Network, num_episodes: int) -> str:
    """Return how to multiply: as requested, or the fastest way measured so far.

    On CPU, counting bits beats XLA's float32 product where layers are wide, see `_counting_wins`.
    Otherwise use float32; not measured yet on a GPU.

    Raises:
      ValueError: it needs integers, but an activation or the weights are floats.
    """
    num_bits = ACTIVATIONS[settings.activation].num_bits
    is_integer = settings.weights != "float" and num_bits > 0
    has_planes = is_integer and settings.weights not in LARGEST_LEVELS
    if settings.matmul == "auto":
        is_faster = _counting_wins(net, num_bits, num_episodes)
        on_cpu = jax.default_backend() == "cpu"
        return "planes" if has_planes and on_cpu and is_faster else "float32"
    if not is_integer and settings.matmul != "float32":
        raise ValueError(
            f"--matmul {settings.matmul} needs integers, not --weights {settings.weights} with "
            f"--activation {settings.activation}; use float32"
        )
    if settings.matmul == "planes" and not has_planes:
        raise ValueError(
            f"--matmul planes counts bits of trits and signs, not of --weights {settings.weights}; "
            "use float32"
        )
    return settings.matmul


MANY_WEIGHTS = 50_000
"""So many weights of each lane do not stay in a cache: a product reads them from memory."""


def _counting_wins(net: Network, num_bits: int, num_episodes: int) -> bool:
    """Return whether counting bits was found to be faster on a CPU (docs/profiling.md).

    It costs as many counts as a layer's inputs have bits, which an instruction of AVX-512 makes
    cheap. A product reads all of a member's weights, which its other episodes share. Only dense
    layers count as narrow; convolutions before them do not change it.

    Args:
      net: the network.
      num_bits: of an activation; observations may have more.
      num_episodes: of each member.
    """
    widths = [place.layer.after(place.shape) for place in net.weighted[:-1]]
    width = min((shape[0] for shape in widths if len(shape) == 1), default=0)
    if processor.counts_bits_of_vectors():
        return width >= 32 if num_bits <= 2 else width >= 64 and num_episodes == 1
    if width < 64:
        return False
    found = [(math.prod(place.matrix or ()), place.inputs.num_bits) for place in net.weighted]
    every, of_one_bit = sum(n for n, _ in found), sum(n for n, bits in found if bits == 1)
    return (every >= MANY_WEIGHTS and num_episodes == 1) or 2 * of_one_bit >= every


def init(settings: Layered, net: Network, key: Key) -> Params:
    """Draw a network that keeps the variance of its inputs from layer to layer."""
    matrices = [place.matrix for place in net.weighted if place.matrix]
    keys = jax.random.split(key, len(matrices))
    # A bias is worth one unit, even if the full scale of the inputs is more.
    shifts = [settings.observation_shift] + [0] * (len(matrices) - 1)
    return tuple(
        _init_layer(settings, *arguments) for arguments in zip(keys, matrices, shifts, strict=True)
    )


def _init_layer(
    settings: Layered, key: Key, matrix: tuple[int, int], bias_shift: int
) -> dict[str, Tensor]:
    """Draw the weights; biases start at zero, except binary biases, which must be drawn."""
    key_weight, key_bias = jax.random.split(key)
    kind = kind_of(settings.weights)
    fan_in, rows = matrix
    weight = kind.draw(key_weight, (fan_in, rows))
    bias = kind.draw(key_bias, (rows,))
    if kind.has_zero:
        bias = jnp.zeros_like(bias)
    if kind.is_float:
        exponent, bias_shift, weight = 0, 0, weight / math.sqrt(fan_in)
    else:
        density = sum(level * level for level in kind.levels) / len(kind.levels)
        exponent = round(math.log2(math.sqrt(fan_in * density)))
    shape = (rows,) if settings.scales == "output" else ()
    layer = {"weight": Tensor(weight, jnp.full(shape, exponent, jnp.int8))}
    if settings.use_bias:
        layer["bias"] = Tensor(bias, jnp.asarray(exponent + bias_shift, jnp.int8))
    return layer


def pack(
    settings: Layered, net: Network, matmul: str, params: Params
) -> tuple[Product | BitPlanes, ...]:
    """Compute everything that depends only on the weights, once for many observations."""
    shifts = [0] * (len(params) - 1) + [settings.output_shift]
    return tuple(
        _pack_layer(matmul, layer, place.inputs, shift, bias_shift_limit(settings.weights))
        for layer, place, shift in zip(params, net.weighted, shifts, strict=True)
    )


def _pack_layer(
    matmul: str, layer: dict[str, Tensor], inputs: Grid, shift: int, bias_limit: int
) -> Product | BitPlanes:
    values, exponent = layer["weight"]
    scale = jnp.ldexp(jnp.float32(1), -exponent.astype(jnp.int32) - inputs.bits - shift)
    bias = jnp.zeros(values.shape[-1])
    if "bias" in layer:
        bias = _bias_size(layer, inputs, bias_limit) * layer["bias"].values.astype(jnp.float32)
    codes = layer["function"].values if "function" in layer else None
    if matmul != "planes":
        return Product(values.astype(MATMULS[matmul]), bias, scale, codes)
    planes = bit_planes.planes_of(values)
    return BitPlanes(planes, _offset(planes, inputs) + bias.astype(jnp.int32), scale, codes)


def _bias_size(layer: dict[str, Tensor], inputs: Grid, limit: int) -> jax.Array:
    """Return the size of an always-on input: full scale, times bias scale over weight scale."""
    shift = layer["weight"].exponent.astype(jnp.int32) - layer["bias"].exponent.astype(jnp.int32)
    size = jnp.ldexp(jnp.float32(inputs.full_scale), jnp.minimum(shift, limit))
    return jnp.round(size) if inputs.num_bits else size


def _products(values: jax.Array, weight: jax.Array) -> jax.Array:
    sums = jnp.int32 if weight.dtype == jnp.int8 else jnp.float32
    return jnp.dot(values.astype(weight.dtype), weight, preferred_element_type=sums)


def _dot(values: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    return _products(values, weight).astype(jnp.float32) + bias


@functools.cache
def wide_dot(part: int) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Return a `_dot` of which only `part` products are exact in float32: parts add up as int32.

    Weights that are learned before they are rounded are no integers; of these, parts are rounded.
    """

    def exact(values: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
        total = jnp.round(bias).astype(jnp.int32)
        for start in range(0, len(weight), part):
            sums = _products(values[..., start : start + part], weight[start : start + part])
            total = total + jnp.round(sums).astype(jnp.int32)
        return rounded_to_odd(total)

    return straight_through(exact, _dot)


def rounded_to_odd(sums: Int32[Array, "*rows"]) -> Float32[Array, "*rows"]:
    """Return float32 that every later rounding and comparison takes as it would take the sums.

    From 2**24 on the lowest 8 bits are left out, and where one of them is 1 the next one is set: no
    number becomes a tie that was none (Boldo, Melquiond 2008, "Emulation of FMA and correctly
    rounded sums: proved algorithms using rounding to odd").
    """
    coarse = (sums & -256) | jnp.where(sums & 255 != 0, 256, 0)
    return jnp.where(jnp.abs(sums) < EXACT, sums, coarse).astype(jnp.float32)


def _offset(planes: Planes, inputs: Grid) -> jax.Array:
    if inputs.is_sign:
        return bit_planes.offset_of_signs(planes)
    if inputs.is_bit:
        return bit_planes.offset_of_bits(planes)
    return bit_planes.offset_of_integers(planes, inputs.num_bits)


def _count(layer: BitPlanes, inputs: Grid, values: jax.Array) -> jax.Array:
    planes, offset = layer.planes, layer.offset
    if inputs.is_sign:
        total = bit_planes.dot_signs(planes, offset, values)
    elif inputs.is_bit:
        total = bit_planes.dot_bits(planes, offset, values)
    else:
        total = bit_planes.dot_integers(planes, offset, values.astype(jnp.int32), inputs.num_bits)
    return total.astype(jnp.float32)
