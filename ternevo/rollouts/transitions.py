"""Transitions for gradient learners: many environments side by side, each restarted as it ends.

Axis words: `steps` of `envs`, `obs` components.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int8, Int32

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser, Sums
from ternevo.types import Env, EnvState, Key, Memory, Policy, Timestep


class Slots(NamedTuple):
    """Environments under way, leaves [envs, ...], with the returns and length of each so far.

    `discounted_return` is as a return normaliser wants it: the rewards so far, the older the less.
    """

    env: EnvState
    obs: Float32[Array, "envs obs"]
    memory: Memory
    episode_return: Float32[Array, " envs"]
    discounted_return: Float32[Array, " envs"]
    episode_length: Int32[Array, " envs"]


class Inputs(NamedTuple):
    """What a policy took in: integers of the quantised observation, and its memory."""

    obs: Int8[Array, "*batch obs"]
    memory: Memory


class Transitions(NamedTuple):
    """What happened, leaves [steps, envs, ...].

    `final_value` is that of the final observation where an episode was truncated, 0 elsewhere.
    """

    inputs: Inputs
    output: Float[Array, "*batch action"]
    raw_action: jax.Array
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    final_value: Float[Array, "*batch"]


class Tally(NamedTuple):
    """What adds up over the steps, for each environment.

    The episodes that ended: how many, and sums over their returns and lengths. And the sums of all
    observations that were acted on, and of all discounted returns so far.
    """

    episodes: Int32[Array, " envs"]
    returns: Float32[Array, " envs"]
    lengths: Int32[Array, " envs"]
    observations: Sums
    discounted_returns: Sums


class Yardsticks(NamedTuple):
    """Where observations [obs] and discounted returns [1] are expected, and their units."""

    observations: Quantiser
    discounted_returns: Quantiser


class Agent(NamedTuple):
    """What acts in all environments at once.

    `act(key, inputs)` returns new memories, outputs and raw actions; `to_action` turns one raw
    action into the environment's; `value` has the critic's values of quantised observations.
    """

    act: Callable[[Key, Inputs], tuple[Memory, jax.Array, jax.Array]]
    to_action: Callable[[jax.Array], jax.Array]
    value: Callable[[jax.Array], jax.Array]


def begin(env: Env, policy: Policy, key: Key, num_envs: int) -> Slots:
    """Return environments at the start of an episode each."""
    state, obs = jax.vmap(env.reset)(jax.random.split(key, num_envs))
    memory = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), policy.reset())
    zeros = jnp.zeros(num_envs)
    return Slots(state, obs.astype(jnp.float32), memory, zeros, zeros, zeros.astype(jnp.int32))


def restart(slots: Slots, starts: Slots, is_done: Bool[Array, " envs"]) -> Slots:
    """Put the start of another episode where one is done."""

    def choose(start: jax.Array, going_on: jax.Array) -> jax.Array:
        return jnp.where(is_done.reshape(-1, *[1] * (going_on.ndim - 1)), start, going_on)

    return jax.tree.map(choose, starts, slots)


def collect(
    env: Env,
    policy: Policy,
    agent: Agent,
    quantiser: Quantiser,
    yardsticks: Yardsticks,
    discount: float,
    key: Key,
    slots: Slots,
    num_steps: int,
) -> tuple[Slots, Transitions, Tally]:
    """Step every environment `num_steps` times, under auto-reset that keeps the final observation.

    Starts are drawn beforehand: as many as there are environments and steps together. In step t
    environment i takes number i + t, if it needs one. So no environment meets a start
    twice, and no reset is computed in vain in each step.

    Returns:
      The environments as they are now, transitions [steps, envs], and what adds up over them.
    """
    num_envs = slots.obs.shape[0]
    key_starts, key_steps = jax.random.split(key)
    starts = begin(env, policy, key_starts, num_envs + num_steps)

    def one_step(carry: tuple, row: tuple[jax.Array, Key]) -> tuple[tuple, Transitions]:
        slots, tally = carry
        number, key = row
        key_act, key_env = jax.random.split(key)
        inputs = Inputs(observation.quantise(quantiser, slots.obs).astype(jnp.int8), slots.memory)
        memory, output, raw_action = agent.act(key_act, inputs)
        env_state, timestep = jax.vmap(env.step)(
            jax.random.split(key_env, num_envs), slots.env, jax.vmap(agent.to_action)(raw_action)
        )
        after = _go_on(slots, env_state, memory, timestep, discount)
        is_done = timestep.terminated | timestep.truncated
        fresh = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, number, num_envs), starts)
        transition = Transitions(
            inputs,
            output,
            raw_action,
            timestep.reward,
            timestep.terminated,
            timestep.truncated,
            _final_values(agent, quantiser, timestep),
        )
        tally = _count(tally, slots.obs, yardsticks, after, is_done)
        return (restart(after, fresh, is_done), tally), transition

    rows = jnp.arange(num_steps), jax.random.split(key_steps, num_steps)
    carry = slots, _no_tally(slots, yardsticks)
    (slots, tally), transitions = jax.lax.scan(one_step, carry, rows)
    return slots, transitions, tally


def _go_on(
    slots: Slots, env_state: EnvState, memory: Memory, timestep: Timestep, discount: float
) -> Slots:
    """Return the environments after a step, none restarted yet."""
    return Slots(
        env_state,
        timestep.obs.astype(jnp.float32),
        memory,
        slots.episode_return + timestep.reward,
        discount * slots.discounted_return + timestep.reward,
        slots.episode_length + 1,
    )


def _no_tally(slots: Slots, yardsticks: Yardsticks) -> Tally:
    zeros = jnp.zeros(slots.obs.shape[0], jnp.int32)
    discounted = slots.discounted_return[:, None]
    return Tally(
        zeros,
        zeros.astype(jnp.float32),
        zeros,
        observation.start_sums(slots.obs, yardsticks.observations.mean),
        observation.start_sums(discounted, yardsticks.discounted_returns.mean),
    )


def _count(
    tally: Tally, obs: jax.Array, yardsticks: Yardsticks, after: Slots, is_done: jax.Array
) -> Tally:
    """Add what was acted on, and what has come of it."""
    everywhere = jnp.ones(is_done.shape, bool)
    discounted = after.discounted_return[:, None]
    return Tally(
        tally.episodes + is_done,
        tally.returns + jnp.where(is_done, after.episode_return, 0.0),
        tally.lengths + jnp.where(is_done, after.episode_length, 0),
        observation.add(tally.observations, obs, everywhere, yardsticks.observations.scale),
        observation.add(
            tally.discounted_returns, discounted, everywhere, yardsticks.discounted_returns.scale
        ),
    )


def _final_values(agent: Agent, quantiser: Quantiser, timestep: Timestep) -> jax.Array:
    """Return the values of final observations, computed in the steps in which any is truncated."""
    return jax.lax.cond(
        jnp.any(timestep.truncated),
        lambda: jnp.where(
            timestep.truncated, agent.value(observation.quantise(quantiser, timestep.obs)), 0.0
        ),
        lambda: jnp.zeros(timestep.reward.shape),
    )
