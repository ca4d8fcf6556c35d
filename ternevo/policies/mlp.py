"""A multi-layer perceptron whose weights are trits and whose activations are small integers.

Every product and sum is an integer below 2**24, so float32 (and bf16 inputs
with float32 sums) computes it exactly, in any order, on any device. Each layer
returns its pre-activations in units, an integer sum times a power of two; one
unit is where a hard tanh saturates. A params pytree is a tuple of {"weight", "bias"} dicts.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ternevo import ternary
from ternevo.policies import MLP
from ternevo.types import ActionSpec, Key, Memory, Params, Policy, Tensor

BIAS_SHIFT_LIMIT = 8
"""A bias is at most 2**8 times the full scale of its layer's inputs."""


class Grid(NamedTuple):
    """Numbers that a layer takes in: how they come about, the bits of a unit, the largest."""

    activate: Callable[[jax.Array], jax.Array]
    bits: int
    full_scale: int
    is_integer: bool = True


ACTIVATIONS = {
    "int8": Grid(lambda unit: jnp.clip(jnp.round(unit * 128), -127, 127), 7, 127),
    "int4": Grid(lambda unit: jnp.clip(jnp.round(unit * 8), -7, 7), 3, 7),
    "sign": Grid(lambda unit: jnp.where(unit >= 0, 1.0, -1.0), 0, 1),
    "ternary": Grid(
        lambda unit: jnp.where(unit > 0.5, 1.0, jnp.where(unit < -0.5, -1.0, 0.0)), 0, 1
    ),
    "tanh": Grid(jnp.tanh, 0, 1, is_integer=False),
    "relu": Grid(jax.nn.relu, 0, 1, is_integer=False),
}


def build(settings: MLP, obs_size: int, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs_size` and actions of `action.size`.

    Raises:
      ValueError: a layer is so wide that a sum could reach 2**24.
    """
    sizes = (obs_size, *settings.hidden_sizes, action.size)
    largest_sum = 127 * (max(sizes[:-1]) + 2**BIAS_SHIFT_LIMIT)
    if largest_sum >= 2**24:
        raise ValueError(f"layer sizes {sizes} are too wide for exact sums: {largest_sum} >= 2**24")

    def apply(params: Params, memory: Memory, obs: jax.Array) -> tuple[Memory, jax.Array]:
        return memory, forward(settings, params, obs)

    return Policy(init=lambda key: init(settings, key, sizes), reset=lambda: (), apply=apply)


def init(settings: MLP, key: Key, sizes: tuple[int, ...]) -> Params:
    """Draw a network that keeps the variance of its inputs from layer to layer."""
    keys = jax.random.split(key, len(sizes) - 1)
    # A bias is worth one unit, also where the full scale of the inputs is more than that.
    shifts = [settings.observation_shift] + [0] * len(settings.hidden_sizes)
    return tuple(
        _init_layer(settings, *arguments)
        for arguments in zip(keys, sizes[:-1], sizes[1:], shifts, strict=True)
    )


def _init_layer(
    settings: MLP, key: Key, fan_in: int, fan_out: int, bias_shift: int
) -> dict[str, Tensor]:
    """Draw the weights; biases start at zero, except that a binary one has to be drawn."""
    key_weight, key_bias = jax.random.split(key)
    kind = settings.weights
    weight = ternary.draw(key_weight, (fan_in, fan_out), kind)
    bias = ternary.draw(key_bias, (fan_out,), kind)
    if kind != "binary":
        bias = jnp.zeros_like(bias)
    if kind == "float":
        exponent, bias_shift, weight = 0, 0, weight / math.sqrt(fan_in)
    else:
        density = 2 / 3 if kind == "ternary" else 1.0
        exponent = round(math.log2(math.sqrt(fan_in * density)))
    layer = {"weight": Tensor(weight, jnp.asarray(exponent, jnp.int8))}
    if settings.use_bias:
        layer["bias"] = Tensor(bias, jnp.asarray(exponent + bias_shift, jnp.int8))
    return layer


def forward(settings: MLP, params: Params, obs: Float[Array, " obs"]) -> Float[Array, " action"]:
    """Run one quantised observation through the layers; the last one has no activation.

    The output is the integer sum of the last layer times a power of two:
    argmax and ties are those of the integers.
    """
    inputs = _observation_grid(settings.observation_bits, settings.observation_shift)
    values = inputs.activate(obs)
    for layer in params[:-1]:
        unit = _layer(layer, values, inputs)
        inputs = ACTIVATIONS[settings.activation]
        values = inputs.activate(unit)
    return _layer(params[-1], values, inputs) * 2.0**-settings.output_shift


def _observation_grid(bits: int, shift: int) -> Grid:
    """Return the grid of the upper `bits` of an observation, whose full scale is 2**shift units."""
    return Grid(
        lambda obs: jnp.floor(obs / 2 ** (8 - bits)),
        bits - 1 - shift,
        max(2 ** (bits - 1) - 1, 1),
    )


def _layer(layer: dict[str, Tensor], values: jax.Array, inputs: Grid) -> jax.Array:
    weight = layer["weight"]
    total = jnp.dot(values, weight.values.astype(jnp.float32))
    if "bias" in layer:
        total += _bias_size(layer, inputs) * layer["bias"].values.astype(jnp.float32)
    return jnp.ldexp(total, -weight.exponent.astype(jnp.int32) - inputs.bits)


def _bias_size(layer: dict[str, Tensor], inputs: Grid) -> jax.Array:
    """Return the size of an always-on input: full scale, times bias scale over weight scale."""
    shift = layer["weight"].exponent.astype(jnp.int32) - layer["bias"].exponent.astype(jnp.int32)
    size = jnp.ldexp(jnp.float32(inputs.full_scale), jnp.minimum(shift, BIAS_SHIFT_LIMIT))
    return jnp.round(size) if inputs.is_integer else size
