"""Rollouts of a population, against a plain Python loop, numpy and probes of known return."""

import functools
from typing import NamedTuple
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from policy_inputs import inputs

from ternevo import envs
from ternevo.arithmetic import actions, observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.envs import probe
from ternevo.rollouts import population
from ternevo.rollouts.population import Rollout, episode_keys, evaluate
from ternevo.settings.policies import MLP
from ternevo.types import Env, Inheritance, ObsSpec, Policy, Timestep

POPULATION, EPISODES = 5, 3
make = functools.cache(envs.make)  # what is compiled for an environment is compiled once
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


class Plain(NamedTuple):
    """Returns and lengths [population, episodes], and the observations acted on."""

    returns: np.ndarray
    lengths: np.ndarray
    observations: np.ndarray


def identity(obs_size: int) -> Quantiser:
    return Quantiser(jnp.zeros(obs_size), jnp.ones(obs_size))


@functools.cache
def policy_of(env: Env):
    return MLP((4,), observation_shift=0).build(env.obs, env.action)


@functools.partial(jax.jit, static_argnums=(0, 1))
def members(env: Env, size: int, seed: int = 0):
    return jax.vmap(policy_of(env).init)(jax.random.split(jax.random.key(seed), size))


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6, 7))
def run(env: Env, weights, quantiser, keys, chunk_size=0, tile=8, num_lanes=0, policy=None):
    """Evaluate with tiles so small that lanes have to take one episode after another."""
    with mock.patch.object(population, "CPU_LANES", (tile, tile)):
        policy = policy or policy_of(env)
        rollout = Rollout(policy, env, num_lanes, chunk_size, policy.inheritance)
        return evaluate(rollout, weights, keys, quantiser)


@functools.partial(jax.jit, static_argnums=0)
def plain_loop(env: Env, weights, quantiser, keys):
    """All episodes at once, each in its own lane, until the last one is over: no queue."""
    size = jax.tree.leaves(weights)[0].shape[0]
    keys = jnp.broadcast_to(keys, (size, keys.shape[1]))
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))
    policy = policy_of(env)

    def act(weights, obs):
        _, output = policy.apply(weights, (), inputs(observation.quantise(quantiser, obs)))
        return actions.mode(env.action, output)

    def step(count, carry):
        state, obs, alive, returns, lengths = carry
        action = jax.vmap(jax.vmap(act, (None, 0)))(weights, obs)
        state, timestep = jax.vmap(jax.vmap(env.step))(fold(keys, count), state, action)
        returns += jnp.where(alive, timestep.reward, 0.0)
        lengths += alive
        alive &= ~(timestep.terminated | timestep.truncated)
        return state, timestep.obs, alive, returns, lengths

    state, obs = jax.vmap(jax.vmap(lambda key: env.reset(key, ())))(fold(keys, 0))
    alive = jnp.ones(keys.shape, bool)
    carry = state, obs, alive, jnp.zeros(keys.shape), jnp.zeros(keys.shape, jnp.int32)
    *_, returns, lengths = jax.lax.fori_loop(1, env.episode_length + 1, step, carry)
    return returns, lengths


@functools.cache
def steps_of(env: Env):
    """Return a step with the policy's action, and reset, both compiled."""
    policy = policy_of(env)

    @jax.jit
    def advance(weights, quantiser, key, state, memory, obs):
        memory, output = policy.apply(weights, memory, inputs(observation.quantise(quantiser, obs)))
        return memory, *env.step(key, state, actions.mode(env.action, output))

    return advance, jax.jit(env.reset)


def python_loop(env: Env, weights, quantiser, keys) -> Plain:
    """No vmap and no masks: member after member, episode after episode, until it is done."""
    advance, reset = steps_of(env)
    size = jax.tree.leaves(weights)[0].shape[0]
    returns, lengths, seen = np.zeros((size, keys.shape[1]), "f"), [], []
    for i in range(size):
        member = jax.tree.map(lambda x, i=i: x[i], weights)
        for j in range(keys.shape[1]):
            key = keys[i if len(keys) > 1 else 0, j]
            state, obs = reset(jax.random.fold_in(key, 0), ())
            memory, step, is_done = (), 0, False
            while not is_done:
                seen.append(np.asarray(obs))
                step += 1
                key_step = jax.random.fold_in(key, step)
                memory, state, timestep = advance(member, quantiser, key_step, state, memory, obs)
                returns[i, j] += np.float32(timestep.reward)
                obs, is_done = timestep.obs, timestep.terminated | timestep.truncated
            lengths.append(step)
    return Plain(returns, np.reshape(lengths, returns.shape), np.stack(seen))


