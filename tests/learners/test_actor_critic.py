"""TD3 and SAC: targets, losses and gradients against NumPy, the temperature, what ships."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import wide

from ternevo import envs
from ternevo.arithmetic import actions
from ternevo.learners import actor_critic
from ternevo.learners.actor_critic import Optimizers, Sampler, bounded, critic_loss
from ternevo.learners.critics import Batch, Critic, Twins, View
from ternevo.learners.latents import latent_policy
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.sac import SAC
from ternevo.settings.strategies.td3 import DDPG, TD3
from ternevo.types import ActionSpec, Inputs, ObsSpec

SIZE, ACTIONS, ROWS = 3, 2, 8
ENV = envs.make("probe/bandit")._replace(
    obs=ObsSpec((SIZE,)), action=ActionSpec("continuous", ACTIONS, (-2.0, -1.0), (2.0, 3.0))
)
POLICY = MLP((), weights="float", activation="tanh").build(ENV.obs, ENV.action)
OPTIMIZERS = Optimizers(optax.sgd(0.1), optax.sgd(0.1), optax.sgd(0.1))
LINEAR = {"critic_hidden_sizes": ()}


def view(rng):
    numbers = rng.integers(-40, 41, (ROWS, SIZE)).astype(np.float32)
    told = Inputs(jnp.asarray(numbers), jnp.zeros(ROWS), jnp.zeros(ROWS, bool))
    return View(told, jnp.asarray(numbers / 32))


def batch_of(seed=0):
    rng = np.random.default_rng(seed)
    return Batch(
        view(rng),
        jnp.asarray(rng.uniform(-1, 1, (ROWS, ACTIONS)), jnp.float32),
        jnp.asarray(rng.normal(size=ROWS), jnp.float32),
        view(rng),
        jnp.asarray(rng.choice([0.0, 0.9], ROWS), jnp.float32),
    )


def jittered(state, seed=1):
    """Return a state whose targets differ from what is learned."""
    rng = np.random.default_rng(seed)
    move = lambda x: x + 0.2 * jnp.asarray(rng.standard_normal(x.shape), x.dtype)  # noqa: E731
    return state._replace(
        target_actor=jax.tree.map(move, state.target_actor),
        target_critics=jax.tree.map(move, state.target_critics),
    )


def critics_in_numpy(params, obs, action):
    """Return the values [critics, rows] of linear critics in float64."""
    dense = params["params"]["Dense_0"]
    inputs = np.concatenate([obs, action], axis=1)
    kernel, bias = (np.asarray(dense[name], np.float64) for name in ("kernel", "bias"))
    return np.einsum("ri,cio->cr", inputs, kernel) + bias


def outputs_in_numpy(actor, seen):
    """Return the outputs of a float policy without hidden layers in float64."""
    bias, weight = (np.asarray(x, np.float64) for x in actor.latents)
    obs = np.asarray(seen.inputs.obs, np.float64)
    return obs @ weight / 32 + bias * 127 / 32


def test_the_target_of_td3_is_that_of_numpy():
    settings, batch, key = TD3.of(**LINEAR), batch_of(), jax.random.key(3)
    own = actor_critic.parts(settings, ENV, latent_policy(POLICY, "float"), OPTIMIZERS)
    state = jittered(own.init(jax.random.key(0), ENV, (), 0.0))
    found = actor_critic.td3_target(own, settings, key, state, batch)
    output = np.clip(outputs_in_numpy(state.target_actor, batch.after), -1, 1)
    noise = np.clip(0.2 * np.asarray(jax.random.normal(key, output.shape)), -0.5, 0.5)
    action = np.clip(output + noise, -1, 1)
    later = critics_in_numpy(state.target_critics, np.asarray(batch.after.floats), action)
    expected = np.asarray(batch.reward) + np.asarray(batch.discount) * later.min(0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_target_of_sac_is_that_of_numpy():
    """The density is written out with log(1 - tanh(x)^2), which float64 can still afford."""
    batch, key = batch_of(), jax.random.key(3)
    own = actor_critic.parts(SAC.of(**LINEAR), ENV, latent_policy(POLICY, "float"), OPTIMIZERS)
    distribution = actions.distribution("tanh_normal", ENV.action, -0.5)
    state = jittered(own.init(jax.random.key(0), ENV, distribution.init(), -1.0))
    found = actor_critic.sac_target(Sampler(own, distribution), key, state, batch)
    mean = np.arctanh(np.clip(outputs_in_numpy(state.actor, batch.after), -0.98, 0.98))
    noise = np.asarray(jax.random.normal(key, mean.shape), np.float64)
    raw = mean + math.exp(-0.5) * noise
    density = -0.5 * noise**2 - 0.5 * math.log(2 * math.pi) + 0.5 - np.log(1 - np.tanh(raw) ** 2)
    later = critics_in_numpy(state.target_critics, np.asarray(batch.after.floats), np.tanh(raw))
    soft = later.min(0) - math.exp(-1.0) * density.sum(1)
    expected = np.asarray(batch.reward) + np.asarray(batch.discount) * soft
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_critics_loss_and_gradient_are_those_of_numpy():
    batch, twins = batch_of(), Twins(Critic((), "relu", 1.0), 2)
    params = twins.init(jax.random.key(0), SIZE, ACTIONS)
    wanted = jnp.asarray(np.random.default_rng(2).normal(size=ROWS), jnp.float32)
    loss = lambda x: critic_loss(twins, x, batch.seen, batch.action, wanted)  # noqa: E731
    found, gradient = loss(params)[0], jax.grad(lambda x: loss(x)[0])(params)
    inputs = np.concatenate([batch.seen.floats, batch.action], axis=1)
    error = critics_in_numpy(params, batch.seen.floats, batch.action) - np.asarray(wanted)
    np.testing.assert_allclose(found, 0.5 * (error**2).mean(1).sum(), rtol=1e-5)
    kernel = gradient["params"]["Dense_0"]["kernel"][..., 0]
    np.testing.assert_allclose(kernel, error @ inputs / ROWS, rtol=1e-4, atol=1e-6)
    bias = gradient["params"]["Dense_0"]["bias"][:, 0]
    np.testing.assert_allclose(bias, error.mean(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", wide([TD3, DDPG], keep=[TD3]))
def test_the_actor_climbs_the_first_critic(kind):
    """By hand: linear critics have the slope of their action's weights, in every state."""
    settings, batch = kind.of(**LINEAR, policy_delay=1, tau=0.5), batch_of()
    own = actor_critic.td3(settings, ENV, latent_policy(POLICY, "float"), OPTIMIZERS)
    state = own.init(jax.random.key(0))
    small = state.actor._replace(latents=[0.01 * x for x in state.actor.latents])
    state = state._replace(actor=small, target_actor=small)
    after, _ = own.update(jax.random.key(1), state, batch)
    kernels = after.critics["params"]["Dense_0"]["kernel"]
    assert len(kernels) == settings.num_critics
    slope = np.asarray(kernels[0, SIZE:, 0])
    obs = np.asarray(batch.seen.inputs.obs) / 32
    wanted = [
        0.1 * slope * 127 / 32,
        0.1 * obs.mean(0)[:, None] * slope,
    ]
    for new, old, step in zip(after.actor.latents, small.latents, wanted, strict=True):
        np.testing.assert_allclose(new - old, step, rtol=1e-3, atol=1e-5)
    halfway = [(x + y) / 2 for x, y in zip(after.actor.latents, small.latents, strict=True)]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), after.target_actor[0], halfway
    )


