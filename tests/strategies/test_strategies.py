"""Every strategy of the table: what it ships, what it reports, and that it solves a probe."""

import functools
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms as evosax_algorithms
from gradient_learners import GRADIENTS
from marks import wide
from policies_of_strategies import OWN, mlp_for, world_for
from policy_inputs import inputs

from ternevo import envs
from ternevo.algorithms.schedules import optimizer, schedule
from ternevo.arithmetic import actions, observation, ternary
from ternevo.envs import probe
from ternevo.keys import MEMORY, START, TASK
from ternevo.names import UnknownName
from ternevo.policies.acting import Actor, seen_first
from ternevo.problems import episodes
from ternevo.rollouts import step_count
from ternevo.rollouts.population import size_of
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import evolve
from ternevo.types import (
    LEFT_OUT,
    ObservationMoments,
    PolicyParams,
    Scores,
)

GENERATIONS = 30
SEEDS = 6  # trained by one program: none of them may be solved by luck alone
VALUES = {"ternary": {-1, 0, 1}, "binary": {-1, 1}}
# Compiling is most of the time of these tests; unoptimised it takes a third.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
DEEP = {"truncation": 8, "elite_candidates": 4, "validation_episodes": 8}
TABLE = [
    # Half of all starts are at a plateau, which little noise does not leave.
    ("ternary_nes", "ternary", {"sigma": 0.5}),
    ("ternary_nes", "binary", {"sigma": 0.5}),
    ("ternary_nes", "ternary", {"sigma": 0.5, "search_scales": False}),
    ("ternary_nes", "float", {"sigma": 0.5}),
    ("ternary_nes", "ternary", {"distribution": "logits", "lr": 0.5}),
    ("ternary_nes", "ternary", {"distribution": "mean"}),
    ("ternary_nes", "ternary", {"distribution": "sharp"}),
    ("binary_nes", "binary", {"lr": 0.5, "init_logit_std": 1.0}),
    ("pbil", "ternary", {}),
    ("pbil", "binary", {}),
    ("pbil", "float", {}),
    ("cem", "ternary", {}),
    ("cem", "binary", {}),
    ("cem", "float", {}),
    ("compact_ga", "ternary", {}),
    ("compact_ga", "binary", {}),
    ("compact_ga", "float", {}),
    ("asng", "ternary", {}),
    ("asng", "binary", {}),
    ("asng", "float", {}),
    # One seed in forty stays at a plateau. With the default step it is one of the first six.
    ("trust_region", "ternary", {"max_kl": 0.04}),
    ("trust_region", "binary", {}),
    ("trust_region", "float", {}),
    ("vote", "ternary", {}),
    ("vote", "binary", {}),
    ("vote", "float", {}),
    ("ternary_ga", "ternary", {}),
    ("ternary_ga", "ternary", {"mutation": "self_adaptive"}),
    ("ternary_ga", "binary", {"crossover_rate": 0.3}),
    ("ternary_ga", "float", {}),
    ("deep_ga", "ternary", DEEP),
    ("deep_ga", "ternary", {**DEEP, "genomes": "seeds"}),
    ("deep_ga", "binary", DEEP),
    ("deep_ga", "float", {**DEEP, "mutation_power": 0.5}),
    ("map_elites", "ternary", {"grid": (1,)}),
    ("map_elites", "binary", {"grid": (1,)}),
    ("map_elites", "float", {"grid": (1,), "iso_sigma": 0.5}),
    *(("poet", kind, {**OWN["poet"], "inner": "ternary_ga"}) for kind in ("ternary", "binary")),
    ("poet", "float", {**OWN["poet"], "inner": "ternary_ga"}),
    ("cosyne", "ternary", {}),
    ("cosyne", "binary", {}),
    ("cosyne", "float", {}),
    ("neat", "ternary", {}),
    ("neat", "float", {}),
    ("one_plus_lambda", "ternary", {}),
    ("one_plus_lambda", "binary", {}),
    ("one_plus_lambda", "float", {}),
    ("random_search", "ternary", {}),
    ("random_search", "binary", {}),
    ("random_search", "float", {}),
    ("latent", "ternary", {"sigma": 0.3}),
    ("latent", "binary", {"sigma": 0.3}),
    ("evosax", "float", {"algorithm": "SimpleGA", "sigma": 0.3}),
]
DEFAULT = {name: row for row, (name, *_) in reversed(list(enumerate(TABLE))) if name != "poet"}
"""Each strategy runs its first row, two of them by default and the others as wide tests. The other
rows are slow tests: kinds of weights, distributions and mutations are tested where they are made,
in `tests/algorithms`, and twins in `test_twins.py`. POET is the search within, and has
`test_poet.py`."""
IDS = ["-".join([name, kind, *map(str, options.values())]) for name, kind, options in TABLE]


