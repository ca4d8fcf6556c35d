"""Transitions for gradient learners: many environments side by side, each restarted when done.

Axis words: `steps` of `envs`, `obs` components.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int8, Int32

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser, Sums
from ternevo.keys import MEMORY, TASK
from ternevo.policies import acting
from ternevo.policies.acting import Seen
from ternevo.types import Env, EnvState, Inputs, Key, Memory, Number, Params, Policy, Timestep


class Slots(NamedTuple):
    """Running environments, leaves [envs, ...], with the returns and length of each so far.

    `discounted_return` is for a return normaliser: it discounts older rewards more.
    """

    env: EnvState
    seen: Seen
    memory: Memory
    episode_return: Float32[Array, " envs"]
    discounted_return: Float32[Array, " envs"]
    episode_length: Int32[Array, " envs"]


class Taken(NamedTuple):
    """The inputs of a policy, with observations as int8 to save memory, and its memory."""

    obs: Int8[Array, "*batch"]
    feedback: Float32[Array, "*envs"]
    is_first: Bool[Array, "*envs"]
    memory: Memory

    def inputs(self) -> Inputs:
        """Return the inputs as the policy took them."""
        return Inputs(self.obs.astype(jnp.float32), self.feedback, self.is_first)


class Transitions(NamedTuple):
    """The recorded steps, leaves [steps, envs, ...].

    `final_value` is the value of the final observation if an episode was truncated, otherwise 0.
    """

    taken: Taken
    output: Float[Array, "*batch action"]
    raw_action: jax.Array
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    final_value: Float[Array, "*batch"]


class Tally(NamedTuple):
    """Sums over the steps, for each environment.

    They are the number of episodes that ended, the sums of their returns and lengths, the sums of
    all observations acted on, and the sums of all discounted returns so far.
    """

    episodes: Int32[Array, " envs"]
    returns: Float32[Array, " envs"]
    lengths: Int32[Array, " envs"]
    observations: Sums
    discounted_returns: Sums


class Yardsticks(NamedTuple):
    """The expected location and the units of observations [obs] and discounted returns [1]."""

    observations: Quantiser
    discounted_returns: Quantiser


class Watch(NamedTuple):
    """What stays the same from step to step: the quantiser, the units, the discount."""

    quantiser: Quantiser
    yardsticks: Yardsticks
    discount: Number


class Carry(NamedTuple):
    """What changes from step to step: the environments, and the sums over the steps so far."""

    slots: Slots
    tally: Tally


class Step(NamedTuple):
    """One step in all environments: what was seen, done and found, before any restart.

    `after` is what the environments show after the step; where an episode ended, its final
    observation. `memory` is the policy's memory then.
    """

    seen: Seen
    taken: Taken
    output: Float[Array, "envs action"]
    raw_action: jax.Array
    timestep: Timestep
    after: Seen
    memory: Memory


class Agent(NamedTuple):
    """The policy that acts in all environments at once.

    `act(draw, taken)`, where `draw` is a key or other randomness, returns new memories, outputs and
    raw actions; `to_action` turns one raw action into an action of the environment;
    `value(obs, memory)` returns the critic's values of quantised observations, with the memories
    before them. `params` determine the actions, and the memory at the start of an episode.
    """

    params: Params
    act: Callable[[Any, Taken], tuple[Memory, jax.Array, jax.Array]]
    to_action: Callable[[jax.Array], jax.Array]
    value: Callable[[jax.Array, Memory], jax.Array]


def begin(env: Env, policy: Policy, params: Params, key: Key, num_envs: int) -> Slots:
    """Return environments, each at the start of an episode; `params` give the first memories."""

    def begin_one(key: Key) -> tuple[EnvState, jax.Array, Memory]:
        state, obs = env.reset(key, env.draw_task(jax.random.fold_in(key, TASK)))
        memory = policy.reset(params, _memory_key(key))
        return state, obs.astype(jnp.float32), memory

    state, obs, memory = jax.vmap(begin_one)(jax.random.split(key, num_envs))
    zeros = jnp.zeros(num_envs)
    seen = acting.seen_first(obs)
    return Slots(state, seen, memory, zeros, zeros, zeros.astype(jnp.int32))


def _memory_key(key: Key) -> Key:
    """Return the key of the first memory of the episode that begins with this key."""
    return jax.random.fold_in(key, MEMORY)


def restart_keys(key: Key, num_envs: int, num_steps: int) -> Key:
    """Return the keys [steps, envs] of the first memories of the episodes that `collect` begins.

    Entry [t, i] belongs to the episode that begins in environment i if one ends there in step t.
    So a learner can begin the same memories again, with other params.
    """
    key_starts, _ = jax.random.split(key)
    keys = jax.vmap(_memory_key)(jax.random.split(key_starts, num_envs + num_steps))
    return keys[jnp.arange(num_steps)[:, None] + jnp.arange(num_envs)]


def restart(slots: Slots, starts: Slots, is_done: Bool[Array, " envs"]) -> Slots:
    """Replace each finished episode with the start of another one."""

    def choose(start: jax.Array, going_on: jax.Array) -> jax.Array:
        return jnp.where(is_done.reshape(-1, *[1] * (going_on.ndim - 1)), start, going_on)

    return jax.tree.map(choose, starts, slots)


def collect(
    env: Env,
    policy: Policy,
    agent: Agent,
    quantiser: Quantiser,
    yardsticks: Yardsticks,
    discount: Number,
    key: Key,
    slots: Slots,
    num_steps: int,
) -> tuple[Slots, Transitions, Tally]:
    """Step every environment `num_steps` times, with auto-reset that keeps the final observation.

    The starts of episodes are drawn in advance; their number is that of the environments plus the
    steps. In step t, environment i takes start i + t if it needs one. So no environment gets the
    same start twice, and no step computes resets that are not needed.

    Returns:
      The current environments, transitions [steps, envs], and their sums.
    """
    num_envs = slots.episode_length.shape[0]
    key_starts, key_steps = jax.random.split(key)
    starts = begin(env, policy, agent.params, key_starts, num_envs + num_steps)
    watch = Watch(quantiser, yardsticks, discount)

    def one_step(carry: Carry, row: tuple[jax.Array, Key]) -> tuple[Carry, Transitions]:
        number, key = row
        key_act, key_env = jax.random.split(key)
        keys = jax.random.split(key_env, num_envs)
        start = fresh(starts, number, num_envs)
        carry, step = advance(env, agent, watch, carry, start, key_act, keys)
        return carry, _transition(env, agent, quantiser, step)

    rows = jnp.arange(num_steps), jax.random.split(key_steps, num_steps)
    carry = Carry(slots, no_tally(env, slots, yardsticks))
    (slots, tally), transitions = jax.lax.scan(one_step, carry, rows)
    return slots, transitions, tally


def fresh(starts: Slots, number: jax.Array, num_envs: int) -> Slots:
    """Return the starts of episodes for those environments that need one, from a position on."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, number, num_envs), starts)


