"""Networks whose weights a life changes: all weights as one vector, and how fast each may change.

The params of each layer are those of an MLP, its "weight" and "bias", and with a mask also
"weight_mask" and "bias_mask", which say of each weight whether a life may change it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Shaped

from ternevo.arithmetic.weights import kind_of
from ternevo.deploy.hill_climber import RARELY
from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Dense, Network
from ternevo.settings.policies.layered import Layered
from ternevo.types import ActionSpec, Inheritance, Key, Memory, ObsSpec, Params, Tensor

CUT = 0.5
"""Latents beyond +-CUT act as -1 or +1, the others as 0."""


class Adaptable(NamedTuple):
    """A network of dense layers, the names of what its layers have, and whether they have masks."""

    settings: Layered
    net: Network
    names: tuple[str, ...]
    has_mask: bool


def build(
    settings: Layered, obs: ObsSpec, action: ActionSpec, name: str, has_mask: bool
) -> Adaptable:
    """Return the network of `--policy name` for observations of `obs.size`.

    Raises:
      ValueError: it does not fit into a policy file, or observations are planes of bits.
    """
    if obs.kind == "planes":
        raise ValueError(f"--policy {name} takes observations of 8 bits, and planes have one")
    sizes = (*settings.hidden_sizes, action.size)
    grid, hidden = layers.observation_grid(settings, obs), ACTIVATIONS[settings.activation]
    try:
        net = layers.network(tuple(map(Dense, sizes)), (obs.size,), grid, hidden)
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes") from error
    return Adaptable(
        settings, net, ("weight", "bias") if settings.use_bias else ("weight",), has_mask
    )


def mask_of(name: str) -> str:
    """Return the name of the mask of a tensor of a layer."""
    return f"{name}_mask"


def init(own: Adaptable, key: Key) -> Params:
    """Draw first weights as those of an MLP, and masks."""
    kind = kind_of(own.settings.weights)
    params = layers.init(own.settings, own.net, key)
    if not own.has_mask:
        return params
    found = []
    for i, layer in enumerate(params):
        masks = {}
        for j, (name, tensor) in enumerate(sorted(layer.items())):
            drawn = kind.draw(jax.random.fold_in(key, 2 * i + j + 1), tensor.values.shape)
            masks[mask_of(name)] = Tensor(drawn, jnp.zeros((), jnp.int8))
        found.append({**layer, **masks})
    return tuple(found)


def flat(own: Adaptable, params: Params) -> Shaped[Array, " weights"]:
    """Return all weights as one vector, in the order of a policy file: by layer, [out, in]."""
    return _vector(params, own.names)


def masks(own: Adaptable, params: Params) -> Shaped[Array, " weights"] | None:
    """Return all masks, in the order of `flat`; None if there are none."""
    return _vector(params, tuple(map(mask_of, own.names))) if own.has_mask else None


def paces(own: Adaptable, params: Params) -> Float32[Array, " weights"]:
    """Return how fast each weight may change, in the order of `flat`.

    A mask of trits says -1 for never (0), 0 for slowly (2**-3) and +1 for freely (1). One of floats
    has the logarithms of paces to base 2, from -8 to 4.
    """
    mask = masks(own, params)
    if mask is None:
        return jnp.ones(flat(own, params).shape)
    if jnp.issubdtype(mask.dtype, jnp.floating):
        return jnp.exp2(mask.clip(-8.0, 4.0))
    return jnp.where(mask > 0, 1.0, jnp.where(mask < 0, 0.0, 2.0**-RARELY))


def per_layer(own: Adaptable, params: Params, values: list[jax.Array]) -> jax.Array:
    """Spread one number for each layer to all its weights, in the order of `flat`."""
    sizes = [sum(layer[name].values.size for name in own.names) for layer in params]
    spread = [jnp.full(size, x) for size, x in zip(sizes, values, strict=True)]
    return jnp.concatenate(spread)


def with_weights(
    own: Adaptable, params: Params, vector: Shaped[Array, " weights"]
) -> tuple[dict[str, Tensor], ...]:
    """Return layers with the weights of a vector from `flat`, and nothing else."""
    found, at = [], 0
    for layer in params:
        made = {}
        for name in own.names:
            values, exponent = layer[name]
            size = math.prod(values.shape)
            made[name] = Tensor(vector[at : at + size].reshape(values.T.shape).T, exponent)
            at += size
        found.append(made)
    return tuple(found)


def output(
    own: Adaptable,
    params: Params,
    vector: Shaped[Array, " weights"],
    obs: Float[Array, "*shape"],
) -> Float[Array, " outputs"]:
    """Return the outputs of the network with the weights of a vector."""
    packed = layers.pack(own.settings, own.net, "float32", with_weights(own, params, vector))
    return layers.forward(own.net, packed, (), obs)[1]


def cut(own: Adaptable, latents: Float32[Array, " weights"]) -> Float32[Array, " weights"]:
    """Return the weights that act: trits, with the derivative of the latents, or floats as is."""
    return latents if own.settings.weights == "float" else _trits(latents)


def bounded(own: Adaptable, latents: Float32[Array, " weights"]) -> Float32[Array, " weights"]:
    """Return latents of trits in [-1, 1], and those of floats as they are."""
    return latents if own.settings.weights == "float" else latents.clip(-1.0, 1.0)


def inherited(own: Adaptable, params: Params, latents: Float32[Array, " weights"]) -> Params:
    """Return params that begin with the weights that a life has ended with.

    Evolution is Lamarckian if children have these, and Baldwinian if they have those of `params`.
    """
    vector = cut(own, latents)
    learned = with_weights(own, params, vector.astype(flat(own, params).dtype))
    return tuple({**layer, **new} for layer, new in zip(params, learned, strict=True))


def inheritance(own: Adaptable, learned: Callable[[Memory], Array]) -> Inheritance:
    """Return how children inherit the weights that `learned` finds in the memory of a life.

    Args:
      own: the network.
      learned: maps a memory to latents, or to trits, in the order of `flat`.
    """
    return Inheritance(
        learned, lambda params, found: inherited(own, params, found.astype(jnp.float32))
    )


def _vector(params: Params, names: tuple[str, ...]) -> Shaped[Array, " weights"]:
    return jnp.concatenate([layer[name].values.T.ravel() for layer in params for name in names])


_trits = layers.straight_through(
    lambda latents: jnp.where(latents > CUT, 1.0, 0.0) - jnp.where(latents < -CUT, 1.0, 0.0),
    lambda latents: latents,
)
