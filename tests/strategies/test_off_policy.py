"""One generation of an off-policy learner: what is drawn, what is shown, what is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.sac import SAC
from ternevo.strategies.off_policy import OffPolicyState, correlated, draw, measured, shown_moments
from ternevo.types import Buffer, ObservationMoments


def state_of(moments, steps=64, widest=None, num_envs=1, actions=1):
    size = moments.mean.size
    widest = jnp.zeros(size) if widest is None else widest
    noise = jnp.zeros((num_envs, actions))
    return OffPolicyState((), Buffer(()), (), noise, moments, widest, jnp.asarray(steps))


def seen(count, mean, deviation):
    return ObservationMoments(*(jnp.full(1, x, jnp.float32) for x in (count, mean, deviation)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=6))
def test_the_quantiser_never_gets_finer(deviations):
    """What a policy is shown may be halved as observations spread, but is never doubled."""
    pace = DQN.of(steps_per_generation=64)
    state = state_of(observation.empty(1), steps=0)
    scales = []
    for deviation in deviations:
        moments, widest = measured(pace, state, seen(64, 0.0, deviation))
        state = state._replace(moments=moments, widest=widest, steps=state.steps + 64)
        scales.append(float(observation.freeze(shown_moments(state)).scale[0]))
    assert scales[1:] == sorted(scales[1:], reverse=True)


def test_the_first_generation_only_finds_the_unit():
    pace = DQN.of(steps_per_generation=64)
    first, widest = measured(pace, state_of(observation.empty(1), steps=0), seen(64, 5.0, 9.0))
    np.testing.assert_array_equal((first.mean[0], widest[0]), (5.0, 9.0))
    state = state_of(first, steps=64, widest=widest)
    second, widest = measured(pace, state, seen(64, 1.0, 2.0))
    np.testing.assert_array_equal((second.count[0], second.mean[0], widest[0]), (64, 1.0, 2.0))
    third, _ = measured(pace, state_of(second, 128, widest), seen(64, 3.0, 2.0))
    np.testing.assert_array_equal((third.count[0], third.mean[0]), (128, 2.0))


def test_moments_of_a_start_are_kept():
    """With --init_from they come from a policy that knows them."""
    pace = DQN.of(steps_per_generation=64)
    state = state_of(seen(10_000, 1.0, 4.0), steps=0)
    moments, _ = measured(pace, state, seen(64, 1.0, 4.0))
    assert moments.count[0] == 10_064
    state = state._replace(moments=moments, steps=state.steps + 64)
    assert measured(pace, state, seen(64, 1.0, 4.0))[0].count[0] == 10_128


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_noise_is_standard_normal_in_every_step_and_correlated_from_step_to_step(share):
    sac = SAC.of(noise_correlation=share)
    first = jax.random.normal(jax.random.key(0), (2000, 2))
    noise, last = correlated(sac, jax.random.key(1), first, 12)
    np.testing.assert_array_equal(noise[-1], last)
    np.testing.assert_allclose(jnp.std(noise, axis=(1, 2)), 1.0, atol=0.05)
    np.testing.assert_allclose(jnp.mean(noise, axis=(1, 2)), 0.0, atol=0.08)
    pairs = zip(jnp.concatenate([first[None], noise[:-1]]), noise, strict=True)
    found = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
    np.testing.assert_allclose(found, share, atol=0.06)


@pytest.mark.parametrize("env_id", ["probe/bandit", "gymnax/Pendulum-v1"])
def test_actions_at_random_are_uniform_before_learning_and_then_as_many_as_asked(env_id):
    env = envs.make(env_id)
    is_discrete = env.action.kind == "discrete"
    sizes = {"num_envs": 50, "steps_per_generation": 4000, "learning_starts": 2000}
    asked = (DQN if is_discrete else SAC).of(**sizes, updates_per_step=1.0)
    state = state_of(observation.empty(1), 0, num_envs=50, actions=env.action.size)
    state = state._replace(noise=jax.random.normal(jax.random.key(3), state.noise.shape))
    draws, _ = draw(asked, env, jax.random.key(0), state, lambda steps: 0.25 + 0.0 * steps)
    is_random = np.asarray(draws.is_random).reshape(-1, 50)
    assert is_random[: 2000 // 50].all()
    np.testing.assert_allclose(is_random[2000 // 50 :].mean(), 0.25, atol=0.05)
    action = np.asarray(draws.action, np.float64).ravel()
    if is_discrete:
        counts = np.bincount(action.astype(int), minlength=env.action.size)
        np.testing.assert_allclose(counts / len(action), 1 / env.action.size, atol=0.05)
    else:
        quartiles = np.quantile(action, [0.0, 0.25, 0.5, 0.75, 1.0])
        np.testing.assert_allclose(quartiles, [-1, -0.5, 0, 0.5, 1], atol=0.05)
