"""PPO: its arithmetic against numbers by hand and a second route, and probes with known optima."""

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from marks import wide
from policy_inputs import inputs

from ternevo import envs
from ternevo.arithmetic import actions, observation, ternary
from ternevo.arithmetic.weights import kind_of
from ternevo.learners import ppo
from ternevo.learners.critics import Critic
from ternevo.learners.latents import latent_policy
from ternevo.learners.ppo import Networks, critic_of
from ternevo.machine import devices
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import on_policy
from ternevo.strategies.numbered import unwrapped
from ternevo.training import loop
from ternevo.types import ActionSpec, ObsSpec

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
PPO = STRATEGIES["ppo"]

# --- advantages -------------------------------------------------------------------------------

advantages = quick_jit(ppo.advantages)


def estimate(rewards, values, last_value, final_values, terminated, truncated, gamma, lambda_):
    columns = [np.asarray(x, np.float32) for x in (rewards, values)]
    ends = [np.asarray(x, bool) for x in (terminated, truncated)]
    return advantages(
        jnp.asarray(columns[0]),
        jnp.asarray(columns[1]),
        jnp.asarray(last_value, jnp.float32),
        jnp.asarray(final_values, jnp.float32),
        jnp.asarray(ends[0]),
        jnp.asarray(ends[1]),
        gamma,
        lambda_,
    )


def test_advantages_of_four_steps_by_hand():
    """Step 1 terminates, step 3 does not; gamma 1/2, lambda 1/2."""
    advantage = estimate(
        rewards=[[1.0], [2.0], [4.0], [8.0]],
        values=[[1.0], [3.0], [2.0], [5.0]],
        last_value=[6.0],
        final_values=[[0.0]] * 4,
        terminated=[[0], [1], [0], [0]],
        truncated=[[0]] * 4,
        gamma=0.5,
        lambda_=0.5,
    )
    errors = [1 + 1.5 - 1, 2 - 3, 4 + 2.5 - 2, 8 + 3 - 5]  # 1.5, -1, 4.5, 6
    by_hand = [errors[0] + errors[1] / 4, errors[1], errors[2] + errors[3] / 4, errors[3]]
    np.testing.assert_array_equal(advantage[:, 0], by_hand)


def test_a_truncation_takes_the_value_of_the_final_observation_and_a_termination_none():
    rows = {"rewards": [[1.0], [1.0]], "values": [[0.0], [100.0]], "last_value": [100.0]}
    rest = {"final_values": [[7.0], [0.0]], "gamma": 1.0, "lambda_": 1.0}
    nobody = [[0], [0]]
    truncated = estimate(**rows, **rest, terminated=nobody, truncated=[[1], [0]])
    terminated = estimate(**rows, **rest, terminated=[[1], [0]], truncated=nobody)
    going_on = estimate(**rows, **rest, terminated=nobody, truncated=nobody)
    assert float(truncated[0, 0]) == 1 + 7
    assert float(terminated[0, 0]) == 1
    assert float(going_on[0, 0]) == 1 + 1 + 100, "the final value is for truncations only"


def one_episode_at_a_time(rewards, values, last_value, final_values, terminated, truncated, g, lm):
    """The second route: cut the steps into episodes, and sum up lambda-returns from each step."""
    num_steps, num_envs = rewards.shape
    result = np.zeros_like(rewards)
    for env in range(num_envs):
        begin = 0
        for end in range(num_steps):
            is_end = terminated[end, env] or truncated[end, env]
            if not is_end and end < num_steps - 1:
                continue
            beyond = last_value[env] if not is_end else final_values[end, env]
            bootstrap = 0.0 if terminated[end, env] else beyond
            episode = rewards[begin : end + 1, env]
            following = [*values[begin + 1 : end + 1, env], bootstrap]
            for t in range(len(episode)):
                errors = [
                    episode[k] + g * following[k] - values[begin + k, env]
                    for k in range(t, len(episode))
                ]
                result[begin + t, env] = sum((g * lm) ** k * e for k, e in enumerate(errors))
            begin = end + 1
    return result


