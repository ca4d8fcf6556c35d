"""Proximal policy optimisation: advantages, losses, epochs of minibatches, and the learner of them.

Nothing here steps an environment. Axis names: a batch has `steps` of `envs`.

References:
  Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage
  Estimation", equation 16.
  Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equations 7 and 9.
  Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization".
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Float32

from ternevo.arithmetic import actions
from ternevo.arithmetic.actions import Distribution
from ternevo.learners import descent, through_time
from ternevo.learners.critics import CRITIC_SCALE, Critic
from ternevo.learners.latents import LatentPolicy, Latents
from ternevo.learners.learner import Learner
from ternevo.learners.sparsity import CRITIC
from ternevo.learners.through_time import Sequences
from ternevo.learners.topology import Sparse, sparse
from ternevo.machine import devices
from ternevo.rollouts.transitions import Agent, Taken, Transitions
from ternevo.types import Env, Key, Memory, Metrics, Number, ObsSpec, Params

if TYPE_CHECKING:
    from ternevo.settings.strategies.ppo import PPO


class Coefficients(NamedTuple):
    """Coefficients of the loss; `settings/strategies/ppo.py` has options of the same names."""

    clip_epsilon: Number
    value_clip_epsilon: float
    value_coefficient: Number
    entropy_coefficient: Number


class Sample(NamedTuple):
    """The data of each transition in a minibatch; policy and critic take `inputs`."""

    inputs: Any
    raw_action: jax.Array
    log_prob: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
    target: Float[Array, "*batch"]


class Prediction(NamedTuple):
    """What the current policy and critic predict for the transitions of a minibatch."""

    log_prob: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]
    value: Float[Array, "*batch"]


def advantages(
    rewards: Float[Array, "steps envs"],
    values: Float[Array, "steps envs"],
    last_value: Float[Array, " envs"],
    final_values: Float[Array, "steps envs"],
    terminated: Bool[Array, "steps envs"],
    truncated: Bool[Array, "steps envs"],
    discount: Number,
    gae_lambda: Number,
) -> Float[Array, "steps envs"]:
    r"""Return generalised advantage estimates of transitions under auto-reset.

    $\hat A_t = \delta_t + \gamma \lambda \hat A_{t+1}$ within an episode, where
    $\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)$. After a termination no reward follows.
    A truncation only ends the recording: the value of the final observation estimates the
    rewards that would have followed.

    Args:
      rewards: the reward of each step.
      values: the value of the observation before each step.
      last_value: the value of the observations after the last step.
      final_values: the value of the final observation where an episode was truncated; elsewhere
        ignored.
      terminated: whether the task ended in the step.
      truncated: whether the time limit ended the episode in the step.
      discount: gamma.
      gae_lambda: lambda; 1 gives the discounted return minus the value, 0 the TD error.
    """
    following = jnp.concatenate([values[1:], last_value[None]])
    following = jnp.where(truncated, final_values, following)
    errors = rewards + discount * jnp.where(terminated, 0.0, following) - values
    decay = discount * gae_lambda * ~(terminated | truncated)

    def one_step(later: jax.Array, row: tuple) -> tuple[jax.Array, jax.Array]:
        error, share = row
        advantage = error + share * later
        return advantage, advantage

    return jax.lax.scan(one_step, jnp.zeros_like(last_value), (errors, decay), reverse=True)[1]


def normalise(estimates: Float[Array, "steps envs"]) -> Float[Array, "steps envs"]:
    """Scale advantages to mean 0 and standard deviation 1 over the batch of all devices."""
    mean, squares = devices.mean((jnp.mean(estimates), jnp.mean(estimates**2)))
    deviation = jnp.sqrt(jnp.maximum(squares - mean**2, 0.0))
    return (estimates - mean) / (deviation + 1e-8)


def loss(
    coefficients: Coefficients, now: Prediction, batch: Sample
) -> tuple[Float[Array, ""], Metrics]:
    """Return the loss of a minibatch, and its parts.

    The value loss is half the mean squared error. If `value_clip_epsilon` is positive, the value is
    also clipped to that distance from the old value, and the larger of the two errors counts.
    """
    log_ratio = now.log_prob - batch.log_prob
    ratio, epsilon = jnp.exp(log_ratio), coefficients.clip_epsilon
    clipped = jnp.clip(ratio, 1 - epsilon, 1 + epsilon)
    policy_loss = -jnp.mean(jnp.minimum(ratio * batch.advantage, clipped * batch.advantage))
    value_loss = 0.5 * jnp.mean(_squared_error(coefficients.value_clip_epsilon, now.value, batch))
    entropy = jnp.mean(now.entropy)
    total = (
        policy_loss
        + coefficients.value_coefficient * value_loss
        - coefficients.entropy_coefficient * entropy
    )
    return total, {
        "loss/policy": policy_loss,
        "loss/value": value_loss,
        "ppo/entropy": entropy,
        "ppo/approx_kl": jnp.mean(ratio - 1 - log_ratio),  # Schulman 2020, always positive
        "ppo/clip_fraction": jnp.mean(jnp.abs(ratio - 1) > epsilon),
    }


def _squared_error(epsilon: float, value: jax.Array, batch: Sample) -> jax.Array:
    error = (value - batch.target) ** 2
    if not epsilon:
        return error
    near = batch.value + jnp.clip(value - batch.value, -epsilon, epsilon)
    return jnp.maximum(error, (near - batch.target) ** 2)


def update(
    predict: Callable[[Any, Any, jax.Array], Prediction],
    coefficients: Coefficients,
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    num_minibatches: int,
    key: Key,
    params: Any,
    opt_state: optax.OptState,
    batch: Sample,
) -> tuple[Any, optax.OptState, Metrics]:
    """Go through the batch `num_epochs` times, each time in a new random order.

    Inside `devices.split` each device has its own transitions, and gradients are averaged.

    Args:
      predict: (params, inputs, raw actions) of a minibatch to the current `Prediction`.
      coefficients: the coefficients of the loss.
      optimizer: the optimiser.
      num_epochs: number of passes over the batch.
      num_minibatches: number of gradient steps in a pass; must divide the number of rows.
      key: the key of the random order.
      params: the learned parameters.
      opt_state: the state of the optimiser.
      batch: the transitions, with leaves [rows, ...]. A row is a transition, or a whole sequence
        of them [rows, steps, ...] for a policy with memory.

    Returns:
      The new params and optimiser state, and the mean metrics over all gradient steps.
    """
    size = batch.advantage.shape[0]

    def total_loss(params: Any, minibatch: Sample) -> tuple[jax.Array, Metrics]:
        now = predict(params, minibatch.inputs, minibatch.raw_action)
        return loss(coefficients, now, minibatch)

    one_minibatch = descent.on_rows(total_loss, optimizer, batch)

    def one_epoch(carry: tuple, key: Key) -> tuple[tuple, Metrics]:
        order = jax.random.permutation(key, size).reshape(num_minibatches, -1)
        return jax.lax.scan(one_minibatch, carry, order)

    keys = jax.random.split(key, num_epochs)
    (params, opt_state), metrics = jax.lax.scan(one_epoch, (params, opt_state), keys)
    return params, opt_state, jax.tree.map(jnp.mean, metrics)


# ------------------------------------------------------------------------------ the learner


class Learned(NamedTuple):
    """Everything trained by gradients: latents of the policy's tensors, and unshipped parts."""

    latents: Latents
    distribution: Float32[Array, "..."]
    critic: Any


