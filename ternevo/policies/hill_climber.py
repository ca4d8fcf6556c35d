"""A policy that adapts its weights by trial and error within a life of several episodes.

The arithmetic of trials is that of `ternevo/deploy/hill_climber.py`; what acts is an MLP. The
params are the weights at the start of a life and a mask of which may change.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Shaped, UInt32

from ternevo.deploy import hashing, hill_climber as trials
from ternevo.deploy.hill_climber import Climbing
from ternevo.policies import adaptable
from ternevo.settings.policies.hill_climber import HillClimber
from ternevo.types import ActionSpec, Inputs, Key, Memory, ObsSpec, Params, Policy


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
    climbing = climbing_of(settings)
    own = adaptable.build(settings.layered, obs, action, "hill_climber", settings.evolve_mask)

    def reset(params: Params, key: Key) -> Memory:
        seed = jax.random.bits(key, (), jnp.uint32)
        start = adaptable.flat(own, params)
        if climbing.start == "random":
            counter = jnp.arange(start.size, dtype=jnp.uint32)
            is_float = start.dtype == jnp.float32
            start = trials.start_of(seed, counter, is_float)
        none = jnp.zeros(())
        return Life(start, start, none, none, jnp.zeros((), jnp.int32), seed)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        weights, mask = adaptable.flat(own, params), adaptable.masks(own, params)
        rate = trials.rates_of(climbing, weights, mask)
        life = _judged(climbing, rate, memory, inputs.feedback, inputs.is_first)
        return life, adaptable.output(own, params, life.trial, inputs.obs)

    inheritance = adaptable.inheritance(own, lambda life: life.best)
    return Policy(
        lambda key: adaptable.init(own, key),
        reset,
        apply,
        inheritance=inheritance if settings.start == "evolved" else None,
    )


def climbing_of(settings: HillClimber) -> Climbing:
    """Return how a life is climbed."""
    return Climbing(
        settings.num_trials,
        settings.trial_episodes,
        settings.flip_rate,
        settings.start,
        settings.evolve_mask,
    )


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
