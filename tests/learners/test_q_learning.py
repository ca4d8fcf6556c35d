"""DQN: losses and gradients against NumPy, values of toys that are known, what ships."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from policy_inputs import inputs

from ternevo import envs
from ternevo.arithmetic import actions, observation
from ternevo.learners.critics import Batch, Critic, Lens, View
from ternevo.learners.latents import latent_policy
from ternevo.learners.q_learning import Learned, QNetwork, learner, loss
from ternevo.policies.acting import Seen
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.dqn import DQN
from ternevo.strategies.across_seeds import across_seeds, keys_of
from ternevo.strategies.numbered import unwrapped
from ternevo.strategies.off_policy import shown_moments
from ternevo.training import loop
from ternevo.types import Inputs, ObsSpec

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZE, ACTIONS, ROWS = 3, 4, 16


def views(rng):
    numbers = rng.integers(-127, 128, (ROWS, SIZE)).astype(np.float32)
    told = Inputs(jnp.asarray(numbers), jnp.zeros(ROWS), jnp.zeros(ROWS, bool))
    return View(told, jnp.asarray(numbers / 32))


def drawn(is_dueling, seed=0):
    """Return a network without hidden layers, two sets of weights for it, and a batch."""
    rng = np.random.default_rng(seed)
    env = envs.make("probe/bandit")._replace(obs=ObsSpec((SIZE,)))
    action = env.action._replace(size=ACTIONS)
    policy = MLP((), weights="float", activation="tanh").build(env.obs, action)
    latent = latent_policy(policy, "float")
    network = QNetwork(latent, Critic((), "relu", 1.0) if is_dueling else None)
    learned, target = (network.init(jax.random.key(i), SIZE) for i in range(2))
    learned, target = (
        jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape).astype(np.float32), tree)
        for tree in (learned, target)
    )
    batch = Batch(
        views(rng),
        jnp.asarray(rng.integers(0, ACTIONS, ROWS)),
        jnp.asarray(rng.normal(size=ROWS), jnp.float32),
        views(rng),
        jnp.asarray(rng.choice([0.0, 0.9, 0.81], ROWS), jnp.float32),
    )
    return network, learned, target, batch


def values_in_numpy(learned: Learned, view: View, is_dueling):
    """Return Q in float64: 127 of an observation is four units (2**observation_shift)."""
    bias, weight = (np.asarray(x, np.float64) for x in learned.latents)
    obs = np.asarray(view.inputs.obs, np.float64)
    output = obs @ weight / 32 + bias * 127 / 32
    if not is_dueling:
        return output + float(learned.offset)
    dense = learned.value["params"]["Dense_0"]
    value = np.asarray(view.floats, np.float64) @ np.asarray(dense["kernel"], np.float64)
    return value + np.asarray(dense["bias"]) + output - output.mean(1, keepdims=True)


def loss_in_numpy(learned, target, batch, is_double, is_dueling):
    now = values_in_numpy(learned, batch.seen, is_dueling)
    later = values_in_numpy(target, batch.after, is_dueling)
    judge = values_in_numpy(learned, batch.after, is_dueling) if is_double else later
    rows = np.arange(ROWS)
    best = later[rows, judge.argmax(1)]
    wanted = np.asarray(batch.reward, np.float64) + np.asarray(batch.discount) * best
    return now[rows, np.asarray(batch.action)], wanted


@pytest.mark.parametrize("is_double", [True, False])
@pytest.mark.parametrize("is_dueling", [True, False])
def test_the_loss_is_that_of_numpy(is_double, is_dueling):
    network, learned, target, batch = drawn(is_dueling)
    found, metrics = loss(network, is_double, learned, target, batch)
    chosen, wanted = loss_in_numpy(learned, target, batch, is_double, is_dueling)
    error = np.abs(chosen - wanted)
    expected = np.where(error < 1, 0.5 * error**2, error - 0.5).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["q/mean"], chosen.mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_dueling", [True, False])
def test_the_gradient_is_that_of_numpy(is_dueling):
    """By hand: the derivative of Huber's loss, times that of the chosen output."""
    network, learned, target, batch = drawn(is_dueling)
    found = jax.grad(lambda x: loss(network, True, x, target, batch)[0])(learned)
    chosen, wanted = loss_in_numpy(learned, target, batch, True, is_dueling)
    slope = np.clip(chosen - wanted, -1, 1) / ROWS
    of_output = np.eye(ACTIONS)[np.asarray(batch.action)]
    if is_dueling:
        of_output = of_output - 1 / ACTIONS
        kernel = np.asarray(batch.seen.floats, np.float64).T @ slope
        dense = found.value["params"]["Dense_0"]
        np.testing.assert_allclose(dense["kernel"][:, 0], kernel, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(dense["bias"], slope.sum(), rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_allclose(found.offset, slope.sum(), rtol=1e-4, atol=1e-6)
    of_output = of_output * slope[:, None]
    obs = np.asarray(batch.seen.inputs.obs, np.float64) / 32
    bias, weight = found.latents
    np.testing.assert_allclose(weight, obs.T @ of_output, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, of_output.sum(0) * 127 / 32, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("period", "tau"), [(1, 0.25), (3, 1.0)])
def test_the_target_moves_every_period_by_tau(period, tau):
    env = envs.make("probe/bandit")
    policy = MLP((), weights="float", activation="tanh").build(env.obs, env.action)
    settings = DQN.of(target_period=period, tau=tau, critic_hidden_sizes=())
    own = learner(settings, env, latent_policy(policy, "float"), optax.sgd(0.1))
    lens = Lens(
        env.obs,
        observation.empty(env.obs.size),
        observation.freeze(observation.empty(env.obs.size)),
    )
    seen = Seen(jnp.ones((2, env.obs.size)), jnp.zeros(2), jnp.zeros(2, bool))
    view = lens.view(seen)
    batch = Batch(view, jnp.array([0, 1]), jnp.array([1.0, -1.0]), view, jnp.zeros(2))
    state = own.init(jax.random.key(0))
    expected = state.target
    update = quick_jit(own.update)
    for count in range(1, 8):
        state, _ = update(jax.random.key(count), state, batch)
        if count % period == 0:
            expected = jax.tree.map(
                lambda new, old: tau * new + (1 - tau) * old, state.learned, expected
            )
        assert int(state.updates) == count
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6), state.target, expected
        )


