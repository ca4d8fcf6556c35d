"""A policy that adapts its weights by an evolution strategy within a life: ES-MAML.

A step is estimated from K trials with weights theta + p and theta - p in turns, where the
directions p are nearly normal of the deviation `trial_noise`, times how fast each weight may
change. With the returns f normalised by their mean and deviation over the trials,

    theta <- theta + step_size / K * sum of f p / trial_noise

of latents, for trits: those beyond +-0.5 act as -1 and +1, all life long. So a weight that changes
m times as fast is tried with changes of m times the size, and moves by m squared in the mean.

References:
  Song et al., "ES-MAML: Simple Hessian-Free Meta Learning", ICLR 2020 (the Monte-Carlo form of the
  adaptation, antithetic; theirs has a step of alpha / (K s**2), and no mask).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, UInt32

from ternevo.deploy import hashing, hill_climber as trials
from ternevo.policies import adaptable
from ternevo.policies.adaptable import Adaptable
from ternevo.settings.policies.es_learner import ESLearner
from ternevo.types import ActionSpec, Inputs, Key, Memory, ObsSpec, Packing, Params, Policy


class Life(NamedTuple):
    """The memory of a learner, all weights in the order of `adaptable.flat`.

    Attributes:
      latents: the weights before they are cut.
      change: what the trial has added to them; 0 before the first one and after the last.
      total: the sum of returns times changes, of the trials of this step.
      first: the return of the first trial of this step, which is subtracted from all of them.
      sums: the sums of the returns of this step, and of their squares.
      score: what the trial has been paid so far.
      episodes: number of episodes that have begun.
      seed: from which directions are drawn.
    """

    latents: Float32[Array, " weights"]
    change: Float32[Array, " weights"]
    total: Float32[Array, " weights"]
    first: Float32[Array, ""]
    sums: Float32[Array, "2"]
    score: Float32[Array, ""]
    episodes: Int32[Array, ""]
    seed: UInt32[Array, ""]


class Packed(NamedTuple):
    """Params, and how fast each weight may change, in the order of `adaptable.flat`."""

    params: Params
    pace: Float32[Array, " weights"]


def build(settings: ESLearner, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file.
    """
    own = adaptable.build(settings.layered, obs, action, "es_learner", settings.evolve_mask)

    def pack(params: Params) -> Packed:
        return Packed(params, adaptable.paces(own, params))

    def packed(params: Params | Packed) -> Packed:
        return params if isinstance(params, Packed) else pack(params)

    def reset(params: Params | Packed, key: Key) -> Memory:
        latents = adaptable.flat(own, packed(params).params).astype(jnp.float32)
        nothing, none = jnp.zeros(latents.shape), jnp.zeros(())
        seed = jax.random.bits(key, (), jnp.uint32)
        count = jnp.zeros((), jnp.int32)
        return Life(latents, nothing, nothing, none, jnp.zeros(2), none, count, seed)

    def apply(params: Params | Packed, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        plain, pace = packed(params)
        told = memory._replace(score=memory.score + inputs.feedback)
        life = _judged(settings, own, told, inputs.is_first)
        life = _proposed(settings, life, pace, inputs.is_first)
        weights = adaptable.cut(own, life.latents + life.change)
        return life, adaptable.output(own, plain, weights, inputs.obs)

    return Policy(
        lambda key: adaptable.init(own, key),
        reset,
        apply,
        packing=lambda num_episodes: Packing(pack, num_episodes),
        inheritance=adaptable.inheritance(own, lambda life: life.latents),
    )


def _judged(settings: ESLearner, own: Adaptable, life: Life, is_first: Bool[Array, ""]) -> Life:
    """Return the life once a trial that is over was counted, and a step that is due was taken."""
    count, queries = life.episodes // settings.trial_episodes, settings.queries
    is_whole = (life.episodes > 0) & (life.episodes % settings.trial_episodes == 0)
    is_trial = is_first & is_whole & (count <= settings.num_es_steps * queries)
    score = jnp.where(is_trial, life.score, 0.0)
    # Differences to the first return, as squares of the returns would drown their deviation.
    # Directions come in pairs that cancel, so what is subtracted changes no sum along them.
    first = jnp.where(count % queries == 1, score, life.first)
    apart = jnp.where(is_trial, score - first, 0.0)
    total, sums = life.total + apart * life.change, life.sums + jnp.stack([apart, apart**2])
    is_due = is_trial & (count % queries == 0)
    mean = sums[0] / queries
    deviation = jnp.sqrt(jnp.maximum(sums[1] / queries - mean**2, 0.0))
    along = jnp.where(deviation > 0, total / (queries * jnp.where(deviation > 0, deviation, 1)), 0)
    moved = life.latents + settings.step_size / settings.trial_noise * along
    return life._replace(
        latents=jnp.where(is_due, adaptable.bounded(own, moved), life.latents),
        total=jnp.where(is_due, 0.0, total),
        first=jnp.where(is_trial, first, life.first),
        sums=jnp.where(is_due, 0.0, sums),
        score=jnp.where(is_first & is_whole, 0.0, life.score),
    )


def _proposed(
    settings: ESLearner, life: Life, pace: Float32[Array, " weights"], is_first: Bool[Array, ""]
) -> Life:
    """Return the life with the change of the next trial, if one begins."""
    number = life.episodes // settings.trial_episodes
    is_trial = number < settings.num_es_steps * settings.queries
    size = np.uint32(pace.size)
    counter = jnp.arange(size, dtype=jnp.uint32) + (number // 2).astype(jnp.uint32) * size
    drawn = trials.normals(life.seed, hashing.EXPLORE, counter)
    sign = jnp.where(number % 2 == 0, 1.0, -1.0)
    change = jnp.where(is_trial, sign * settings.trial_noise * pace * drawn, 0.0)
    return life._replace(
        change=jnp.where(is_first, change, life.change), episodes=life.episodes + is_first
    )
