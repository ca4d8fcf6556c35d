"""The ternary vote: its statistic by enumeration, how often chance moves a weight, its steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import enumerate_vectors, expected, random_problem, vector_probabilities
from marks import wide
from scipy.stats import norm

from ternevo.algorithms import vote
from ternevo.algorithms.distribution import around
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.algorithms.vote import Vote
from ternevo.arithmetic import ternary
from ternevo.arithmetic.weights import kind_of
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Tensor

CENTRE = {"ternary": jnp.array([-1, 0, 1], jnp.int8), "binary": jnp.array([-1, 1, 1], jnp.int8)}


def test_a_weight_is_at_its_centre_but_for_the_flip_rate():
    q = jnp.float32(0.25)
    table = np.asarray(around(CENTRE["ternary"], q))
    np.testing.assert_array_equal(table, [[0.75, 0.25, 0], [0.125, 0.75, 0.125], [0, 0.25, 0.75]])
    table = np.asarray(around(CENTRE["binary"], q, kind_of("binary")))
    np.testing.assert_array_equal(table, [[0.75, 0, 0.25], [0.25, 0, 0.75], [0.25, 0, 0.75]])


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_evidence_is_the_covariance_of_utility_and_weight(kind):
    vectors, utilities, _ = random_problem(0, 3)
    table = around(CENTRE[kind], jnp.float32(0.3), kind_of(kind))
    chances = np.asarray(vector_probabilities(table, vectors))
    evidence = vote.evidence(table, expected(table, utilities, vectors))
    mean = chances @ vectors
    covariance = (chances * utilities) @ (vectors - mean)
    np.testing.assert_allclose(evidence, covariance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_variance_of_evidence_is_exact_for_any_utilities(kind, rate, antithetic):
    """Over all 3^4 draws of a weight by four members; pairs by a fine grid of uniforms."""
    table = around(CENTRE[kind], jnp.float32(rate), kind_of(kind))
    utilities = np.random.default_rng(1).normal(size=4).astype(np.float32)
    draws = enumerate_vectors(4)
    spread = np.sqrt(vote.variance_of_evidence(jnp.asarray(utilities), table, antithetic))
    for row, given in zip(np.asarray(table, float), spread, strict=True):
        joint = np.diag(row)
        if antithetic:
            grid = (np.arange(4000) + 0.5) / 4000
            u = jnp.asarray(np.stack([grid, 1 - grid]), jnp.float32)[..., None]
            first, second = np.asarray(ternary.from_uniforms(u, jnp.asarray(row[None], "f4")))[
                ..., 0
            ]
            joint = np.zeros((3, 3))
            np.add.at(joint, (first + 1, second + 1), 1 / 4000)
            pairs = joint[draws[:, ::2] + 1, draws[:, 1::2] + 1]
            chances = pairs.prod(1)
        else:
            chances = row[draws + 1].prod(1)
        sums = draws @ utilities / 4 - utilities.mean() * (row[2] - row[0])
        assert abs(chances @ sums) < 1e-3
        np.testing.assert_allclose(given, np.sqrt(chances @ sums**2), rtol=2e-3)


def test_votes_are_cast_where_evidence_passes_the_test():
    spread = jnp.full(5, 2.0)
    limit = 2 * norm.ppf(1 - 0.1 / 2)
    evidence = jnp.asarray([-1.01 * limit, -0.99 * limit, 0, 0.99 * limit, 1.01 * limit], "f4")
    votes = vote.cast_votes(evidence, spread, jnp.float32(0.1))
    np.testing.assert_array_equal(votes, [-1, 0, 0, 0, 1])
    everything = vote.cast_votes(evidence, spread, jnp.float32(1.0))
    np.testing.assert_array_equal(everything, [-1, -1, 0, 1, 1])
    np.testing.assert_array_equal(vote.cast_votes(evidence, 0 * spread, jnp.float32(1.0)), 0)


def test_a_step_goes_to_the_next_value_and_not_beyond_the_last():
    votes = jnp.array([-1, 0, 1], jnp.int8)
    for centre, after in ((-1, [-1, -1, 0]), (0, [-1, 0, 1]), (1, [0, 1, 1])):
        moved = vote.step(jnp.full(3, centre, jnp.int8), votes, kind_of("ternary"))
        np.testing.assert_array_equal(moved, after)
    for centre, after in ((-1, [-1, -1, 1]), (1, [-1, 1, 1])):
        moved = vote.step(jnp.full(3, centre, jnp.int8), votes, kind_of("binary"))
        np.testing.assert_array_equal(moved, after)


def zeros(num_weights: int):
    values = jnp.zeros((num_weights,), jnp.int8)
    return ({"weight": Tensor(values, jnp.asarray(2, jnp.int8))},)


@pytest.mark.parametrize("antithetic", wide([False, True], keep=[True]))
@pytest.mark.parametrize("share", wide([0.02, 0.2], keep=[0.2]))
def test_fitness_that_is_noise_moves_the_share_of_weights_that_it_should(share, antithetic):
    """From 0 both ways are open, so every false vote is a move."""
    num_weights = 20_000
    algorithm = Vote(
        200,
        zeros(num_weights),
        flip_rate_schedule=lambda t: 0.2,
        move_share_schedule=lambda t: share,
        use_antithetic_sampling=antithetic,
    )
    params = algorithm.default_params

    @jax.jit
    def moves(key):
        key_ask, key_fitness = jax.random.split(key)
        state = algorithm.init(key, zeros(num_weights), params)
        population, state = algorithm.ask(key_ask, state, params)
        fitness = jax.random.normal(key_fitness, (200,))
        after, _ = algorithm.tell(key, population, fitness, state, params)
        return ternary.tensors(algorithm.get_mean(after))[0]

    moved = moves(jax.random.key(0))
    assert int(moved.exponent) == 2
    rate = float(jnp.mean(moved.values != 0))
    # The mean is of independent weights; the sum of few draws is not quite normal.
    assert abs(rate - share) < 5 * np.sqrt(share * (1 - share) / num_weights) + 0.03 * share
    assert abs(float(jnp.mean(moved.values.astype(jnp.float32)))) < 5 * np.sqrt(share / num_weights)


@pytest.mark.parametrize("name", wide(FITNESS_SHAPING, keep=["nes", "standardize"]))
@pytest.mark.parametrize("kind", wide(["ternary", "binary"], keep=["ternary"]))
def test_equal_fitness_moves_nothing_and_a_signal_goes_downhill(kind, name):
    """Less is better, so fitness minus the first weight has to raise it."""
    solution = ({"weight": Tensor(CENTRE[kind], jnp.zeros((), jnp.int8))},)
    share = {"move_share_schedule": lambda t: 1.0, "fitness_shaping_fn": FITNESS_SHAPING[name]}
    algorithm = Vote(64, solution, kind, lambda t: 0.3, **share)
    params = algorithm.default_params
    state = algorithm.init(jax.random.key(0), solution, params)
    population, state = algorithm.ask(jax.random.key(1), state, params)
    same, _ = algorithm.tell(jax.random.key(2), population, jnp.full(64, 0.1), state, params)
    np.testing.assert_array_equal(same.mean, state.mean)
    first = population[0]["weight"].values[:, 0].astype(jnp.float32)
    after, _ = algorithm.tell(jax.random.key(2), population, -first, state, params)
    moved = ternary.tensors(algorithm.get_mean(after))[0].values
    assert int(moved[0]) == (0 if kind == "ternary" else 1)


def test_the_share_is_annealed():
    schedule = vote.annealed(0.1, 0.05)
    np.testing.assert_allclose([schedule(t) for t in (0, 20, 100)], [0.1, 0.05, 0.1 / 6])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sigma": 1.5}, "sigma is a flip rate.*1.5"),
        ({"sigma_end": 1.5}, "sigma_end is a flip rate.*1.5"),
        ({"sigma_end": 0.0}, "sigma_end must be positive, got 0.0"),
        ({"move_share": 0.0}, "move_share must be above 0 and at most 1, got 0.0"),
        ({"move_share_decay": -1.0}, "move_share_decay must be 0 or more, got -1.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES["vote"].of(**options)