def test_the_actor_and_the_targets_wait_for_the_delay():
    settings, batch = TD3.of(**LINEAR, policy_delay=3, tau=0.5), batch_of()
    own = actor_critic.td3(settings, ENV, latent_policy(POLICY, "float"), OPTIMIZERS)
    state = own.init(jax.random.key(0))
    for count in range(1, 7):
        before = state
        state, _ = own.update(jax.random.key(count), state, batch)
        has_moved = [
            not np.array_equal(jax.tree.leaves(x)[0], jax.tree.leaves(y)[0])
            for x, y in (
                (state.actor, before.actor),
                (state.target_critics, before.target_critics),
                (state.critics, before.critics),
            )
        ]
        assert has_moved == [count % 3 == 0, count % 3 == 0, True]


def test_the_temperature_rises_where_entropy_is_below_its_target():
    def slope(entropy, target):
        loss = lambda x: actor_critic.temperature_loss(x, jnp.float32(entropy), target)[0]  # noqa: E731
        return float(jax.grad(loss)(0.0))

    assert slope(-3.0, -2.0) < 0 < slope(-1.0, -2.0)  # descent raises, then lowers it
    assert slope(-2.0, -2.0) == 0
    settings, batch = SAC.of(**LINEAR, target_entropy_scale=10.0), batch_of()
    own = actor_critic.sac(settings, ENV, latent_policy(POLICY, "float"), OPTIMIZERS)
    state = own.init(jax.random.key(0))
    after, metrics = own.update(jax.random.key(1), state, batch)
    assert metrics["sac/entropy"] > -20  # the target: so the temperature falls
    assert after.temperature < state.temperature