@hypothesis_settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), gamma=st.floats(0, 1), lambda_=st.floats(0, 1))
def test_advantages_equal_those_of_each_episode_alone(seed, gamma, lambda_):
    random = np.random.default_rng(seed)
    rewards, values, final = random.normal(size=(3, 12, 3)).astype(np.float32)
    last = random.normal(size=3).astype(np.float32)
    ends = random.choice(3, size=(12, 3), p=[0.6, 0.2, 0.2])
    rows = (rewards, values, last, final, ends == 1, ends == 2, gamma, lambda_)
    np.testing.assert_allclose(estimate(*rows), one_episode_at_a_time(*rows), atol=2e-5)


def test_normalised_advantages_have_mean_0_and_deviation_1():
    scaled = ppo.normalise(jnp.array([[1.0, 5.0], [3.0, 11.0]]))
    np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-6)
    np.testing.assert_array_equal(ppo.normalise(jnp.ones((2, 2))), 0)


# --- losses -----------------------------------------------------------------------------------

COEFFICIENTS = ppo.Coefficients(0.2, 0.0, 0.5, 0.1)


def sample(**changes) -> ppo.Sample:
    """Two transitions: the first got twice as probable, the second half as."""
    plain = {
        "inputs": (),
        "raw_action": jnp.zeros(2),
        "log_prob": jnp.log(jnp.array([0.25, 0.5])),
        "value": jnp.array([1.0, 2.0]),
        "advantage": jnp.array([1.0, 1.0]),
        "target": jnp.array([2.0, 2.0]),
    }
    return ppo.Sample(**{**plain, **changes})


NOW = ppo.Prediction(jnp.log(jnp.array([0.5, 0.25])), jnp.array([1.0, 3.0]), jnp.array([1.5, 4.0]))


def test_the_loss_by_hand():
    """Ratios 2 and 1/2: with positive advantages the first is clipped to 1.2, the second is not."""
    total, parts = ppo.loss(COEFFICIENTS, NOW, sample())
    policy, value, entropy = -(1.2 + 0.5) / 2, 0.5 * (0.25 + 4) / 2, 2.0
    np.testing.assert_allclose(parts["loss/policy"], policy, rtol=1e-6)
    np.testing.assert_allclose(parts["loss/value"], value, rtol=1e-6)
    np.testing.assert_allclose(total, policy + 0.5 * value - 0.1 * entropy, rtol=1e-6)
    kl = (2 - 1 - np.log(2) + 0.5 - 1 + np.log(2)) / 2
    np.testing.assert_allclose(parts["ppo/approx_kl"], kl, rtol=1e-5)
    assert float(parts["ppo/clip_fraction"]) == 1


def test_with_a_negative_advantage_the_other_side_is_clipped():
    _, parts = ppo.loss(COEFFICIENTS, NOW, sample(advantage=jnp.array([-1.0, -1.0])))
    np.testing.assert_allclose(parts["loss/policy"], (2 + 0.8) / 2, rtol=1e-6)


def test_value_clipping_takes_the_larger_error():
    """Values 1 and 2 became 1.5 and 4; within 0.1 they are 1.1 and 2.1; the targets are 2."""
    coefficients = COEFFICIENTS._replace(value_clip_epsilon=0.1)
    _, parts = ppo.loss(coefficients, NOW, sample())
    np.testing.assert_allclose(parts["loss/value"], 0.5 * (0.9**2 + 4) / 2, rtol=1e-5)


def test_beyond_the_clip_nothing_pulls_the_policy():
    def loss_of(log_prob):
        return ppo.loss(COEFFICIENTS, NOW._replace(log_prob=log_prob), sample())[0]

    gradient = jax.grad(loss_of)(NOW.log_prob)
    np.testing.assert_allclose(gradient, [0.0, -0.25], atol=1e-7)  # -ratio / 2 where not clipped