class LearnerState(NamedTuple):
    """What is learned, the state of its optimiser, and the updates where they are counted."""

    learned: Learned
    optimizer: optax.OptState
    updates: Any = ()


class Rollout(NamedTuple):
    """Experience of an agent, with rewards as the losses see them.

    Attributes:
      transitions: the steps, leaves [steps, envs, ...].
      last_obs: the quantised observations after the last step [envs, obs].
      last_memory: the policy's memories then.
      restart_keys: the keys [steps, envs] of memories that began, see `transitions.restart_keys`.
    """

    transitions: Transitions
    last_obs: jax.Array
    last_memory: Memory
    restart_keys: Key


class Networks(NamedTuple):
    """The functions of the learned parts."""

    latent: LatentPolicy
    distribution: Distribution
    critic: Critic
    sparse_critic: Sparse | None = None

    def init(self, key: Key, obs_size: int) -> Learned:
        """Return latents that represent a policy from `policy.init`, and a fresh critic."""
        key_policy, key_latents, key_critic = jax.random.split(key, 3)
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.latent.first_memory())
        critic = self.critic.init(key_critic, jnp.zeros(obs_size), self._shown(memory, ()))
        latents = self.latent.drawn(key_policy, key_latents)
        learned = Learned(latents, self.distribution.init(), critic)
        if self.sparse_critic:
            learned = CRITIC.put(learned, self.sparse_critic.begin(CRITIC.of(learned)))
        return learned

    def at(self, updates: Any) -> "Networks":
        """Return the networks as they are after some updates."""
        return self._replace(latent=self.latent.at(updates))

    def shipped(self, learned: Learned) -> Params:
        """Return the policy's params as they would be shipped."""
        return self.latent.shipped(learned.latents)

    def agent(self, learned: Learned, num_envs: int) -> Agent:
        """Return the actor for `num_envs` environments."""
        packed = self.latent.acting(learned.latents)
        if not self.latent.quantise_from:  # else they may not be integers yet
            packed = self.latent.policy.packing(num_envs).pack(packed)

        def act(key: Key, taken: Taken) -> tuple[Memory, jax.Array, jax.Array]:
            memory, output = self.latent.apply(packed, taken.memory, taken.inputs())
            return memory, output, self.distribution.sample(key, learned.distribution, output)

        def value(obs: jax.Array, memory: Memory) -> jax.Array:
            return self.value(learned, obs, memory)

        return Agent(packed, act, self.distribution.to_action, value)

    def value(self, learned: Learned, obs: jax.Array, memory: Memory) -> jax.Array:
        """Return the values [...] of quantised observations [..., obs], seen with these memories.

        They are the memories before the observation, with leaves [..., *shape].
        """
        values: Any = self.critic.apply(learned.critic, obs, self._shown(memory, obs.shape[:-1]))
        return values

    def _shown(self, memory: Memory, batch: tuple[int, ...]) -> tuple[jax.Array, ...]:
        """Return the numbers in memories as the critic sees them, [*batch, size] for each leaf."""
        scale = self.latent.policy.memory_scale
        return tuple(
            leaf.reshape(*batch, -1).astype(jnp.float32) / scale
            for leaf in jax.tree.leaves(memory)
            if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        )

    def predict(self, learned: Learned, taken: Taken, raw_action: jax.Array) -> Prediction:
        """Return the current values of a minibatch of transitions, differentiably."""
        params = self.latent.differentiable(learned.latents)
        _, output = self.latent.apply(params, taken.memory, taken.inputs())
        return Prediction(
            self.distribution.log_prob(learned.distribution, output, raw_action),
            self.distribution.entropy(learned.distribution, output, raw_action),
            self.value(learned, flat(taken.obs), ()),
        )

    def predict_through_time(
        self, learned: Learned, found: Sequences, raw_action: jax.Array
    ) -> Prediction:
        """Return the current values of sequences of transitions, differentiably.

        The critic sees the memories that were acted with: it does not train the policy's memory.
        """
        params = self.latent.differentiable(learned.latents)
        output = through_time.outputs(self.latent.policy, params, found)
        return Prediction(
            self.distribution.log_prob(learned.distribution, output, raw_action),
            self.distribution.entropy(learned.distribution, output, raw_action),
            self.value(learned, flat(found.taken.obs, 2), found.taken.memory),
        )


