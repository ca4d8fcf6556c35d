r"""Deep Q-learning: the policy's outputs rate the actions, up to numbers that do not ship.

$Q(s, a) = e^{c} f_a(s) + b$ with the outputs $f$ of the policy, whose argmax ships. A ternary
policy has coarse outputs, so the scale $c$ and the offset $b$ are learned beside it in float; with
float weights $c$ is 0. With `dueling`, $Q(s, a) = V(s) + e^{c} (f_a(s) - \bar f(s))$ with a float
network $V$: then the policy has to tell actions apart, and nothing else.

References:
  Mnih et al. 2015, "Human-level control through deep reinforcement learning".
  van Hasselt, Guez and Silver 2016, "Deep Reinforcement Learning with Double Q-learning".
  Wang et al. 2016, "Dueling Network Architectures", equation 9.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

from ternevo.learners.critics import Batch, Critic, View
from ternevo.learners.descent import descend, towards
from ternevo.learners.latents import LatentPolicy, Latents
from ternevo.learners.learner import Learner
from ternevo.learners.sparsity import as_pruned
from ternevo.rollouts.transitions import Agent, Taken
from ternevo.types import Env, Key, Memory, Metrics, Params

if TYPE_CHECKING:
    from ternevo.settings.strategies.dqn import DQN


class Learned(NamedTuple):
    """Latents of the policy, and what does not ship.

    `scale` and `offset` are those of the outputs; `value` are the params of V, or () without it.
    """

    latents: Latents
    scale: Float[Array, ""]
    offset: Float[Array, ""]
    value: Any


class LearnerState(NamedTuple):
    """What is learned, the older copy that targets are made of, and the number of updates."""

    learned: Learned
    target: Learned
    optimizer: optax.OptState
    updates: Int32[Array, ""]


class QNetwork(NamedTuple):
    """Values of actions; `value` is V, or None."""

    latent: LatentPolicy
    value: Critic | None

    def init(self, key: Key, obs_size: int) -> Learned:
        """Return the start: the policy's own, with outputs of their own size."""
        key_latents, key_value = jax.random.split(key)
        value = self.value.init(key_value, jnp.zeros(obs_size)) if self.value else ()
        return Learned(self.latent.init(key_latents), jnp.zeros(()), jnp.zeros(()), value)

    def of(self, learned: Learned, view: View) -> Float[Array, "batch actions"]:
        """Return the values of all actions, differentiably."""
        params = self.latent.differentiable(learned.latents)
        output = self.latent.outputs(params, view.inputs)
        if not self.latent.weights.is_float:  # floats have any size themselves
            output = jnp.exp(learned.scale) * output
        if self.value is None:
            return output + learned.offset
        value: Any = self.value.apply(learned.value, view.floats)
        return value[:, None] + output - jnp.mean(output, axis=1, keepdims=True)


def loss(
    network: QNetwork, is_double: bool, learned: Learned, target: Learned, batch: Batch
) -> tuple[Float[Array, ""], Metrics]:
    r"""Return the mean Huber loss of $Q(s, a)$ against $r + \gamma^n Q'(s', a')$, and metrics.

    $a'$ is the best action of the learned values if `is_double`, else of the target's.

    Args:
      network: the values of actions.
      is_double: whether actions are chosen by the learned values.
      learned: what is learned.
      target: its older copy $Q'$.
      batch: the experience, as `View`s.
    """
    values = network.of(learned, batch.seen)
    chosen = jnp.take_along_axis(values, batch.action[:, None], axis=1)[:, 0]
    later = network.of(target, batch.after)
    judge = network.of(learned, batch.after) if is_double else later
    best = jnp.take_along_axis(later, jnp.argmax(judge, axis=1)[:, None], axis=1)[:, 0]
    wanted = jax.lax.stop_gradient(batch.reward + batch.discount * best)
    error = jnp.mean(optax.huber_loss(chosen, wanted))
    return error, {"loss/q": error, "q/mean": jnp.mean(chosen)}


def learner(
    settings: "DQN",
    env: Env,
    latent: LatentPolicy,
    optimizer: optax.GradientTransformation,
) -> Learner:
    """Return DQN as a learner, whose experience is a `critics.Batch`.

    Args:
      settings: the settings of DQN.
      env: what the policy is for; only its observations and actions matter.
      latent: the policy as it is learned.
      optimizer: the optimiser of all learned parts.

    Raises:
      ValueError: actions are continuous, or the policy has a memory.
    """
    if env.action.kind != "discrete":
        raise ValueError(
            f"--strategy dqn needs discrete actions, and {env.id} has continuous ones "
            f"({env.action.size}); use --strategy sac or td3"
        )
    value = Critic(settings.critic_hidden_sizes, settings.critic_activation, 1.0)
    network = QNetwork(latent, value if settings.dueling else None)
    network.latent.check_memoryless("dqn")

    def init(key: Key) -> LearnerState:
        learned = network.init(key, env.obs.size)
        zero = jnp.zeros((), jnp.int32)
        return LearnerState(learned, jax.tree.map(jnp.copy, learned), optimizer.init(learned), zero)

    def agent(state: LearnerState, num_envs: int) -> Agent:
        del num_envs
        params = network.latent.at(state.updates).acting(state.learned.latents)

        def act(draw: Any, taken: Taken) -> tuple[Memory, jax.Array, jax.Array]:
            del draw  # the strategy explores at random
            output = network.latent.outputs(params, taken.inputs())
            return (), output, jnp.argmax(output, axis=-1).astype(jnp.int32)

        return Agent(params, act, lambda action: action, lambda obs, memory: obs[:, 0])

    def update(key: Key, state: LearnerState, batch: Batch) -> tuple[LearnerState, Metrics]:
        del key
        now = network._replace(latent=latent.at(state.updates))
        of_learned = lambda x: loss(now, settings.double, x, state.target, batch)  # noqa: E731
        learned, opt_state, metrics = descend(optimizer, of_learned, state.learned, state.optimizer)
        count = state.updates + 1
        is_due = count % settings.target_period == 0
        rate = jnp.where(is_due, settings.tau, 0.0)
        target = towards(learned, state.target, rate)
        if network.latent.is_sparse:
            target = as_pruned(target, learned)
        return LearnerState(learned, target, opt_state, count), metrics

    def params(state: LearnerState) -> Params:
        return network.latent.shipped(state.target.latents)

    return Learner(init, agent, update, params)
