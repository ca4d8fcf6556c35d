"""A multi-layer perceptron whose weights are trits and whose activations are small integers.

Every product and sum is an integer below 2**24, so float32 (or bf16 inputs with
float32 sums) computes it exactly, in any order, on any device. Each layer returns
its pre-activations in units, as an integer sum times a power of two; a hard tanh
saturates at one unit. A params pytree is a tuple of {"weight", "bias"} dicts.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from ternevo.arithmetic import bit_planes
from ternevo.arithmetic.bit_planes import Planes
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import tvp
from ternevo.settings.policies import MLP
from ternevo.types import (
    ActionSpec,
    Inputs,
    Key,
    Memory,
    ObsSpec,
    Packing,
    Params,
    Policy,
    Tensor,
    no_memory,
)

BIAS_SHIFT_LIMIT = 8
"""A bias is at most 2**8 times the full scale of its layer's inputs."""


class Grid(NamedTuple):
    """The grid of a layer's inputs: the activation, the bits of a unit, the largest number.

    `num_bits` is the bits per number: 1 for a sign, otherwise two's complement; 0 for a float.
    """

    activate: Callable[[jax.Array], jax.Array]
    bits: int
    full_scale: int
    num_bits: int
    is_sign: bool = False


def _straight_through(
    hard: Callable[[jax.Array], jax.Array], soft: Callable[[jax.Array], jax.Array]
) -> Callable[[jax.Array], jax.Array]:
    """Return `hard` with the derivative of `soft` (Bengio, Leonard and Courville 2013)."""

    @jax.custom_jvp
    def function(unit: jax.Array) -> jax.Array:
        return hard(unit)

    @function.defjvp
    def differentiate(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
        return hard(*primals), jax.jvp(soft, primals, tangents)[1]

    return function


def _rounded(units: int, largest: int) -> Callable[[jax.Array], jax.Array]:
    """Return a hard tanh on a grid, with the derivative of the hard tanh."""
    return _straight_through(
        lambda unit: jnp.clip(jnp.round(unit * units), -largest, largest),
        lambda unit: jnp.clip(unit * units, -largest, largest),
    )


def _hard_tanh(unit: jax.Array) -> jax.Array:
    return jnp.clip(unit, -1, 1)


ACTIVATIONS = {
    "int8": Grid(_rounded(128, 127), 7, 127, 8),
    "int4": Grid(_rounded(8, 7), 3, 7, 4),
    "sign": Grid(
        _straight_through(lambda unit: jnp.where(unit >= 0, 1.0, -1.0), _hard_tanh),
        *(0, 1, 1, True),
    ),
    "ternary": Grid(
        _straight_through(
            lambda unit: jnp.where(unit > 0.5, 1.0, jnp.where(unit < -0.5, -1.0, 0.0)), _hard_tanh
        ),
        *(0, 1, 2),
    ),
    "tanh": Grid(jnp.tanh, 0, 1, 0),
    "relu": Grid(jax.nn.relu, 0, 1, 0),
}
"""Hidden activations. Activations on a grid have a straight-through derivative."""


MATMULS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "int8": jnp.int8}
"""The possible dtypes of the two factors of a dot product; sums are exact with each of them."""


class Dense(NamedTuple):
    """A layer that multiplies matrices: unit = (values @ weight + bias) * scale.

    There is one scale, or one per output.
    """

    weight: jax.Array
    bias: Float32[Array, "*population out"]
    scale: Float32[Array, "*population_and_outputs"]


class BitPlanes(NamedTuple):
    """A layer that counts bits: unit = (dot of the bit planes + offset with the bias) * scale."""

    planes: Planes
    offset: Int32[Array, "*population out"]
    scale: Float32[Array, "*population_and_outputs"]


