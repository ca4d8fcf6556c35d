"""Whatever fitness or return is told, the state stays finite, and learning goes on afterwards."""

import functools
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradient_learners import GRADIENTS
from marks import wide
from own_algorithms import ALGORITHMS, SOLUTION, start
from policies_of_strategies import OWN, world_for

from ternevo import envs, run
from ternevo.algorithms import guards, shaping
from ternevo.arithmetic import ternary
from ternevo.problems import episodes
from ternevo.rollouts import step_count
from ternevo.rollouts.population import size_of
from ternevo.runs.sinks import Console, read_jsonl
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import evolve
from ternevo.strategies.numbered import unwrapped
from ternevo.types import LEFT_OUT, Scores

SIZE = 8
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

MIXED = [1e20, -1e20, 1e38, -1e38, np.nan, np.inf, -np.inf, 1.0]
HOSTILE = {
    "1e20": np.linspace(0.5, 1, SIZE) * 1e20,
    "1e38": np.linspace(-1, 1, SIZE) * 1e38,
    "-1e38": np.full(SIZE, -1e38),
    "inf": np.full(SIZE, np.inf),
    "-inf": np.full(SIZE, -np.inf),
    "nan": np.full(SIZE, np.nan),
    "equal": np.full(SIZE, 3.0),
    "huge and equal": np.full(SIZE, 1e15),
    "usable and huge": np.linspace(-1, 1, SIZE) * 1e15,
    "mixed": np.array(MIXED),
    "one": np.array([1e38, *range(SIZE - 1)]),
}
COMMON = np.stack([np.random.default_rng(i).normal(size=SIZE) for i in range(4)])
ROWS = np.stack([np.stack([COMMON[0], row, *COMMON[1:], row]) for row in HOSTILE.values()])
"""For each case six generations [cases, generations, members]: the second and the last hostile."""


def nonfinite(before, after) -> jax.Array:
    """Return how many numbers of a state are not finite though they were at first."""
    counts = [
        jnp.sum(jnp.isfinite(old) & ~jnp.isfinite(new))
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if jnp.issubdtype(new.dtype, jnp.floating)
    ]
    return sum(counts, jnp.zeros((), jnp.int32))


OWN_SHAPING = ("CEM", "CompactGA", "ASNG", "TernaryGA", "CoSyNE", "OnePlusLambda", "RandomSearch")
"""Algorithms that shape fitness in a way of their own, or compare it as it is."""


BY_NES = ("nes", "standardize")
"""Shapings that `TernaryNES` is tested with in no slow test, and all others with `baseline`. The
third, ranks, looks at no size of a fitness, as `nes` does not."""


def is_default(name: str, choice: str) -> bool:
    return choice in (BY_NES if name == "TernaryNES" else ("own", "baseline"))


CASES = [
    pytest.param(
        name,
        choice,
        id=f"{name}-{choice}",
        marks=[] if is_default(name, choice) else pytest.mark.slow,
    )
    for name in ALGORITHMS
    for choice in (["own"] if name in OWN_SHAPING else shaping.FITNESS_SHAPING)
]


@pytest.mark.parametrize(
    ("name", "choice"), wide(CASES, keep=["TernaryNES-nes", "PBIL-baseline", "TernaryGA-own"])
)
def test_the_state_of_an_algorithm_stays_finite_whatever_it_is_told(name, choice):
    options = {} if choice == "own" else {"fitness_shaping_fn": shaping.FITNESS_SHAPING[choice]}
    algorithm = ALGORITHMS[name](SIZE, SOLUTION, **options)
    params = algorithm.default_params
    first = start(algorithm, jax.random.key(0), lambda population: jnp.full(SIZE, 1e38))

    def one_generation(state, row):
        population, asked = algorithm.ask(jax.random.key(1), state, params)
        state, metrics = algorithm.tell(jax.random.key(2), population, row, asked, params)
        return state, (nonfinite(first, state), metrics["best_fitness"])

    def go(rows):
        return jax.lax.scan(one_generation, first, rows)[1]

    broken, best = quick_jit(jax.vmap(go))(jnp.asarray(ROWS, jnp.float32))
    np.testing.assert_array_equal(broken, 0)
    assert bool(jnp.all(jnp.isfinite(best)))
    np.testing.assert_array_equal(best, np.minimum.accumulate(best, axis=1))


