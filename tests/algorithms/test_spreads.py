"""Spreads of weights and natural gradients: SNES, where only the trits of latents are seen."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from enumeration import expected, random_problem, vector_probabilities
from evosax.algorithms import algorithms
from jax.scipy.stats import norm
from marks import wide
from scipy import stats as scipy_stats

from ternevo.algorithms import nes
from ternevo.algorithms.distribution import MARGIN
from ternevo.algorithms.nes import LOG_SPREADS, TernaryNES
from ternevo.algorithms.scale_search import from_settings
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.algorithms.spread import Statistics
from ternevo.arithmetic.latents import scale
from ternevo.settings.strategies.ternary_nes import TernaryNES as Settings
from ternevo.types import Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
VALUE = {-1: 0, 0: 1, 1: 2}
WEIGHT = 1  # biases come first


# --- the score, by enumeration ------------------------------------------------------------------


@pytest.mark.parametrize("num_weights", wide([1, 2, 3], keep=[2]))
@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_the_direction_of_a_spread_is_the_gradient_of_expected_utility(kind, num_weights):
    """With a spread for each weight, over all 3^d policies, thresholds held fixed."""
    vectors, utilities, latent = random_problem(num_weights, num_weights)
    cut = scale(latent) / 2 if kind == "ternary" else 0.0
    possible = jnp.array([1.0, kind == "ternary", 1.0])
    distribution = nes.threshold(kind)

    @jax.jit
    @jax.grad
    def slope(log_spread):
        spread = jnp.exp(log_spread)
        minus, plus = norm.cdf((-cut - latent) / spread), norm.cdf((latent - cut) / spread)
        table = jnp.stack([minus, 1 - minus - plus, plus], axis=-1) * possible
        table = MARGIN * possible + (1 - MARGIN * possible.sum()) * table
        return vector_probabilities(table, vectors) @ utilities

    @jax.jit
    def direction(log_spread):
        spread = jnp.exp(log_spread)
        stats = expected(distribution.probabilities(latent, spread), utilities, vectors)
        return distribution.spread_direction(latent, spread, stats)

    for size in (-1.5, -0.5, 0.7):
        log_spread = size + jnp.linspace(0.0, 0.3, num_weights)
        np.testing.assert_allclose(direction(log_spread), slope(log_spread), rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("trit", [-1, 0, 1])
@pytest.mark.parametrize(("latent", "spread"), [(0.1, 0.4), (-0.2, 0.4), (0.5, 1.3)])
def test_scores_are_the_means_of_what_snes_takes_given_the_trit(trit, latent, spread):
    """With s the standard normal noise: of s for the latent, of s^2 - 1 for its spread."""
    latents = jnp.array([latent, 1.2, -0.4])  # the others set the scale
    cut = float(scale(latents)) / 2
    edges = (np.array([-np.inf, -cut, cut, np.inf]) - latent) / spread
    low, high = edges[VALUE[trit]], edges[VALUE[trit] + 1]
    noise = scipy_stats.truncnorm(low, high)
    distribution = nes.threshold()
    seen = jnp.full(3, trit, jnp.float32)  # one member of utility 1
    stats = Statistics(jnp.float32(1.0), seen, seen**2)
    of_latent = distribution.direction(latents, jnp.float32(spread), stats)[0] * spread
    of_spread = distribution.spread_direction(latents, jnp.float32(spread), stats)[0]
    share = noise.expect(lambda s: 1.0)
    assert share == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(of_latent, noise.mean(), rtol=0.01, atol=0.01)  # the margin
    np.testing.assert_allclose(of_spread, noise.moment(2) - 1, rtol=0.01, atol=0.01)


# --- a step -------------------------------------------------------------------------------------


def solution():
    values = jnp.asarray(np.random.default_rng(0).integers(-1, 2, (4, 3)), jnp.int8)
    return {
        "bias": Tensor(jnp.ones(3, jnp.int8), jnp.int8(1)),
        "weight": Tensor(values, jnp.int8(1)),
    }


def told(algorithm, fitness_of):
    """Return the state before and after a generation."""
    params = algorithm.default_params
    before = algorithm.init(jax.random.key(0), solution(), params)
    population, asked = quick_jit(algorithm.ask)(jax.random.key(1), before, params)
    fitness = fitness_of(population)
    after, _ = quick_jit(algorithm.tell)(jax.random.key(2), population, fitness, asked, params)
    return before, population, fitness, after


def noisy(population):
    return jnp.cos(7.0 * jnp.arange(population["bias"].values.shape[0]))


@pytest.mark.parametrize("spreads", wide(["weight", "layer"], keep=["weight"]))
def test_a_step_is_that_of_snes_with_the_means_given_the_trits(spreads):
    """Computed member by member: no statistics, no direction of the distribution."""
    lr, eta, size = 0.7, 0.3, 32
    algorithm = TernaryNES(
        size,
        solution(),
        optimizer=optax.sgd(lr),
        spread_schedule=optax.constant_schedule(0.4),
        fitness_shaping_fn=FITNESS_SHAPING["nes"],
        is_natural=True,
        spreads=spreads,
        eta=eta,
    )
    before, population, fitness, after = told(algorithm, noisy)
    ranks = np.empty(size, int)
    ranks[np.argsort(np.asarray(fitness))] = np.arange(size)
    raw = np.maximum(0, np.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
    utilities = (raw / raw.sum() - 1 / size)[ranks]
    for i, name in enumerate(("bias", "weight")):
        trits = np.asarray(population[name].values)
        z, spread = np.asarray(before.latents[i]), 0.4
        cut = float(scale(before.latents[i])) / 2
        edges = [np.full_like(z, -np.inf), (-cut - z) / spread, (cut - z) / spread]
        edges = np.stack([*edges, np.full_like(z, np.inf)])
        low = np.take_along_axis(edges[None], trits[:, None] + 1, axis=1)[:, 0]
        high = np.take_along_axis(edges[None], trits[:, None] + 2, axis=1)[:, 0]
        noise = scipy_stats.truncnorm(low, high)
        weigh = utilities.reshape(-1, *[1] * z.ndim)
        step = np.sum(weigh * noise.mean(), axis=0)
        np.testing.assert_allclose(
            after.latents[i], z + lr * spread * step, rtol=0.01, atol=0.01 * lr * spread
        )
        widening = np.sum(weigh * (noise.var() + noise.mean() ** 2 - 1), axis=0)
        widening = np.mean(widening) if spreads == "layer" else widening
        np.testing.assert_allclose(after.log_spreads[i], eta / 2 * widening, rtol=0.02, atol=0.002)


def test_utilities_are_those_of_evosax_snes():
    """A third route: evosax has them by rank, times 1 instead of the population size."""
    snes = algorithms["SNES"](10, {"w": jnp.zeros(3)})
    ours = -FITNESS_SHAPING["nes"](None, jnp.arange(10.0), None, None) / 10
    np.testing.assert_allclose(ours, snes.default_params.weights, atol=1e-6)


def test_tied_members_share_their_utilities_and_all_sum_to_0():
    fitness = jnp.array([1.0, 0.0, 1.0, 3.0, 0.0, 2.0])
    shaped = np.asarray(FITNESS_SHAPING["nes"](None, fitness, None, None))
    alone = np.asarray(FITNESS_SHAPING["nes"](None, jnp.arange(6.0), None, None))
    np.testing.assert_allclose(shaped[[1, 4]], alone[:2].mean(), atol=1e-6)
    np.testing.assert_allclose(shaped[[0, 2]], alone[2:4].mean(), atol=1e-6)
    assert shaped.sum() == pytest.approx(0.0, abs=1e-5)


def searched(fitness_of, generations=60, **options):
    algorithm = TernaryNES(
        64,
        solution(),
        optimizer=optax.sgd(1.0),
        spread_schedule=optax.constant_schedule(0.4),
        fitness_shaping_fn=FITNESS_SHAPING["nes"],
        is_natural=True,
        spreads="weight",
        **options,
    )
    params = algorithm.default_params

    def one_generation(state, key):
        population, state = algorithm.ask(key, state, params)
        return algorithm.tell(key, population, fitness_of(population), state, params)[0], None

    keys = jax.random.split(jax.random.key(5), generations)
    state = algorithm.init(jax.random.key(4), solution(), params)
    return algorithm, quick_jit(lambda s, k: jax.lax.scan(one_generation, s, k)[0])(state, keys)


def test_hidden_weights_are_found_and_spreads_stay_within_their_bounds():
    goal = jnp.where(solution()["weight"].values == 0, 1, -solution()["weight"].values)
    wrong = lambda p: jnp.sum(p["weight"].values != goal, axis=(1, 2)).astype(jnp.float32)  # noqa: E731
    algorithm, state = searched(wrong, eta=1.0)
    # All 12 are wrong at first. From -1 to +1 goes by 0, which is as wrong.
    assert int(wrong(jax.tree.map(lambda x: x[None], algorithm.get_mean(state)))[0]) <= 1
    for x in state.log_spreads:
        assert LOG_SPREADS[0] <= float(jnp.min(x)) <= float(jnp.max(x)) <= LOG_SPREADS[1]


def test_without_selection_nothing_moves():
    flat = lambda population: jnp.ones(64)  # noqa: E731
    algorithm, state = searched(flat, 5, eta=1.0)
    first = algorithm.init(jax.random.key(4), solution(), algorithm.default_params)
    for name in ("latents", "log_spreads"):
        for old, new in zip(getattr(first, name), getattr(state, name), strict=True):
            np.testing.assert_array_equal(old, new)


# --- averages -----------------------------------------------------------------------------------


def test_an_average_ships_and_changes_nothing_in_the_search():
    """In generation t it keeps min(0.15, t / (t + 10)): 0, 1/11, 0.15."""
    wrong = lambda p: jnp.sum(p["weight"].values != 1, axis=(1, 2)).astype(jnp.float32)  # noqa: E731
    _, plain = searched(wrong, 3)
    algorithm, state = searched(wrong, 3, averaging=0.15)
    latents = []
    for generations in range(4):
        _, then = searched(wrong, generations, averaging=0.15)
        latents.append(np.asarray(then.latents[WEIGHT]))
    average = latents[0]
    for latent, kept in zip(latents[1:], (0.0, 1 / 11, 0.15), strict=True):
        average = kept * average + (1 - kept) * latent
    np.testing.assert_array_equal(state.latents[WEIGHT], plain.latents[WEIGHT])
    np.testing.assert_allclose(state.averages[0][WEIGHT], average, rtol=1e-5)
    shipped = algorithm.distribution.mode(state.averages[0][WEIGHT], solution()["weight"])
    np.testing.assert_array_equal(algorithm.get_mean(state)["weight"].values, shipped.values)


def test_an_average_that_keeps_nothing_is_the_latest():
    wrong = lambda p: jnp.sum(p["weight"].values != 1, axis=(1, 2)).astype(jnp.float32)  # noqa: E731
    _, plain = searched(wrong, 3)
    _, state = searched(wrong, 3, averaging=0.0)
    np.testing.assert_array_equal(state.mean, plain.mean)
    np.testing.assert_array_equal(state.averages[0][WEIGHT], plain.latents[WEIGHT])


# --- the settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spreads": "weight"}, "--spreads needs --distribution threshold"),
        ({"gradient": "natural"}, "--gradient natural needs --distribution threshold"),
    ],
)
def test_other_distributions_have_neither(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(distribution="mean", **options)
    with pytest.raises(ValueError, match="threshold distribution"):
        TernaryNES(8, solution(), nes.mean(), is_natural=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam", "gradient": "natural"}, "--gradient natural needs --optimizer sgd"),
        ({"fitness_shaping": "baseline", "spreads": "layer"}, "another --fitness_shaping"),
    ],
)
def test_what_makes_no_sense_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Settings.of(**options)


def test_what_is_not_said_follows_from_the_rest():
    assert Settings().is_natural and Settings().adaptive_spreads == "weight"
    assert not Settings.of(optimizer="adam").is_natural
    assert Settings.of(fitness_shaping="baseline").adaptive_spreads == "none"
    assert Settings(distribution="mean").adaptive_spreads == "none"


def test_the_rate_of_natural_gradients_grows_with_the_fourth_root_of_the_weights():
    def step(shape):
        weights = {"weight": Tensor(jnp.zeros(shape, jnp.int8), jnp.int8(0))}
        found, _ = from_settings(dataclasses.replace(Settings()), weights, "ternary", 10)
        optimizer = found.optimizer
        update, _ = optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))
        return float(update[0])

    assert step((16, 16)) / step((4, 4)) == pytest.approx(2.0, rel=1e-5)
    assert step((4, 4)) == pytest.approx(-2.0 * Settings().optimization.rate.lr, rel=1e-5)
