"""What final policies return: of ours and of others, in the same fresh episodes of our tasks."""

import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.bench.contest import Act, Record
from ternevo.machine import devices
from ternevo.policies.acting import Actor, seen_first
from ternevo.types import Env, Key, Policy, PolicyParams

NUM_EPISODES = 100
"""Number of episodes in which a final policy is measured."""


def learned(name: str, env_id: str, final: Callable[[int], Act], num_seeds: int) -> Record:
    """Return the mean returns of final policies: their median over the seeds, and the worst.

    Args:
      name: who learned them.
      env_id: the id of the environment, with its own time limit.
      final: maps a seed to the policy that a whole run ends with.
      num_seeds: number of whole runs; none returns nothing.
    """
    if not num_seeds:
        return {}
    env, means = envs.make(env_id), []
    with devices.on_all_devices(1):
        for seed in range(num_seeds):
            found = returns(env, final(seed), jax.random.key(1000), NUM_EPISODES)
            means.append(float(jnp.mean(found)))
    return {f"return of {name}": statistics.median(means), f"worst return of {name}": min(means)}


def returns(env: Env, act: Act, key: Key, num_episodes: int) -> Float[Array, " episodes"]:
    """Return the returns of some episodes."""

    def one_step(carry: tuple, key: Key) -> tuple[tuple, None]:
        state, obs, is_alive, total = carry
        state, step = env.step(key, state, act(obs))
        total += jnp.where(is_alive, step.reward, 0.0)
        is_alive &= ~(step.terminated | step.truncated)
        return (state, step.obs, is_alive, total), None

    def one_episode(key: Key) -> jax.Array:
        key_task, key_reset, key_steps = jax.random.split(key, 3)
        state, obs = env.reset(key_reset, env.draw_task(key_task))
        first = (state, obs, jnp.asarray(True), jnp.zeros(()))
        keys = jax.random.split(key_steps, env.episode_length)
        return jax.lax.scan(one_step, first, keys)[0][3]

    return jax.jit(jax.vmap(one_episode))(jax.random.split(key, num_episodes))


def acting(env: Env, policy: Policy, params: PolicyParams) -> Act:
    """Return what a policy of ours does, as it would be deployed."""
    quantiser = observation.freeze(params.moments, env.obs.kind)
    actor = Actor(policy, env.obs, env.action)
    return lambda obs: actor.act(params.weights, quantiser, (), seen_first(obs))[1]