# --- strategies: from returns to the state, and what is counted ---------------------------------

ENV = envs.make("probe/bandit")
EVOSAX = (
    "Open_ES",
    "SimpleGA",
    "SNES",
    "PGPE",
    "Sep_CMA_ES",
    "PSO",
    "DifferentialEvolution",
    "ARS",
)
SHAPED = ("ternary_nes", "binary_nes", "pbil", "trust_region", "vote")
QUICK = [
    *(("ternary_nes", "standardize"), ("pbil", "baseline"), ("ternary_ga",)),
    *(("latent", "Open_ES"), ("latent", "PSO")),
]
"""In no slow test: with the algorithms above they are the ways that returns can take."""


def strategies() -> list:
    """Return every strategy with every fitness shaping, and some algorithms of evosax."""
    found = [
        (name, {"fitness_shaping": choice}) for name in SHAPED for choice in shaping.FITNESS_SHAPING
    ]
    found += [
        (name, {}) for name in STRATEGIES if name not in (*SHAPED, *GRADIENTS, "evosax", "latent")
    ]
    found += [("latent", {"algorithm": name}) for name in EVOSAX]
    found += [("latent", {"fitness_shaping": choice}) for choice in ("standardize", "baseline")]
    return [
        pytest.param(
            name,
            options,
            id="-".join([name, *options.values()]),
            marks=[] if (name, *options.values()) in QUICK else pytest.mark.slow,
        )
        for name, options in found
    ]


def strategy_of(name: str, kind: str = "ternary", **options):
    kind = "binary" if name == "binary_nes" else kind
    policy = MLP((), weights=kind).build(ENV.obs, ENV.action)
    own = OWN.get(name, {})
    settings = STRATEGIES[name].of(population_size=SIZE, num_episodes=1, **own, **options)
    return settings.build(world_for(name, ENV), policy, kind, ROWS.shape[1])


def scores_of(returns, moments) -> Scores:
    lengths = jnp.ones(returns.shape, jnp.int32)
    return Scores(returns, lengths, moments, step_count.of_lengths(lengths))


def paying(strategy, key, state, returns):
    """Run a generation in which the members have these returns."""

    def evaluate(rollout, params, keys, *arguments):
        moments = jax.tree.map(jnp.zeros_like, unwrapped(state).moments)
        size = size_of(params)  # fewer where only the best are evaluated again
        found = scores_of(jnp.repeat(returns[:size, None], keys.shape[1], 1), moments)
        if rollout.env.descriptor is None:
            return found
        return found._replace(descriptors=jnp.zeros((size, rollout.env.descriptor.size)))

    with mock.patch.object(episodes, "evaluate", evaluate):
        return strategy.step(key, state)


@pytest.mark.parametrize(("name", "options"), wide(strategies(), keep=["ternary_nes-standardize"]))
def test_the_state_of_a_strategy_stays_finite_and_what_was_left_out_is_counted(name, options):
    strategy = strategy_of(name, **options)

    def go(rows):
        first = strategy.init(jax.random.key(0))

        def one_generation(state, row):
            state, metrics = paying(strategy, jax.random.key(1), state, row)
            return state, (nonfinite(first, state), metrics)

        return jax.lax.scan(one_generation, first, rows)[1]

    rows = jnp.asarray(ROWS, jnp.float32)
    broken, metrics = quick_jit(jax.vmap(go))(rows)
    np.testing.assert_array_equal(broken, 0)
    np.testing.assert_array_equal(metrics[LEFT_OUT], 0)
    np.testing.assert_array_equal(metrics["return/nonfinite"], (~np.isfinite(rows)).sum(2))
    too_large = (np.abs(rows) > np.float32(1e15)) & np.isfinite(rows)
    np.testing.assert_array_equal(metrics["return/out_of_range"], too_large.sum(2))
    used = np.where(np.abs(rows) <= np.float32(1e15), rows, np.nan)
    has_some = ~np.isnan(used).all(2)
    error = np.asarray(metrics["return/mean"])[has_some] - np.nanmean(used[has_some], axis=1)
    assert np.all(np.abs(error) <= 1e-6 * np.nanmax(np.abs(used[has_some]), axis=1))


