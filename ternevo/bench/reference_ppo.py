"""A plain reference PPO to compare ours with: a rewrite of purejaxrl.

It follows ppo.py, ppo_continuous_action.py and wrappers.py of
https://github.com/luchris429/purejaxrl (Apache-2.0): a flax actor-critic with
orthogonal weights, environments that reset themselves, the same wrappers, loss,
minibatches and optimiser, everything in one compiled scan. Four things differ, and none
of them makes it slower. Sizes are arguments. Short functions replace the
distributions of distrax. Only the episode log of an environment's info is kept. The
learning rate is also annealed in brax.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import orthogonal
from flax.training.train_state import TrainState
from jaxtyping import Array, Float

from ternevo.bench.cases import BesidePPO
from ternevo.bench.contest import CaseError
from ternevo.envs.brax import quiet
from ternevo.types import Key

UNROLL = 16
"""Number of unrolled steps in the scan of advantages, as in purejaxrl."""


class ReferenceEnv(NamedTuple):
    """An environment that resets itself, or several after `vectorised`.

    `reset(key)` returns (obs, state) and `step(key, state, action)` returns (obs,
    state, reward, done, info); done is a termination or a truncation. An action is one of
    `num_actions`, or a vector of `num_actions` numbers if `is_discrete` is false.
    """

    reset: Callable
    step: Callable
    obs_size: int
    num_actions: int
    is_discrete: bool


def make_env(env_id: str, episode_length: int, gamma: float) -> ReferenceEnv:
    """Return environments wrapped as in purejaxrl: ppo.py for gymnax, the other file for brax.

    Raises:
      CaseError: the environment is from neither suite.
    """
    suite, name = env_id.split("/")
    if suite == "gymnax":
        return vectorised(with_log(gymnax_env(name, episode_length)))
    if suite != "brax":
        raise CaseError(f"the reference PPO does not support {env_id}")
    env = vectorised(with_clipped_actions(with_log(brax_env(name, episode_length))))
    return with_normal_rewards(with_normal_observations(env), gamma)


def gymnax_env(name: str, episode_length: int) -> ReferenceEnv:
    """Return a gymnax environment with discrete actions, flat observations and auto-reset."""
    import gymnax

    env, params = gymnax.make(name)
    params = params.replace(max_steps_in_episode=episode_length)
    obs_size = math.prod(env.observation_space(params).shape)

    def reset(key: Key) -> tuple:
        obs, state = env.reset(key, params)
        return obs.reshape(-1), state

    def step(key: Key, state: Any, action: jax.Array) -> tuple:
        obs, state, reward, terminated, truncated, _ = env.step(key, state, action, params)
        return obs.reshape(-1), state, reward, terminated | truncated, {}

    return ReferenceEnv(reset, step, obs_size, env.action_space(params).n, is_discrete=True)


def brax_env(name: str, episode_length: int) -> ReferenceEnv:
    """Return a brax environment, such as "hopper@spring", with brax's own wrappers.

    They restart episodes from the environment's first state, which is drawn once.
    """
    name, backend = name.split("@")
    with quiet():
        from brax import envs

        env: Any = envs.create(
            name, episode_length=episode_length, auto_reset=True, backend=backend
        )

    def reset(key: Key) -> tuple:
        with quiet():
            state = env.reset(key)
        return state.obs, state

    def step(key: Key, state: Any, action: jax.Array) -> tuple:
        with quiet():
            state = env.step(state, action)
        return state.obs, state, state.reward, state.done > 0.5, {}

    return ReferenceEnv(reset, step, env.observation_size, env.action_size, is_discrete=False)


class LogState(NamedTuple):
    """Return and length of the current episode, and of the last finished one."""

    env_state: Any
    total: jax.Array
    length: jax.Array
    returned_total: jax.Array
    returned_length: jax.Array
    timestep: jax.Array


def with_log(env: ReferenceEnv) -> ReferenceEnv:
    """Return the environment with the last finished episode in its info."""

    def reset(key: Key) -> tuple:
        obs, env_state = env.reset(key)
        zero, none = jnp.zeros(()), jnp.zeros((), jnp.int32)
        return obs, LogState(env_state, zero, none, zero, none, none)

    def step(key: Key, state: LogState, action: jax.Array) -> tuple:
        obs, env_state, reward, done, info = env.step(key, state.env_state, action)
        total, length = state.total + reward, state.length + 1
        state = LogState(
            env_state,
            total * (1 - done),
            length * (1 - done),
            state.returned_total * (1 - done) + total * done,
            state.returned_length * (1 - done) + length * done,
            state.timestep + 1,
        )
        log = {
            "returned_episode_returns": state.returned_total,
            "returned_episode_lengths": state.returned_length,
            "timestep": state.timestep,
            "returned_episode": done,
        }
        return obs, state, reward, done, info | log

    return env._replace(reset=reset, step=step)


def with_clipped_actions(env: ReferenceEnv) -> ReferenceEnv:
    """Return the environment with actions clipped to [-1, 1]."""
    return env._replace(
        step=lambda key, state, action: env.step(key, state, jnp.clip(action, -1.0, 1.0))
    )


def vectorised(env: ReferenceEnv) -> ReferenceEnv:
    """Return the environments, one for each key."""
    return env._replace(reset=jax.vmap(env.reset), step=jax.vmap(env.step))


class Moments(NamedTuple):
    """Running mean and variance."""

    mean: jax.Array
    var: jax.Array
    count: jax.Array


def no_moments(shape: tuple[int, ...]) -> Moments:
    """Return the moments before any data."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.asarray(1e-4))