@pytest.mark.wide  # the loss is above, by hand
def test_an_update_of_one_minibatch_equals_a_plain_gradient_step():
    """The second route: the loss written out for a linear softmax policy and a linear critic."""
    random = np.random.default_rng(0)
    obs = jnp.asarray(random.normal(size=(6, 3)), jnp.float32)
    action = jnp.array([0, 1, 1, 0, 1, 0])
    old, advantage, target = jnp.asarray(random.normal(size=(3, 6)), jnp.float32) * 0.3
    params = (jnp.asarray(random.normal(size=(3, 2)), jnp.float32), jnp.ones(3) * 0.1)

    def predict(params, obs, action):
        logs = jax.nn.log_softmax(obs @ params[0])
        chosen = logs[jnp.arange(len(action)), action]
        return ppo.Prediction(chosen, -jnp.sum(jnp.exp(logs) * logs, -1), obs @ params[1])

    old_log_prob = predict(params, obs, action).log_prob - old
    batch = ppo.Sample(obs, action, old_log_prob, old, advantage, target)
    optimizer = optax.sgd(0.5)
    update = functools.partial(ppo.update, predict, COEFFICIENTS, optimizer, 1, 1)
    new, _, metrics = quick_jit(update)(jax.random.key(0), params, optimizer.init(params), batch)

    def plain(params):
        total = 0.0
        for i in range(6):
            logits = obs[i] @ params[0]
            p = jnp.exp(logits) / jnp.sum(jnp.exp(logits))
            ratio = p[action[i]] / jnp.exp(old_log_prob[i])
            surrogate = jnp.where(
                advantage[i] >= 0, jnp.minimum(ratio, 1.2), jnp.maximum(ratio, 0.8)
            )
            entropy = -p[0] * jnp.log(p[0]) - p[1] * jnp.log(p[1])
            error = obs[i] @ params[1] - target[i]
            total += -surrogate * advantage[i] + 0.5 * 0.5 * error**2 - 0.1 * entropy
        return total / 6

    gradient = quick_jit(jax.grad(plain))(params)
    for after, before, slope in zip(new, params, gradient, strict=True):
        np.testing.assert_allclose(after, before - 0.5 * slope, atol=1e-6)
    np.testing.assert_allclose(
        metrics["loss/gradient_norm"], np.sqrt(sum(jnp.sum(g**2) for g in gradient)), rtol=1e-5
    )


def test_every_transition_is_in_one_minibatch_of_each_epoch():
    """With a loss that is linear in the params, the steps of an epoch add up to the whole batch."""
    target = jnp.arange(12.0)
    batch = ppo.Sample(target, target, target, target, target, target)

    def predict(params, inputs, raw_action):
        return ppo.Prediction(raw_action, inputs * params, inputs * 0)

    optimizer = optax.sgd(1.0)
    params, _, _ = ppo.update(
        predict,
        ppo.Coefficients(0.2, 0.0, 0.0, 1.0),
        optimizer,
        3,
        4,
        jax.random.key(1),
        jnp.zeros(()),
        optimizer.init(jnp.zeros(())),
        batch,
    )
    assert float(params) == 3 * 4 * float(jnp.mean(target))


# --- the policy is the one that evolution has ---------------------------------------------------

ACTIVATIONS = ("int8", "int4", "sign", "ternary", "tanh", "relu")


@pytest.mark.exact
@pytest.mark.parametrize(
    ("kind", "activation"),
    wide(
        itertools.product(("ternary", "binary"), ACTIVATIONS),
        keep=[("ternary", "sign"), ("binary", "int4")],
    ),
)
def test_straight_through_outputs_are_those_of_the_int8_weights_bit_for_bit(kind, activation):
    settings = MLP((16, 16), weights=kind, activation=activation)
    policy = settings.build(ObsSpec((5,)), ActionSpec("discrete", 3))
    template = policy.init(jax.random.key(0))
    tensors = ternary.tensors(template)
    keys = jax.random.split(jax.random.key(1), len(tensors))
    latents = [
        0.3 * jax.random.normal(k, t.values.shape) for k, t in zip(keys, tensors, strict=True)
    ]
    obs = jnp.round(60 * jax.random.normal(jax.random.key(2), (50, 5))).clip(-127, 127)

    def outputs(make):
        params = ternary.replace_tensors(template, [make(x) for x in latents])
        return jax.vmap(lambda x: policy.apply(params, (), inputs(x))[1])(obs)

    hard, soft = outputs(kind_of(kind).discretize), outputs(kind_of(kind).straight_through)
    np.testing.assert_array_equal(hard, soft)
    shipped = ternary.replace_tensors(template, [kind_of(kind).discretize(x) for x in latents])
    packed = policy.packing(1).pack(shipped)
    packed = jax.vmap(lambda x: policy.apply(packed, (), inputs(x))[1])(obs)
    np.testing.assert_array_equal(packed, soft)