def advance(
    env: Env, agent: Agent, watch: Watch, carry: Carry, starts: Slots, draw: Any, keys: Key
) -> tuple[Carry, Step]:
    """Take one step in every environment, and begin another episode where one ended.

    Args:
      env: the environment.
      agent: what acts.
      watch: what stays the same from step to step.
      carry: the environments, and the sums so far.
      starts: the start that an environment takes if its episode ends.
      draw: the randomness of `agent.act`.
      keys: a key for the step of each environment.
    """
    slots, tally = carry
    taken = _take(env, watch.quantiser, slots)
    memory, output, raw_action = agent.act(draw, taken)
    env_state, timestep = jax.vmap(env.step)(keys, slots.env, jax.vmap(agent.to_action)(raw_action))
    after = _go_on(slots, env_state, memory, timestep, watch.discount)
    is_done = timestep.terminated | timestep.truncated
    tally = _count(env, tally, slots.seen.obs, watch.yardsticks, after, is_done)
    step = Step(slots.seen, taken, output, raw_action, timestep, after.seen, memory)
    return Carry(restart(after, starts, is_done), tally), step


def _transition(env: Env, agent: Agent, quantiser: Quantiser, step: Step) -> Transitions:
    """Return what on-policy learners need of a step."""
    return Transitions(
        step.taken,
        step.output,
        step.raw_action,
        step.timestep.reward,
        step.timestep.terminated,
        step.timestep.truncated,
        _final_values(env, agent, quantiser, step.timestep, step.memory),
    )


def _take(env: Env, quantiser: Quantiser, slots: Slots) -> Taken:
    """Return the policy's inputs in all environments."""
    found = jax.vmap(lambda seen: acting.inputs(env.obs, quantiser, seen))(slots.seen)
    return Taken(found.obs.astype(jnp.int8), found.feedback, found.is_first, slots.memory)


def _go_on(
    slots: Slots, env_state: EnvState, memory: Memory, timestep: Timestep, discount: Number
) -> Slots:
    """Return the environments after a step, before any restart."""
    return Slots(
        env_state,
        acting.seen_after(timestep._replace(obs=timestep.obs.astype(jnp.float32))),
        memory,
        slots.episode_return + timestep.reward,
        discount * slots.discounted_return + timestep.reward,
        slots.episode_length + 1,
    )


def no_tally(env: Env, slots: Slots, yardsticks: Yardsticks) -> Tally:
    """Return the sums before the first step."""
    zeros = jnp.zeros(slots.episode_length.shape[0], jnp.int32)
    discounted = slots.discounted_return[:, None]
    summed = observation.summed_size(env.obs)
    return Tally(
        zeros,
        zeros.astype(jnp.float32),
        zeros,
        observation.start_sums(slots.seen.obs[:, :summed], yardsticks.observations.mean[:summed]),
        observation.start_sums(discounted, yardsticks.discounted_returns.mean),
    )


def _count(
    env: Env,
    tally: Tally,
    obs: jax.Array,
    yardsticks: Yardsticks,
    after: Slots,
    is_done: jax.Array,
) -> Tally:
    """Add the observations acted on, and the results of the step."""
    summed = observation.summed_size(env.obs)
    scale = yardsticks.observations.scale[:summed]
    everywhere = jnp.ones(is_done.shape, bool)
    discounted = after.discounted_return[:, None]
    return Tally(
        tally.episodes + is_done,
        tally.returns + jnp.where(is_done, after.episode_return, 0.0),
        tally.lengths + jnp.where(is_done, after.episode_length, 0),
        observation.add(tally.observations, obs[:, :summed], everywhere, scale),
        observation.add(
            tally.discounted_returns, discounted, everywhere, yardsticks.discounted_returns.scale
        ),
    )


def _final_values(
    env: Env, agent: Agent, quantiser: Quantiser, timestep: Timestep, memory: Memory
) -> jax.Array:
    """Return the values of final observations, computed only if some episode is truncated."""

    def values() -> jax.Array:
        obs = observation.quantise(quantiser, timestep.obs, env.obs.kind)
        return agent.value(obs, memory)

    return jax.lax.cond(
        jnp.any(timestep.truncated),
        lambda: jnp.where(timestep.truncated, values(), 0.0),
        lambda: jnp.zeros(timestep.reward.shape),
    )