def merged(moments: Moments, batch: Float[Array, "envs ..."]) -> Moments:
    """Return the moments merged with those of a batch (Chan et al. 1983)."""
    size, mean, var = batch.shape[0], jnp.mean(batch, axis=0), jnp.var(batch, axis=0)
    delta, count = mean - moments.mean, moments.count + size
    m2 = moments.var * moments.count + var * size + delta**2 * moments.count * size / count
    return Moments(moments.mean + delta * size / count, m2 / count, count)


def with_normal_observations(env: ReferenceEnv) -> ReferenceEnv:
    """Return the environments with observations scaled to running mean 0 and variance 1."""

    def normalised(obs: jax.Array, moments: Moments) -> jax.Array:
        return (obs - moments.mean) / jnp.sqrt(moments.var + 1e-8)

    def reset(keys: Key) -> tuple:
        obs, env_state = env.reset(keys)
        moments = merged(no_moments(obs.shape[1:]), obs)
        return normalised(obs, moments), (env_state, moments)

    def step(keys: Key, state: tuple, action: jax.Array) -> tuple:
        env_state, moments = state
        obs, env_state, reward, done, info = env.step(keys, env_state, action)
        moments = merged(moments, obs)
        return normalised(obs, moments), (env_state, moments), reward, done, info

    return env._replace(reset=reset, step=step)


def with_normal_rewards(env: ReferenceEnv, gamma: float) -> ReferenceEnv:
    """Return the environments with rewards divided by the deviation of discounted returns."""

    def reset(keys: Key) -> tuple:
        obs, env_state = env.reset(keys)
        return obs, (env_state, no_moments(()), jnp.zeros(obs.shape[0]))

    def step(keys: Key, state: tuple, action: jax.Array) -> tuple:
        env_state, moments, returns = state
        obs, env_state, reward, done, info = env.step(keys, env_state, action)
        returns = returns * gamma * (1 - done) + reward
        moments = merged(moments, returns)
        reward = reward / jnp.sqrt(moments.var + 1e-8)
        return obs, (env_state, moments, returns), reward, done, info

    return env._replace(reset=reset, step=step)


class Distribution(NamedTuple):
    """A distribution over actions."""

    sample: Callable[[Key], jax.Array]
    log_prob: Callable[[jax.Array], jax.Array]
    entropy: Callable[[], jax.Array]


def categorical(logits: Float[Array, "*batch actions"]) -> Distribution:
    """Return a categorical distribution over actions."""
    log_probs = jax.nn.log_softmax(logits)

    def log_prob(action: jax.Array) -> jax.Array:
        # As in distrax; indexing would become a scatter in the backward pass.
        return jnp.sum(log_probs * jax.nn.one_hot(action, logits.shape[-1]), axis=-1)

    return Distribution(
        lambda key: jax.random.categorical(key, logits),
        log_prob,
        lambda: -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1),
    )