@pytest.mark.parametrize("kind", ["ternary", "binary", "float"])
def test_a_straight_through_weight_has_slope_one(kind):
    latent = 0.2 * jax.random.normal(jax.random.key(0), (6, 4))

    def total(latent):
        tensor = kind_of(kind).straight_through(latent)
        return jnp.sum(tensor.values * jnp.exp2(-tensor.exponent.astype(jnp.float32)))

    np.testing.assert_array_equal(jax.grad(total)(latent), 1)


@pytest.mark.parametrize(
    "activation", wide(["int8", "int4", "sign", "ternary"], keep=["int8", "sign"])
)
def test_activations_on_a_grid_pass_gradients_where_the_hard_tanh_is_not_flat(activation):
    settings = MLP((1,), weights="float", activation=activation, observation_shift=0)
    policy = settings.build(ObsSpec((1,)), ActionSpec("discrete", 1))
    one = jnp.ones((1, 1))
    params = tuple(
        {"weight": tensor, "bias": tensor._replace(values=jnp.zeros(1))}
        for tensor in (kind_of("float").discretize(w) for w in (one, one))
    )
    inside, outside = jnp.array([[0.5 * 128]]), jnp.array([[3.0 * 128]])

    def output(weight, obs):
        first = {**params[0], "weight": params[0]["weight"]._replace(values=weight)}
        return policy.apply((first, params[1]), (), inputs(obs))[1][0]

    gradient = jax.grad(output)
    assert float(gradient(one, inside[0])[0, 0]) != 0
    assert float(gradient(one, outside[0])[0, 0]) == 0


# --- distributions ------------------------------------------------------------------------------

DISCRETE, CONTINUOUS = ActionSpec("discrete", 3), ActionSpec("continuous", 1, (-2.0,), (2.0,))


def test_categorical_is_the_softmax_and_is_sampled_as_such():
    distribution = actions.distribution("auto", DISCRETE, 0.0)
    output, param = jnp.array([0.0, 1.0, -1.0]), jnp.asarray(0.5)
    expected = np.exp(output * np.exp(0.5)) / np.sum(np.exp(output * np.exp(0.5)))
    logs = distribution.log_prob(param, jnp.tile(output, (3, 1)), jnp.arange(3))
    np.testing.assert_allclose(jnp.exp(logs), expected, rtol=1e-5)
    draws = distribution.sample(jax.random.key(0), param, jnp.tile(output, (20_000, 1)))
    np.testing.assert_allclose(np.bincount(draws, minlength=3) / 20_000, expected, atol=0.015)
    entropy = distribution.entropy(param, output[None], draws[:1])
    np.testing.assert_allclose(entropy, -np.sum(expected * np.log(expected)), rtol=1e-5)


@pytest.mark.parametrize("name", wide(["clipped_normal", "tanh_normal"], keep=["clipped_normal"]))
def test_densities_integrate_to_one_and_entropies_agree(name):
    distribution = actions.distribution(name, CONTINUOUS, -0.7)
    log_std, output = distribution.init(), jnp.array([0.4])
    raw = jnp.linspace(-8, 8, 20_001)[:, None]
    log_prob = distribution.log_prob(log_std, jnp.broadcast_to(output, raw.shape), raw)
    # The density is that of tanh(raw) for a tanh-normal: integrate over what it is a density of.
    points = jnp.tanh(raw[:, 0]) if name == "tanh_normal" else raw[:, 0]
    np.testing.assert_allclose(jnp.trapezoid(jnp.exp(log_prob), points), 1.0, atol=1e-3)
    draws = distribution.sample(jax.random.key(0), log_std, jnp.full((50_000, 1), 0.4))
    outputs = jnp.full_like(draws, 0.4)
    estimate = -distribution.log_prob(log_std, outputs, draws).mean()
    np.testing.assert_allclose(
        distribution.entropy(log_std, outputs, draws).mean(), estimate, atol=0.02
    )