CHECKED = [
    ("probe/random_length", 12, "none"),
    slow("probe/random_length", 12, "all"),
    slow("probe/corridor", 6, "none"),
    slow("probe/corridor", 6, "all"),
    slow("probe/double_integrator", 4, "none"),
    pytest.param("probe/double_integrator", 4, "all", marks=pytest.mark.wide),
    pytest.param("gymnax/CartPole-v1", 25, "none", marks=pytest.mark.wide),
    slow("gymnax/CartPole-v1", 25, "all"),
]
"""Luck alone, limits alone, and both ends with moments of floats; the slow ones are more of it."""


@pytest.mark.parametrize("env_id, episode_length, shared_by", CHECKED)
def test_returns_lengths_and_moments_are_those_of_a_plain_python_loop(
    env_id, episode_length, shared_by
):
    env = make(env_id, episode_length)
    weights = members(env, POPULATION)
    keys = episode_keys(jax.random.key(1), EPISODES, POPULATION, shared_by)
    assert keys.shape == (1 if shared_by == "all" else POPULATION, EPISODES)
    quantiser = Quantiser(jnp.full(env.obs.size, 0.125), jnp.full(env.obs.size, 32.0))
    result = run(env, weights, quantiser, keys)
    plain = python_loop(env, weights, quantiser, keys)
    if env_id == "probe/double_integrator":  # products: XLA may fuse them and round once
        np.testing.assert_allclose(result.returns, plain.returns, rtol=1e-6)
    else:
        np.testing.assert_array_equal(result.returns, plain.returns)
    np.testing.assert_array_equal(result.lengths, plain.lengths)
    seen = plain.observations.astype(np.float64)
    assert len(seen) == plain.lengths.sum()
    np.testing.assert_array_equal(result.moments.count, len(seen))
    np.testing.assert_allclose(result.moments.mean, seen.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.moments.deviation, seen.std(0), rtol=1e-4, atol=1e-6)


def test_nothing_counts_after_the_end():
    """`afterlife` goes on paying, and showing 1e6, when it is stepped after its third step."""
    env = alternating(probe.afterlife(10))
    keys = episode_keys(jax.random.key(0), 4, 2, "none")
    result = run(env, members(env, 2), identity(1), keys)
    assert set(np.unique(result.lengths)) == {3, 10}, "somebody has to go on while others are done"
    np.testing.assert_array_equal(result.returns, result.lengths)
    lengths = np.asarray(result.lengths)
    short = (lengths == 3).sum()
    assert float(result.moments.count[0]) == lengths.sum()
    # The long episodes see 1, 1, 1 and then 1e6, seven times.
    expected_mean = 7e6 * (lengths == 10).sum() + 3 * lengths.size
    np.testing.assert_allclose(result.moments.mean, expected_mean / lengths.sum(), rtol=1e-6)
    assert short > 0


def alternating(env: Env) -> Env:
    """Let about half of the episodes survive the end of the task: lanes differ in length."""

    def reset(key, task):
        state, obs = env.reset(key, task)
        return (state, jax.random.bernoulli(key)), obs

    def step(key, state, action):
        inner, survives = state
        inner, timestep = env.step(key, inner, action)
        terminated = timestep.terminated & ~survives
        return (inner, survives), timestep._replace(terminated=terminated)

    return env._replace(reset=reset, step=step)


@pytest.mark.parametrize("chunk_size, tile, num_lanes", [(2, 3, 6), slow(0, 12, 0)])
def test_what_is_learned_is_the_memory_at_the_end_of_the_first_episode(chunk_size, tile, num_lanes):
    """Who counts steps learns a length, for any lanes and chunks; lanes act on after the end."""
    env = make("probe/random_length", 12)
    plain = policy_of(env)

    def apply(weights, memory, inputs):
        return memory + jnp.array([1, 2]), plain.apply(weights, (), inputs)[1]

    kept = Inheritance(lambda memory: memory, lambda weights, learned: weights)
    counter = Policy(plain.init, lambda *_: jnp.zeros(2, jnp.int32), apply, inheritance=kept)
    keys = episode_keys(jax.random.key(1), EPISODES, POPULATION, "none")
    weights = members(env, POPULATION)
    result = run(env, weights, identity(1), keys, chunk_size, tile, num_lanes, counter)
    first, *others = np.asarray(result.lengths).T
    assert np.any(first < np.max(others, axis=0)), "nobody acts on"
    np.testing.assert_array_equal(result.learned, np.stack([first, 2 * first], axis=1))


@pytest.mark.slow  # beside others it returns the same, above
def test_afterlife_alone_returns_three_and_shows_ones():
    env = make("probe/afterlife")
    keys = episode_keys(jax.random.key(0), EPISODES, POPULATION)
    result = run(env, members(env, POPULATION), identity(1), keys)
    np.testing.assert_array_equal(result.returns, 3)
    np.testing.assert_array_equal(result.lengths, 3)
    assert (float(result.moments.mean[0]), float(result.moments.deviation[0])) == (1, 0)