def broken_sign() -> "envs.Env":
    """As probe/sign, but one episode in 64 pays NaN, whatever the action."""
    sign = probe.sign()

    def step(key, state, action):
        state, timestep = sign.step(key, state, action)
        is_broken = jax.random.bernoulli(key, 1 / 64)
        return state, timestep._replace(reward=jnp.where(is_broken, jnp.nan, timestep.reward))

    return sign._replace(step=step)


ENV = broken_sign()


BY_LANES = ("ternary_nes", "poet")
"""Strategies that are always scored by rollouts as in a run. No strategy knows how returns are
made, and rollouts take most of the time to compile: so the first rows of others play `at_once`."""


def at_once(rollout, params, keys, quantiser, *units) -> Scores:
    """As `evaluate`, in a world of one step: the same episodes, with no queue of them."""
    env, policy = rollout.env, rollout.policy
    actor = Actor(policy, env.obs, env.action)

    def play(member, key):
        drawn = functools.partial(jax.random.fold_in, key)
        state, obs = env.reset(drawn(START), env.draw_task(drawn(TASK)))
        memory = policy.reset(member, drawn(MEMORY))
        action = actor.act(member, quantiser, memory, seen_first(obs))[1]
        return obs, env.step(drawn(1), state, action)[1].reward  # lanes count steps from 1

    size = size_of(params)
    keys = jnp.broadcast_to(keys, (size, keys.shape[1]))
    obs, returns = jax.vmap(jax.vmap(play, (None, 0)))(params, keys)
    seen = obs.reshape(-1, obs.shape[-1])
    count = jnp.full(seen.shape[1], float(seen.shape[0]))
    moments = ObservationMoments(count, jnp.mean(seen, 0), jnp.std(seen, 0))
    lengths = jnp.ones(returns.shape, jnp.int32)
    described = jnp.zeros((size, env.descriptor.size)) if env.descriptor else None
    return Scores(returns, lengths, moments, step_count.of_lengths(lengths), described)


class History(NamedTuple):
    """The policy, and what happened: the first axis is that of the seeds."""

    policy: object
    states_are_finite: jax.Array
    metrics: dict[str, jax.Array]
    shipped: PolicyParams


