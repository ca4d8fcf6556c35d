"""Populations of trits: how they are drawn, and what their sums are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from marks import wide

from ternevo.algorithms import spread

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def values_of(array) -> set:
    return set(np.unique(np.asarray(array)).tolist())


@functools.partial(jax.jit, static_argnums=(2, 3))
def sample(key, probabilities, population_size, antithetic):
    return spread.sample(key, probabilities, population_size, antithetic)


@few
@given(seeds, st.floats(0.0, 0.5, width=32))
def test_antithetic_partners_are_sign_flips_where_both_signs_are_equally_likely(seed, side):
    probabilities = jnp.broadcast_to(jnp.array([side, 1 - 2 * side, side]), (3, 4, 3))
    (trits,) = sample(jax.random.key(seed), [probabilities], 8, True)
    assert trits.shape == (8, 3, 4) and trits.dtype == jnp.int8
    np.testing.assert_array_equal(trits[::2], -trits[1::2])


def test_no_value_without_probability_is_drawn_even_from_a_uniform_of_zero(monkeypatch):
    """jax.random.uniform returns 0 once in 2^23 draws, and its partner would be 1."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.zeros(shape))
    for side in (0, 2):
        certain = jnp.zeros((5, 3)).at[:, side].set(1.0)
        (trits,) = spread.sample(jax.random.key(0), [certain], 4, True)
        np.testing.assert_array_equal(trits, side - 1)


@pytest.mark.parametrize("antithetic", [False, True])
def test_a_population_is_drawn_with_its_probabilities_and_members_differ(antithetic):
    rows = jnp.array([[0.2, 0.5, 0.3], [0.0, 0.1, 0.9], [0.6, 0.0, 0.4]])
    first, second = sample(jax.random.key(0), [rows, rows[:1]], 4000, antithetic)
    assert first.shape == (4000, 3) and second.shape == (4000, 1)
    drawn = np.concatenate([first, second], 1)
    for weight, expected in enumerate(np.concatenate([rows, rows[:1]])):
        shares = [np.mean(drawn[:, weight] == value) for value in (-1, 0, 1)]
        np.testing.assert_allclose(shares, expected, atol=5 * 0.5 / 4000**0.5)
    # Two weights with the same probabilities are drawn apart: equal in 0.38 of all members.
    assert 0.3 < np.mean(drawn[:, 0] == drawn[:, 3]) < 0.46


@pytest.mark.parametrize("size", [12, 14])  # six rows, and seven, of which one remains
def test_members_do_not_depend_on_how_many_rows_are_drawn_together(monkeypatch, size):
    probabilities = [jnp.full((7, 3), 1 / 3), jnp.full((2, 2, 3), 1 / 3)]
    whole = spread.sample(jax.random.key(1), probabilities, size, True)
    monkeypatch.setattr(spread, "SAMPLED_AT_ONCE", 40)  # three rows of eleven weights
    for parts, all_ in zip(
        spread.sample(jax.random.key(1), probabilities, size, True), whole, strict=True
    ):
        np.testing.assert_array_equal(parts, all_)


def test_antithetic_pairs_of_an_odd_population_are_refused():
    with pytest.raises(ValueError, match="even population_size, got 7"):
        spread.sample(jax.random.key(0), [jnp.ones((2, 3)) / 3], 7, True)


# --- what a batch says ------------------------------------------------------------------------

quarters = st.integers(-40, 40).map(lambda n: n / 4)  # with 8 members, means are exact in float32


@few
@given(
    hnp.arrays(np.float32, 8, elements=quarters),
    hnp.arrays(np.int8, (8, 2, 3), elements=st.integers(-1, 1)),
)
def test_utility_by_value_equals_the_direct_sums(utilities, trits):
    (stats,), _ = spread.sum_up(jnp.asarray(utilities), [jnp.asarray(trits)])
    by_value = spread.utility_by_value(stats)
    direct = [np.tensordot(utilities, trits == value, axes=1) / 8 for value in (-1, 0, 1)]
    np.testing.assert_array_equal(by_value, np.stack(direct, -1))
    np.testing.assert_array_equal(stats.first, np.tensordot(utilities, trits, axes=1) / 8)
    assert float(stats.utility) == utilities.mean()


@pytest.mark.parametrize("size", wide([1, 7, 8, 100, 999], keep=[7]))
def test_statistics_of_populations_that_no_block_divides_are_the_plain_means(size):
    rng = np.random.default_rng(size)
    utilities = rng.integers(-40, 40, size) / 4
    trits = [rng.integers(-1, 2, (size, *shape)).astype(np.int8) for shape in [(3, 2), (5,)]]
    population = list(map(jnp.asarray, trits))
    results, members = spread.sum_up(jnp.asarray(utilities, jnp.float32), population, size - 1)
    for stats, member, x in zip(results, members, trits, strict=True):
        np.testing.assert_array_equal(member, x[-1])
        first = np.tensordot(utilities, x, axes=1) / size
        second = np.tensordot(utilities, np.abs(x), axes=1) / size
        np.testing.assert_allclose(stats.first, first, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stats.second, second, rtol=1e-6, atol=1e-6)


def test_sums_do_not_wrap_around_in_int8():
    (stats,), _ = spread.sum_up(jnp.ones(1024), [jnp.ones((1024, 2), jnp.int8)])
    np.testing.assert_array_equal(stats.first, 1.0)
    np.testing.assert_array_equal(stats.second, 1.0)
