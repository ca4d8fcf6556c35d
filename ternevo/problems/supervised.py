"""Members are scored on labelled examples, without an episode loop.

An episode of such an environment is one example: its return is 1 if the policy's action is the
label, otherwise 0. So the number of episodes is the number of examples on which a member is scored,
and the returns equal the returns of `problems.episodes` in the same environment, bit for bit.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.keys import MEMORY
from ternevo.machine import devices
from ternevo.policies.acting import Actor, seen_first
from ternevo.problems.episodes import Plan, keys_of
from ternevo.rollouts import step_count
from ternevo.rollouts.lanes import begin_episode
from ternevo.rollouts.population import size_of
from ternevo.types import (
    Env,
    Examples,
    Key,
    ObservationMoments,
    Params,
    Policy,
    Population,
    Problem,
    Scores,
)

AT_ONCE = 512
"""Largest number of examples that a member sees at once, as convolutions need much memory."""


def supervised(policy: Policy, env: Env, plan: Plan) -> Problem:
    """Return the problem whose return is 1 if an example gets its label, else 0.

    `test` scores every held-out example once, whatever number of episodes is requested.

    Raises:
      ValueError: the environment has no examples, or the plan has growing episodes.
    """
    examples = env.examples
    if examples is None:
        raise ValueError(f"{env.id} has no labelled examples")
    if plan.horizon is not None:
        raise ValueError(f"--init_horizon must be 1 with {env.id}: an example is one step")
    actor = Actor(policy, env.obs, env.action)
    known = (
        moments_of(examples)
        if observation.summed_size(env.obs)
        else observation.empty(env.obs.size)
    )
    quantiser_of_all = observation.freeze(known, env.obs.kind)

    def score(
        key: Key, population: Population, moments: ObservationMoments, generation: jax.Array
    ) -> Scores:
        del generation
        keys = keys_of(key, population, plan)
        returns = _run_members(actor, env, examples, quantiser_of_all, population, keys)
        is_new = ~jnp.any(moments.count > 0)
        seen = observation.choose(is_new, known, observation.empty(env.obs.size))
        return _scores(returns, seen)

    def test(
        key: Key,
        params: Params,
        quantiser: Quantiser,
        num_episodes: int,
        count: jax.Array | None = None,
    ) -> Scores:
        del num_episodes, count
        first = len(examples.labels) - examples.num_test
        index = jnp.arange(first, len(examples.labels))
        returns = _run_member(actor, examples, quantiser, params, index, key)
        return _scores(returns[None], observation.empty(env.obs.size))

    return Problem(env.obs, score, test, num_tests=examples.num_test)


def moments_of(examples: Examples) -> ObservationMoments:
    """Return the moments of all training examples."""
    num_training = len(examples.labels) - examples.num_test
    return observation.of_all(np.asarray(examples.inputs)[:num_training])


def _scores(returns: jax.Array, moments: ObservationMoments) -> Scores:
    lengths = jnp.ones(returns.shape, jnp.int32)
    return Scores(returns, lengths, moments, step_count.of_lengths(lengths))


def _run_members(
    actor: Actor,
    env: Env,
    examples: Examples,
    quantiser: Quantiser,
    population: Population,
    keys: Key,
) -> jax.Array:
    """Score each member on its examples: returns [population, examples], on all devices."""
    size = size_of(population.params)
    rows = devices.padded(size) // devices.count()

    def run(device: jax.Array, keys: Key, quantiser: Quantiser, params: Params) -> jax.Array:
        first = device * rows

        def run_one(row: jax.Array) -> jax.Array:
            member = jnp.minimum(first + row, size - 1)
            held = row if population.is_spread else member
            own = jax.tree.map(lambda x: x[held], params)
            own_keys = keys[jnp.minimum(member, keys.shape[0] - 1)]
            # As in an episode of the environment, whose state is the index of the example.
            index, _ = jax.vmap(partial(begin_episode, env))(own_keys)
            return _run_member(actor, examples, quantiser, own, index, own_keys)

        return devices.gather(jax.lax.map(run_one, jnp.arange(rows)))

    split = devices.split(run, (False, False, population.is_spread))
    return split(keys, quantiser, population.params)[:size]


def _run_member(
    actor: Actor,
    examples: Examples,
    quantiser: Quantiser,
    params: Params,
    index: jax.Array,
    keys: Key,
) -> jax.Array:
    """Return 1 for each example [examples] whose action is its label, else 0."""
    packed: Any = actor.policy.packing(index.size).pack(params)
    keys = keys if keys.ndim else jax.random.split(keys, index.size)

    def run_one(index: jax.Array, key: Key) -> jax.Array:
        memory = actor.policy.reset(packed, jax.random.fold_in(key, MEMORY))
        seen = seen_first(examples.shown(index))
        _, action = actor.act(packed, quantiser, memory, seen)
        return (action == examples.labels[index]).astype(jnp.float32)

    num_parts = -(-index.size // AT_ONCE)
    if num_parts == 1:
        return jax.vmap(run_one)(index, keys)
    # Of equal size, so that all are one compiled loop; the last one may repeat the last example.
    size = -(-index.size // num_parts)
    parts = jnp.minimum(jnp.arange(num_parts * size), index.size - 1).reshape(num_parts, size)
    found = jax.lax.map(lambda own: jax.vmap(run_one)(index[own], keys[own]), parts)
    return found.ravel()[: index.size]