def all_finite(tree) -> jax.Array:
    """Return whether all numbers are finite but those of a best member that is not kept."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    kept = [x for path, x in paths if ".best_" not in jax.tree_util.keystr(path)]
    floats = [x for x in kept if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in floats]))


@functools.cache
def history(row: int) -> History:
    """Train inside jit(scan). Without biases a policy is an odd function, as the optimum is."""
    name, kind, options = TABLE[row]
    policy = mlp_for(name, (4,), weights=kind, use_bias=False).build(ENV.obs, ENV.action)
    settings = STRATEGIES[name].of(
        population_size=32, num_episodes=8, common_random_numbers="none", **options
    )
    strategy = settings.build(world_for(name, ENV), policy, kind, GENERATIONS)

    def one_generation(state, key):
        state, metrics = strategy.step(key, state)
        return state, (metrics, all_finite(state))

    def go(key):
        key_init, key_run = jax.random.split(key)
        keys = jax.random.split(key_run, GENERATIONS)
        state, rows = jax.lax.scan(one_generation, strategy.init(key_init), keys)
        return *rows, strategy.params(state)

    # In turn: batched over seeds, the program takes a third longer to trace and compile.
    each_seed = quick_jit(lambda keys: jax.lax.map(go, keys))
    plays_lanes = name in BY_LANES or DEFAULT.get(name) != row
    play = episodes.evaluate if plays_lanes else at_once
    with mock.patch.object(episodes, "evaluate", play):
        metrics, finite, shipped = each_seed(jax.random.split(jax.random.key(0), SEEDS))
    return History(policy, finite, metrics, shipped)


each_row = pytest.mark.parametrize(
    "row",
    wide(
        [
            pytest.param(
                row, id=id_, marks=[] if DEFAULT.get(TABLE[row][0]) == row else pytest.mark.slow
            )
            for row, id_ in enumerate(IDS)
        ],
        keep=[DEFAULT[name] for name in ("ternary_nes", "latent")],
    ),
)


def test_the_tables_of_the_tests_name_every_strategy():
    """Learners by gradients are in `test_learning_by_replay.py` and `learners/test_ppo.py`."""
    named = {name for name, _, _ in TABLE} | {*GRADIENTS}
    assert {STRATEGIES[name] for name in named} == set(STRATEGIES.values())


@each_row
def test_what_is_shipped_has_the_dtypes_and_values_of_its_kind(row):
    kind, shipped = TABLE[row][1], history(row).shipped
    for tensor in ternary.tensors(shipped.weights):
        assert (tensor.exponent.dtype, tensor.exponent.shape[0]) == (jnp.int8, SEEDS)
        assert tensor.values.dtype == (jnp.float32 if kind == "float" else jnp.int8)
        if kind != "float":
            assert set(np.unique(tensor.values).tolist()) <= VALUES[kind]
    shapes = [layer["weight"].values.shape[1:] for layer in shipped.weights]
    assert shapes == ([(6, 5)] if TABLE[row][0] == "neat" else [(1, 4), (4, 2)])


@each_row
def test_metrics_are_scalars_under_group_and_name(row):
    metrics = history(row).metrics
    assert {"return/mean", "return/max", "return/nonfinite", "weights/zeros"} <= set(metrics)
    for name, values in metrics.items():
        assert name.count("/") == 1
        assert values.shape == (SEEDS, GENERATIONS), name
        assert bool(jnp.all(jnp.isfinite(values))), name


@each_row
def test_the_probe_is_solved(row):
    run = history(row)

    @jax.jit
    @jax.vmap
    def act(shipped):
        quantiser = observation.freeze(shipped.moments)
        quantised = [observation.quantise(quantiser, jnp.array([x])) for x in (-1.0, 1.0)]
        memory = run.policy.reset(shipped.weights, jax.random.key(0))
        outputs = [run.policy.apply(shipped.weights, memory, inputs(x))[1] for x in quantised]
        return jnp.stack([actions.mode(ENV.action, output) for output in outputs])

    np.testing.assert_array_equal(act(run.shipped), [[0, 1]] * SEEDS)


@each_row
def test_returns_that_are_not_finite_are_counted_and_do_not_enter_the_state(row):
    run = history(row)
    nonfinite = run.metrics["return/nonfinite"]
    assert 0 < int(nonfinite.max()) < 32
    mean = SEEDS * 32 * GENERATIONS * (1 - (1 - 1 / 64) ** 8)
    assert abs(int(nonfinite.sum()) - mean) < 5 * np.sqrt(mean)
    assert bool(jnp.all(run.states_are_finite))


@each_row
def test_every_observation_is_in_the_moments(row):
    """One step an episode; the observation is -1 or +1."""
    moments = history(row).shipped.moments
    count = 32 * 8 * GENERATIONS
    np.testing.assert_array_equal(moments.count, count)
    np.testing.assert_allclose(moments.deviation**2 + moments.mean**2, 1.0, rtol=1e-4)
    steps = history(row).metrics["episode/steps"]
    # The first generation looks at its episodes beforehand: those steps are taken, too.
    rounds = np.where(np.arange(GENERATIONS) == 0, 1 + observation.NUM_LOOKS, 1)
    again = 4 * 8 if TABLE[row][0] == "deep_ga" else 0  # the second evaluation of the best
    np.testing.assert_array_equal(steps, rounds * np.full_like(steps, count // GENERATIONS) + again)


def test_fitness_of_a_member_that_is_not_finite_is_worse_than_that_of_any_other():
    """Also where the others are all equal: else nothing leads away from a NaN."""
    bad = [jnp.nan, jnp.inf, -jnp.inf]
    for good in ([3.0, -5.0], [1.0, 1.0], [-1e6, -1e6]):
        fitness = evolve.fitness_of(jnp.array([[x] for x in good + bad]))
        assert bool(jnp.all(jnp.isfinite(fitness)))
        np.testing.assert_array_equal(fitness[:2], -np.array(good))
        assert float(jnp.min(fitness[2:])) > float(jnp.max(fitness[:2]))


def test_fitness_is_finite_and_equal_when_nobody_is_finite():
    """And worse than any return of other generations: elites and archives keep what is best."""
    fitness = evolve.fitness_of(jnp.array([[jnp.nan, 1.0], [jnp.inf, 0.0], [-jnp.inf, 0.0]]))
    np.testing.assert_array_equal(fitness, fitness[0])
    assert bool(jnp.all(jnp.isfinite(fitness**2)))
    assert float(fitness[0]) > float(evolve.fitness_of(jnp.array([[-1e12]]))[0])


@pytest.mark.wide  # test_population.py has both
def test_chunks_and_pairs_are_settings_of_every_strategy():
    """Chunks change nothing; on a bandit, where episodes do not differ, neither do pairs."""
    env = envs.make("probe/bandit")
    policy = MLP(()).build(env.obs, env.action)

    def metrics(**settings):
        strategy = STRATEGIES["random_search"].of(population_size=12, **settings)
        strategy = strategy.build(env, policy, "ternary", 3)

        def go(key):
            return strategy.step(jax.random.key(1), strategy.init(key))[1]

        return quick_jit(go)(jax.random.key(0))

    plain = metrics()
    for changed in (metrics(population_chunk=5), metrics(common_random_numbers="pairs")):
        assert plain.keys() == changed.keys()
        for name in plain:
            np.testing.assert_allclose(plain[name], changed[name], rtol=1e-6)


# --- what is refused --------------------------------------------------------------------------

WRONG_KINDS = [
    ("ternary_nes", "binary", {"distribution": "logits"}, "threshold"),
    ("binary_nes", "ternary", {}, "add --weights binary"),
    ("binary_nes", "float", {}, "add --weights binary"),
]


@pytest.mark.parametrize("name, kind, options, instead", WRONG_KINDS)
def test_a_kind_of_weights_that_cannot_be_searched_is_refused_with_what_to_use(
    name, kind, options, instead
):
    policy = MLP((), weights=kind).build(ENV.obs, ENV.action)
    with pytest.raises(ValueError, match=f"(?s){name}.*{kind}.*{instead}"):
        STRATEGIES[name].of(**options).build(ENV, policy, kind, 3)


WRONG_SETTINGS = [
    ("ternary_nes", {"population_size": 7}, "even population_size"),
    ("ternary_nes", {"sigma": 0.0}, "sigma must be positive"),
    ("ternary_nes", {"lr": -1.0}, "lr must be positive"),
    ("latent", {"sigma_end": 0.0}, "sigma_end must be positive, got 0.0"),
    ("binary_nes", {"lr_end": -0.1}, "lr_end must be positive, got -0.1"),
    ("pbil", {"lr_end": 0.0}, "lr_end must be positive, got 0.0"),
    ("binary_nes", {"population_size": 7}, "even population_size"),
    ("ternary_ga", {"population_size": 0}, "population_size"),
    ("random_search", {"num_episodes": 0}, "num_episodes"),
    ("latent", {"population_chunk": -1}, "population_chunk"),
    ("deep_ga", {"elite_candidates": 1}, "elite_candidates must be at least 2, got 1"),
    ("deep_ga", {"min_flips": 9.0}, "min_flips must be at most max_flips, got 9.0 and 6.0"),
    ("map_elites", {"grid": (4, 0)}, r"grid must be numbers that are at least 1, got \(4, 0\)"),
    ("ternary_nes", {"population_size": 6, "antithetic": False}, None),
]


@pytest.mark.parametrize("name, options, message", WRONG_SETTINGS)
def test_settings_that_mean_nothing_are_refused_when_they_are_made(name, options, message):
    if message is None:
        STRATEGIES[name].of(**options)
        return
    with pytest.raises(ValueError, match=message):
        STRATEGIES[name].of(**options)


# --- schedules --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "exponential"])
def test_schedules_go_from_start_to_end_and_stay(name):
    rate = schedule(name, 0.2, 0.05, 100)
    end = 0.2 if name == "constant" else 0.05
    values = [float(rate(step)) for step in (0, 25, 50, 75, 100, 1000)]
    np.testing.assert_allclose([values[0], *values[4:]], [0.2, end, end], rtol=1e-5)
    assert values == sorted(values, reverse=True)


def test_unknown_schedules_and_optimisers_are_refused():
    with pytest.raises(UnknownName, match="cosine"):
        schedule("cosin", 0.1, 0.1, 1)
    with pytest.raises(UnknownName, match="adam"):
        optimizer("adan", 0.1)


# --- every algorithm of evosax ----------------------------------------------------------------

# Stein variational ones search several distributions at once and have no single mean to ship.
CANNOT_RUN = ("SV_CMA_ES", "SV_Open_ES")
QUICK = ("PSO",)  # a mean with a covariance, as others have, is slow to compile
RUNNABLE = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in evosax_algorithms
    if name not in CANNOT_RUN
]


def latent_of(name: str, **options):
    env = envs.make("probe/sign")
    policy = MLP(()).build(env.obs, env.action)
    settings = STRATEGIES["latent"].of(population_size=8, num_episodes=4, algorithm=name, **options)
    return settings.build(env, policy, "ternary", 2)


@pytest.mark.wide  # one is in the table above
@pytest.mark.parametrize("name", RUNNABLE)
def test_an_evosax_algorithm_runs_by_its_name(name):
    strategy = latent_of(name)

    @quick_jit
    def go(key):
        state = strategy.init(key)
        keys = jax.random.split(jax.random.key(1), 3)
        state, metrics = jax.lax.scan(lambda s, k: strategy.step(k, s), state, keys)
        return strategy.params(state), metrics

    shipped, metrics = go(jax.random.key(0))
    np.testing.assert_array_equal(metrics[LEFT_OUT], 0)
    for tensor in ternary.tensors(shipped.weights):
        assert tensor.values.dtype == jnp.int8
        assert set(np.unique(tensor.values).tolist()) <= VALUES["ternary"]
    assert bool(jnp.all(jnp.isfinite(metrics["return/mean"])))


@pytest.mark.parametrize("name", CANNOT_RUN)
def test_an_evosax_algorithm_that_cannot_run_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        latent_of(name)


def test_a_misspelt_algorithm_or_parameter_is_refused_with_what_was_meant():
    with pytest.raises(UnknownName, match="Did you mean 'Open_ES'"):
        latent_of("OpenES")
    with pytest.raises(UnknownName, match="unknown parameter of PGPE"):
        latent_of("PGPE", algorithm_params={"std_learning_rate": 0.1})


def test_utilities_of_the_wrong_sign_for_an_algorithm_are_refused():
    with pytest.raises(ValueError, match=r"SNES.*--fitness_shaping own, not centered_rank"):
        latent_of("SNES", fitness_shaping="centered_rank")
