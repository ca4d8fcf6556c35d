"""The tasks for policies with memory: their optimum, and the best that there is without memory."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recall import CUE, all_episodes, returns_of_all

from ternevo import envs
from ternevo.envs import contract as env_contract, memory

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


# --- memory/t_maze ----------------------------------------------------------------------------


def searched(env, key, remembers):
    """Return the return of who goes to one end after another, and stays where it was paid."""
    step = jax.jit(env.step)
    state, obs = jax.jit(env.reset)(key, ())
    end, total, visits = 0, 0.0, 0
    for _ in range(env.episode_length):
        turn = end // 2 if visits == 0 else end % 2
        visits += int(obs[1])
        state, timestep = step(KEY, state, jnp.int32(turn))
        obs, total = np.asarray(timestep.obs), total + float(timestep.reward)
        if obs[2]:
            end = (end + 1) % 4 if obs[4] and remembers else end
            visits = 0
    assert bool(timestep.terminated)
    return total


def test_who_searches_the_maze_misses_as_often_as_is_said():
    """1.5 rounds at first and 2 after the move, over all 12 pairs of ends."""
    env = env_contract.check(envs.make("memory/t_maze"))
    assert (env.action.kind, env.action.size, env.episode_length) == ("discrete", 2, 80)
    keys = jax.random.split(KEY, 80)
    drawn = jax.vmap(lambda key: env.reset(key, ())[0].drawn)(keys)
    lives = {tuple(ends): key for ends, key in zip(drawn.ends.tolist(), keys, strict=True)}
    assert len(lives) == 12 and all(first != second for first, second in lives)
    moves = {tuple(x): y for x, y in zip(drawn.ends.tolist(), drawn.moves_at.tolist(), strict=True)}
    missed = {}
    for (first, second), key in lives.items():
        found = searched(env, key, remembers=True)
        missed[first, second] = round(20 * (1 - found))
        assert missed[first, second] == first + (second - first) % 4
    assert np.mean(list(missed.values())) == 3.5
    assert searched(env, lives[0, 1], remembers=False) == pytest.approx(moves[0, 1] / 20)


# --- memory/season: what is forgotten ---------------------------------------------------------


@pytest.mark.parametrize("forgets", [False, True])
def test_the_descriptor_tells_what_was_forgotten(forgets):
    """Of who knows all foods, and of who begins each day of a season anew but its second one."""
    env = envs.make("memory/season@2")
    assert (env.obs.size, env.episode_length) == (6, 96)
    assert env.descriptor is not None
    of = env.descriptor.of

    @jax.jit
    def life(key):
        def step(state, _):
            drawn, day = state.drawn, state.step // 8
            food = jnp.argmax(state.obs[:4])
            good = drawn.is_good.ravel()[food]
            action = jnp.where(forgets & (day % 2 == 0), 1 - good, good)
            return env.step(KEY, state, action[None])

        state, steps = jax.lax.scan(step, env.reset(key, ())[0], None, env.episode_length)
        return steps.reward.sum(), of(state)

    total, shares = life(jax.random.key(3))
    # 8 of the 20 scored decisions are on first days of seasons that return.
    np.testing.assert_allclose(shares, [0 if forgets else 1, 1])
    assert float(total) == pytest.approx(0.6 if forgets else 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memory/season@3", "unknown number of foods '3'"),
        ("memory/t_maze@2", "unknown task with a size 't_maze'"),
        ("memory/copy@2x0", "length '0' of memory/copy; must be 1 to 10,000"),
        ("memory/copy@2xlong", "length 'long' of memory/copy"),
    ],
)
def test_sizes_that_are_not_there_are_refused_in_words(name, message):
    with pytest.raises(ValueError, match=message):
        envs.make(name)


def test_all_sequences_may_have_one_length():
    env = env_contract.check(envs.make("memory/copy@4x7"))
    assert (env.id, env.obs.size, env.episode_length) == ("memory/copy@4x7", 6, 16)
    assert {int(env.reset(jax.random.key(i), ())[0].drawn.length) for i in range(5)} == {7}


def test_a_maze_is_refused_in_which_the_reward_might_not_move():
    memory.t_maze(rounds=13)
    with pytest.raises(ValueError, match="rounds must be at least 13, got 12: the reward moves"):
        memory.t_maze(rounds=12)


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