@pytest.mark.parametrize("episode_length", [1, slow(7)])
def test_only_the_limit_ends_a_countdown(episode_length):
    env = make("probe/countdown", episode_length)
    result = run(env, members(env, 2), identity(1), episode_keys(jax.random.key(0), 2, 2))
    np.testing.assert_array_equal(result.returns, episode_length)
    np.testing.assert_array_equal(result.lengths, episode_length)


@pytest.mark.exact
@pytest.mark.parametrize("shared_by", [slow("all"), "pairs"])
@pytest.mark.parametrize("chunk_size", wide([2, 4, 100], keep=[4]))
def test_chunks_of_the_population_change_no_result(chunk_size, shared_by):
    """Six members: the chunk divides them, leaves a rest, or is larger than all."""
    env = make("probe/random_length", 9)
    weights = members(env, 6)
    keys = episode_keys(jax.random.key(3), 2, 6, shared_by)
    whole = run(env, weights, identity(1), keys)
    chunked = run(env, weights, identity(1), keys, chunk_size)
    chex.assert_trees_all_equal(chunked, whole, strict=True)


EXACT_SLOW = (pytest.mark.exact, pytest.mark.slow)
QUEUED = [
    ("probe/random_length", "planes"),
    slow("probe/random_length", "float32"),
    pytest.param("gymnax/CartPole-v1", "planes", marks=EXACT_SLOW),
    pytest.param("gymnax/CartPole-v1", "float32", marks=[pytest.mark.exact, pytest.mark.wide]),
    slow("gymnax/Breakout-MinAtar", "planes"),
    slow("gymnax/Breakout-MinAtar", "float32"),
]
"""One of each way to take from the queue; four programs are compiled for each."""