def gaussian(
    mean: Float[Array, "*batch actions"], log_std: Float[Array, " actions"]
) -> Distribution:
    """Return independent normal distributions whose widths do not depend on observations."""
    log_scale = jnp.sum(log_std) + 0.5 * log_std.size * math.log(2 * math.pi)

    def log_prob(action: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum(((action - mean) / jnp.exp(log_std)) ** 2, axis=-1) - log_scale

    return Distribution(
        lambda key: mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape),
        log_prob,
        lambda: jnp.broadcast_to(log_scale + 0.5 * log_std.size, mean.shape[:-1]),
    )


class Tower(nn.Module):
    """Dense layers with tanh between them; weights are orthogonal, biases start at zero."""

    layer_sizes: tuple[int, ...]
    last_gain: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map observations to outputs."""
        *hidden, last = self.layer_sizes
        for size in hidden:
            x = nn.tanh(nn.Dense(size, kernel_init=orthogonal(math.sqrt(2)))(x))
        return nn.Dense(last, kernel_init=orthogonal(self.last_gain))(x)


class ActorCritic(nn.Module):
    """Two towers: one for actions and one for the value."""

    hidden_sizes: tuple[int, ...]
    num_actions: int
    is_discrete: bool

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[Distribution, jax.Array]:
        """Return the distribution over actions, and the value."""
        output = Tower((*self.hidden_sizes, self.num_actions), 0.01)(obs)
        value = Tower((*self.hidden_sizes, 1), 1.0)(obs)[..., 0]
        if self.is_discrete:
            return categorical(output), value
        log_std = self.param("log_std", nn.initializers.zeros, (self.num_actions,))
        return gaussian(output, log_std), value


class Transition(NamedTuple):
    """One step of all environments; a rollout adds a leading axis of steps."""

    done: jax.Array
    action: jax.Array
    value: jax.Array
    reward: jax.Array
    log_prob: jax.Array
    obs: jax.Array
    info: Any


class Runner(NamedTuple):
    """The state carried from one update to the next."""

    train_state: TrainState
    env_state: Any
    obs: jax.Array
    key: Key


@dataclasses.dataclass(frozen=True)
class ReferencePPO:
    """The parts of PPO at the sizes of a case; keys are raw, as brax's wrappers need."""

    setting: BesidePPO
    env: ReferenceEnv

    def init(self, key: Key) -> Runner:
        """Draw a network and reset the environments."""
        key, key_network, key_env = jax.random.split(key, 3)
        env, setting = self.env, self.setting
        network = ActorCritic(setting.hidden_sizes, env.num_actions, env.is_discrete)
        train_state = TrainState.create(
            apply_fn=network.apply,
            params=network.init(key_network, jnp.zeros(env.obs_size)),
            tx=optax.chain(
                optax.clip_by_global_norm(setting.max_grad_norm),
                optax.adam(self.annealed_lr, eps=1e-5),
            ),
        )
        obs, env_state = env.reset(jax.random.split(key_env, setting.num_envs))
        return Runner(train_state, env_state, obs, key)

    def annealed_lr(self, count: Any) -> Any:
        """Return the learning rate after `count` minibatches; it is constant within an update."""
        setting = self.setting
        update = count // (setting.num_minibatches * setting.num_epochs)
        return setting.lr * (1.0 - update / setting.num_updates)

    def run(self, runner: Runner) -> tuple[Runner, Any]:
        """Return the runner after all updates, and the log of episodes [updates, steps, envs]."""
        return jax.lax.scan(lambda r, _: self.update(r), runner, None, self.setting.num_updates)

    def update(self, runner: Runner) -> tuple[Runner, Any]:
        """Collect transitions and learn from them for some epochs."""
        runner, batch = jax.lax.scan(self.act, runner, None, self.setting.num_steps)
        train_state, _, obs, _ = runner
        _, last_value = train_state.apply_fn(train_state.params, obs)
        gamma, gae_lambda = self.setting.gamma, self.setting.gae_lambda
        advantages = generalised_advantages(batch, last_value, gamma, gae_lambda)
        rows = (batch, advantages, advantages + batch.value)
        learner = (train_state, runner.key)
        learner, _ = jax.lax.scan(
            lambda learner, _: self.learn_epoch(learner, rows),
            learner,
            None,
            self.setting.num_epochs,
        )
        return runner._replace(train_state=learner[0], key=learner[1]), batch.info

    def act(self, runner: Runner, _: None) -> tuple[Runner, Transition]:
        """Take one step in all environments."""
        train_state, env_state, obs, key = runner
        key, key_action, key_env = jax.random.split(key, 3)
        choice, value = train_state.apply_fn(train_state.params, obs)
        action = choice.sample(key_action)
        keys = jax.random.split(key_env, self.setting.num_envs)
        next_obs, env_state, reward, done, info = self.env.step(keys, env_state, action)
        log_prob = choice.log_prob(action)
        transition = Transition(done, action, value, reward, log_prob, obs, info)
        return Runner(train_state, env_state, next_obs, key), transition

    def learn_epoch(self, learner: tuple[TrainState, Key], rows: tuple) -> tuple:
        """Learn from every transition once, in minibatches in random order."""
        train_state, key = learner
        key, key_order = jax.random.split(key)
        setting = self.setting
        size = setting.num_steps * setting.num_envs
        order = jax.random.permutation(key_order, size)

        def shuffled(x: jax.Array) -> jax.Array:
            x = jnp.take(x.reshape(size, *x.shape[2:]), order, axis=0)
            return x.reshape(setting.num_minibatches, -1, *x.shape[1:])

        minibatches = jax.tree.map(shuffled, rows)
        train_state, losses = jax.lax.scan(self.learn, train_state, minibatches)
        return (train_state, key), losses

    def learn(self, train_state: TrainState, minibatch: tuple) -> tuple[TrainState, jax.Array]:
        """Take one step of gradient descent."""
        loss_of = jax.value_and_grad(self.loss)
        loss, grads = loss_of(train_state.params, train_state.apply_fn, *minibatch)
        return train_state.apply_gradients(grads=grads), loss

    def loss(
        self,
        params: Any,
        apply: Callable,
        batch: Transition,
        advantages: jax.Array,
        targets: jax.Array,
    ) -> jax.Array:
        """Return the clipped loss of actor and critic, minus the entropy bonus."""
        setting = self.setting
        choice, value = apply(params, batch.obs)
        critic = clipped_value_loss(value, batch.value, targets, setting.clip_epsilon)
        ratio = jnp.exp(choice.log_prob(batch.action) - batch.log_prob)
        actor = clipped_actor_loss(ratio, advantages, setting.clip_epsilon)
        entropy = jnp.mean(choice.entropy())
        entropy_bonus = setting.entropy_coefficient * entropy
        return actor + setting.value_coefficient * critic - entropy_bonus


