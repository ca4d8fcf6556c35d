"""The tasks for policies with memory: their optimum, and the best that there is without memory."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recall import CUE, all_episodes, returns_of_all

from ternevo import envs

KEY = jax.random.key(0)

# --- probe/recall -----------------------------------------------------------------------------

OBSERVATIONS = np.array([*itertools.product((-1, 1), (-1, 1)), (0, -1), (0, 1)], np.float32)
"""All observations: the cue and the distractor."""


@pytest.mark.parametrize("length", [2, 5])
def test_without_memory_recall_pays_a_half_whatever_the_policy(length):
    """The mean return of all 64 maps from observations to actions, over all episodes."""
    env = envs.make("probe/recall", length)

    @jax.jit
    @jax.vmap
    def mean_return(actions):
        def act(memory, obs):
            return memory, jnp.sum(actions * jnp.all(obs == OBSERVATIONS, axis=-1))

        return jnp.mean(returns_of_all(env, act, ()))

    policies = jnp.array(list(itertools.product((0, 1), repeat=len(OBSERVATIONS))))
    np.testing.assert_array_equal(mean_return(policies), 0.5)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_who_remembers_the_cue_always_gets_one(length):
    env = envs.make("probe/recall", length)

    def act(memory, obs):
        cue = memory + obs[0]
        return cue, (cue > 0).astype(jnp.int32)

    np.testing.assert_array_equal(returns_of_all(env, act, jnp.zeros(())), 1)
    last = lambda memory, obs: (memory, (obs[0] > 0).astype(jnp.int32))  # noqa: E731
    assert float(jnp.mean(returns_of_all(env, last, ()))) == (1 if length == 1 else 0.5)


def test_recall_shows_the_cue_once_and_draws_its_episodes_evenly():
    env = envs.make("probe/recall", 4)
    state, obs = jax.vmap(lambda key: env.reset(key, ()))(jax.random.split(KEY, 640))
    found, counts = np.unique(state.inner, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, all_episodes(env))
    assert counts.max() < 30  # of 10 on average
    np.testing.assert_array_equal(obs[:, CUE], state.inner[:, CUE])
    for step in range(4):
        assert not bool(jnp.any(state.obs[:, CUE])) or step == 0
        state, timestep = jax.vmap(env.step, (None, 0, None))(KEY, state, jnp.array(1))
        np.testing.assert_array_equal(timestep.obs[:, 0], 0)
        np.testing.assert_array_equal(timestep.obs[:, 1], state.inner[:, step + 2])
        assert bool(jnp.all(timestep.terminated == (step == 3)))


# --- gymnax -----------------------------------------------------------------------------------


def player(env):
    """Return a function of a state and actions to the observations, rewards and ends."""
    body = lambda state, action: env.step(KEY, state, action)  # noqa: E731
    play = jax.jit(lambda state, actions: jax.lax.scan(body, state, actions)[1])
    return lambda state, actions: jax.tree.map(np.asarray, play(state, jnp.array(actions)))


def test_memory_chain_pays_one_for_the_cue_and_its_last_observation_does_not_show_it():
    """So the best mean return is 1, and without memory it is 0: right as often as wrong."""
    env = envs.make("gymnax/MemoryChain-bsuite")
    assert (env.obs.shape, env.obs.kind, env.action.size) == ((3,), "floats", 2)
    (state, _), play = env.reset(KEY, ()), player(env)
    shown = {}
    for cue, last in itertools.product((0, 1), (0, 1)):
        begun = state.replace(context=jnp.array([cue]))
        steps = play(begun, [1 - last] * 5 + [last])
        np.testing.assert_array_equal(steps.reward, [0] * 5 + [1 if last == cue else -1])
        np.testing.assert_array_equal(steps.terminated, [False] * 5 + [True])
        assert not steps.truncated.any()
        np.testing.assert_array_equal(steps.obs[:2, 2], [2 * cue - 1, 0])
        shown[cue] = steps.obs[1:]
    np.testing.assert_array_equal(shown[0], shown[1])
    cues = jax.vmap(lambda key: env.reset(key, ())[1])(jax.random.split(KEY, 200))[:, 2]
    assert set(cues.tolist()) == {-1, 1} and abs(float(cues.mean())) < 0.3


def test_umbrella_chain_pays_one_for_the_first_action_and_coins_that_no_action_changes():
    """The best mean return is 1, and the first observation tells how: it needs no memory."""
    env = envs.make("gymnax/UmbrellaChain-bsuite")
    assert (env.obs.shape, env.obs.kind, env.action.size) == ((3,), "floats", 2)
    (state, _), play = env.reset(KEY, ()), player(env)
    for need, first, later in itertools.product((0, 1), (0, 1), (0, 1)):
        begun = state.replace(need_umbrella=jnp.array(need))
        steps = play(begun, [first] + [later] * 9)
        assert float(steps.reward[-1]) == (1 if first == need else -1)
        np.testing.assert_array_equal(np.abs(steps.reward[:-1]), 1)
        np.testing.assert_array_equal(steps.reward[:-1], steps.reward[0])  # of the same key
        np.testing.assert_array_equal(steps.terminated, [False] * 9 + [True])
        np.testing.assert_array_equal(steps.obs[:, :2], np.tile([need, first], (10, 1)))
    keys = jax.random.split(KEY, 400)
    coins = jax.vmap(lambda key: env.step(key, state, jnp.array(0))[1].reward)(keys)
    assert set(coins.tolist()) == {-1, 1} and abs(float(coins.mean())) < 0.2
    first = jax.vmap(lambda key: env.reset(key, ())[1])(keys)
    assert len(np.unique(first, axis=0)) == 4
