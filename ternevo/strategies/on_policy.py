"""Collect, estimate advantages, update: one generation of PPO on any environment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32

from ternevo.arithmetic import actions, observation, ternary
from ternevo.arithmetic.actions import Distribution
from ternevo.arithmetic.observation import Quantiser, Sums
from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import (
    WeightKind,
    discretize_all,
    kind_of,
    latents_of,
    straight_through_all,
)
from ternevo.learners import ppo, through_time
from ternevo.learners.through_time import Sequences
from ternevo.machine import devices
from ternevo.rollouts import step_count
from ternevo.rollouts.transitions import (
    Agent,
    Slots,
    Taken,
    Tally,
    Transitions,
    Yardsticks,
    begin,
    collect,
    restart_keys,
)
from ternevo.types import (
    Env,
    Key,
    Memory,
    Metrics,
    ObservationMoments,
    ObsSpec,
    Params,
    Policy,
    PolicyParams,
    Strategy,
)

if TYPE_CHECKING:
    from ternevo.settings.strategies.ppo import PPO

CRITIC_SCALE = 1 / 32
"""Scales the integers of an observation to about one standard deviation, for the critic.

"planes" stay as they are: a 32nd of a bit would be next to nothing.
"""

MIN_ROWS = 256
"""The smallest number of minibatch rows that is worth a device.

It lies between two cases of `python -m ternevo.bench` on two devices: `ppo_cartpole_64`, with 512
rows, was faster on two; `ppo_cartpole_4`, with 64, was slower.
"""


class Learned(NamedTuple):
    """Everything trained by gradients: latents of the policy's tensors, and unshipped parts."""

    latents: list[Float32[Array, "..."]]
    distribution: Float32[Array, "..."]
    critic: Any


class LearnState(NamedTuple):
    """The state of PPO; `rewards` are the moments of discounted returns [1]."""

    learned: Learned
    optimizer: optax.OptState
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


