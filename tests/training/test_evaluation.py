"""Evaluations: when they are due, which policy is the best, and one program for all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.settings.policies import MLP
from ternevo.strategies.across_seeds import keys_of
from ternevo.training import loop, results
from ternevo.training.evaluation import Episodes, Evaluation
from ternevo.types import Best, Descriptor, PolicyParams, Strategy, Tensor

TARGET = envs.make("probe/target")


def scripted(exponents) -> Strategy:
    """After generation i it ships a net whose action on probe/target is 2**-(exponents[i] + 3)."""

    def params(generation):
        weight = Tensor(jnp.ones((1, 1), jnp.int8), jnp.asarray(exponents, jnp.int8)[generation])
        return PolicyParams(({"weight": weight},), observation.empty(1))

    def step(key, generation):
        return generation + 1, {"return/mean": jnp.zeros(())}

    return Strategy(lambda key: jnp.zeros((), jnp.int32), step, params)


def return_of(exponent: int) -> float:
    return -((2.0 ** -(exponent + 3) - 0.5) ** 2)


def watched(exponents, every: int, best_from: int = 0, env=TARGET):
    """Return the state after all exponents, and the metrics of all generations."""
    policy = MLP((), use_bias=False, observation_shift=0).build(env.obs, env.action)
    evaluation = Evaluation(problems.of(policy, env), every, 2, best_from=best_from)
    strategy = scripted(exponents)
    first = loop.start(jax.random.key(0), strategy)
    chunks = list(loop.train(strategy, first, len(exponents) - 1, 4, evaluation=evaluation))
    metrics = {n: np.concatenate([c.metrics[n] for c in chunks]) for n in chunks[0].metrics}
    return chunks[-1].state, metrics


# --- which policy is the best -----------------------------------------------------------------


def test_evaluations_are_nan_between_and_the_best_one_is_kept():
    """Exponent -2 hits the target in generation 4; in 3 it does too, but is not looked at."""
    exponents = [-2, 1, 0, -2, -2, 0, -1, 3]
    state, metrics = watched(exponents, every=2)
    looked_at = {1: return_of(1), 2: return_of(0), 4: 0.0, 6: return_of(-1)}
    expected = [looked_at.get(i, np.nan) for i in range(1, 8)]
    np.testing.assert_allclose(metrics["eval/return"], expected, atol=1e-7)
    np.testing.assert_array_equal(np.isnan(metrics["eval/length"]), np.isnan(expected))
    np.testing.assert_array_equal(np.isnan(metrics["eval/return_std"]), np.isnan(expected))
    best = [return_of(1), return_of(0), return_of(0), 0.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(metrics["eval/best_return"], best, atol=1e-7)
    assert int(state.best.policy.weights[0]["weight"].exponent) == -2
    assert (int(state.best.generation), float(state.best.mean_return)) == (4, 0.0)


def test_the_first_generation_is_evaluated_however_rare_evaluations_are():
    state, metrics = watched([1, 0, -2], every=5)
    assert int(state.best.policy.weights[0]["weight"].exponent) == 0
    assert float(state.best.mean_return) == pytest.approx(return_of(0))
    np.testing.assert_array_equal(np.isnan(metrics["eval/return"]), [False, True])


def test_of_equals_the_latest_is_the_best():
    state, _ = watched([1, 0, -2, -2, 1], every=1)
    assert (int(state.best.generation), float(state.best.mean_return)) == (3, 0.0)


def test_an_evaluation_that_is_not_finite_is_never_the_best():
    def pays_infinity(key, state, action):
        state, timestep = TARGET.step(key, state, action)
        return state, timestep._replace(reward=jnp.full_like(timestep.reward, jnp.inf))

    state, metrics = watched([0, -2], 1, env=TARGET._replace(step=pays_infinity))
    assert (int(state.best.generation), float(state.best.mean_return)) == (0, -np.inf)
    assert (metrics["eval/return"], metrics["eval/best_return"]) == ([np.inf], [-np.inf])


def test_only_late_policies_are_the_best_if_asked_for():
    """A policy that is not yet pruned must not ship as the best of a sparse run."""
    exponents = [1, -2, 0, 1, 0, -1]  # the best is the first that is evaluated
    for best_from, generation in ((0, 1), (3, 5), (9, 5)):
        state, metrics = watched(exponents, 1, best_from)
        assert int(state.best.generation) == generation
        expected = return_of(exponents[generation])
        assert float(state.best.mean_return) == pytest.approx(expected, abs=1e-7)
        assert float(metrics["eval/best_return"][0]) == pytest.approx(0.0, abs=1e-7)


def test_each_seed_has_a_best_of_its_own():
    evaluation = Evaluation(problem_of_a_walk()[0], 1, 2, num_seeds=2)
    policies = PolicyParams({"weight": np.array([[1, 1], [2, 2]])}, ())
    older = PolicyParams({"weight": np.array([[8, 8], [9, 9]])}, ())
    best = Best(older, np.array([3, 3], np.int32), np.array([0.5, 0.5], np.float32))
    found = evaluation._better(best, policies, 7, np.array([0.25, 0.75], np.float32))
    np.testing.assert_array_equal(found.policy.weights["weight"], [[8, 8], [2, 2]])
    np.testing.assert_array_equal(found.generation, [3, 7])
    np.testing.assert_array_equal(found.mean_return, np.float32([0.5, 0.75]))


@pytest.mark.parametrize("every, num_episodes", [(0, 1), (1, 0)])
def test_evaluating_never_or_on_nothing_is_refused(every, num_episodes):
    with pytest.raises(ValueError, match="eval_every and num_eval_episodes"):
        Evaluation(problem_of_a_walk()[0], every, num_episodes)


# --- one program for any number of episodes ---------------------------------------------------


@functools.cache
def problem_of_a_walk():
    """Return a problem whose episodes differ, and the weights and quantiser of a policy."""
    env = envs.make("probe/random_length", 50)
    policy = MLP(()).build(env.obs, env.action)
    weights = policy.init(jax.random.key(0))
    return problems.of(policy, env), weights, observation.freeze(observation.empty(1))


def data_of(*seeds):
    return jax.random.key_data(keys_of(seeds))


def test_a_policy_has_the_episodes_asked_for():
    problem, weights, quantiser = problem_of_a_walk()
    result = jax.jit(problem.test, static_argnums=3)(jax.random.key(1), weights, quantiser, 6)
    assert result.returns.shape == result.lengths.shape == (1, 6)
    assert len(np.unique(result.returns)) > 1


@pytest.mark.exact
def test_fewer_episodes_are_the_first_of_more_and_the_others_are_not_run():
    problem, weights, quantiser = problem_of_a_walk()
    test = jax.jit(problem.test, static_argnums=3)
    key = jax.random.key(1)
    whole = test(key, weights, quantiser, 20)
    assert np.asarray(whole.lengths).min() > 0
    for count in (0, 1, 7, 20):
        part = test(key, weights, quantiser, 20, count)
        for name in ("returns", "lengths"):
            found, expected = (np.asarray(getattr(x, name))[0] for x in (part, whole))
            np.testing.assert_array_equal(found[:count], expected[:count])
            np.testing.assert_array_equal(found[count:], 0)


@pytest.mark.exact
def test_one_program_serves_evaluations_and_final_ones():
    problem, weights, quantiser = problem_of_a_walk()
    shared, own = Evaluation(problem, 1, 3, 20), Evaluation(problem, 1, 3)
    for count in (3, 20):
        found = shared.run(data_of(4), weights, quantiser, count)
        expected = own.run(data_of(4), weights, quantiser, count)
        np.testing.assert_array_equal(found.returns, expected.returns)
        np.testing.assert_array_equal(found.lengths, expected.lengths)
    assert (shared._test._cache_size(), own._test._cache_size()) == (1, 2)


@pytest.mark.exact
def test_seeds_are_evaluated_together_as_they_are_alone():
    problem, weights, quantiser = problem_of_a_walk()
    stacked = jax.tree.map(lambda x: np.stack([x, x]), (weights, quantiser))
    together = Evaluation(problem, 1, 5, num_seeds=2).run(data_of(1, 2), *stacked, 5)
    alone = Evaluation(problem, 1, 5)
    for i, seed in enumerate((1, 2)):
        expected = alone.run(data_of(seed), weights, quantiser, 5)
        np.testing.assert_array_equal(together.returns[i], expected.returns)
        np.testing.assert_array_equal(together.lengths[i], expected.lengths)


def test_every_example_that_was_kept_back_counts():
    digits = envs.make("digits/8x8")
    policy = MLP(()).build(digits.obs, digits.action)
    weights = policy.init(jax.random.key(0))
    quantiser = observation.freeze(observation.empty(64), "integers")
    evaluation = Evaluation(problems.of(policy, digits), 1, 5, 9)
    assert evaluation.run(data_of(0), weights, quantiser, 5).returns.shape == (360,)


# --- how it went ------------------------------------------------------------------------------


def test_the_behaviour_is_the_mean_over_the_episodes_asked_for():
    """What is drawn is the length of an episode, and so its return."""
    half = Descriptor(("half",), (0.0,), (25.0,), lambda state: state.inner[None] / 2)
    env = envs.make("probe/random_length", 50)._replace(descriptor=half)
    policy = MLP(()).build(env.obs, env.action)
    test = jax.jit(problems.of(policy, env).test, static_argnums=3)
    weights, quantiser = policy.init(jax.random.key(0)), observation.freeze(observation.empty(1))
    found = test(jax.random.key(1), weights, quantiser, 8, jnp.int32(5))
    assert len(np.unique(found.returns[0, :5])) > 1
    np.testing.assert_allclose(found.descriptors, [[found.returns[0, :5].mean() / 2]], rtol=1e-6)


def test_the_result_of_a_run_has_names_for_how_it_went():
    """What is not finite is None, as JSON has no NaN."""
    episodes = Episodes(np.array([0.5, 1.0]), np.array([48, 48]), np.array([0.75, np.nan]))
    summary = results._summary(envs.make("memory/season@2"), episodes)
    assert summary == {
        **{"return_mean": 0.75, "return_std": 0.25, "episodes": 2},
        "behaviour": {
            "right on the first day of a season that returns": 0.75,
            "right on other days": None,
        },
    }
    assert "behaviour" not in results._summary(TARGET, episodes._replace(descriptors=None))