def test_the_density_of_actions_near_the_bounds_is_finite_and_right():
    """The plain formula loses all digits where tanh rounds to 1; in float64 it has them still."""
    distribution = actions.distribution("tanh_normal", ENV.action, 0.0)
    raw = np.array([[0.0, 3.0], [-6.0, 8.0], [12.0, -15.0]])
    found = distribution.log_prob(jnp.zeros(2), jnp.zeros((3, 2)), jnp.asarray(raw, jnp.float32))
    log_slope = np.log(4) - 2 * np.abs(raw) - 2 * np.log1p(np.exp(-2 * np.abs(raw)))
    np.testing.assert_allclose(log_slope[0], np.log(1 - np.tanh(raw[0]) ** 2), rtol=1e-9)
    expected = (-0.5 * raw**2 - 0.5 * math.log(2 * math.pi) - log_slope).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_output_beyond_the_bound_comes_back_but_goes_no_further():
    outputs = jnp.array([-3.0, -1.5, -0.5, 0.5, 1.5, 3.0])
    np.testing.assert_array_equal(bounded(outputs), np.clip(outputs, -1, 1))
    up = jax.grad(lambda x: jnp.sum(bounded(x)))(outputs)  # descent lowers every output
    np.testing.assert_array_equal(up, [0, 0, 1, 1, 1, 1])
    down = jax.grad(lambda x: -jnp.sum(bounded(x)))(outputs)
    np.testing.assert_array_equal(down, [-1, -1, -1, -1, 0, 0])


@pytest.mark.parametrize(
    "make, weights",
    [
        (actor_critic.td3, "ternary"),
        (actor_critic.sac, "float"),
        pytest.param(actor_critic.td3, "binary", marks=pytest.mark.slow),
        pytest.param(actor_critic.td3, "float", marks=pytest.mark.slow),
        pytest.param(actor_critic.sac, "ternary", marks=pytest.mark.slow),
        pytest.param(actor_critic.sac, "binary", marks=pytest.mark.slow),
    ],
)
def test_what_explores_does_not_ship(make, weights):
    """The shipped weights are cut from the target actor's latents, and nothing else."""
    policy = MLP((4,), weights=weights).build(ENV.obs, ENV.action)
    settings = (TD3 if make is actor_critic.td3 else SAC).of(**LINEAR)
    own = make(settings, ENV, latent_policy(policy, weights), OPTIMIZERS)
    state = own.init(jax.random.key(0))
    changed = jittered(state)._replace(target_actor=state.target_actor, temperature=jnp.float32(9))
    jax.tree.map(np.testing.assert_array_equal, own.params(state), own.params(changed))
    other = jittered(state)
    moved = [
        not np.array_equal(x, y)
        for x, y in zip(
            jax.tree.leaves(own.params(state)), jax.tree.leaves(own.params(other)), strict=True
        )
    ]
    assert any(moved)
