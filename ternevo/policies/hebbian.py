"""A policy whose weights change after every step of its life by an evolved Hebbian rule.

The params are the rules; the weights are memory, see `ternevo.types.Policy.reset`. The arithmetic
is that of `ternevo/deploy/hebbian.py`, where the formula is, and what ships computes the same
integers.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Shaped, UInt32

from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import hebbian as rules
from ternevo.deploy.hebbian import ACTIVITY_BITS, MAX_RATE, ONE, Plasticity
from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, OUTPUT, Dense, Grid
from ternevo.settings.policies.hebbian import Hebbian
from ternevo.types import ActionSpec, Inputs, Key, Memory, ObsSpec, Packing, Params, Policy, Tensor


class Life(NamedTuple):
    """The memory: fast weights of all layers in units of 2**-14, the seed, and the steps done."""

    fast: tuple[Shaped[Array, "inputs outputs"], ...]
    seed: UInt32[Array, ""]
    count: Int32[Array, ""]


class Packed(NamedTuple):
    """The rules of a layer, spread to all its synapses, and evolved first weights if any."""

    terms: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    rate: Shaped[Array, "inputs outputs"]
    first: Shaped[Array, "inputs outputs"] | None


class Place(NamedTuple):
    """A layer in its network: the shape of its weights, and the grids of its inputs and outputs."""

    shape: tuple[int, int]
    inputs: Grid
    outputs: Grid


def build(settings: Hebbian, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file.
    """
    plasticity, places = plasticity_of(settings), network(settings, obs, action)
    pack = functools.partial(_pack, plasticity, places)

    def packed(params: Params) -> tuple[Packed, ...]:
        return params if isinstance(params[0], Packed) else pack(params)

    def reset(params: Params, key: Key) -> Memory:
        return _born(plasticity, places, packed(params), jax.random.bits(key, (), jnp.uint32))

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        return _step(plasticity, places, packed(params), memory, inputs.obs.ravel())

    return Policy(
        init=lambda key: _init(settings, places, key),
        reset=reset,
        apply=apply,
        packing=lambda num_episodes: Packing(pack, num_episodes),
        memory_scale=float(ONE),
    )


def plasticity_of(settings: Hebbian) -> Plasticity:
    """Return what all layers share."""
    own = {"evolves_rate": settings.evolve_rate, "sharing": settings.rules_per}
    names = set(Plasticity._fields) - set(own)
    return Plasticity(**own, **{name: getattr(settings, name) for name in names})


def network(settings: Hebbian, obs: ObsSpec, action: ActionSpec) -> tuple[Place, ...]:
    """Return the places of the layers.

    Raises:
      ValueError: they do not fit into a policy file, or observations are planes of bits.
    """
    if obs.kind == "planes":
        raise ValueError("--policy hebbian takes observations of 8 bits, and planes have one")
    sizes = (*settings.hidden_sizes, action.size)
    shift = settings.observation_shift
    grid = Grid(lambda x: x, ACTIVITY_BITS - shift, full_scale=127, num_bits=8)
    try:
        net = layers.network(
            tuple(map(Dense, sizes)), (obs.size,), grid, ACTIVATIONS[settings.activation]
        )
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes") from error
    shapes = [place.matrix for place in net.weighted if place.matrix]
    pairs = zip(net.places, shapes, strict=True)
    return tuple(Place(shape, place.inputs, place.outputs) for place, shape in pairs)


def _init(settings: Hebbian, places: tuple[Place, ...], key: Key) -> Params:
    """Draw rules; rates start at their middle."""
    kind, plasticity = kind_of(settings.weights), plasticity_of(settings)
    no_exponent = jnp.zeros((), jnp.int8)
    params = []
    for place, key_layer in zip(places, jax.random.split(key, len(places)), strict=True):
        key_rule, key_start = jax.random.split(key_layer)
        count = rules.num_rules(plasticity, place.shape)
        rule = kind.draw(key_rule, (len(settings.terms), count))
        layer = {"rule": Tensor(rule, no_exponent)}
        if settings.evolve_rate:
            rate = jnp.ones((1, count)) if kind.is_float else jnp.zeros((2, count), jnp.int8)
            layer["rate"] = Tensor(rate, no_exponent)
        if settings.start == "evolved":
            layer["start"] = Tensor(kind.draw(key_start, place.shape), no_exponent)
        params.append(layer)
    return tuple(params)


def _pack(plasticity: Plasticity, places: tuple[Place, ...], params: Params) -> tuple[Packed, ...]:
    """Spread the rules to all synapses."""
    return tuple(
        _pack_layer(plasticity, layer, rules.rule_of_synapses(plasticity, place.shape))
        for layer, place in zip(params, places, strict=True)
    )


def _pack_layer(plasticity: Plasticity, layer: dict[str, Tensor], index: np.ndarray) -> Packed:
    values, exponent = layer["rule"]
    is_float = jnp.issubdtype(values.dtype, jnp.floating)
    values = values if is_float else values.astype(jnp.int32)
    none = jnp.zeros(values.shape[1], values.dtype)
    named = dict(zip(plasticity.terms, values, strict=True))
    a, b, c, d = (named.get(letter, none)[index] for letter in "ABCD")
    first = _first(plasticity, layer["start"]) if "start" in layer else None
    if is_float:
        own = layer["rate"].values[0] if "rate" in layer else jnp.ones(values.shape[1])
        return Packed((a, b, c, d), (own * 2.0**-plasticity.rate)[index], first)
    rate = jnp.full(values.shape[1], plasticity.rate, jnp.int32) + exponent
    if "rate" in layer:
        digits, shift = layer["rate"]
        rate = rate + digits[0] + 3 * digits[1].astype(jnp.int32) + shift
    return Packed((a, b, c, d), jnp.clip(rate, 0, MAX_RATE)[index], first)


