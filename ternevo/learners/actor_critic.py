r"""TD3, DDPG and SAC: a policy that climbs the values of float critics, learned by replay.

The policy is what ships: its output, clipped to [-1, 1], is the action as a share of the range.
Critics, the temperature and the scale of the exploration are floats beside it.

References:
  Lillicrap et al. 2016, "Continuous control with deep reinforcement learning" (DDPG).
  Fujimoto, van Hoof and Meger 2018, "Addressing Function Approximation Error in Actor-Critic
  Methods", algorithm 1 (TD3).
  Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", equations 5 to 9 and 18.
  Hausknecht and Stone 2016, "Deep Reinforcement Learning in Parameterized Action Space".
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

from ternevo.arithmetic import actions
from ternevo.arithmetic.actions import Distribution
from ternevo.learners.critics import Batch, Critic, Twins, View
from ternevo.learners.descent import descend, towards
from ternevo.learners.latents import LatentPolicy, Latents
from ternevo.learners.learner import Learner
from ternevo.learners.sparsity import STACKED, as_pruned
from ternevo.learners.topology import Sparse, sparse
from ternevo.rollouts.transitions import Agent, Taken
from ternevo.types import Env, Key, Memory, Metrics, Number, Params

if TYPE_CHECKING:
    from ternevo.settings.strategies.off_policy import ActorCritic
    from ternevo.settings.strategies.sac import SAC
    from ternevo.settings.strategies.td3 import TD3

LOG_STD_RANGE = (-5.0, 2.0)
"""Range of the log standard deviations of exploration."""


class Actor(NamedTuple):
    """What acts: the latents of the policy, and what only exploration needs (() for TD3)."""

    latents: Latents
    exploration: Any


class LearnerState(NamedTuple):
    """What is learned, the older copies that targets are made of, and the state of optimisers.

    `temperature` is the log temperature of SAC; TD3 has none, and leaves it at 0. The older copy of
    the actor is an average over the last 1 / tau updates, and ships: the last step alone is noisy.
    """

    actor: Actor
    critics: Any
    temperature: Float[Array, ""]
    target_actor: Actor
    target_critics: Any
    optimizers: tuple[optax.OptState, optax.OptState, optax.OptState]
    updates: Int32[Array, ""]


class Optimizers(NamedTuple):
    """The optimisers of the actor, of the critics and of the temperature."""

    actor: optax.GradientTransformation
    critics: optax.GradientTransformation
    temperature: optax.GradientTransformation


@jax.custom_vjp
def bounded(output: jax.Array) -> jax.Array:
    """Clip outputs to [-1, 1]; a gradient passes unless descent would push one further out.

    The plain clip has no gradient beyond its bounds, so that an output there would be stuck.
    """
    return jnp.clip(output, -1.0, 1.0)


def _bounded_forward(output: jax.Array) -> tuple[jax.Array, jax.Array]:
    return bounded(output), output


def _bounded_backward(output: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    pushes_out = (jnp.abs(output) >= 1) & (gradient * output < 0)
    return (jnp.where(pushes_out, 0.0, gradient),)


bounded.defvjp(_bounded_forward, _bounded_backward)


def critic_loss(
    twins: Twins, params: Any, seen: View, action: jax.Array, wanted: Float[Array, " batch"]
) -> tuple[Float[Array, ""], Metrics]:
    """Return half the mean squared error of each critic, summed, and metrics."""
    values = twins.values(params, seen.floats, action)
    error = 0.5 * jnp.sum(jnp.mean((values - wanted) ** 2, axis=1))
    return error, {"loss/q": error, "q/mean": jnp.mean(values)}


class Parts(NamedTuple):
    """What TD3 and SAC are both made of."""

    latent: LatentPolicy
    twins: Twins
    optimizers: Optimizers
    sparse_critics: Sparse | None = None

    def at(self, updates: Any) -> "Parts":
        """Return the parts as they are after some updates."""
        return self._replace(latent=self.latent.at(updates))

    def output(self, latents: Latents, view: View) -> Float[Array, "batch action"]:
        """Return the policy's outputs, differentiably."""
        return self.latent.outputs(self.latent.differentiable(latents), view.inputs)

    def init(self, key: Key, env: Env, exploration: Any, temperature: float) -> LearnerState:
        """Return the start: the policy's own, fresh critics, and targets equal to them."""
        key_latents, key_critics = jax.random.split(key)
        actor = Actor(self.latent.init(key_latents), exploration)
        critics = self.twins.init(key_critics, env.obs.size, env.action.size)
        if self.sparse_critics:
            critics = STACKED.put(critics, self.sparse_critics.begin(STACKED.of(critics)))
        log_temperature = jnp.asarray(temperature, jnp.float32)
        states = (
            self.optimizers.actor.init(actor),
            self.optimizers.critics.init(critics),
            self.optimizers.temperature.init(log_temperature),
        )
        target_actor, target_critics = jax.tree.map(jnp.copy, (actor, critics))
        zero = jnp.zeros((), jnp.int32)
        return LearnerState(
            actor, critics, log_temperature, target_actor, target_critics, states, zero
        )

    def params(self, state: LearnerState) -> Params:
        """Return the weights that ship."""
        return self.latent.shipped(state.target_actor.latents)

    def targets(
        self, actor: Actor, critics: Any, state: LearnerState, tau: Number
    ) -> tuple[Actor, Any]:
        """Return the older copies, moved towards what is learned."""
        older = state.target_actor, state.target_critics
        moved, target_critics = towards((actor, critics), older, tau)
        if self.latent.is_sparse:
            moved = as_pruned(moved, actor)
        if self.sparse_critics:
            target_critics = as_pruned(target_critics, critics, STACKED)
        return moved, target_critics

    def fit(self, state: LearnerState, batch: Batch, wanted: jax.Array) -> tuple[Any, ...]:
        """Move the critics towards the wanted values; return params, optimiser state, metrics."""

        def loss(params: Any) -> tuple[jax.Array, Metrics]:
            return critic_loss(self.twins, params, batch.seen, batch.action, wanted)

        return descend(self.optimizers.critics, loss, state.critics, state.optimizers[1])


