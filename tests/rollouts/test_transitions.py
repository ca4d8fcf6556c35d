"""Transitions under auto-reset: what ends, what is kept, what begins."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.rollouts.transitions import Agent, Taken, Yardsticks, begin, collect as step_all
from ternevo.settings.policies import MLP

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NUM_ENVS, NUM_STEPS = 3, 12


def collect(env, actions_of=lambda key, taken: jnp.ones(NUM_ENVS, jnp.int32), scale=64.0):
    """Collect with an agent whose value is the first quantised component plus 1000."""
    policy = MLP(()).build(env.obs, env.action)

    def act(key, taken: Taken):
        raw = actions_of(key, taken)
        return taken.memory, jnp.zeros((NUM_ENVS, env.action.size)), raw

    params = policy.init(jax.random.key(0))
    agent = Agent(params, act, lambda raw: raw, lambda obs, memory: obs[:, 0] + 1000)
    quantiser = Quantiser(jnp.zeros(env.obs.size), jnp.full(env.obs.size, scale))

    @quick_jit
    def go(key):
        slots = begin(env, policy, params, key, NUM_ENVS)
        return step_all(
            env,
            policy,
            agent,
            quantiser,
            Yardsticks(quantiser, Quantiser(jnp.zeros(1), jnp.ones(1))),
            0.5,
            jax.random.fold_in(key, 1),
            slots,
            NUM_STEPS,
        )

    return go(jax.random.key(0))


def test_a_truncated_episode_keeps_its_final_observation_and_another_begins():
    """Countdown shows the share of time left: 1 at the start, 0 at the limit."""
    slots, transitions, tally = collect(envs.make("probe/countdown", 4))
    shown = np.asarray(transitions.taken.obs[:, 0, 0])
    np.testing.assert_array_equal(shown, np.tile([64, 48, 32, 16], 3))
    np.testing.assert_array_equal(transitions.truncated[:, 0], np.tile([0, 0, 0, 1], 3))
    assert not np.any(transitions.terminated)
    # The final observation is 0, so its value is 1000; elsewhere there is none.
    np.testing.assert_array_equal(transitions.final_value[:, 0], np.tile([0, 0, 0, 1000], 3))
    np.testing.assert_array_equal(tally.episodes, 3)
    np.testing.assert_array_equal(tally.returns, 12)
    np.testing.assert_array_equal(slots.episode_return, 0)


def test_a_terminated_episode_ends_and_its_afterlife_is_never_seen():
    """Afterlife would show 1e6, and pay, after its third step."""
    slots, transitions, tally = collect(envs.make("probe/afterlife", 10))
    np.testing.assert_array_equal(transitions.taken.obs, 64)
    np.testing.assert_array_equal(transitions.terminated[:, 0], np.tile([0, 0, 1], 4))
    assert not np.any(transitions.truncated)
    np.testing.assert_array_equal(transitions.final_value, 0)
    np.testing.assert_array_equal(tally.returns / tally.episodes, 3)
    assert float(jnp.max(jnp.abs(slots.seen.obs))) == 1


def test_episodes_go_on_over_the_end_of_a_batch():
    """Twelve steps of episodes of five: two ended, and two steps of the third are done."""
    slots, _, tally = collect(envs.make("probe/countdown", 5))
    np.testing.assert_array_equal(tally.episodes, 2)
    np.testing.assert_array_equal(slots.episode_return, 2)
    np.testing.assert_array_equal(slots.episode_length, 2)
    np.testing.assert_allclose(slots.seen.obs, 0.6)


def test_no_environment_meets_a_start_twice():
    """Here every step is an episode, and shows a number that is drawn at reset."""
    env = envs.make("probe/random_length", 1)
    drawn = env.reset

    def reset(key, task):
        state, _ = drawn(key, task)
        number = jax.random.uniform(key, (1,))
        return state._replace(obs=number), number

    env = env._replace(reset=reset)
    _, transitions, _ = collect(env, scale=127.0)
    assert np.all(transitions.terminated)
    policy = MLP(()).build(env.obs, env.action)
    key_starts = jax.random.split(jax.random.fold_in(jax.random.key(0), 1))[0]
    starts = begin(env, policy, None, key_starts, NUM_ENVS + NUM_STEPS)
    quantiser = Quantiser(jnp.zeros(1), jnp.full(1, 127.0))
    expected = observation.quantise(quantiser, starts.seen.obs)[:, 0]
    for i in range(NUM_ENVS):
        own = np.asarray(transitions.taken.obs[1:, i, 0])
        np.testing.assert_array_equal(own, expected[i : i + NUM_STEPS - 1])
    assert len(np.unique(starts.seen.obs)) == NUM_ENVS + NUM_STEPS


def test_sums_are_of_all_observations_and_of_all_discounted_returns():
    """Every step pays 1: with discount 1/2 the returns so far are 1, 1.5, 1.75 in each episode."""
    _, _, tally = collect(envs.make("probe/afterlife", 10))
    np.testing.assert_array_equal(tally.observations.count, NUM_STEPS)
    np.testing.assert_array_equal(tally.observations.pivot, 1)
    np.testing.assert_array_equal(tally.observations.first, 0)
    np.testing.assert_allclose(tally.discounted_returns.first[:, 0], 4 * (1 + 1.5 + 1.75))
    np.testing.assert_allclose(
        tally.discounted_returns.second[:, 0], 4 * (1 + 1.5**2 + 1.75**2), rtol=1e-6
    )


@pytest.mark.parametrize(
    "env_id",
    ["gymnax/CartPole-v1", pytest.param("gymnax/Breakout-MinAtar", marks=pytest.mark.slow)],
)
def test_the_transitions_are_those_of_the_plain_environment(env_id):
    """The second route: replay the actions, one environment at a time, without auto-reset."""
    env = envs.make(env_id, 7)

    def random_actions(key, taken):
        return jax.random.randint(key, (NUM_ENVS,), 0, env.action.size)

    _, transitions, _ = collect(env, random_actions, scale=32.0)
    quantiser = Quantiser(jnp.zeros(env.obs.size), jnp.full(env.obs.size, 32.0))
    keys = jax.random.split(jax.random.key(0), NUM_ENVS)
    state, obs = jax.vmap(lambda key: env.reset(key, ()))(keys)
    step = quick_jit(jax.vmap(env.step))
    keys = jax.random.split(
        jax.random.split(jax.random.fold_in(jax.random.key(0), 1))[1], NUM_STEPS
    )
    for t in range(NUM_STEPS):
        shown = observation.quantise(quantiser, obs).astype(jnp.int8)
        taken = transitions.taken.obs[t].reshape(NUM_ENVS, -1)
        np.testing.assert_array_equal(shown, taken)
        key_env = jax.random.split(keys[t])[1]
        state, timestep = step(
            jax.random.split(key_env, NUM_ENVS), state, transitions.raw_action[t]
        )
        np.testing.assert_array_equal(timestep.reward, transitions.reward[t])
        np.testing.assert_array_equal(timestep.terminated, transitions.terminated[t])
        obs = timestep.obs
        if np.any(transitions.terminated[t] | transitions.truncated[t]):
            break
    assert t >= 2