# ---------------------------------------------------------------- toys whose values are known

SEEDS = 3


class Trained:
    """Q-networks of some seeds that learned an environment."""

    def __init__(self, env_id, generations, episode_length=None, **options):
        self.env = envs.make(env_id, episode_length)
        small = {
            **{"num_envs": 4, "steps_per_generation": 64, "batch_size": 32, "buffer_size": 512},
            **{"learning_starts": 64, "lr": 0.02, "critic_hidden_sizes": (), "n_step": 1},
            **{"epsilon_end": 0.5, "tau": 0.1, "train_every": 1, "gamma": 0.5},
        }
        settings = DQN.of(**(small | options))
        policy = MLP((), weights="float", activation="tanh").build(self.env.obs, self.env.action)
        built = settings.build(self.env, policy, "float", generations)
        strategy = across_seeds(built, SEEDS)
        state = loop.start(keys_of(range(SEEDS)), strategy)
        for chunk in loop.train(strategy, state, generations):
            state = chunk.state
        self.states = unwrapped(state.strategy)
        critic = Critic((), "relu", 1.0) if settings.dueling else None
        self.network = QNetwork(latent_policy(policy, "float"), critic)

    def values(self, obs):
        """Return the values [seeds, observations, actions] of the target."""
        obs = jnp.asarray(obs, jnp.float32)

        def of_one(state):
            moments = shown_moments(state)
            lens = Lens(self.env.obs, moments, observation.freeze(moments, self.env.obs.kind))
            seen = Seen(obs, jnp.zeros(len(obs)), jnp.zeros(len(obs), bool))
            return self.network.of(state.learner.target, lens.view(seen))

        return np.asarray(jax.vmap(of_one)(self.states))


@pytest.mark.slow  # discounts at a time limit are compared with a loop in test_replay.py
def test_a_time_limit_is_not_an_end():
    """Every step pays 1 for ever, and the limit only stops the observer: 1 / (1 - gamma)."""
    run = Trained("probe/countdown", 40, 20)
    np.testing.assert_allclose(run.values([[1.0], [0.5], [0.05]]), 2.0, atol=0.12)


@pytest.mark.slow  # the last cell of the corridor below says the same
def test_a_termination_is_an_end():
    """`random_length` cut to one step: every action pays 1, and then it terminates."""
    run = Trained("probe/random_length", 30, 1)
    np.testing.assert_allclose(run.values([[1.0]]), 1.0, atol=0.05)


@pytest.mark.parametrize("n_step", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_values_discount(n_step):
    """In the corridor, going right pays 1 after 4, 3, 2, 1 steps: gamma to the power of 3 to 0."""
    run = Trained("probe/corridor", 80, n_step=n_step)
    found = run.values(np.eye(5)[:4])
    np.testing.assert_array_equal(found.argmax(-1), 1)
    if n_step == 1:  # with more, what was explored on the way counts too
        np.testing.assert_allclose(
            found.max(-1), np.tile([0.125, 0.25, 0.5, 1.0], (SEEDS, 1)), atol=0.08
        )


def test_the_action_that_ships_is_the_argmax_of_the_target():
    env = envs.make("probe/bandit")
    policy = MLP((), weights="ternary").build(env.obs, env.action)
    own = learner(
        DQN.of(critic_hidden_sizes=()), env, latent_policy(policy, "ternary"), optax.adam(0.1)
    )
    init = quick_jit(own.init)
    state, other = init(jax.random.key(0)), init(jax.random.key(5))
    state = state._replace(target=other.target)
    shipped, wanted = own.params(state), own.params(other)
    jax.tree.map(np.testing.assert_array_equal, shipped, wanted)
    output = policy.apply(shipped, (), inputs(jnp.ones(env.obs.size)))[1]
    assert actions.mode(env.action, output).dtype == jnp.int32