def parts(settings: "ActorCritic", env: Env, latent: LatentPolicy, optimizers: Optimizers) -> Parts:
    """Return what TD3 and SAC are made of.

    Raises:
      ValueError: actions are discrete, or the policy has a memory.
    """
    if env.action.kind != "continuous":
        raise ValueError(
            f"--strategy {settings.word} needs continuous actions, and {env.id} has discrete ones "
            f"({env.action.size}); use --strategy dqn"
        )
    latent.check_memoryless(settings.word)
    critic = Critic(settings.critic_hidden_sizes, settings.critic_activation, 1.0)
    twins = Twins(critic, settings.num_critics)
    return Parts(latent, twins, optimizers, sparse(settings.pruning, settings.critic_sparsity))


def _agent(parts: Parts, env: Env, latents: Latents, choose: Any) -> Agent:
    """Return the agent that explores as `choose(noise, output)` says."""
    params = parts.latent.acting(latents)

    def act(draw: jax.Array, taken: Taken) -> tuple[Memory, jax.Array, jax.Array]:
        output = parts.latent.outputs(params, taken.inputs())
        return (), output, choose(draw, output)

    def to_action(share: jax.Array) -> jax.Array:
        return actions.mode(env.action, share)

    return Agent(params, act, to_action, lambda obs, memory: obs[:, 0])


# ------------------------------------------------------------------------------- TD3, DDPG


def td3(settings: "TD3", env: Env, latent: LatentPolicy, optimizers: Optimizers) -> Learner:
    """Return TD3 as a learner, whose experience is a `critics.Batch`.

    With one critic, no delay and no smoothing it is DDPG.

    Raises:
      ValueError: actions are discrete, or the policy has a memory.
    """
    fixed = parts(settings, env, latent, optimizers)

    def init(key: Key) -> LearnerState:
        return fixed.init(key, env, (), 0.0)

    def agent(state: LearnerState, num_envs: int) -> Agent:
        del num_envs
        scale = settings.exploration_noise
        return _agent(
            fixed.at(state.updates),
            env,
            state.actor.latents,
            lambda noise, output: jnp.clip(bounded(output) + scale * noise, -1.0, 1.0),
        )

    def update(key: Key, state: LearnerState, batch: Batch) -> tuple[LearnerState, Metrics]:
        own = fixed.at(state.updates)
        wanted = td3_target(own, settings, key, state, batch)
        critics, critic_opt, metrics = own.fit(state, batch, wanted)

        def loss(actor: Actor) -> tuple[jax.Array, Metrics]:
            action = bounded(own.output(actor.latents, batch.seen))
            value = -jnp.mean(own.twins.values(critics, batch.seen.floats, action)[0])
            # It stands for all steps of the delay: the others, in `wait`, report 0.
            return value, {"loss/policy": settings.policy_delay * value}

        def learn() -> tuple[Any, ...]:
            actor, opt, own_metrics = descend(
                own.optimizers.actor, loss, state.actor, state.optimizers[0]
            )
            return actor, opt, own.targets(actor, critics, state, settings.tau), own_metrics

        def wait() -> tuple[Any, ...]:
            targets = state.target_actor, state.target_critics
            return state.actor, state.optimizers[0], targets, {"loss/policy": jnp.zeros(())}

        count = state.updates + 1
        if settings.policy_delay == 1:
            actor, actor_opt, targets, more = learn()
        else:
            is_due = count % settings.policy_delay == 0
            actor, actor_opt, targets, more = jax.lax.cond(is_due, learn, wait)
        states = actor_opt, critic_opt, state.optimizers[2]
        target_actor, target_critics = targets
        after = LearnerState(
            actor, critics, state.temperature, target_actor, target_critics, states, count
        )
        return after, metrics | more

    return Learner(init, agent, update, fixed.params)