@pytest.mark.parametrize("name", wide(["clipped_normal", "tanh_normal"], keep=["clipped_normal"]))
def test_the_action_that_ships_is_the_median_of_those_that_are_drawn(name):
    distribution = actions.distribution(name, CONTINUOUS, -0.5)
    output = jnp.array([0.6])
    draws = distribution.sample(
        jax.random.key(0), distribution.init(), jnp.tile(output, (40_000, 1))
    )
    shipped = actions.mode(CONTINUOUS, output)
    median = jnp.median(jax.vmap(distribution.to_action)(draws))
    np.testing.assert_allclose(median, shipped[0], atol=0.03)
    drawn = jax.vmap(distribution.to_action)(draws)
    assert float(jnp.max(jnp.abs(drawn))) <= 2.0


def test_an_output_beyond_the_clip_still_has_a_gradient():
    for name in ("clipped_normal", "tanh_normal"):
        distribution = actions.distribution(name, CONTINUOUS, 0.0)

        def log_prob(output, distribution=distribution):
            return distribution.log_prob(jnp.zeros(1), output, jnp.zeros(1))

        assert float(jax.grad(log_prob)(jnp.array([1.5]))[0]) < 0


@pytest.mark.parametrize(
    ("name", "spec"),
    [("categorical", CONTINUOUS), ("tanh_normal", DISCRETE), ("clipped_normal", DISCRETE)],
)
def test_a_head_that_does_not_fit_the_actions_is_refused_by_name(name, spec):
    with pytest.raises(ValueError, match=f"--action_distribution {name}.*{spec.kind} actions"):
        actions.distribution(name, spec, 0.0)


# --- probes: what PPO must learn ------------------------------------------------------------------

SEEDS = 4
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


@functools.cache
def trained(env_id, generations=40, episode_length=None, kind="float", use_bias=True, **options):
    """Train some seeds on a probe; return the strategy's last states, networks and metrics."""
    env = envs.make(env_id, episode_length)
    activation = "tanh" if kind == "float" else "int8"
    policy = MLP((8,), activation, use_bias, observation_shift=2, weights=kind)
    policy = policy.build(env.obs, env.action)
    plain = {"num_envs": 16, "num_steps": 8, "num_minibatches": 2, "lr": 0.01}
    settings = PPO(**{**plain, "critic_hidden_sizes": (16,), **options})
    strategy = settings.build(env, policy, kind, generations)

    def go(key):
        key_init, key_run = jax.random.split(key)
        keys = jax.random.split(key_run, generations)
        return jax.lax.scan(lambda s, k: strategy.step(k, s), strategy.init(key_init), keys)

    state, metrics = quick_jit(jax.vmap(go))(jax.random.split(jax.random.key(0), SEEDS))
    return Trained(env, policy, settings, strategy, kind, state, metrics)


class Trained:
    """What came out, and how to ask it; the first axis of results is that of the seeds."""

    def __init__(self, env, policy, settings, strategy, kind, state, metrics):
        self.env, self.policy, self.metrics = env, policy, metrics
        self.state = unwrapped(state)
        self.shipped = jax.vmap(strategy.params)(state)
        distribution = actions.distribution(settings.action_distribution, env.action, 0.0)
        critic = Critic(settings.critic_hidden_sizes, settings.critic_activation)
        self.networks = Networks(latent_policy(policy, kind), distribution, critic)

    def _quantised(self, obs):
        obs = jnp.asarray(obs, jnp.float32)
        return lambda state: observation.quantise(observation.freeze(state.moments), obs)

    def values(self, obs):
        """Values in units of rewards."""
        quantised = self._quantised(obs)

        def value(state):
            return self.networks.value(state.learner.learned, quantised(state), ())

        return jax.vmap(value)(self.state)

    def actions(self, obs):
        quantised = self._quantised(obs)

        def act(state, shipped):
            output = jax.vmap(lambda x: self.policy.apply(shipped.weights, (), inputs(x))[1])(
                quantised(state)
            )
            return jax.vmap(lambda x: actions.mode(self.env.action, x))(output)

        return jax.vmap(act)(self.state, self.shipped)


