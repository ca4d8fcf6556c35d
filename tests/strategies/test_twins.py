"""The float twins: which algorithm of evosax runs, which settings it follows, and ties."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms
from evosax.core.fitness_shaping import weights_fitness_shaping_fn
from gradient_learners import GRADIENTS
from marks import wide

from ternevo import envs
from ternevo.algorithms.shaping import shared_weights
from ternevo.settings.flat import flat, options_of
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.evolution import Evolution
from ternevo.strategies.numbered import unwrapped

ENV = envs.make("probe/sign")
NOT_IN_PAIRS = {"lr_schedule": "constant", "optimizer": "sgd", "antithetic": True}
SNES = {"fitness_shaping": "own", "sigma": 0.3, "lr": 1.0, **NOT_IN_PAIRS}
TWINS = {  # strategy: (algorithm, what the twin changes of the defaults it does not share)
    "ternary_nes": ("SNES", {"fitness_shaping": "own", "lr": 1.0, **NOT_IN_PAIRS}),
    "pbil": ("SNES", {**SNES, "lr_end": 0.4}),
    "cem": ("SimpleES", {"sigma": 0.3, "lr": 1.0, "lr_end": 0.05, **NOT_IN_PAIRS}),
    "compact_ga": ("PGPE", {"sigma": 0.3, "lr": 0.1}),
    "asng": ("SNES", SNES),
    "trust_region": ("SNES", SNES),
    "vote": ("Open_ES", {"sigma": 0.1}),
    "ternary_ga": ("SimpleGA", {"algorithm_params": {"crossover_rate": 0.0}}),
    "one_plus_lambda": (
        "GradientlessDescent",
        {"algorithm_params": {"radius_max": 1.0, "radius_decay": 32.0}},
    ),
}
FOLLOWED = {  # what the twin follows besides the settings of every evolutionary strategy
    "ternary_nes": {"sigma", "sigma_end", "lr_end", "adam_b2", "weight_decay"},
    "pbil": {"lr_end"},
    "cem": {"lr_end"},
    "vote": {"antithetic", "fitness_shaping", "sigma", "sigma_end", "sigma_schedule"},
    "ternary_ga": {"crossover_rate"},
}
"""`lr_end` is where a schedule ends, which those of SNES and SimpleES do not have, and `adam_b2` is
of an optimiser that SNES does not take."""
OWN_TWINS = {"cosyne", "deep_ga", "map_elites", "neat", "poet", "random_search"}
NO_TWIN = {"binary_nes", "latent", "evosax", *GRADIENTS}
SHARED = set(options_of(Evolution))
OTHER = {  # a value of each type or name that is not the default and that is allowed
    "search_scales": False,
    "distribution": "logits",
    "gradient": "plain",
    "spreads": "layer",
    "scale": "fixed",
    "noise_scale": "relative",
    "lr_schedule": "cosine",
    "sigma_schedule": "cosine",
    "optimizer": "momentum",
    "fitness_shaping": "standardize",
    "mutation": "self_adaptive",
    "antithetic": False,
    "margin": 0.05,
    "density": 0.5,
}
NEEDS = {"density_pull": {"density": 0.5}}
"""Options without which another does nothing, and is refused."""


def float_strategy(name: str, **settings):
    policy = MLP((), weights="float").build(ENV.obs, ENV.action)
    return STRATEGIES[name].of(**settings).build(ENV, policy, "float", 3)


def other_value(option: str, default):
    """Return a value that is allowed and not the default."""
    if option in OTHER:
        return OTHER[option]
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, int) else default / 2 or 0.5


def own_settings():
    for name in TWINS:
        for option, default in flat(STRATEGIES[name]()).items():
            if option not in SHARED:
                yield pytest.param(name, option, default, id=f"{name}-{option}")


def test_every_strategy_has_a_twin_or_says_that_it_has_none():
    assert set(TWINS) | OWN_TWINS | NO_TWIN == set(STRATEGIES)


@pytest.mark.parametrize("name", wide(TWINS, keep=("ternary_nes", "pbil")))
def test_the_twin_of_the_defaults(name):
    algorithm, changes = TWINS[name]
    twin = STRATEGIES[name]().float_twin()
    assert twin == STRATEGIES["latent"].of(**{"algorithm": algorithm, **common(name), **changes})
    float_strategy(name)


def common(name: str) -> dict:
    """Return what a strategy and `latent` both have."""
    names = options_of(STRATEGIES["latent"])
    return {option: value for option, value in flat(STRATEGIES[name]()).items() if option in names}


@pytest.mark.parametrize("name, option, default", list(own_settings()))
def test_a_setting_is_followed_by_the_twin_or_refused(name, option, default):
    """But for a value that the twin happens to have."""
    value = other_value(option, default)
    given = {option: value, **NEEDS.get(option, {})}
    settings = STRATEGIES[name].of(**given)
    if option in FOLLOWED.get(name, ()):
        twin = settings.float_twin()
        assert {**flat(twin), **twin.algorithm_params}[option] == value
        float_strategy(name, **{option: value})
        return
    message = f"{TWINS[name][0]}.*--{option}.*--strategy latent --algorithm {TWINS[name][0]}"
    with pytest.raises(ValueError, match=message):
        float_strategy(name, **given)


@pytest.mark.parametrize("name", wide(TWINS, keep=("ternary_nes", "pbil")))
def test_the_settings_of_all_are_those_of_the_twin(name):
    shared = {"population_size": 32, "num_episodes": 2, "common_random_numbers": "none"}
    twin = STRATEGIES[name].of(**shared, num_lanes=4, population_chunk=7).float_twin()
    assert {**shared, "num_lanes": 4, "population_chunk": 7}.items() <= flat(twin).items()
    float_strategy(name, **shared)


@pytest.mark.parametrize("name", [name for name in TWINS if TWINS[name][0] != "Open_ES"])
def test_a_twin_that_cannot_draw_otherwise_takes_no_option_for_it(name):
    """What evosax's classes do not take must not be passed on as if they did."""
    taken = inspect.signature(algorithms[TWINS[name][0]]).parameters
    assert "use_antithetic_sampling" not in taken