def learner(
    settings: "PPO",
    env: Env,
    latent: LatentPolicy,
    optimizer: optax.GradientTransformation,
) -> Learner:
    """Return PPO as a learner, whose experience is a `Rollout`.

    Args:
      settings: the settings of PPO.
      env: what the policy is for; only its observations and actions matter.
      latent: the policy as it is learned.
      optimizer: the optimiser of all learned parts.

    Raises:
      ValueError: the action distribution does not fit the environment's actions, or the settings
        do not fit the policy's memory.
    """
    fixed = Networks(
        latent,
        actions.distribution(settings.action_distribution, env.action, settings.init_log_std),
        critic_of(settings, env.obs),
        sparse(settings.pruning, settings.critic_sparsity),
    )
    _check_memory(settings, fixed)
    has_memory = latent.has_memory

    def init(key: Key) -> LearnerState:
        learned = fixed.init(key, env.obs.size)
        updates = jnp.zeros((), jnp.int32) if latent.quantise_from else ()
        return LearnerState(learned, optimizer.init(learned), updates)

    def improve(key: Key, state: LearnerState, found: Rollout) -> tuple[LearnerState, Metrics]:
        networks = fixed.at(state.updates)
        predict = networks.predict_through_time if has_memory else networks.predict
        batch = _rows(settings, has_memory, found, _batch(settings, networks, state.learned, found))
        learned, opt_state, metrics = update(
            predict,
            _coefficients(settings),
            optimizer,
            settings.num_epochs,
            settings.num_minibatches,
            key,
            state.learned,
            state.optimizer,
            batch,
        )
        updates = state.updates
        if latent.quantise_from:
            updates = updates + settings.num_epochs * settings.num_minibatches
        return LearnerState(learned, opt_state, updates), metrics

    return Learner(
        init,
        lambda state, num_envs: fixed.at(state.updates).agent(state.learned, num_envs),
        improve,
        lambda state: fixed.shipped(state.learned),
        has_memory,
    )


