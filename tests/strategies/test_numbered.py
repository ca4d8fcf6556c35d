"""Numbers of the settings are data: one program for all of them, and for trials side by side."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import PUSHING, SMALL
from jax.experimental.compilation_cache import compilation_cache as jax_cache
from marks import wide
from policies_of_strategies import OWN, mlp_for, world_for

from ternevo import envs
from ternevo.names import UnknownName
from ternevo.settings.flat import flat, numbers_of, with_numbers
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.map_elites import MAPElites
from ternevo.settings.strategies.neat import NEAT
from ternevo.settings.strategies.poet import Poet
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.strategies.across_seeds import across_seeds, keys_of, of_each_seed, trials
from ternevo.training import loop

GENERATIONS = 6
CASES = [
    *((name, "binary" if name == "binary_nes" else "ternary", {}) for name in STRATEGIES),
    ("latent", "float", {"algorithm": "Open_ES"}),
    ("latent", "float", {"algorithm": "SNES"}),
    ("latent", "float", {"algorithm": "CR_FM_NES"}),
    ("latent", "float", {"algorithm": "PGPE", "sigma_schedule": "exponential"}),
    ("latent", "float", {"algorithm": "SimpleGA", "sigma_schedule": "linear"}),
    ("ternary_nes", "ternary", {"lr_schedule": "cosine", "fitness_shaping": "baseline"}),
]
DEFAULT = [CASES[-1], *(case for case in CASES if case[0] in ("neat", "ppo", "sac"))]
DEFAULT += [case for case in CASES if case[0] in ("deep_ga", "map_elites", "random_search")]
DEFAULT += [case for case in CASES if case[2].get("algorithm") == "PGPE"]
"""One for each way to build a strategy, two schedules, and one without numbers; most are wide. The
others are slow tests: that no algorithm computes in Python on a number, `test_strategies.py`
finds."""
QUICK = "cem"  # the search with a number that compiles fastest
OF_CLASS = {NEAT: "neat", MAPElites: "map_elites", Poet: "poet"}
"""Strategies that need a policy or a world of their own."""
WITHOUT = ("compact_ga", "random_search")
"""Strategies without a number that a program could share."""


def settings_of(name, **options):
    own = OWN.get(name, {})
    return STRATEGIES[name].of(**SMALL.get(name, {"population_size": 8}), **own, **options)


def built(settings, weights, env="probe/random_length", length=5):
    """Return the strategy of the settings."""
    name = OF_CLASS.get(type(settings), "")
    world = world_for(name, envs.make(env, length))
    policy = mlp_for(name, (4,), weights=weights).build(world.obs, world.action)
    return settings.build(world, policy, weights, 20)


def program(settings, weights, env="probe/random_length"):
    """Return the text of what makes the first state, and of a generation."""
    strategy = built(settings, weights, env)
    init, step = jax.jit(strategy.init), jax.jit(strategy.step)
    start = jax.random.key(0), *strategy.numbers()
    begin, first = init.lower(*start), init.eval_shape(*start)
    return begin.as_text() + step.lower(jax.random.key(0), first).as_text()


def others(settings, factor=0.9):
    return {name: factor * value for name, value in numbers_of(settings).items() if value}


@pytest.mark.parametrize(
    ("name", "weights", "options"),
    wide(
        [
            pytest.param(
                *case, id="-".join(map(str, case)), marks=[pytest.mark.slow] * (case not in DEFAULT)
            )
            for case in CASES
        ],
        keep=[CASES[-1], "ppo"],
    ),
)
def test_generations_with_other_numbers_are_the_same_program(name, weights, options):
    settings = settings_of(name, **options)
    assert bool(numbers_of(settings)) == (name not in WITHOUT)
    changed = type(settings).of(**flat(settings) | others(settings))
    env = "probe/double_integrator" if name in PUSHING else "probe/random_length"
    assert program(changed, weights, env) == program(settings, weights, env)


def test_what_is_no_number_makes_another_program():
    plain, falling = settings_of(QUICK), settings_of(QUICK, lr_schedule="linear")
    assert program(plain, "ternary") != program(falling, "ternary")


@pytest.mark.wide  # they are the same programs
def test_a_second_run_finds_all_of_its_programs_in_the_cache(tmp_path):
    """So a sweep over rates, schedule ends and seeds compiles once."""
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax_cache.reset_cache()
    count = []
    try:
        for seed, numbers in enumerate(({}, {"lr": 0.3, "lr_end": 0.02})):
            settings = settings_of(QUICK, lr_schedule="cosine", **numbers)
            strategy = built(settings, "ternary")
            list(loop.train(strategy, loop.start(jax.random.key(seed), strategy), 3))
            count.append(len(list(tmp_path.glob("*-cache"))))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
        jax_cache.reset_cache()
    assert count[0] == count[1] > 0


def rows(strategy, keys):
    chunks = list(loop.train(strategy, loop.start(keys, strategy), GENERATIONS, 4))
    found = {name: np.concatenate([c.metrics[name] for c in chunks]) for name in chunks[0].metrics}
    return found, chunks[-1].state


@pytest.mark.wide  # trials that differ are below
@pytest.mark.parametrize(
    "name",
    wide(
        [
            *(QUICK, "ppo"),
            *(pytest.param(name, marks=pytest.mark.slow) for name in ("ternary_nes", "sac")),
        ],
        keep=[QUICK],
    ),
)
def test_numbers_reach_the_search(name):
    """A rate of almost 0 leaves the shipped policy alone, in the program in which 1 moves it."""
    fixed = {"search_scales": False} if name == "ternary_nes" else {}
    settings = settings_of(name, **fixed)
    weights = "ternary" if name in (QUICK, "ternary_nes") else "float"
    strategy = built(settings, weights, "probe/target")
    tiny, large = trials(strategy, [{"lr": 1e-30}]), trials(strategy, [{"lr": 1.0}])

    def change(of_trial):
        first = of_trial.params(loop.start(jax.random.key(0), of_trial).strategy)
        last = of_trial.params(rows(of_trial, jax.random.key(0))[1].strategy)
        pairs = zip(jax.tree.leaves(first.weights), jax.tree.leaves(last.weights), strict=True)
        return any(bool(jnp.any(jnp.abs(a - b) > 1e-20)) for a, b in pairs)

    assert not change(tiny)
    assert change(large)


@pytest.mark.exact
def test_trials_together_are_the_trials_alone():
    settings = settings_of(QUICK, lr_schedule="linear")
    strategy = built(settings, "ternary", "gymnax/CartPole-v1", 50)
    changes = [{"lr": 0.02}, {"lr": 0.3, "lr_end": 0.2}, {}]
    together, _ = rows(trials(strategy, changes), keys_of([5, 5, 5]))
    for i, (change, own) in enumerate(zip(changes, of_each_seed(together, 3, axis=1), strict=True)):
        alone, _ = rows(trials(strategy, [change]), keys_of([5]))
        for name in alone:
            if not name.startswith("search/"):  # means, which XLA may add in another order
                np.testing.assert_array_equal(own[name], alone[name], err_msg=f"{i} {name}")
    assert len({float(x) for x in together["weights/zeros"][-1]}) > 1


def test_seeds_together_have_the_numbers_of_the_settings():
    strategy = across_seeds(built(settings_of("ternary_nes", lr=0.25), "ternary"), 3)
    state = loop.start(keys_of([0, 1, 2]), strategy).strategy
    np.testing.assert_array_equal(state.numbers["lr"], np.full(3, 0.25, np.float32))


def test_a_trial_cannot_change_what_is_no_number():
    strategy = built(settings_of("ternary_nes"), "ternary")
    with pytest.raises(UnknownName, match="sigma_end"):
        trials(strategy, [{"sigma_ends": 0.1}])


@dataclasses.dataclass(frozen=True)
class Branching(TernaryNES):
    """Settings of a user whose algorithm reads the learning rate in Python."""

    is_constant: bool = False

    @property
    def numbers(self):
        return {} if self.is_constant else super().numbers

    def search_algorithm(self, solution, weights, num_generations):
        if self.optimization.rate.lr > 1.0:
            return super().search_algorithm(solution, weights, num_generations)
        raise AssertionError("not with these settings")


def test_python_on_a_number_is_refused_with_the_way_out():
    strategy = built(Branching(population_size=8), "ternary")
    with pytest.raises(TypeError, match=r"Branching computes in Python on one of .*sigma.*numbers"):
        loop.start(jax.random.key(0), strategy)
    strategy = built(Branching(population_size=8, is_constant=True), "ternary")
    assert strategy.numbers() == ()
    loop.start(jax.random.key(0), strategy)


def test_settings_with_numbers_keep_the_rest():
    settings = settings_of("ternary_nes", optimizer="sgd")
    changed = with_numbers(settings, {"lr": 7.0})
    assert flat(changed) == flat(settings) | {"lr": 7.0}
    assert flat(settings)["lr"] != 7.0
