"""Episode returns of a whole population, in one jitted loop that stops when everybody is done.

Axis words: `population` members, `episodes` each, `obs` components. Nothing of
size steps times state is ever stored: rewards, lengths and observation sums
are added up as the loop goes, and only while an episode is alive.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from ternevo import actions, observation, ternary
from ternevo.observation import Quantiser, Sums
from ternevo.types import (
    Env,
    EnvState,
    Key,
    Memory,
    ObservationMoments,
    Params,
    Policy,
    Timestep,
)


class Evaluation(NamedTuple):
    """What a population did."""

    returns: Float[Array, "population episodes"]
    lengths: Int32[Array, "population episodes"]
    moments: ObservationMoments


CommonRandomNumbers = Literal["all", "pairs", "none"]
"""Who meets the same episodes: all members, each antithetic pair (i, i + N/2), or nobody."""


class Plan(NamedTuple):
    """How a population is to be evaluated: episodes of each member, who shares them, at once."""

    num_episodes: int
    common_random_numbers: CommonRandomNumbers
    chunk_size: int


class Lanes(NamedTuple):
    """The loop state: one lane for each (member, episode), and sums over all of them."""

    step: Int32[Array, ""]
    env_state: EnvState
    obs: Float[Array, "population episodes obs"]
    memory: Memory
    is_alive: jax.Array
    returns: Float[Array, "population episodes"]
    lengths: Int32[Array, "population episodes"]
    sums: Sums


def episode_keys(
    key: Key, num_episodes: int, population_size: int, shared_by: CommonRandomNumbers = "all"
) -> Key:
    """Return keys [1 or population, episodes]; one row where all members meet the same episodes.

    Raises:
      ValueError: pairs of an odd population.
    """
    if shared_by == "all":
        return jax.random.split(key, (1, num_episodes))
    if shared_by == "none":
        return jax.random.split(key, (population_size, num_episodes))
    if population_size % 2:
        raise ValueError(f"pairs need an even population_size, got {population_size}")
    keys = jax.random.split(key, (population_size // 2, num_episodes))
    return jnp.concatenate([keys, keys])


def evaluate(
    policy: Policy,
    env: Env,
    weights: Params,
    quantiser: Quantiser,
    keys: Key,
    chunk_size: int = 0,
) -> Evaluation:
    """Run every member on its episodes.

    Args:
      policy: the policy.
      env: the environment.
      weights: params with a leading population axis.
      quantiser: the frozen observation quantiser, the same for all.
      keys: [1 or population, episodes], see `episode_keys`.
      chunk_size: run at most this many members at once, 0 for all of them;
        memory is in proportion to it.
    """
    size = jax.tree.leaves(weights)[0].shape[0]
    if not 0 < chunk_size < size:
        return _evaluate_chunk(policy, env, quantiser, weights, keys)

    def run(chunk: tuple[Params, Key]) -> Evaluation:
        return _evaluate_chunk(policy, env, quantiser, *chunk)

    keys = jnp.broadcast_to(keys, (size, keys.shape[1]))
    return _in_chunks(run, (weights, keys), size, chunk_size)


def _in_chunks(run: Callable, members: tuple, size: int, chunk_size: int) -> Evaluation:
    """Run whole chunks one after another, and what is left over by itself."""
    whole = size // chunk_size * chunk_size
    head = jax.tree.map(lambda x: x[:whole].reshape(-1, chunk_size, *x.shape[1:]), members)
    parts = jax.lax.map(run, head)
    parts = Evaluation(
        parts.returns.reshape(whole, -1), parts.lengths.reshape(whole, -1), parts.moments
    )
    first = jax.tree.map(lambda x: x[0], parts.moments)
    others = jax.tree.map(lambda x: x[1:], parts.moments)
    moments, _ = jax.lax.scan(lambda a, b: (observation.merge(a, b), None), first, others)
    if whole == size:
        return parts._replace(moments=moments)
    rest = run(jax.tree.map(lambda x: x[whole:], members))
    return Evaluation(
        jnp.concatenate([parts.returns, rest.returns]),
        jnp.concatenate([parts.lengths, rest.lengths]),
        observation.merge(moments, rest.moments),
    )


def _evaluate_chunk(
    policy: Policy, env: Env, quantiser: Quantiser, weights: Params, keys: Key
) -> Evaluation:
    # int8 to float32 once, not in every step; the integers stay exact.
    weights = jax.tree.map(
        lambda tensor: tensor._replace(values=tensor.values.astype(jnp.float32)),
        weights,
        is_leaf=ternary.is_tensor,
    )

    def someone_is_alive(lanes: Lanes) -> jax.Array:
        return jnp.any(lanes.is_alive) & (lanes.step < env.episode_length)

    advance = _advance(policy, env, weights, quantiser, keys)
    lanes = jax.lax.while_loop(someone_is_alive, advance, _start(policy, env, weights, keys))
    moments = observation.from_sums(lanes.sums, quantiser.mean)
    return Evaluation(lanes.returns, lanes.lengths, moments)


def _start(policy: Policy, env: Env, weights: Params, keys: Key) -> Lanes:
    """Reset one environment for each key and hand it to every member that shares the key."""
    shape = (jax.tree.leaves(weights)[0].shape[0], keys.shape[1])
    env_state, obs = jax.vmap(jax.vmap(env.reset))(_fold_in(keys, 0))
    memory = policy.reset()
    return Lanes(
        step=jnp.zeros((), jnp.int32),
        env_state=_for_all(env_state, shape[0]),
        obs=_for_all(obs, shape[0]),
        memory=jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *jnp.shape(x))), memory),
        is_alive=jnp.ones(shape, bool),
        returns=jnp.zeros(shape),
        lengths=jnp.zeros(shape, jnp.int32),
        sums=observation.no_sums(env.obs_size),
    )


def _advance(
    policy: Policy, env: Env, weights: Params, quantiser: Quantiser, keys: Key
) -> Callable[[Lanes], Lanes]:
    """Return the loop body: every lane acts, steps, and is counted while it is alive."""

    def act(weights: Params, memory: Memory, obs: jax.Array) -> tuple[Memory, jax.Array]:
        memory, output = policy.apply(weights, memory, observation.quantise(quantiser, obs))
        return memory, actions.mode(env.action, output)

    act_all = jax.vmap(jax.vmap(act, (None, 0, 0)))
    shared = keys.shape[0] == 1
    step_all = jax.vmap(jax.vmap(env.step), (None if shared else 0, 0, 0))

    def advance(lanes: Lanes) -> Lanes:
        memory, action = act_all(weights, lanes.memory, lanes.obs)
        step_keys = _fold_in(keys, lanes.step + 1)
        step_keys = step_keys[0] if shared else step_keys
        env_state, timestep = step_all(step_keys, lanes.env_state, action)
        return _count(lanes, env_state, memory, timestep, quantiser.mean)

    return advance


def _count(
    lanes: Lanes, env_state: EnvState, memory: Memory, timestep: Timestep, pivot: jax.Array
) -> Lanes:
    """Book one step: the observation acted on and the reward earned count only for living lanes."""
    alive = lanes.is_alive
    return Lanes(
        step=lanes.step + 1,
        env_state=env_state,
        obs=timestep.obs,
        memory=memory,
        is_alive=alive & ~(timestep.terminated | timestep.truncated),
        returns=lanes.returns + jnp.where(alive, timestep.reward, 0.0),
        lengths=lanes.lengths + alive,
        sums=observation.add(lanes.sums, lanes.obs, alive, pivot),
    )


def _fold_in(keys: Key, data: jax.Array | int) -> Key:
    return jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, data)))(keys)


def _for_all(tree: EnvState, size: int) -> EnvState:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (size, *x.shape[1:])), tree)