class Critic(nn.Module):
    """A float multi-layer perceptron from observations to values, orthogonally initialised.

    Beside the observation it sees the policy's memory, scaled to about 1. An observation alone may
    not tell what is to come. What the policy has forgotten cannot change what it does, so the value
    of both together is what the policy can expect.
    """

    hidden_sizes: tuple[int, ...]
    activation: str
    obs_scale: float = CRITIC_SCALE

    @nn.compact
    def __call__(self, obs: jax.Array, memory: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Return values [...] of quantised observations [..., obs] and memories [..., size]."""
        activate = {"tanh": nn.tanh, "relu": nn.relu, "swish": nn.swish}[self.activation]
        x = obs.astype(jnp.float32) * self.obs_scale
        if memory:
            x = jnp.concatenate([x, *memory], axis=-1)
        for size in self.hidden_sizes:
            x = activate(nn.Dense(size, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
        return nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(x)[..., 0]


class Networks(NamedTuple):
    """The functions of the learned parts."""

    policy: Policy
    template: Params
    weights: WeightKind
    distribution: Distribution
    critic: Critic

    @property
    def has_memory(self) -> bool:
        """Whether the policy has a memory, so that it learns from sequences."""
        return bool(jax.tree.leaves(self._first_memory()))

    def _first_memory(self) -> Memory:
        """Return the shapes of a memory."""
        return jax.eval_shape(self.policy.reset, self.template, jax.random.key(0))

    def init(self, key: Key, obs_size: int) -> Learned:
        """Return latents that represent a policy from `policy.init`, and a fresh critic."""
        key_policy, key_latents, key_critic = jax.random.split(key, 3)
        latents = latents_of(key_latents, self.policy.init(key_policy), self.weights)
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._first_memory())
        critic = self.critic.init(key_critic, jnp.zeros(obs_size), self._shown(memory, ()))
        return Learned(latents, self.distribution.init(), critic)

    def shipped(self, learned: Learned) -> Params:
        """Return the policy's params as they would be shipped."""
        return discretize_all(self.template, learned.latents, self.weights)

    def differentiable(self, learned: Learned) -> Params:
        """Return the same params in float32, with straight-through gradients."""
        return straight_through_all(self.template, learned.latents, self.weights)

    def agent(self, learned: Learned, num_envs: int) -> Agent:
        """Return the actor for `num_envs` environments."""
        packed = self.policy.packing(num_envs).pack(self.shipped(learned))

        def act(key: Key, taken: Taken) -> tuple[Any, jax.Array, jax.Array]:
            memory, output = self._apply(packed, taken)
            return memory, output, self.distribution.sample(key, learned.distribution, output)

        def value(obs: jax.Array, memory: Memory) -> jax.Array:
            return self.value(learned, obs, memory)

        return Agent(packed, act, self.distribution.to_action, value)

    def _apply(self, params: Any, taken: Taken) -> tuple[Any, jax.Array]:
        """Return the memories and outputs for the inputs [batch]."""
        return jax.vmap(self.policy.apply, (None, 0, 0))(params, taken.memory, taken.inputs())

    def value(self, learned: Learned, obs: jax.Array, memory: Memory) -> jax.Array:
        """Return the values [...] of quantised observations [..., obs], seen with these memories.

        They are the memories before the observation, with leaves [..., *shape].
        """
        values: Any = self.critic.apply(learned.critic, obs, self._shown(memory, obs.shape[:-1]))
        return values

    def _shown(self, memory: Memory, batch: tuple[int, ...]) -> tuple[jax.Array, ...]:
        """Return the numbers in memories as the critic sees them, [*batch, size] for each leaf."""
        scale = self.policy.memory_scale
        return tuple(
            leaf.reshape(*batch, -1).astype(jnp.float32) / scale
            for leaf in jax.tree.leaves(memory)
            if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        )

    def predict(self, learned: Learned, taken: Taken, raw_action: jax.Array) -> ppo.Prediction:
        """Return the current values of a minibatch of transitions, differentiably."""
        _, output = self._apply(self.differentiable(learned), taken)
        return ppo.Prediction(
            self.distribution.log_prob(learned.distribution, output, raw_action),
            self.distribution.entropy(learned.distribution, output, raw_action),
            self.value(learned, flat(taken.obs), ()),
        )

    def predict_through_time(
        self, learned: Learned, found: Sequences, raw_action: jax.Array
    ) -> ppo.Prediction:
        """Return the current values of sequences of transitions, differentiably.

        The critic sees the memories that were acted with: it does not train the policy's memory.
        """
        output = through_time.outputs(self.policy, self.differentiable(learned), found)
        return ppo.Prediction(
            self.distribution.log_prob(learned.distribution, output, raw_action),
            self.distribution.entropy(learned.distribution, output, raw_action),
            self.value(learned, flat(found.taken.obs, 2), found.taken.memory),
        )


def learn(
    settings: "PPO",
    env: Env,
    policy: Policy,
    weights: WeightName,
    optimizer: optax.GradientTransformation,
) -> Strategy:
    """Return PPO as a strategy.

    Args:
      settings: the settings of PPO.
      env: the environment.
      policy: the policy.
      weights: the kind of weights.
      optimizer: the optimiser of all learned parts.

    Raises:
      ValueError: the action distribution does not fit the environment's actions, or the settings
        do not fit the policy's memory.
    """
    networks = Networks(
        policy,
        jax.eval_shape(policy.init, jax.random.key(0)),
        kind_of(weights),
        actions.distribution(settings.action_distribution, env.action, settings.init_log_std),
        critic_of(settings, env.obs),
    )
    _check_memory(settings, networks)
    predict = networks.predict_through_time if networks.has_memory else networks.predict

    def init(key: Key) -> LearnState:
        key_learned, key_slots = jax.random.split(key)
        learned = networks.init(key_learned, env.obs.size)
        agent = networks.agent(learned, settings.num_envs)
        slots = begin(env, policy, agent.params, key_slots, settings.num_envs)
        moments, rewards = observation.empty(env.obs.size), observation.empty(1)
        return LearnState(learned, optimizer.init(learned), slots, moments, rewards)

    def step(key: Key, state: LearnState) -> tuple[LearnState, Metrics]:
        shares = _shares_evenly(settings, networks.has_memory)
        function = on_device if shares else by_itself
        return devices.split(function, (False, False))(key, state)

    def by_itself(device: jax.Array, key: Key, state: LearnState) -> tuple[LearnState, Metrics]:
        del device  # every device does the same
        with devices.alone():
            return on_device(jnp.zeros((), jnp.int32), key, state)

    def on_device(device: jax.Array, key: Key, state: LearnState) -> tuple[LearnState, Metrics]:
        key_collect, key_update = jax.random.split(jax.random.fold_in(key, device))
        own: Slots = jax.tree.map(lambda x: devices.own_rows(device, x), state.slots)
        agent = networks.agent(state.learned, own.episode_length.shape[0])

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
            seen = _moments_of_observations(env, tally, yardsticks)
            earned = _moments_of(tally.discounted_returns, yardsticks.discounted_returns)
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
        last_obs = observation.quantise(quantiser, slots.seen.obs, env.obs.kind)
        batch = _batch(settings, networks, state.learned, (last_obs, slots.memory), transitions)
        batch = _rows(settings, networks, key_collect, transitions, batch)
        learned, opt_state, metrics = ppo.update(
            predict,
            _coefficients(settings),
            optimizer,
            settings.num_epochs,
            settings.num_minibatches,
            key_update,
            state.learned,
            state.optimizer,
            batch,
        )
        moments = observation.merge(state.moments, found.moments)
        after = LearnState(learned, opt_state, found.all_slots, moments, rewards)
        metrics |= _metrics(tally) | _weight_metrics(params(state), params(after))
        most = 1 + observation.NUM_LOOKS
        metrics |= step_count.metrics(step_count.times(settings.batch_size, num_rounds, most))
        return after, metrics

    def params(state: LearnState) -> PolicyParams:
        return PolicyParams(networks.shipped(state.learned), state.moments)

    return Strategy(init, step, params)


def critic_of(settings: "PPO", obs: ObsSpec) -> Critic:
    """Return the critic of observations, which sees them at about one standard deviation."""
    scale = 1.0 if obs.kind == "planes" else CRITIC_SCALE
    return Critic(settings.critic_hidden_sizes, settings.critic_activation, scale)


def _coefficients(settings: "PPO") -> ppo.Coefficients:
    """Return the configuration of the loss."""
    return ppo.Coefficients(
        settings.clip_epsilon,
        settings.value_clip_epsilon,
        settings.value_coefficient,
        settings.entropy_coefficient,
    )


def _check_memory(settings: "PPO", networks: Networks) -> None:
    """Refuse settings that do not fit a policy with memory, or without."""
    if not networks.has_memory:
        if settings.bptt_length:
            raise ValueError(
                f"--bptt_length {settings.bptt_length} is for policies with memory, and this one "
                "has none: leave it out, or use --policy recurrent"
            )
        return
    learned = jax.eval_shape(lambda key: networks.init(key, 1), jax.random.key(0))
    differentiable = jax.eval_shape(networks.differentiable, learned)
    through_time.check_memory(networks.policy, networks.template, differentiable)
    if settings.num_sequences % settings.num_minibatches:
        raise ValueError(
            "a policy with memory learns from whole sequences, and a generation has "
            f"{settings.num_sequences} of {settings.sequence_length} steps (--num_envs "
            f"{settings.num_envs}, --num_steps {settings.num_steps}): --num_minibatches must "
            f"divide {settings.num_sequences}, got {settings.num_minibatches}; a shorter "
            "--bptt_length gives more sequences"
        )


def _shares_evenly(settings: "PPO", has_memory: bool) -> bool:
    """Return whether every device can own environments and parts of minibatches.

    Computing parts smaller than `MIN_ROWS` takes less time than exchanging their gradients.
    """
    parts = devices.count() * settings.num_minibatches
    rows, left = divmod(settings.batch_size, parts)
    if has_memory:
        left = settings.num_sequences % parts
    return settings.num_envs % devices.count() == 0 and not left and rows >= MIN_ROWS


def flat(obs: jax.Array, num_axes: int = 1) -> jax.Array:
    """Flatten observations [*batch, ...] to vectors [*batch, obs], as the critic expects."""
    return obs.reshape(*obs.shape[:num_axes], -1)


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


def _moments_of_observations(env: Env, tally: Tally, yardsticks: Yardsticks) -> ObservationMoments:
    if not observation.summed_size(env.obs):
        return observation.empty(env.obs.size)
    return _moments_of(tally.observations, yardsticks.observations)


def _moments_of(sums: Sums, yardstick: Quantiser) -> ObservationMoments:
    """Return the moments of the sums of all environments."""
    of_each = observation.from_sums(sums, yardstick.scale)
    return devices.combine_in_order(observation.merge, of_each)


def _scaled(settings: "PPO", reward: jax.Array, moments: ObservationMoments) -> jax.Array:
    """Return rewards as the losses see them."""
    reward = settings.reward_scale * reward
    if not settings.normalize_rewards:
        return reward
    deviation = moments.deviation[0]
    return reward / jnp.where(deviation > 0, deviation, 1.0)


def _batch(
    settings: "PPO",
    networks: Networks,
    learned: Learned,
    last: tuple[jax.Array, Memory],
    transitions: Transitions,
) -> ppo.Sample:
    """Compute what the losses need, once for all epochs; leaves [steps, envs, ...].

    `last` are the quantised observations after the last step, and the memories.
    """
    taken = transitions.taken
    values = networks.value(learned, flat(taken.obs, 2), taken.memory)
    last_value = networks.value(learned, *last)
    estimates = ppo.advantages(
        transitions.reward,
        values,
        last_value,
        transitions.final_value,
        transitions.terminated,
        transitions.truncated,
        settings.gamma,
        settings.gae_lambda,
    )
    log_prob = networks.distribution.log_prob(
        learned.distribution, transitions.output, transitions.raw_action
    )
    scaled = ppo.normalise(estimates) if settings.normalize_advantages else estimates
    return ppo.Sample(
        taken,
        transitions.raw_action,
        log_prob,
        values,
        scaled,
        estimates + values,
    )


def _rows(
    settings: "PPO",
    networks: Networks,
    key_collect: Key,
    transitions: Transitions,
    batch: ppo.Sample,
) -> ppo.Sample:
    """Return the rows that minibatches are made of, from leaves [steps, envs, ...].

    They are transitions [steps * envs, ...], or for a policy with memory sequences of them.
    """
    if not networks.has_memory:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    is_done = transitions.terminated | transitions.truncated
    keys = restart_keys(key_collect, is_done.shape[1], settings.num_steps)
    length = settings.sequence_length
    found = through_time.sequences(transitions.taken, is_done, keys, length)
    return through_time.cut(batch._replace(inputs=()), length)._replace(inputs=found)


def _metrics(tally: Tally) -> Metrics:
    """Return statistics of the episodes that ended; NaN if none did."""
    count = jnp.sum(tally.episodes).astype(jnp.float32)
    return {
        "return/mean": jnp.sum(tally.returns) / count,
        # As floats: the sum over long episodes of many environments may overflow an int32.
        "episode/length": jnp.sum(tally.lengths.astype(jnp.float32)) / count,
    }


def _weight_metrics(before: PolicyParams, after: PolicyParams) -> Metrics:
    """Return the share of zeros, and the share of values that the update changed."""
    pairs = zip(ternary.tensors(before.weights), ternary.tensors(after.weights), strict=True)
    changed = [old.values != new.values for old, new in pairs]
    return {
        "weights/zeros": ternary.zero_fraction(after.weights),
        "weights/changed": ternary.mean_over(changed),
    }