@pytest.mark.slow  # the last cell of the corridor below says the same
def test_the_value_of_a_step_that_pays_one_is_one():
    """`random_length` cut to one step: every action pays 1, and then it terminates."""
    run = trained("probe/random_length", 60, 1, normalize_rewards=False)
    np.testing.assert_allclose(run.values([[1.0]]), 1.0, atol=0.05)


def in_the_corridor():
    options = {"gamma": 0.5, "normalize_rewards": False, "entropy_coefficient": 0.0}
    return trained("probe/corridor", 150, **options)


def test_values_discount():
    """In the corridor, going right pays 1 after 4, 3, 2, 1 steps: gamma to the power of 3 to 0."""
    run = in_the_corridor()
    np.testing.assert_array_equal(run.actions(np.eye(5)[:4]), 1)
    np.testing.assert_allclose(
        run.values(np.eye(5)[:4]), np.tile([0.125, 0.25, 0.5, 1.0], (SEEDS, 1)), atol=0.08
    )


@pytest.mark.slow  # advantages are compared above, and final observations in test_transitions.py
def test_a_truncation_is_no_end():
    """Every step pays 1 for ever, and the limit only stops the observer: 1 / (1 - gamma)."""
    run = trained("probe/countdown", 150, 20, gamma=0.5, normalize_rewards=False)
    shown = np.array([[1.0], [0.5], [0.05]])
    np.testing.assert_allclose(run.values(shown), 2.0, atol=0.1)


@pytest.mark.slow  # the last cell of the corridor above says the same
def test_a_termination_is_an_end():
    """Afterlife pays 1 three times: with gamma 1/2 that is worth 1.75 where it begins."""
    # Environments go in step, so a generation of whole episodes has as many of each of the states.
    run = trained("probe/afterlife", 150, gamma=0.5, normalize_rewards=False, num_steps=9)
    np.testing.assert_array_equal(run.metrics["return/mean"][:, -1], 3.0)
    value = run.values([[1.0]])  # begin and middle look alike: the mean of 1.75, 1.5 and 1
    np.testing.assert_allclose(value, (1.75 + 1.5 + 1) / 3, atol=0.1)


@pytest.mark.parametrize("kind", [slow("ternary"), slow("float"), slow("binary")])
def test_the_rewarded_action_is_picked(kind):
    assert bool(jnp.all(trained("probe/bandit", 40, kind=kind).actions([[1.0]]) == 1))


@pytest.mark.slow  # ternary weights learn as much from pictures by default, in test_ppo_sees.py
@pytest.mark.parametrize("kind", ["float", "ternary", "binary"])
def test_the_action_follows_the_observation(kind):
    run = trained("probe/sign", 60, kind=kind, use_bias=False)
    np.testing.assert_array_equal(run.actions([[-1.0], [1.0]]), np.tile([0, 1], (SEEDS, 1)))
    expected = jnp.float32 if kind == "float" else jnp.int8
    assert all(t.values.dtype == expected for t in ternary.tensors(run.shipped.weights))


@pytest.mark.wide  # densities, gradients and the clip are tested above
@pytest.mark.parametrize("name", ["clipped_normal", slow("tanh_normal")])
def test_a_continuous_target_is_hit(name):
    # Many environments and a small rate: once it is hit, normalised advantages are noise.
    options = {"init_log_std": -0.5, "entropy_coefficient": 0.0, "num_envs": 64, "lr": 0.005}
    run = trained("probe/target", 100, action_distribution=name, **options)
    np.testing.assert_allclose(run.actions([[1.0]])[:, 0, 0], 0.5, atol=0.1)


