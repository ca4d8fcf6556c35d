"""Episodes that grow: one that is cut off is one of a shorter limit; who may be trained on them."""

import functools
import math
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms
from gradient_learners import GRADIENTS
from marks import wide
from policies_of_strategies import OWN, world_for

from ternevo import envs, problems
from ternevo.arithmetic.observation import Quantiser
from ternevo.rollouts import population
from ternevo.rollouts.population import Rollout, episode_keys, evaluate
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.from_settings import plan
from ternevo.training import loop
from ternevo.training.evaluation import Evaluation
from ternevo.types import Env

# Compiling is most of the time of these tests; unoptimised it takes a third.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
slow = functools.partial(pytest.param, marks=pytest.mark.slow)
LONG, SHORT = 40, 17
make = functools.cache(envs.make)  # what is compiled for an environment is compiled once


# --- a cut-off episode ------------------------------------------------------------------------


@functools.cache
def limited(env: Env, limit: int) -> Env:
    """The same environment, but truncated by a count of its own."""

    def reset(key, task):
        state, obs = env.reset(key, task)
        return (state, jnp.zeros((), jnp.int32)), obs

    def step(key, counted, action):
        state, timestep = env.step(key, counted[0], action)
        count = counted[1] + 1
        is_over = timestep.truncated | ((count >= limit) & ~timestep.terminated)
        return (state, count), timestep._replace(truncated=is_over)

    return env._replace(reset=reset, step=step, episode_length=min(limit, env.episode_length))


@functools.partial(quick_jit, static_argnums=(0, 2, 3))
def run(env: Env, horizon=None, chunk_size=0, num_lanes=0):
    """Twelve members with two episodes each, through four lanes or more."""
    policy = MLP((4,)).build(env.obs, env.action)
    weights = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 12))
    keys = episode_keys(jax.random.key(1), 2, 12, "none")
    quantiser = Quantiser(jnp.zeros(env.obs.size), jnp.full(env.obs.size, 32.0))
    with mock.patch.object(population, "CPU_LANES", (4, 4)):
        rollout = Rollout(policy, env, num_lanes, chunk_size)
        return evaluate(rollout, weights, keys, quantiser, horizon=horizon)


@pytest.mark.parametrize(
    "chunk_size, num_lanes",
    wide([(0, 0), (5, 8), slow(5, 0), slow(0, 8), slow(1, 4)], keep=[(5, 8)]),
)
@pytest.mark.parametrize("env_id", ["gymnax/CartPole-v1", slow("probe/double_integrator")])
def test_a_cut_off_episode_is_one_of_that_limit(env_id, chunk_size, num_lanes):
    cut = run(make(env_id, LONG), jnp.asarray(SHORT), chunk_size, num_lanes)
    chex.assert_trees_all_equal(cut, run(make(env_id, SHORT)))
    lengths = np.asarray(run(make(env_id, LONG)).lengths)
    assert lengths.max() > SHORT, "nothing would have been cut off"


@pytest.mark.parametrize("chunk_size, num_lanes", [(0, 0), slow(5, 8)])
@pytest.mark.parametrize("horizon", [slow(1), SHORT])
def test_episodes_that_end_before_are_left_alone(horizon, chunk_size, num_lanes):
    """What the limit is shows in the observations and lengths of this probe: it stays 40 here."""
    env = make("probe/random_length", LONG)
    cut, full = run(env, jnp.asarray(horizon), chunk_size, num_lanes), run(env)
    chex.assert_trees_all_equal(cut, run(limited(env, horizon)))
    np.testing.assert_array_equal(cut.lengths, np.minimum(full.lengths, horizon))
    np.testing.assert_array_equal(cut.returns, cut.lengths)


@pytest.mark.parametrize("horizon", [LONG, LONG + 1, 10 * LONG])
def test_a_horizon_beyond_the_limit_changes_nothing(horizon):
    env = make("gymnax/CartPole-v1", LONG)
    chex.assert_trees_all_equal(run(env, jnp.asarray(horizon)), run(env))


def test_the_horizon_of_a_schedule_is_a_float_and_counts_whole_steps():
    env = make("gymnax/CartPole-v1", LONG)
    chex.assert_trees_all_equal(run(env, jnp.asarray(SHORT + 0.9)), run(env, jnp.asarray(SHORT)))


# --- the schedule -----------------------------------------------------------------------------


def horizon_of(settings: dict, num_generations: int):
    env = make("gymnax/CartPole-v1", LONG)
    return plan(STRATEGIES["ternary_nes"].of(**settings), env, num_generations).horizon


def horizons(num_generations: int, **settings) -> list[float]:
    horizon = horizon_of(settings, num_generations)
    return [float(horizon(jnp.asarray(t))) for t in range(num_generations)]


def test_the_limit_grows_in_a_line_and_stays_full():
    grown = horizons(17, init_horizon=0.2, horizon_growth=8 / 17)
    np.testing.assert_array_equal(grown, [8 + 4 * t for t in range(8)] + [LONG] * 9)