def critic_of(settings: "PPO", obs: ObsSpec) -> Critic:
    """Return the critic of observations, which sees them at about one standard deviation."""
    scale = 1.0 if obs.kind == "planes" else CRITIC_SCALE
    return Critic(settings.critic_hidden_sizes, settings.critic_activation, scale)


def flat(obs: jax.Array, num_axes: int = 1) -> jax.Array:
    """Flatten observations [*batch, ...] to vectors [*batch, obs], as the critic expects."""
    return obs.reshape(*obs.shape[:num_axes], -1)


def _coefficients(settings: "PPO") -> Coefficients:
    """Return the configuration of the loss."""
    return Coefficients(
        settings.clip_epsilon,
        settings.value_clip_epsilon,
        settings.value_coefficient,
        settings.entropy_coefficient,
    )


def _check_memory(settings: "PPO", networks: Networks) -> None:
    """Refuse settings that do not fit a policy with memory, or without."""
    if not networks.latent.has_memory:
        if settings.bptt_length:
            raise ValueError(
                f"--bptt_length {settings.bptt_length} is for policies with memory, and this one "
                "has none: leave it out, or use --policy recurrent"
            )
        return
    latent = networks.latent
    latents = jax.eval_shape(latent.init, jax.random.key(0))
    differentiable = jax.eval_shape(latent.differentiable, latents)
    through_time.check_memory(latent.policy, latent.template, differentiable)
    if settings.num_sequences % settings.num_minibatches:
        raise ValueError(
            "a policy with memory learns from whole sequences, and a generation has "
            f"{settings.num_sequences} of {settings.sequence_length} steps (--num_envs "
            f"{settings.num_envs}, --num_steps {settings.num_steps}): --num_minibatches must "
            f"divide {settings.num_sequences}, got {settings.num_minibatches}; a shorter "
            "--bptt_length gives more sequences"
        )


def _batch(settings: "PPO", networks: Networks, learned: Learned, found: Rollout) -> Sample:
    """Compute what the losses need, once for all epochs; leaves [steps, envs, ...]."""
    transitions = found.transitions
    taken = transitions.taken
    values = networks.value(learned, flat(taken.obs, 2), taken.memory)
    last_value = networks.value(learned, found.last_obs, found.last_memory)
    estimates = advantages(
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
    scaled = normalise(estimates) if settings.normalize_advantages else estimates
    return Sample(
        taken,
        transitions.raw_action,
        log_prob,
        values,
        scaled,
        estimates + values,
    )


def _rows(settings: "PPO", has_memory: bool, found: Rollout, batch: Sample) -> Sample:
    """Return the rows that minibatches are made of, from leaves [steps, envs, ...].

    They are transitions [steps * envs, ...], or for a policy with memory sequences of them.
    """
    if not has_memory:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    transitions, length = found.transitions, settings.sequence_length
    is_done = transitions.terminated | transitions.truncated
    sequences = through_time.sequences(transitions.taken, is_done, found.restart_keys, length)
    return through_time.cut(batch._replace(inputs=()), length)._replace(inputs=sequences)
