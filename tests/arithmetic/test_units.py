"""Training does not depend on units and offsets of observations, nor on a sensor that is broken."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import REPLAYED
from marks import wide

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.problems import Plan
from ternevo.rollouts import step_count
from ternevo.runs import sinks
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Env, ObsSpec, Population

GENERATIONS = 3
SETTINGS = {
    "ternary_nes": {"population_size": 16, "num_episodes": 2},
    "ppo": {"num_envs": 8, "num_steps": 16, "num_minibatches": 2, "normalize_rewards": True},
    "dqn": {**REPLAYED, "updates_per_step": 1.0},
}
MOST_EXPONENT = {"dqn": 50}
"""Replay takes no look beforehand: it adds up squares of the first generation in a unit of 1."""
ONES, ZEROS = np.ones(4, np.float32), np.zeros(4, np.float32)
CARTPOLE = envs.make("gymnax/CartPole-v1", 60)


def swaying(factor: jax.Array, offset: jax.Array, gain: jax.Array) -> Env:
    """Return CartPole observed as `offset + factor * sin(gain * obs)`, each [4]."""

    def change(obs):
        return offset + factor * jnp.sin(gain * obs)

    def reset(key, task):
        state, obs = CARTPOLE.reset(key, task)
        return state, change(obs)

    def step(key, state, action):
        state, timestep = CARTPOLE.step(key, state, action)
        return state, timestep._replace(obs=change(timestep.obs))

    return CARTPOLE._replace(reset=reset, step=step)


@functools.partial(jax.jit, static_argnums=0)
def trained(name: str, factor, offset, gain):
    """Return the metrics of all generations, what ships, and its quantiser."""
    env = swaying(factor, offset, gain)
    policy = MLP((8,)).build(env.obs, env.action)
    strategy = STRATEGIES[name].of(**SETTINGS[name]).build(env, policy, "ternary", GENERATIONS)
    state = strategy.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), GENERATIONS)
    state, metrics = jax.lax.scan(lambda s, key: strategy.step(key, s), state, keys)
    shipped = strategy.params(state)
    return metrics, shipped, observation.freeze(shipped.moments)


of_each = pytest.mark.parametrize(
    "name",
    wide(["ternary_nes", "ppo", pytest.param("dqn", marks=pytest.mark.slow)], keep=["ternary_nes"]),
)


@pytest.mark.exact
@of_each
def test_training_in_other_units_is_the_same_bit_for_bit(name):
    """From the first generation on, which looks at its episodes beforehand."""
    metrics, shipped, quantiser = trained(name, ONES, ZEROS, ONES)
    returns = metrics["return/mean"]
    assert len(np.unique(returns[np.isfinite(returns)])) > 1
    most = MOST_EXPONENT.get(name, 100)
    for exponents in ([-most] * 4, [-27, 0, 13, -50], [most] * 4):
        factor = np.ldexp(ONES, exponents)
        other_metrics, other, other_quantiser = trained(name, factor, ZEROS, ONES)
        for metric, values in metrics.items():
            np.testing.assert_array_equal(other_metrics[metric], values, err_msg=metric)
        chex.assert_trees_all_equal(other.weights, shipped.weights, strict=True)
        np.testing.assert_array_equal(other_quantiser.scale * factor, quantiser.scale)
        np.testing.assert_array_equal(other.moments.deviation, shipped.moments.deviation * factor)


@of_each
def test_a_sensor_that_is_always_nan_is_one_that_is_always_zero(name):
    """Policies are shown 0 in both cases, and nothing else may differ, to the bit."""
    broken, dead = ONES.copy(), ONES.copy()
    broken[2], dead[2] = np.nan, 0.0
    found, expected = trained(name, broken, ZEROS, ONES), trained(name, dead, ZEROS, ONES)
    others = np.array([0, 1, 3])
    count = np.asarray(found[1].moments.count)
    assert count[2] == 0 and np.all(count[others] == expected[1].moments.count[others])
    for metric, values in expected[0].items():
        np.testing.assert_array_equal(found[0][metric], values, err_msg=metric)
    for ours, theirs in zip(found[2], expected[2], strict=True):
        np.testing.assert_array_equal(ours[others], theirs[others])


@of_each
def test_a_sensor_that_is_always_infinite_takes_nothing_from_the_others(name):
    offset = np.array([0.0, 0.0, np.inf, 0.0], np.float32)
    _, shipped, quantiser = trained(name, ONES, offset, ONES)
    plain = trained(name, ONES, ZEROS, ONES)[2]
    count = np.asarray(shipped.moments.count)
    assert count[2] == 0 and count[0] > 0 and np.all(np.delete(count, 2) == count[0])
    apart = np.log2(np.delete(quantiser.scale / plain.scale, 2))
    assert np.all(np.abs(apart) <= 2)
    assert (quantiser.mean[2], quantiser.scale[2]) == (0, 16)


@of_each
def test_what_is_far_from_zero_is_scaled_by_how_it_moves(name):
    """A sine of large numbers has a deviation of about 0.7."""
    deviation = np.array([10, 1, 1e-4, 1e30], np.float32)
    offset = np.array([1e6, 5e6, 1e-2, -1e31], np.float32)
    _, _, quantiser = trained(name, deviation * 2**0.5, offset, 1e4 * ONES)
    expected = np.floor(np.log2(31.75 / deviation))
    assert np.all(np.abs(np.log2(quantiser.scale) - expected) <= 1)
    np.testing.assert_allclose((quantiser.mean - offset) / deviation, 0, atol=0.7)


def test_the_first_generation_is_not_blind_to_small_units():
    """It shows -1e-6 or 1e-6, and pays for telling which: some of 64 random policies do at once."""
    env = envs.make("probe/sign")

    def reset(key, task):
        state, obs = env.reset(key, task)
        return state, obs * 1e-6

    small = env._replace(reset=reset)
    policy = MLP((8,)).build(ObsSpec((1,)), env.action)
    problem, unseen = problems.of(policy, small, Plan(32)), observation.empty(1)

    @jax.jit
    def best(key):
        params = jax.vmap(policy.init)(jax.random.split(key, 64))
        scores = problem.evaluate(key, Population(params), unseen, jnp.zeros((), jnp.int32))
        return scores.returns.mean(1).max()

    assert float(best(jax.random.key(0))) == 1.0


# --- steps --------------------------------------------------------------------------------------


@pytest.mark.exact
@pytest.mark.parametrize(
    ("size", "length"), [(3, 7), (5, 2**31 - 1), (40_000, 2**31 - 1), (1000, 65_537)]
)
def test_steps_are_counted_exactly_beyond_32_bits(size, length):
    lengths = np.full((size, 2), length, np.int32)
    lengths[::3] -= np.arange(len(lengths[::3]))[:, None] % 5
    count = jax.jit(step_count.of_lengths)(lengths)
    total = int(lengths.sum(dtype=np.int64))
    metrics = {name: np.asarray(x)[None] for name, x in step_count.metrics(count).items()}
    assert sinks.steps_of(metrics, 0) == total
    (row,) = sinks.rows_of(metrics, 0, {"env_steps": 2**40}, 1.0)
    assert (row["episode/steps"], row["env_steps"]) == (total, 2**40 + total)
    assert "episode/steps_high" not in row


@pytest.mark.exact
def test_counts_of_several_rounds_are_exact():
    """As of PPO, whose looks take as many steps as its update."""
    batch = 2**31 - 1
    for rounds in (1, 2, 3):
        count = jax.jit(lambda n: step_count.times(batch, n, 3))(rounds)
        metrics = {name: np.asarray(x)[None] for name, x in step_count.metrics(count).items()}
        assert sinks.steps_of(metrics, 0) == rounds * batch
    total = step_count.add(step_count.of_number(2**32 - 1), step_count.of_number(2**33 + 5))
    assert int(total.low) + (int(total.high) << 32) == 2**33 + 2**32 + 4


def test_a_strategy_may_count_in_one_number():
    (row,) = sinks.rows_of({"episode/steps": np.array([10], np.int32)}, 0, {}, 1.0)
    assert row["episode/steps"] == row["env_steps"] == 10