@pytest.mark.parametrize("env_id, matmul", QUEUED)
def test_lanes_that_take_one_episode_after_another_return_what_the_plain_loop_does(env_id, matmul):
    """40 members x 3 episodes through 3 to 120 lanes; planes take episodes, float32 members."""
    env = make(env_id, 60)
    policy = MLP((4,), matmul=matmul, observation_shift=0).build(env.obs, env.action)
    weights = members(env, 40)
    quantiser = Quantiser(jnp.zeros(env.obs.size), jnp.full(env.obs.size, 32.0))
    keys = episode_keys(jax.random.key(5), 3, 40, "none")
    returns, lengths = plain_loop(env, weights, quantiser, keys)
    assert len(np.unique(lengths)) > 1, "episodes that are all equally long show nothing"
    results = [
        run(env, weights, quantiser, keys, 0, tile, num_lanes, policy)
        for tile, num_lanes in [(9, 0), (9, 27), (3, 0), (120, 0)]
    ]
    for result in results:
        np.testing.assert_array_equal(result.returns, returns)
        np.testing.assert_array_equal(result.lengths, lengths)
        # Physics in floats rounds otherwise in other tiles, with AVX-512 here by a last bit.
        chex.assert_trees_all_close(result.moments, results[0].moments, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(results[1].moments, results[0].moments, strict=True)


@pytest.mark.parametrize("tile, most", [(4, 1.5), slow(16, 2.0)])
def test_lanes_are_kept_busy(tile, most):
    """Lengths are 1 to 60 by luck. The plain loop would take the longest for all 200 episodes."""
    counted = []
    env = make("probe/random_length", 60)

    def step(key, state, action):
        jax.debug.callback(lambda: counted.append(1))
        return env.step(key, state, action)

    counting = env._replace(step=step)
    keys = episode_keys(jax.random.key(0), 1, 200, "none")
    result = run(counting, members(env, 200), identity(1), keys, 0, tile)
    jax.effects_barrier()
    total = int(np.sum(result.lengths))
    assert len(counted) <= most * total + 60 * tile
    assert len(counted) < 200 * 60 / 1.2, "no better than the plain loop"


@pytest.mark.exact
def test_lanes_do_not_depend_on_the_population():
    """XLA rounds otherwise in other shapes: every population has to run in the same ones."""
    env = make("gymnax/CartPole-v1")
    policy = policy_of(env)
    fewest, most = population.CPU_LANES
    assert population.choose_lanes(policy, env, 1) == most == 128
    heavy = MLP((512, 512), weights="float", activation="tanh").build(ObsSpec((4,)), env.action)
    assert population.choose_lanes(heavy, env, 1) == fewest == 64


def test_members_share_episodes_as_they_are_told():
    """Length is luck here: it depends on the key of an episode and on nothing else."""
    env = make("probe/random_length", 1000)
    weights = members(env, 6)

    def returns(shared_by):
        keys = episode_keys(jax.random.key(0), 2, 6, shared_by)
        return np.asarray(run(env, weights, identity(1), keys).returns)

    for shared_by, distinct in (("all", 1), ("pairs", 3), ("none", 6)):
        assert len(np.unique(returns(shared_by)[:, 0])) == distinct
        assert np.all(returns(shared_by)[:, 0] != returns(shared_by)[:, 1])
    pairs = returns("pairs")
    np.testing.assert_array_equal(pairs[:3], pairs[3:])


def test_pairs_of_an_odd_population_are_refused():
    with pytest.raises(ValueError, match="even population_size, got 5"):
        episode_keys(jax.random.key(0), 1, 5, "pairs")


@pytest.mark.slow  # by default, members share episodes whose lengths are luck, above
@pytest.mark.exact
def test_identical_members_get_identical_returns_on_common_episodes():
    env = make("gymnax/CartPole-v1", 25)
    one = members(env, 1, 3)
    weights = jax.tree.map(lambda x: jnp.repeat(x, 4, axis=0), one)
    quantiser = Quantiser(jnp.zeros(4), jnp.full(4, 32.0))
    returns = run(env, weights, quantiser, episode_keys(jax.random.key(0), 3, 4)).returns
    np.testing.assert_array_equal(returns, jnp.broadcast_to(returns[:1], (4, 3)))
    assert len(np.unique(returns[0])) > 1, "the episodes do not differ: the test says nothing"


def test_the_loop_stops_when_the_longest_episode_is_over():
    """Counted on the host: one call for every step of the loop, not for every step of the limit."""
    counted = []

    def reset(key, task):
        length = jax.random.randint(key, (), 2, 12)
        return (jnp.zeros((), jnp.int32), length), jnp.ones(1)

    def step(key, state, action):
        count, length = state[0] + 1, state[1]
        jax.debug.callback(lambda n: counted.append(int(n)), count)
        done = count >= length
        timestep = Timestep(jnp.ones(1), jnp.ones(()), done, jnp.zeros((), bool))
        return (count, length), timestep

    env = Env("test", ObsSpec((1,)), probe.TWO_ACTIONS, 10**6, reset, step)
    weights, keys = members(env, 4), episode_keys(jax.random.key(0), 2, 4, "none")
    result = run(env, weights, identity(1), keys)
    jax.effects_barrier()
    np.testing.assert_array_equal(result.returns, result.lengths)
    lengths = np.asarray(result.lengths)
    assert max(counted) == lengths.max()
    assert len(counted) == lengths.size * lengths.max(), "eight lanes for eight episodes"


def test_a_nan_reward_stays_with_its_member():
    """Action 1 pays NaN: whoever takes it gets a NaN return, and nobody else."""
    env = make("probe/nan")
    weights = members(env, 16)
    keys = episode_keys(jax.random.key(0), 2, 16)
    returns = np.asarray(run(env, weights, identity(1), keys).returns)
    apply = jax.vmap(lambda w: policy_of(env).apply(w, (), inputs(jnp.ones(1)))[1])
    takes_nan = np.argmax(apply(weights), axis=1) == 1
    assert 0 < takes_nan.sum() < 16
    np.testing.assert_array_equal(np.isnan(returns).all(1), takes_nan)
    np.testing.assert_array_equal(returns[~takes_nan], 1)


def test_observations_that_are_not_finite_are_left_out_of_the_moments():
    env = make("probe/countdown", 4)

    def step(key, state, action):
        state, timestep = env.step(key, state, action)
        return state, timestep._replace(obs=jnp.where(state.step == 2, jnp.nan, timestep.obs))

    broken = env._replace(step=step)
    keys = episode_keys(jax.random.key(0), 1, 2)
    result = run(broken, members(broken, 2), identity(1), keys)
    np.testing.assert_array_equal(result.returns, 4)
    assert float(result.moments.count[0]) == 2 * 3
    np.testing.assert_allclose(result.moments.mean, np.mean([1, 0.75, 0.25]), rtol=1e-6)


@pytest.mark.exact
@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["brax/hopper@spring", "brax/ant@spring"])
def test_simulators_do_not_notice_how_many_lanes_there_are(env_id):
    """XLA rounds products of brax otherwise in larger batches, were it not for tiles."""
    env = make(env_id, 60)
    weights = members(env, 40)
    quantiser = Quantiser(jnp.zeros(env.obs.size), jnp.full(env.obs.size, 32.0))
    keys = episode_keys(jax.random.key(5), 1, 40, "none")
    results = [
        run(env, weights, quantiser, keys, chunk_size, 16, num_lanes)
        for chunk_size, num_lanes in [(0, 0), (0, 64), (7, 32)]
    ]
    for result in results[1:]:
        chex.assert_trees_all_equal(result, results[0], strict=True)
