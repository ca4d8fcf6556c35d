"""Collect, estimate advantages, update: one generation of PPO on any environment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.learners.learner import Learner
from ternevo.learners.ppo import LearnerState, Rollout
from ternevo.machine import devices
from ternevo.rollouts import step_count
from ternevo.rollouts.transitions import (
    Slots,
    Tally,
    Transitions,
    Yardsticks,
    begin,
    collect,
    restart_keys,
)
from ternevo.strategies.learning import (
    episode_metrics,
    moments_of,
    moments_of_observations,
    weight_metrics,
)
from ternevo.types import (
    Env,
    Key,
    Metrics,
    ObservationMoments,
    Policy,
    PolicyParams,
    Strategy,
)

if TYPE_CHECKING:
    from ternevo.settings.strategies.ppo import PPO

MIN_ROWS = 256
"""The smallest number of minibatch rows that is worth a device.

It lies between two cases of `python -m ternevo.bench` on two devices: `ppo_cartpole_64`, with 512
rows, was faster on two; `ppo_cartpole_4`, with 64, was slower.
"""


class LearnState(NamedTuple):
    """The state of PPO; `rewards` are the moments of discounted returns [1]."""

    learner: LearnerState
    slots: Slots
    moments: ObservationMoments
    rewards: ObservationMoments


class Collected(NamedTuple):
    """The collected data and the quantiser used: on this device, then on all devices."""

    quantiser: Quantiser
    slots: Slots
    all_slots: Slots
    transitions: Transitions
    tally: Tally
    moments: ObservationMoments
    rewards: ObservationMoments


def learn(settings: "PPO", env: Env, policy: Policy, learner: Learner) -> Strategy:
    """Return PPO as a strategy.

    Args:
      settings: the settings of PPO.
      env: the environment.
      policy: the policy.
      learner: PPO's learner, from `ppo.learner`.
    """

    def init(key: Key) -> LearnState:
        key_learned, key_slots = jax.random.split(key)
        learned = learner.init(key_learned)
        agent = learner.agent(learned, settings.num_envs)
        slots = begin(env, policy, agent.params, key_slots, settings.num_envs)
        moments, rewards = observation.empty(env.obs.size), observation.empty(1)
        return LearnState(learned, slots, moments, rewards)

    def step(key: Key, state: LearnState) -> tuple[LearnState, Metrics]:
        shares = _shares_evenly(settings, learner.has_memory)
        function = on_device if shares else by_itself
        return devices.split(function, (False, False))(key, state)

    def by_itself(device: jax.Array, key: Key, state: LearnState) -> tuple[LearnState, Metrics]:
        del device  # every device does the same
        with devices.alone():
            return on_device(jnp.zeros((), jnp.int32), key, state)

    def on_device(device: jax.Array, key: Key, state: LearnState) -> tuple[LearnState, Metrics]:
        key_collect, key_update = jax.random.split(jax.random.fold_in(key, device))
        own: Slots = jax.tree.map(lambda x: devices.own_rows(device, x), state.slots)
        agent = learner.agent(state.learner, own.episode_length.shape[0])

        def run(quantiser: Quantiser, yardsticks: Yardsticks) -> Collected:
            slots, transitions, tally = collect(
                env,
                policy,
                agent,
                quantiser,
                yardsticks,
                settings.gamma,
                key_collect,
                own,
                settings.num_steps,
            )
            # This is all that devices exchange, except gradients. The barrier makes the gradients
            # wait for it, as two independent messages could deadlock, see `devices.gather`.
            everywhere = devices.gather((slots, tally))
            (all_slots, tally), slots, transitions = jax.lax.optimization_barrier(
                (everywhere, slots, transitions)
            )
            seen = moments_of_observations(env, tally, yardsticks)
            earned = moments_of(tally.discounted_returns, yardsticks.discounted_returns)
            return Collected(quantiser, slots, all_slots, transitions, tally, seen, earned)

        found, num_rounds = _look_and_run(env, run, state.moments, state.rewards)
        quantiser, slots, transitions, tally = (
            found.quantiser,
            found.slots,
            found.transitions,
            found.tally,
        )
        rewards = observation.merge(state.rewards, found.rewards)
        transitions = transitions._replace(reward=_scaled(settings, transitions.reward, rewards))
        rollout = Rollout(
            transitions,
            observation.quantise(quantiser, slots.seen.obs, env.obs.kind),
            slots.memory,
            restart_keys(key_collect, own.episode_length.shape[0], settings.num_steps),
        )
        learned, metrics = learner.update(key_update, state.learner, rollout)
        moments = observation.merge(state.moments, found.moments)
        after = LearnState(learned, found.all_slots, moments, rewards)
        metrics |= episode_metrics(tally) | weight_metrics(params(state), params(after))
        most = 1 + observation.NUM_LOOKS
        metrics |= step_count.metrics(step_count.times(settings.batch_size, num_rounds, most))
        return after, metrics

    def params(state: LearnState) -> PolicyParams:
        return PolicyParams(learner.params(state.learner), state.moments)

    return Strategy(init, step, params)


def _shares_evenly(settings: "PPO", has_memory: bool) -> bool:
    """Return whether every device can own environments and parts of minibatches.

    Computing parts smaller than `MIN_ROWS` takes less time than exchanging their gradients.
    """
    parts = devices.count() * settings.num_minibatches
    rows, left = divmod(settings.batch_size, parts)
    if has_memory:
        left = settings.num_sequences % parts
    return settings.num_envs % devices.count() == 0 and not left and rows >= MIN_ROWS


def _look_and_run(
    env: Env,
    run: Callable[[Quantiser, Yardsticks], Collected],
    moments: ObservationMoments,
    rewards: ObservationMoments,
) -> tuple[Collected, Array]:
    """Collect; if no observation or return has been seen yet, first look at the same steps.

    See `observation.NUM_LOOKS`. Looks and collection are rounds of one loop with a traced trip
    count, so that the program steps environments in one place.

    Returns:
      The collected data, without the looks, and the number of rounds.
    """
    run = jax.jit(run, inline=True)  # caches its trace, for the shapes and for the loop
    has_seen = observation.is_unit_known(env.obs, moments)
    is_ready = has_seen & jnp.any(rewards.count > 0)
    num_rounds = jnp.where(is_ready, 1, 1 + observation.NUM_LOOKS)

    def one_round(i: jax.Array, carry: tuple) -> tuple:
        moments, rewards, _ = carry
        is_look = i < num_rounds - 1
        yardsticks = _yardsticks(env, moments, rewards)
        is_blind = is_look & ~has_seen
        found = run(observation.shown(yardsticks.observations, is_blind), yardsticks)
        moments = observation.choose(is_blind, found.moments, moments)
        rewards = observation.choose(is_look, found.rewards, rewards)
        return moments, rewards, found

    yardsticks = _yardsticks(env, moments, rewards)
    shapes = jax.eval_shape(run, yardsticks.observations, yardsticks)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    carry = moments, rewards, nothing
    return jax.lax.fori_loop(0, num_rounds, one_round, carry)[2], num_rounds


def _yardsticks(env: Env, moments: ObservationMoments, rewards: ObservationMoments) -> Yardsticks:
    return Yardsticks(observation.freeze(moments, env.obs.kind), observation.freeze(rewards))


def _scaled(settings: "PPO", reward: jax.Array, moments: ObservationMoments) -> jax.Array:
    """Return rewards as the losses see them."""
    reward = settings.reward_scale * reward
    if not settings.normalize_rewards:
        return reward
    deviation = moments.deviation[0]
    return reward / jnp.where(deviation > 0, deviation, 1.0)