@pytest.mark.slow  # the corridor, the sign and the target above are learned by that alone
def test_an_action_better_than_expected_has_a_positive_advantage_and_becomes_likelier():
    """One generation on the bandit from equal odds: the share of action 1 goes up in each seed."""
    env = envs.make("probe/bandit")
    policy = MLP((), weights="float", activation="tanh").build(env.obs, env.action)
    strategy = PPO(num_envs=64, num_steps=4, lr=0.01).build(env, policy, "float", 1)

    def lead(state):
        shipped = strategy.params(state)
        output = policy.apply(shipped.weights, (), inputs(jnp.array([16.0])))[1]
        return output[1] - output[0]

    def go(key):
        key_init, key_step = jax.random.split(key)
        before = strategy.init(key_init)
        after, _ = strategy.step(key_step, before)
        # With the moments of the first state: only the network is to be compared.
        return lead(before), lead(after)

    before, after = quick_jit(jax.vmap(go))(jax.random.split(jax.random.key(0), 8))
    assert bool(jnp.all(after > before))


# --- what it reports and keeps --------------------------------------------------------------------


def test_rewards_are_normalised_by_the_moments_of_the_discounted_return():
    """The second route: the moments of all discounted returns that there can be, by their odds."""
    run = trained("probe/random_length", 5, 6, gamma=0.9)
    count = 5 * 16 * 8
    np.testing.assert_array_equal(run.state.rewards.count, count)
    # Every step pays 1: the discounted return after n steps of an episode is (1 - 0.9^n) / 0.1.
    sums = (1 - 0.9 ** np.arange(1, 7)) / 0.1
    weights = 1 - (np.arange(1, 7) - 1) / 6  # how many episodes get as far as step n
    mean = np.sum(weights * sums) / np.sum(weights)
    variance = np.sum(weights * (sums - mean) ** 2) / np.sum(weights)
    np.testing.assert_allclose(run.state.rewards.mean[:, 0], mean, rtol=0.1)
    np.testing.assert_allclose(run.state.rewards.deviation[:, 0] ** 2, variance, rtol=0.2)


def test_metrics_are_scalars_with_the_same_names_in_each_generation():
    metrics = trained("probe/random_length", 5, 6, gamma=0.9).metrics
    assert {"return/mean", "episode/steps", "loss/policy", "loss/value"} <= set(metrics)
    for name, values in metrics.items():
        assert name.count("/") == 1
        assert values.shape == (SEEDS, 5), name
        assert bool(jnp.all(jnp.isfinite(values))), name
    # The first generation looks at its steps beforehand: those are taken, too.
    rounds = np.array([1 + observation.NUM_LOOKS, 1, 1, 1, 1])
    np.testing.assert_array_equal(metrics["episode/steps"], np.tile(rounds * 16 * 8, (SEEDS, 1)))
    np.testing.assert_allclose(metrics["return/mean"], metrics["episode/length"])


def test_the_critic_sees_a_bit_at_the_size_of_one():
    """The numbers of other observations reach 127, and a bit is 1: a 32nd of it is nothing."""
    settings = STRATEGIES["ppo"](critic_hidden_sizes=())
    numbers = jnp.array([1.0, 0.0, 1.0])
    for kind, scale in (("planes", 1.0), ("pixels", 1 / 32), ("floats", 1 / 32)):
        critic = critic_of(settings, ObsSpec((3,), kind))
        params = critic.init(jax.random.key(0), numbers)
        kernel = params["params"]["Dense_0"]["kernel"][:, 0]
        value = critic.apply(params, numbers)
        np.testing.assert_allclose(value, scale * (kernel[0] + kernel[2]), rtol=1e-6)


def test_every_observation_is_in_the_moments():
    """In the corridor, one of five numbers is 1, and the others are 0."""
    moments = in_the_corridor().shipped.moments
    np.testing.assert_array_equal(moments.count, 150 * 16 * 8)
    np.testing.assert_allclose(moments.mean.sum(-1), 1.0, rtol=1e-4)
    squares = moments.deviation**2 + moments.mean**2
    np.testing.assert_allclose(squares, moments.mean, rtol=1e-4, atol=1e-6)