def _first(plasticity: Plasticity, start: Tensor) -> jax.Array:
    """Return evolved first weights, in units of 2**-14."""
    values, exponent = start
    if jnp.issubdtype(values.dtype, jnp.floating):
        return jnp.clip(values * (ONE * 2.0**-plasticity.start_shift), -ONE, ONE)
    shift = jnp.clip(14 - plasticity.start_shift - exponent.astype(jnp.int32), 0, 14)
    return values.astype(jnp.int32) << shift


def _dtype(plasticity: Plasticity) -> Any:
    """Return the dtype of fast weights: integers of 16 bits are enough."""
    return jnp.int16 if plasticity.fast == "integer" else jnp.float32


def _born(
    plasticity: Plasticity,
    places: tuple[Place, ...],
    packed: tuple[Packed, ...],
    seed: UInt32[Array, ""],
) -> Life:
    """Return the memory at the start of a life."""
    fast, first = [], 0
    for layer, place in zip(packed, places, strict=True):
        start = layer.first
        if start is None:
            start = rules.random_start(plasticity, seed, first, place.shape)
        fast.append(start.astype(_dtype(plasticity)))
        first += math.prod(place.shape)
    return Life(tuple(fast), seed, jnp.zeros((), jnp.int32))


def _step(
    plasticity: Plasticity,
    places: tuple[Place, ...],
    packed: tuple[Packed, ...],
    life: Life,
    obs: Float[Array, " inputs"],
) -> tuple[Life, Float[Array, " outputs"]]:
    """Act with the weights as they are, and then let them change."""
    values = pre = output = obs
    after = []
    for place, layer, fast in zip(places, packed, life.fast, strict=True):
        shift = rules.shift_of(plasticity, place.shape[0]) + place.inputs.bits
        unit = (values @ _acting(plasticity, fast)) * 2.0**-shift
        if place.outputs is OUTPUT:
            offset = rules.babble(plasticity, life.seed[None], life.count[None], place.shape[1])
            output = unit + offset.astype(jnp.float32)
            post = jnp.clip(jnp.round(output * 2**ACTIVITY_BITS), -127, 127)
        else:
            values = place.outputs.activate(unit)
            post = values * 2 ** (ACTIVITY_BITS - place.outputs.bits)
        after.append(_bounded(plasticity, _moved(plasticity, layer, fast, pre, post)))
        pre = post
    return Life(tuple(after), life.seed, life.count + 1), output


def _acting(plasticity: Plasticity, fast: jax.Array) -> jax.Array:
    """Return the weights that act, float32: trits, or weights in units of 1."""
    if plasticity.fast == "float":
        return fast * (1 / ONE)
    largest, share = jnp.max(jnp.abs(fast)), plasticity.dead_zone
    zone = largest >> share if plasticity.fast == "integer" else largest * 2.0**-share
    return (fast > zone).astype(jnp.float32) - (fast < -zone).astype(jnp.float32)


def _moved(
    plasticity: Plasticity, layer: Packed, fast: jax.Array, pre: jax.Array, post: jax.Array
) -> jax.Array:
    """Return the weights after the rule and before the bound: int32 or float32."""
    a, b, c, d = layer.terms
    number = jnp.int32 if plasticity.fast == "integer" else jnp.float32
    one, unit = number(ONE), number(2**ACTIVITY_BITS)
    x, y = pre.astype(number)[:, None], post.astype(number)
    drive = a * (x * y) + b * (x * unit) + c * (y * unit) + d * one
    if plasticity.fast == "integer":
        return fast.astype(jnp.int32) + _shift_half_to_even(drive, layer.rate)
    if jnp.issubdtype(layer.rate.dtype, jnp.floating):
        return fast + drive * layer.rate
    return fast + jnp.ldexp(drive, -layer.rate)


def _bounded(plasticity: Plasticity, moved: jax.Array) -> jax.Array:
    """Return the weights in [-1, 1], in units of 2**-14."""
    if plasticity.bound == "clip":
        return jnp.clip(moved, -ONE, ONE).astype(_dtype(plasticity))
    largest = jnp.maximum(jnp.max(jnp.abs(moved)), ONE)
    if plasticity.fast != "integer":
        return moved * (ONE / largest)
    scaled = jnp.abs(moved) * ONE // largest  # at most 5 * 2**28
    return (jnp.sign(moved) * scaled).astype(jnp.int16)


def _shift_half_to_even(x: Int32[Array, "..."], shift: Int32[Array, "..."]) -> jax.Array:
    """Return `x * 2**-shift`, rounded half to even, for shifts of 0 to 24."""
    right = jnp.maximum(shift, 1)
    half_less = (jnp.int32(1) << (right - 1)) - 1
    rounded = (x + half_less + ((x >> right) & 1)) >> right
    return jnp.where(shift > 0, rounded, x)