def td3_target(
    own: Parts, settings: "TD3", key: Key, state: LearnerState, batch: Batch
) -> Float[Array, " batch"]:
    r"""Return $r + \gamma^n \min_i Q'_i(s', \pi'(s') + \epsilon)$ with clipped noise."""
    output = bounded(own.output(state.target_actor.latents, batch.after))
    noise = settings.target_noise * jax.random.normal(key, output.shape)
    noise = jnp.clip(noise, -settings.target_noise_clip, settings.target_noise_clip)
    action = jnp.clip(output + noise, -1.0, 1.0)
    later = own.twins.values(state.target_critics, batch.after.floats, action)
    return batch.reward + batch.discount * jnp.min(later, axis=0)


# -------------------------------------------------------------------------------------- SAC


class Sampler(NamedTuple):
    """The tanh-normal policy of SAC: its median ships, its scale does not."""

    parts: Parts
    distribution: Distribution

    def draw(
        self, key: Key, actor: Actor, view: View
    ) -> tuple[Float[Array, "batch action"], Float[Array, " batch"]]:
        """Return actions as shares of the range, and their log probabilities, differentiably."""
        output = bounded(self.parts.output(actor.latents, view))
        log_std = jnp.clip(actor.exploration, *LOG_STD_RANGE)
        raw = self.distribution.sample(key, log_std, output)
        return jnp.tanh(raw), self.distribution.log_prob(log_std, output, raw)


def sac(settings: "SAC", env: Env, latent: LatentPolicy, optimizers: Optimizers) -> Learner:
    """Return SAC as a learner, whose experience is a `critics.Batch`.

    Raises:
      ValueError: actions are discrete, or the policy has a memory.
    """
    fixed = parts(settings, env, latent, optimizers)
    distribution = actions.distribution("tanh_normal", env.action, settings.init_log_std)
    target_entropy = -settings.target_entropy_scale * env.action.size

    def init(key: Key) -> LearnerState:
        return fixed.init(key, env, distribution.init(), settings.init_log_temperature)

    def agent(state: LearnerState, num_envs: int) -> Agent:
        del num_envs
        log_std = jnp.clip(state.actor.exploration, *LOG_STD_RANGE)
        return _agent(
            fixed.at(state.updates),
            env,
            state.actor.latents,
            lambda noise, output: jnp.tanh(actions.median(output) + jnp.exp(log_std) * noise),
        )

    def update(key: Key, state: LearnerState, batch: Batch) -> tuple[LearnerState, Metrics]:
        key_target, key_actor = jax.random.split(key)
        own = fixed.at(state.updates)
        sampler = Sampler(own, distribution)
        wanted = sac_target(sampler, key_target, state, batch)
        critics, critic_opt, metrics = own.fit(state, batch, wanted)
        alpha = jnp.exp(state.temperature)

        def loss(actor: Actor) -> tuple[jax.Array, Metrics]:
            action, log_prob = sampler.draw(key_actor, actor, batch.seen)
            value = jnp.min(own.twins.values(critics, batch.seen.floats, action), axis=0)
            total = jnp.mean(alpha * log_prob - value)
            return total, {"loss/policy": total, "sac/entropy": -jnp.mean(log_prob)}

        actor, actor_opt, more = descend(
            own.optimizers.actor, loss, state.actor, state.optimizers[0]
        )
        temperature, heat_opt, heat = descend(
            own.optimizers.temperature,
            lambda log_alpha: temperature_loss(log_alpha, more["sac/entropy"], target_entropy),
            state.temperature,
            state.optimizers[2],
        )
        target_actor, target_critics = own.targets(actor, critics, state, settings.tau)
        states = actor_opt, critic_opt, heat_opt
        after = LearnerState(
            actor,
            critics,
            temperature,
            target_actor,
            target_critics,
            states,
            state.updates + 1,
        )
        return after, metrics | more | heat

    return Learner(init, agent, update, fixed.params)


def temperature_loss(
    log_alpha: Float[Array, ""], entropy: Float[Array, ""], target: Number
) -> tuple[Float[Array, ""], Metrics]:
    """Return the loss that raises the temperature where entropy is below its target."""
    loss = log_alpha * (jax.lax.stop_gradient(entropy) - target)
    return loss, {"sac/temperature": jnp.exp(log_alpha)}


def sac_target(
    sampler: Sampler, key: Key, state: LearnerState, batch: Batch
) -> Float[Array, " batch"]:
    r"""Return $r + \gamma^n (\min_i Q'_i(s', a') - \alpha \log \pi(a' | s'))$, $a' \sim \pi$."""
    action, log_prob = sampler.draw(key, state.actor, batch.after)
    later = sampler.parts.twins.values(state.target_critics, batch.after.floats, action)
    soft = jnp.min(later, axis=0) - jnp.exp(state.temperature) * log_prob
    return batch.reward + batch.discount * soft