def build(settings: MLP, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file, or `matmul` needs integers but the
        settings have floats.
    """
    sizes = (obs.size, *settings.hidden_sizes, action.size)
    check_fits_a_file(sizes)
    choose_matmul(settings, 1)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        is_packed = isinstance(params[0], Dense | BitPlanes)
        layers = params if is_packed else pack(settings, "float32", params)
        return memory, forward(settings, layers, inputs.obs.ravel())

    return Policy(
        init=lambda key: init(settings, key, sizes),
        reset=no_memory,
        apply=apply,
        packing=lambda num_episodes: packing_of(settings, num_episodes),
    )


def check_fits_a_file(sizes: tuple[int, ...]) -> None:
    """Reject, before any training, a network that no policy file can hold.

    If it fits, its sums stay below 2**24, where float32 represents every integer.

    Raises:
      ValueError: a layer is too wide, or there are too many layers or weights.
    """
    if max(sizes) > tvp.MAX_WIDTH or len(sizes) - 1 > tvp.MAX_LAYERS:
        raise ValueError(
            f"layer sizes {sizes} do not fit into a policy file: at most {tvp.MAX_LAYERS} layers "
            f"of {tvp.MAX_WIDTH}; lower --hidden_sizes"
        )
    count = sum((inputs + 1) * out for inputs, out in itertools.pairwise(sizes))
    if 4 * count > tvp.MAX_BYTES:  # as floats, so that the float twin also fits
        raise ValueError(
            f"layer sizes {sizes} are {count:,} weights, and a policy file holds "
            f"{tvp.MAX_BYTES // 4:,}; lower --hidden_sizes"
        )


def packing_of(settings: MLP, num_episodes: int) -> Packing:
    """Return how to run `num_episodes` episodes of each member.

    A matrix product shares the weights among episodes that run side by side.
    Counting bits is as fast for a single episode, and then no lane waits for another.
    """
    matmul = choose_matmul(settings, num_episodes)
    together = 1 if matmul == "planes" else num_episodes
    return Packing(lambda params: pack(settings, matmul, params), together)


def choose_matmul(settings: MLP, num_episodes: int) -> str:
    """Return how to multiply: as requested, or the fastest way measured so far.

    On CPU, counting bits is many times faster than XLA's float32 product for signs
    and trits in layers of at least 32. For 8 and 4 bits it is faster in layers of at
    least 64 if each member has one episode, and so no other episode to share weights
    with (docs/profiling.md). Otherwise use float32; not measured yet on a GPU.

    Raises:
      ValueError: it needs integers, but an activation or the weights are floats.
    """
    num_bits = ACTIVATIONS[settings.activation].num_bits
    is_integer = settings.weights != "float" and num_bits > 0
    if settings.matmul == "auto":
        width = min(settings.hidden_sizes, default=0)
        is_faster = width >= 32 if num_bits <= 2 else width >= 64 and num_episodes == 1
        on_cpu = jax.default_backend() == "cpu"
        return "planes" if is_integer and on_cpu and is_faster else "float32"
    if not is_integer and settings.matmul != "float32":
        raise ValueError(
            f"--matmul {settings.matmul} needs integers, not --weights {settings.weights} with "
            f"--activation {settings.activation}; use float32"
        )
    return settings.matmul


def init(settings: MLP, key: Key, sizes: tuple[int, ...]) -> Params:
    """Draw a network that keeps the variance of its inputs from layer to layer."""
    keys = jax.random.split(key, len(sizes) - 1)
    # A bias is worth one unit, even if the full scale of the inputs is more.
    shifts = [settings.observation_shift] + [0] * len(settings.hidden_sizes)
    return tuple(
        _init_layer(settings, *arguments)
        for arguments in zip(keys, sizes[:-1], sizes[1:], shifts, strict=True)
    )


def _init_layer(
    settings: MLP, key: Key, fan_in: int, fan_out: int, bias_shift: int
) -> dict[str, Tensor]:
    """Draw the weights; biases start at zero, except binary biases, which must be drawn."""
    key_weight, key_bias = jax.random.split(key)
    kind = kind_of(settings.weights)
    weight = kind.draw(key_weight, (fan_in, fan_out))
    bias = kind.draw(key_bias, (fan_out,))
    if kind.has_zero:
        bias = jnp.zeros_like(bias)
    if kind.is_float:
        exponent, bias_shift, weight = 0, 0, weight / math.sqrt(fan_in)
    else:
        density = sum(level * level for level in kind.levels) / len(kind.levels)
        exponent = round(math.log2(math.sqrt(fan_in * density)))
    shape = (fan_out,) if settings.scales == "output" else ()
    layer = {"weight": Tensor(weight, jnp.full(shape, exponent, jnp.int8))}
    if settings.use_bias:
        layer["bias"] = Tensor(bias, jnp.asarray(exponent + bias_shift, jnp.int8))
    return layer


def pack(settings: MLP, matmul: str, params: Params) -> tuple[Dense | BitPlanes, ...]:
    """Compute everything that depends only on the weights, once for many observations."""
    grids = _input_grids(settings, len(params))
    shifts = [0] * (len(params) - 1) + [settings.output_shift]
    return tuple(
        _pack_layer(matmul, *arguments) for arguments in zip(params, grids, shifts, strict=True)
    )


def forward(
    settings: MLP, layers: tuple[Dense | BitPlanes, ...], obs: Float[Array, " obs"]
) -> Float[Array, " action"]:
    """Run one quantised observation through the layers; the last one has no activation.

    The output is the integer sum of the last layer times a power of two:
    argmax and ties are those of the integers.
    """
    units = obs
    for layer, inputs in zip(layers, _input_grids(settings, len(layers)), strict=True):
        values = inputs.activate(units)
        total = (
            _count(layer, inputs, values) if isinstance(layer, BitPlanes) else _dot(layer, values)
        )
        units = total * layer.scale
    return units


def _input_grids(settings: MLP, num_layers: int) -> list[Grid]:
    """Return the grid of each layer's inputs."""
    first = _observation_grid(settings.observation_bits, settings.observation_shift)
    return [first] + [ACTIVATIONS[settings.activation]] * (num_layers - 1)


def _observation_grid(bits: int, shift: int) -> Grid:
    """Return the grid of the upper `bits` of an observation, whose full scale is 2**shift units."""
    return Grid(
        lambda obs: jnp.floor(obs / 2 ** (8 - bits)),
        bits - 1 - shift,
        max(2 ** (bits - 1) - 1, 1),
        bits,
    )


def _pack_layer(
    matmul: str, layer: dict[str, Tensor], inputs: Grid, shift: int
) -> Dense | BitPlanes:
    values, exponent = layer["weight"]
    scale = jnp.ldexp(jnp.float32(1), -exponent.astype(jnp.int32) - inputs.bits - shift)
    bias = jnp.zeros(values.shape[-1])
    if "bias" in layer:
        bias = _bias_size(layer, inputs) * layer["bias"].values.astype(jnp.float32)
    if matmul != "planes":
        return Dense(values.astype(MATMULS[matmul]), bias, scale)
    planes = bit_planes.planes_of(values)
    if inputs.is_sign:
        offset = bit_planes.offset_of_signs(planes)
    else:
        offset = bit_planes.offset_of_integers(planes, inputs.num_bits)
    return BitPlanes(planes, offset + bias.astype(jnp.int32), scale)


def _bias_size(layer: dict[str, Tensor], inputs: Grid) -> jax.Array:
    """Return the size of an always-on input: full scale, times bias scale over weight scale."""
    shift = layer["weight"].exponent.astype(jnp.int32) - layer["bias"].exponent.astype(jnp.int32)
    size = jnp.ldexp(jnp.float32(inputs.full_scale), jnp.minimum(shift, BIAS_SHIFT_LIMIT))
    return jnp.round(size) if inputs.num_bits else size


def _dot(layer: Dense, values: jax.Array) -> jax.Array:
    dtype = layer.weight.dtype
    sums = jnp.int32 if dtype == jnp.int8 else jnp.float32
    total = jnp.dot(values.astype(dtype), layer.weight, preferred_element_type=sums)
    return total.astype(jnp.float32) + layer.bias


def _count(layer: BitPlanes, inputs: Grid, values: jax.Array) -> jax.Array:
    if inputs.is_sign:
        total = bit_planes.dot_signs(layer.planes, layer.offset, values)
    else:
        integers = values.astype(jnp.int32)
        total = bit_planes.dot_integers(layer.planes, layer.offset, integers, inputs.num_bits)
    return total.astype(jnp.float32)