def test_the_tables_have_every_strategy():
    named = {param.values[0] for param in strategies()} | {*GRADIENTS}
    assert {STRATEGIES[name] for name in named} == set(STRATEGIES.values())


def test_returns_whose_mean_overflows_are_out_of_range_not_infinite():
    returns = jnp.array([[3e38, 3e38], [1.0, 2.0], [jnp.nan, 1e20]], jnp.float32)
    metrics = evolve.metrics_of(scores_of(returns, None))
    assert (int(metrics["return/nonfinite"]), int(metrics["return/out_of_range"])) == (1, 1)
    assert float(metrics["return/mean"]) == 1.5
    np.testing.assert_array_equal(evolve.fitness_of(returns), [0.0, -1.5, 0.0])


def test_usable_fitness_is_told_as_it_is():
    fitness = jnp.array([3.0, -2.5, 1e15, -1e15])
    np.testing.assert_array_equal(guards.finite_fitness(fitness), fitness)
    once = guards.finite_fitness(jnp.asarray(MIXED))
    np.testing.assert_array_equal(guards.finite_fitness(once), once)


# --- updates that are not finite ------------------------------------------------------------------


def test_an_update_is_left_out_as_a_whole_where_a_number_stops_being_finite():
    before = {"a": jnp.array([1.0, jnp.inf, jnp.nan]), "n": jnp.int32(3)}
    fine = {"a": jnp.array([2.0, jnp.nan, 1.0]), "n": jnp.int32(4)}
    kept, is_left_out = guards.keep_finite(before, fine)
    assert not is_left_out and kept["n"] == 4
    np.testing.assert_array_equal(kept["a"], fine["a"])
    broken = {"a": jnp.array([jnp.nan, 0.0, 0.0]), "n": jnp.int32(4)}
    kept, is_left_out = guards.keep_finite(before, broken)
    assert is_left_out and kept["n"] == 3
    np.testing.assert_array_equal(kept["a"], before["a"])


@pytest.mark.parametrize("name", [pytest.param("ternary_nes", marks=pytest.mark.slow), "latent"])
def test_an_update_that_overflows_is_left_out_and_counted(name):
    """A learning rate that float32 can hold, and the latents after a few steps cannot."""
    plain = {"optimizer": "adam", "gradient": "plain"} if name == "ternary_nes" else {}
    strategy = strategy_of(name, lr=3e38, **plain)
    state = first = strategy.init(jax.random.key(0))
    step = quick_jit(functools.partial(paying, strategy))
    left_out = []
    for generation in range(5):
        key = jax.random.fold_in(jax.random.key(1), generation)
        state, metrics = step(key, state, jnp.arange(float(SIZE)))
        left_out.append(int(metrics[LEFT_OUT]))
        assert int(nonfinite(first, state)) == 0
    assert 1 in left_out


# --- learning goes on -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "optimizer"),
    [
        ("baseline", "adam"),
        pytest.param("standardize", "sgd", marks=pytest.mark.wide),
        pytest.param("baseline", "sgd", marks=pytest.mark.slow),
        pytest.param("standardize", "adam", marks=pytest.mark.slow),
    ],
)
def test_learning_goes_on_after_a_generation_of_huge_returns(choice, optimizer):
    """That generation says the opposite: what froze, or was thrown away, cannot come back."""
    options = {"lr": 0.1 if optimizer == "adam" else 1.0, "optimizer": optimizer}
    settings = STRATEGIES["ternary_nes"].of(
        population_size=32,
        fitness_shaping=choice,
        distribution="logits",
        search_scales=False,
        **options,
    )
    algorithm, params = settings.search_algorithm(SOLUTION, "ternary", 200)

    def cost(population, target):
        values = [x.values.reshape(32, -1) for x in ternary.tensors(population)]
        return jnp.sum(jnp.concatenate(values, axis=1) != target, axis=1).astype(jnp.float32)

    def go(huge):
        def one_generation(state, generation):
            key_ask, key_tell = jax.random.split(jax.random.fold_in(jax.random.key(0), generation))
            population, state = algorithm.ask(key_ask, state, params)
            fitness = cost(population, -1) * jnp.where(generation == 3, -huge, 1.0)
            return algorithm.tell(key_tell, population, fitness, state, params)[0], ()

        state = algorithm.init(jax.random.key(1), SOLUTION, params)
        state, _ = jax.lax.scan(one_generation, state, jnp.arange(200))
        mode = algorithm.get_mean(state)
        return cost(jax.tree.map(lambda x: jnp.broadcast_to(x, (32, *x.shape)), mode), -1)[0]

    wrong = quick_jit(jax.vmap(go))(jnp.array([1.0, 1e4, 1e10, 1e20, 1e37]))
    np.testing.assert_array_equal(wrong, 0)