def generalised_advantages(
    batch: Transition, last_value: jax.Array, gamma: float, gae_lambda: float
) -> Float[Array, "steps envs"]:
    """Return the advantages of all steps, from the last one back (Schulman et al. 2016)."""

    def step(carry: tuple, transition: Transition) -> tuple:
        advantage, next_value = carry
        alive = 1 - transition.done
        delta = transition.reward + gamma * next_value * alive - transition.value
        advantage = delta + gamma * gae_lambda * alive * advantage
        return (advantage, transition.value), advantage

    start = (jnp.zeros_like(last_value), last_value)
    return jax.lax.scan(step, start, batch, reverse=True, unroll=UNROLL)[1]


def clipped_value_loss(
    value: jax.Array, old_value: jax.Array, targets: jax.Array, epsilon: float
) -> jax.Array:
    """Return half the larger of the squared errors of the value and of the clipped value."""
    near = old_value + jnp.clip(value - old_value, -epsilon, epsilon)
    return 0.5 * jnp.mean(jnp.maximum((value - targets) ** 2, (near - targets) ** 2))


def clipped_actor_loss(ratio: jax.Array, advantages: jax.Array, epsilon: float) -> jax.Array:
    """Return minus the surrogate of Schulman et al. 2017, with advantages of mean 0 and std 1."""
    advantages = (advantages - jnp.mean(advantages)) / (jnp.std(advantages) + 1e-8)
    near = jnp.clip(ratio, 1.0 - epsilon, 1.0 + epsilon)
    return -jnp.mean(jnp.minimum(ratio * advantages, near * advantages))