@pytest.mark.parametrize("num_generations", [2, 3, 17, 100])
@pytest.mark.parametrize("growth", [1.0, 0.5, 1e-3])
def test_the_first_generation_is_short_and_the_last_one_full(num_generations, growth):
    grown = horizons(num_generations, init_horizon=0.25, horizon_growth=growth)
    assert (grown[0], grown[-1]) == (10, LONG)
    assert np.all(np.diff(grown) >= 0)


def test_an_episode_has_at_least_one_step():
    assert horizons(10, init_horizon=1e-3)[0] == 1


@pytest.mark.parametrize("settings, generations", [({}, 10), ({"init_horizon": 0.3}, 1)])
def test_there_is_no_schedule_where_nothing_grows(settings, generations):
    assert horizon_of(settings, generations) is None


@pytest.mark.parametrize("name", ["init_horizon", "horizon_growth"])
@pytest.mark.parametrize("value", [0.0, -0.5, 1.5, float("nan")])
def test_shares_that_mean_nothing_are_refused(name, value):
    allowed = "a finite number" if math.isnan(value) else "above 0 and at most 1"
    with pytest.raises(ValueError, match=f"{name} must be {allowed}, got {value}"):
        STRATEGIES["ternary_nes"].of(**{name: value})


@pytest.mark.parametrize("weights", ["ternary", slow("float")])
def test_training_is_cut_off_and_evaluation_is_not(weights):
    """Every step of a countdown pays one, and only the limit ends it."""
    env = make("probe/countdown", LONG)
    policy = MLP((), weights=weights).build(env.obs, env.action)
    settings = STRATEGIES["ternary_nes"].of(
        population_size=4, init_horizon=0.25, horizon_growth=1.0
    )
    strategy = settings.build(env, policy, weights, 7)
    evaluation = Evaluation(problems.of(policy, env), 1, 2)
    first = loop.start(jax.random.key(0), strategy)
    chunks = list(loop.train(strategy, first, 7, evaluation=evaluation))
    metrics = {n: np.concatenate([c.metrics[n] for c in chunks]) for n in chunks[0].metrics}
    grown = [10, 15, 20, 25, 30, 35, LONG]
    np.testing.assert_allclose(metrics["episode/length"], grown, atol=1)  # whole steps
    assert float(metrics["episode/length"][-1]) == LONG
    np.testing.assert_array_equal(metrics["return/mean"], metrics["episode/length"])
    np.testing.assert_array_equal(metrics["eval/length"], LONG)
    np.testing.assert_array_equal(metrics["eval/return"], LONG)


# --- whose fitness may be of another length ---------------------------------------------------

WITHIN_A_GENERATION = {
    *("ternary_nes", "pbil", "cem", "compact_ga", "asng", "trust_region", "vote", "binary_nes"),
    *("one_plus_lambda", "deep_ga"),
}
EVOSAX_WITHIN_A_GENERATION = {
    *("ARS", "ASEBO", "CMA_ES", "CR_FM_NES", "DES", "ESMC", "GuidedES", "LM_MA_ES", "MA_ES"),
    *("NoiseReuseES", "Open_ES", "PersistentES", "PGPE", "Sep_CMA_ES", "SimpleES", "SNES", "xNES"),
}
ENV = make("probe/countdown", LONG)


def build(name: str, weights: str, **settings):
    policy = MLP((), weights=weights).build(ENV.obs, ENV.action)
    own = OWN.get(name, {})
    settings = STRATEGIES[name].of(population_size=8, init_horizon=0.5, **own, **settings)
    return settings.build(world_for(name, ENV), policy, weights, 10)


def check(may_grow: bool, *arguments, **settings):
    if may_grow:
        build(*arguments, **settings)
        return
    with pytest.raises(ValueError, match=r"--init_horizon must be 1 with .* earlier generations"):
        build(*arguments, **settings)


@pytest.mark.parametrize("weights", ["binary", "float"])
@pytest.mark.parametrize(
    "name",
    wide(
        [n for n in STRATEGIES if n not in (*GRADIENTS, "latent", "evosax", "neat")],
        keep=("ternary_nes", "ternary_ga"),
    ),
)
def test_strategies_that_keep_fitness_need_full_episodes(name, weights):
    if (name, weights) != ("binary_nes", "float"):
        is_archive = (name, weights) == ("one_plus_lambda", "float")  # GradientlessDescent
        check(name in WITHIN_A_GENERATION and not is_archive, name, weights)


@pytest.mark.parametrize(
    "name",
    wide([name for name in algorithms if not name.startswith("SV_")], keep=("Open_ES", "SimpleGA")),
)
def test_algorithms_of_evosax_that_keep_fitness_need_full_episodes(name):
    check(name in EVOSAX_WITHIN_A_GENERATION, "latent", "ternary", algorithm=name)