# --- equal fitness ----------------------------------------------------------------------------

WEIGHING = [
    name
    for name, algorithm in algorithms.items()
    if inspect.signature(algorithm).parameters["fitness_shaping_fn"].default
    is weights_fitness_shaping_fn
    and name != "SV_CMA_ES"
]


def weighing(name: str, size: int = 32):
    algorithm = algorithms[name](size, jnp.zeros(5))
    return algorithm, algorithm.default_params


@pytest.mark.parametrize("name", WEIGHING)
def test_without_ties_weights_are_those_of_evosax(name):
    _, params = weighing(name)
    fitness = jnp.asarray(np.random.default_rng(0).permutation(32), jnp.float32)
    evosax = weights_fitness_shaping_fn(None, fitness, None, params)
    np.testing.assert_array_equal(shared_weights(None, fitness, None, params), evosax)


@pytest.mark.parametrize("name", WEIGHING)
def test_equal_members_share_their_weights(name):
    _, params = weighing(name)
    fitness = np.float32([1.0] * 5 + [0.0] + [2.0] * 20 + [3.0] * 5 + [4.0])
    given = np.asarray(shared_weights(None, jnp.asarray(fitness), None, params), float)
    weights = np.asarray(params.weights, float)
    groups = [(0, 1), (1, 6), (6, 26), (26, 31), (31, 32)]
    for value, (begin, end) in zip((0.0, 1.0, 2.0, 3.0, 4.0), groups, strict=True):
        np.testing.assert_allclose(given[fitness == value], weights[begin:end].mean(), atol=1e-6)
    np.testing.assert_allclose(given.sum(), weights.sum(), atol=1e-5)


@pytest.mark.parametrize("name", ["SNES", "xNES"])
def test_of_weights_that_sum_to_zero_equal_members_get_exactly_none(name):
    for size in (7, 32, 1000):
        _, params = weighing(name, size)
        np.testing.assert_array_equal(shared_weights(None, jnp.ones(size), None, params), 0)


def after_ties(name: str, generations: int = 40):
    """The state that a strategy is in before and after generations in which all are equal."""
    policy = MLP((16,), weights="float").build(ENV.obs, ENV.action)
    env = ENV._replace(step=lambda key, state, action: pays_nothing(ENV.step(key, state, action)))
    strategy = STRATEGIES[name].of(population_size=32).build(env, policy, "float", generations)

    @jax.jit
    def go(key):
        first = strategy.init(key)
        keys = jax.random.split(key, generations)
        return first, jax.lax.scan(lambda s, k: strategy.step(k, s), first, keys)[0]

    before, after = go(jax.random.key(0))
    return unwrapped(before).search, unwrapped(after).search


def pays_nothing(result):
    state, timestep = result
    return state, timestep._replace(reward=jnp.zeros_like(timestep.reward))


SLOW_TO_TIE = [pytest.param(name, marks=pytest.mark.slow) for name in ("asng", "trust_region")]
"""Their twin is that of PBIL, with a table in `TWINS` to say so."""


@pytest.mark.parametrize("name", ["pbil", *SLOW_TO_TIE])
def test_the_twin_of_tables_does_not_move_where_all_are_equal(name):
    before, after = after_ties(name)
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.std, before.std)


def test_the_twin_of_cem_keeps_its_spread_where_all_are_equal():
    """Its mean goes to that of 32 members: by 0.3 / sqrt(32) in each of 40 generations."""
    before, after = after_ties("cem")
    assert abs(float(jnp.mean(after.std)) / 0.3 - 1) < 0.15
    moved = float(jnp.sqrt(jnp.mean((after.mean - before.mean) ** 2)))
    assert 0.5 < moved / (0.3 * np.sqrt(40 / 32)) < 1.5


def test_the_weights_of_every_algorithm_that_weighs_ranks_are_shared():
    policy = MLP((), weights="float").build(ENV.obs, ENV.action)
    solution = jax.tree.leaves(policy.init(jax.random.key(0)))
    for name in WEIGHING:
        settings = STRATEGIES["latent"].of(algorithm=name, population_size=8)
        algorithm, _ = settings.search_algorithm(solution, "float", 3)
        assert algorithm.fitness_shaping_fn is shared_weights