def test_a_gradient_is_shortened_to_ten_times_those_before_it():
    bound = guards.bounded_by_past()
    state = bound.init(None)
    lengths = []
    for length in (0.0, 1.0, 5.0, 1e30, 1.0):
        given = {"a": length * jnp.array([0.6, 0.0]), "b": length * jnp.array([0.8])}
        updates, state = bound.update(given, state)
        lengths.append(float(optax.tree.norm(updates)))
    past = 0.9 * 1 + 0.1 * 5
    np.testing.assert_allclose(lengths, [0.0, 1.0, 5.0, 10 * past, 1.0], rtol=1e-5)
    np.testing.assert_allclose(state.length, 0.9 * (0.9 * past + past) + 0.1, rtol=1e-5)


def test_standardised_utilities_have_deviation_one_far_from_zero():
    """Mean squares of returns near 5,000 differ by less than float32 can tell."""
    fitness = 5000.0 + jnp.array([0.01, -0.01, 0.02, -0.02])
    utilities = shaping.FITNESS_SHAPING["standardize"](None, fitness, None, None)
    np.testing.assert_allclose(jnp.std(utilities), 1.0, rtol=1e-3)


# --- a run --------------------------------------------------------------------------------------


PLAIN = ("--optimizer", "adam", "--gradient", "plain")


@pytest.mark.wide  # that of a loss is in test_run.py
@pytest.mark.parametrize("name", [pytest.param("ternary_nes", marks=pytest.mark.slow), "latent"])
def test_a_run_whose_update_overflows_ends_as_one_whose_loss_does(name, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run.main(
            [
                *("--env", "probe/bandit", "--strategy", name, "--lr", "3e38"),
                *(PLAIN if name == "ternary_nes" else ()),
                *("--hidden_sizes", "()", "--population_size", "4", "--num_generations", "20"),
                *("--num_eval_episodes", "1", "--num_final_episodes", "1", "--render", "False"),
                *("--checkpoint_every", "1", "--runs_dir", str(tmp_path)),
            ]
        )
    assert exit_.value.code == 1
    folder = tmp_path / "probe" / "bandit" / name / "seed0"
    message = capsys.readouterr().err
    (generation,) = re.findall(r"the update of the search in generation (\d+) of seed 0", message)
    before = int(generation) - 1
    assert "is not finite, and was skipped" in message
    kept = f"the newest checkpoint is {folder / 'checkpoints' / str(before)}"
    assert (kept if before else "there is no checkpoint yet") in message
    assert "Try a smaller --sigma or --lr, under another --name" in message
    assert "Diverged: training diverged" in (folder / "failure.txt").read_text()
    assert len(read_jsonl(folder / "metrics.jsonl")) == before


def test_the_console_counts_members_by_why_they_were_left_out(capsys):
    console = Console(10, {})
    row = {"wall_time": 1.0, "episode/steps": 5, "return/nonfinite": 2, "return/out_of_range": 1}
    console.write([{**row, "generation": 1}, {**row, "generation": 2, "return/nonfinite": 0}])
    said = capsys.readouterr().err
    assert "2 members had a return that is not finite in generations 1 to 2" in said
    assert "2 members had a return above 1e15 in size in generations" in said