BEFORE_SEQUENCES = {  # of the last generation of each seed, at commit cb6fdc8
    "return/mean": [3.6857142448425293, 2.5714285373687744, 4.066666603088379, 3.279069662094116],
    "loss/value": [0.565617561340332, 0.4891608953475952, 0.5483967065811157, 0.46568986773490906],
    "ppo/entropy": [
        0.5812673568725586,
        0.5637354850769043,
        0.6815699934959412,
        0.42484021186828613,
    ],
}


def test_policies_without_memory_learn_as_before_there_were_sequences():
    """Numbers of the commit before. Another processor may round otherwise, but it counts alike."""
    metrics = trained("probe/random_length", 5, 6, gamma=0.9).metrics
    for name, before in BEFORE_SEQUENCES.items():
        tolerance = 0 if name == "return/mean" else 1e-4
        np.testing.assert_allclose(metrics[name][:, -1], before, rtol=tolerance, err_msg=name)


@pytest.mark.slow  # chunks are the loop's, and tests/training/test_loop.py has other strategies
@pytest.mark.exact
def test_chunks_of_generations_change_no_bit():
    env = envs.make("gymnax/CartPole-v1", 20)
    policy = MLP((4,)).build(env.obs, env.action)
    strategy = PPO(num_envs=4, num_steps=8, num_minibatches=2).build(env, policy, "ternary", 6)

    def last(chunk_size):
        state = loop.start(jax.random.key(0), strategy)
        return list(loop.train(strategy, state, 6, chunk_size))[-1].state.strategy

    chex.assert_trees_all_equal(last(6), last(4), strict=True)


def on_devices(out: Path, *names: str) -> dict:
    """Run the cases of `ppo_on_devices.py`; return for each the arrays of one device and of two."""
    script = Path(__file__).with_name("ppo_on_devices.py")
    subprocess.run([sys.executable, script, out, *names], check=True, env=os.environ)
    with np.load(out) as found:
        return {
            name: [
                (found[key], found[key.removesuffix("one") + "two"])
                for key in found.files
                if key.startswith(name) and key.endswith("one")
            ]
            for name in names
        }


NUM_CRITIC_AND_MOMENTS = 4 + 3 + 3


@pytest.mark.wide  # that devices agree, test_devices.py tests
@pytest.mark.parametrize("name", ["shared", pytest.param("remembering", marks=pytest.mark.slow)])
def test_two_devices_learn_together(name, tmp_path):
    """The critic's gradient is the mean of theirs."""
    pairs = on_devices(tmp_path / "two.npz", name)
    for one, two in pairs[name][:NUM_CRITIC_AND_MOMENTS]:
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_what_two_devices_cannot_share_each_does_by_itself(tmp_path):
    for one, two in on_devices(tmp_path / "two.npz", "uneven")["uneven"]:
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "is_shared"),
    [
        ({"num_envs": 512, "num_steps": 1, "num_minibatches": 1}, True),
        ({"num_envs": 3, "num_steps": 512, "num_minibatches": 1}, False),
        ({"num_envs": 2, "num_steps": 255, "num_minibatches": 2}, False),
        ({"num_envs": 8, "num_steps": 8, "num_minibatches": 2}, False),
    ],
    ids=["evenly", "environments are left", "rows are left", "too small"],
)
def test_two_devices_share_what_divides_evenly_and_is_worth_it(options, is_shared, monkeypatch):
    monkeypatch.setattr(devices, "count", lambda: 2)
    assert on_policy._shares_evenly(PPO(**options), has_memory=False) == is_shared


WRONG_SETTINGS = [
    ({"num_envs": 3, "num_steps": 5, "num_minibatches": 4}, "3 \\* 5 = 15, got 4"),
    ({"num_epochs": 0}, "num_epochs must be at least 1, got 0"),
    ({"gamma": 1.5}, "gamma must be 0 to 1, got 1.5"),
    ({"lr": 0.0}, "lr must be positive"),
    ({"clip_epsilon": float("nan")}, "clip_epsilon must be a finite number, got nan"),
    ({"max_grad_norm": -1.0}, "max_grad_norm must be 0 or more"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_SETTINGS)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PPO(**options)
