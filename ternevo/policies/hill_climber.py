"""A policy that adapts its weights by trial and error within a life of several episodes.

The arithmetic of trials is that of `ternevo/deploy/hill_climber.py`; what acts is an MLP. The
params are the weights at the start of a life and a mask of which may change.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Shaped, UInt32

from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import hashing, hill_climber as trials
from ternevo.deploy.hill_climber import Climbing
from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Dense, Network
from ternevo.settings.policies.hill_climber import HillClimber
from ternevo.types import ActionSpec, Inputs, Key, Memory, ObsSpec, Params, Policy, Tensor


class Life(NamedTuple):
    """The memory: the best weights and those of the trial, as one vector each, and their scores."""

    best: Shaped[Array, " weights"]
    trial: Shaped[Array, " weights"]
    most: Float32[Array, ""]
    score: Float32[Array, ""]
    episodes: Int32[Array, ""]
    seed: UInt32[Array, ""]


def build(settings: HillClimber, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file.
    """
    climbing, net = climbing_of(settings), network(settings, obs, action)
    names = ("weight", "bias") if settings.use_bias else ("weight",)

    def init(key: Key) -> Params:
        return _init(settings, net, key)

    def reset(params: Params, key: Key) -> Memory:
        seed = jax.random.bits(key, (), jnp.uint32)
        start = _flat(params, names)
        if climbing.start == "random":
            counter = jnp.arange(start.size, dtype=jnp.uint32)
            is_float = start.dtype == jnp.float32
            start = trials.start_of(seed, counter, is_float)
        none = jnp.zeros(())
        return Life(start, start, none, none, jnp.zeros((), jnp.int32), seed)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        rate = _rates(climbing, params, names)
        life = _judged(climbing, rate, memory, inputs.feedback, inputs.is_first)
        acting = _with_weights(params, names, life.trial)
        packed = layers.pack(settings.layered, net, "float32", acting)
        _, output = layers.forward(net, packed, (), inputs.obs)
        return life, output

    return Policy(init, reset, apply)


def climbing_of(settings: HillClimber) -> Climbing:
    """Return how a life is climbed."""
    return Climbing(
        settings.num_trials,
        settings.trial_episodes,
        settings.flip_rate,
        settings.start,
        settings.evolve_mask,
    )


def network(settings: HillClimber, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the layers.

    Raises:
      ValueError: they do not fit into a policy file, or observations are planes of bits.
    """
    if obs.kind == "planes":
        raise ValueError("--policy hill_climber takes observations of 8 bits, and planes have one")
    sizes = (*settings.hidden_sizes, action.size)
    grid, hidden = layers.observation_grid(settings.layered, obs), ACTIVATIONS[settings.activation]
    try:
        return layers.network(tuple(map(Dense, sizes)), (obs.size,), grid, hidden)
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes") from error


def mask_of(name: str) -> str:
    """Return the name of the mask of a tensor of a layer."""
    return f"{name}_mask"


def _init(settings: HillClimber, net: Network, key: Key) -> Params:
    """Draw first weights as those of an MLP, and masks; random starts have only masks."""
    kind, key_net = kind_of(settings.weights), key
    params = layers.init(settings.layered, net, key_net)
    if not settings.evolve_mask:
        return params
    found = []
    for i, layer in enumerate(params):
        masks = {}
        for j, (name, tensor) in enumerate(sorted(layer.items())):
            drawn = kind.draw(jax.random.fold_in(key, 2 * i + j + 1), tensor.values.shape)
            masks[mask_of(name)] = Tensor(drawn, jnp.zeros((), jnp.int8))
        found.append({**layer, **masks})
    return tuple(found)


def _flat(params: Params, names: tuple[str, ...]) -> Shaped[Array, " weights"]:
    """Return all weights as one vector, in the order of a policy file: by layer, [out, in]."""
    return jnp.concatenate([layer[name].values.T.ravel() for layer in params for name in names])


def _with_weights(params: Params, names: tuple[str, ...], flat: jax.Array) -> Params:
    """Return layers with the weights of a vector from `_flat`, without masks."""
    found, at = [], 0
    for layer in params:
        own = {}
        for name in names:
            values, exponent = layer[name]
            size = math.prod(values.shape)
            own[name] = Tensor(flat[at : at + size].reshape(values.T.shape).T, exponent)
            at += size
        found.append(own)
    return tuple(found)


def _rates(climbing: Climbing, params: Params, names: tuple[str, ...]) -> jax.Array:
    """Return how each weight changes, in the order of `_flat`."""
    weights = _flat(params, names)
    if not climbing.evolves_mask:
        return trials.rates_of(climbing, weights)
    return trials.rates_of(climbing, weights, _flat(params, tuple(map(mask_of, names))))


def _judged(
    climbing: Climbing,
    rate: Shaped[Array, " weights"],
    life: Life,
    feedback: Float32[Array, ""],
    is_first: Bool[Array, ""],
) -> Life:
    """Return the life once a trial that is over was judged, and the next one begun."""
    score = life.score + feedback
    number = life.episodes // climbing.trial_episodes - 1
    is_over = is_first & (life.episodes > 0) & (life.episodes % climbing.trial_episodes == 0)
    is_better = is_over & trials.is_kept(climbing, number, score, life.most)
    best = jnp.where(is_better, life.trial, life.best)
    counter = jnp.arange(best.size, dtype=jnp.uint32) + number.astype(jnp.uint32) * np.uint32(
        best.size
    )
    following = jnp.where(
        number < climbing.num_trials, _proposed(life.seed, counter, best, rate), best
    )
    return Life(
        best,
        jnp.where(is_over, following, life.trial),
        jnp.where(is_better, score, life.most),
        jnp.where(is_over, 0.0, score),
        life.episodes + is_first.astype(jnp.int32),
        life.seed,
    )


def _proposed(seed: jax.Array, counter: jax.Array, best: jax.Array, rate: jax.Array) -> Any:
    """Return the weights of the next trial."""
    if best.dtype == jnp.int8:
        return trials.flipped(seed, counter, best, rate)
    return best + rate * trials.normals(seed, hashing.FLIP, counter)
