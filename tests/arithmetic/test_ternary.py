"""Trit arithmetic, against direct sums, exact integrals and round trips."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from ternevo.arithmetic import ternary
from ternevo.types import Tensor

VALUES = {"ternary": {-1, 0, 1}, "binary": {-1, 1}}
KINDS = list(VALUES)
few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def values_of(array) -> set:
    return set(np.unique(np.asarray(array)).tolist())


# --- drawing ----------------------------------------------------------------------------------


@st.composite
def sixteenths(draw):
    """Three probabilities that are multiples of 1/16, zero included: exact in float32."""
    minus = draw(st.integers(0, 16))
    plus = draw(st.integers(0, 16 - minus))
    return np.array([minus, 16 - minus - plus, plus], np.float32) / 16


@few
@given(sixteenths())
def test_inverse_cdf_integrates_to_the_probabilities(probabilities):
    grid = (jnp.arange(4096) + 0.5) / 4096
    trits = ternary.from_uniforms(grid, jnp.asarray(probabilities))
    shares = [np.mean(np.asarray(trits) == value) for value in (-1, 0, 1)]
    assert trits.dtype == jnp.int8
    assert shares == probabilities.tolist()
    assert np.all(np.diff(np.asarray(trits)) >= 0), "the order is -1, 0, +1"


def test_inverse_cdf_broadcasts_over_members_and_weights():
    probabilities = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    trits = ternary.from_uniforms(jnp.full((5, 3), 0.5), probabilities)
    np.testing.assert_array_equal(trits, np.tile([-1, 0, 1], (5, 1)))


def neighbours(values: np.ndarray) -> np.ndarray:
    """The values, the floats next to them, and both ends of what a uniform can be."""
    near = [np.nextafter(values, -1, dtype="f"), values, np.nextafter(values, 2, dtype="f")]
    return np.clip(np.concatenate([*near, [0, 1]]), 2**-24, 1 - 2**-24).astype(np.float32)


@few
@given(st.floats(2**-10, 1 - 2**-10, width=32))
def test_without_probability_for_zero_the_inverse_cdf_never_returns_zero(plus):
    """A binary population must stay binary, however the two probabilities are rounded."""
    minus = np.float32(1) - np.float32(plus)
    for low in (minus, np.nextafter(minus, np.float32(0)), np.nextafter(minus, np.float32(1))):
        probabilities = jnp.array([low, 0.0, plus], jnp.float32)
        uniforms = neighbours(np.array([low, 1 - np.float32(plus)], np.float32))
        trits = ternary.from_uniforms(jnp.asarray(uniforms), probabilities)
        assert values_of(trits) <= {-1, 1}


@pytest.mark.parametrize("certain", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_a_value_without_probability_is_never_drawn(certain):
    uniforms = jnp.array([2**-24, 2**-23, 0.5, 1 - 2**-23, 1 - 2**-24])
    trits = ternary.from_uniforms(uniforms, jnp.array(certain))
    assert values_of(trits) == {[-1, 0, 1][certain.index(1.0)]}


@functools.partial(jax.jit, static_argnums=(2, 3))
def sample(key, probabilities, population_size, antithetic):
    return ternary.sample(key, probabilities, population_size, antithetic)


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
        (trits,) = ternary.sample(jax.random.key(0), [certain], 4, True)
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


def test_members_do_not_depend_on_how_many_rows_are_drawn_together(monkeypatch):
    probabilities = [jnp.full((7, 3), 1 / 3), jnp.full((2, 2, 3), 1 / 3)]
    whole = ternary.sample(jax.random.key(1), probabilities, 12, True)
    monkeypatch.setattr(ternary, "SAMPLED_AT_ONCE", 30)  # two rows of eleven weights
    for parts, all_ in zip(
        ternary.sample(jax.random.key(1), probabilities, 12, True), whole, strict=True
    ):
        np.testing.assert_array_equal(parts, all_)


def test_antithetic_pairs_of_an_odd_population_are_refused():
    with pytest.raises(ValueError, match="even population_size, got 7"):
        ternary.sample(jax.random.key(0), [jnp.ones((2, 3)) / 3], 7, True)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_values_are_uniform_int8(kind):
    drawn = np.asarray(ternary.draw(jax.random.key(0), (3000,), kind))
    assert drawn.dtype == np.int8
    assert values_of(drawn) == VALUES[kind]
    share = 1 / len(VALUES[kind])
    for value in VALUES[kind]:  # five standard deviations
        assert abs(np.mean(drawn == value) - share) < 5 * math.sqrt(share * (1 - share) / 3000)


# --- what a batch says ------------------------------------------------------------------------

quarters = st.integers(-40, 40).map(lambda n: n / 4)  # with 8 members, means are exact in float32


@few
@given(
    hnp.arrays(np.float32, 8, elements=quarters),
    hnp.arrays(np.int8, (8, 2, 3), elements=st.integers(-1, 1)),
)
def test_utility_by_value_equals_the_direct_sums(utilities, trits):
    (stats,), _ = ternary.statistics(jnp.asarray(utilities), [jnp.asarray(trits)])
    by_value = ternary.utility_by_value(stats)
    direct = [np.tensordot(utilities, trits == value, axes=1) / 8 for value in (-1, 0, 1)]
    np.testing.assert_array_equal(by_value, np.stack(direct, -1))
    np.testing.assert_array_equal(stats.first, np.tensordot(utilities, trits, axes=1) / 8)
    assert float(stats.utility) == utilities.mean()


@pytest.mark.parametrize("size", [1, 7, 8, 100, 999])
def test_statistics_of_populations_that_no_block_divides_are_the_plain_means(size):
    rng = np.random.default_rng(size)
    utilities = rng.integers(-40, 40, size) / 4
    trits = [rng.integers(-1, 2, (size, *shape)).astype(np.int8) for shape in [(3, 2), (5,)]]
    population = list(map(jnp.asarray, trits))
    results, members = ternary.statistics(jnp.asarray(utilities, jnp.float32), population, size - 1)
    for stats, member, x in zip(results, members, trits, strict=True):
        np.testing.assert_array_equal(member, x[-1])
        first = np.tensordot(utilities, x, axes=1) / size
        second = np.tensordot(utilities, np.abs(x), axes=1) / size
        np.testing.assert_allclose(stats.first, first, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stats.second, second, rtol=1e-6, atol=1e-6)


def test_sums_do_not_wrap_around_in_int8():
    (stats,), _ = ternary.statistics(jnp.ones(1024), [jnp.ones((1024, 2), jnp.int8)])
    np.testing.assert_array_equal(stats.first, 1.0)
    np.testing.assert_array_equal(stats.second, 1.0)


def test_zero_fraction_counts_over_all_tensors():
    zero = jnp.zeros((), jnp.int8)
    first, second = jnp.zeros((3, 100), jnp.int8), jnp.ones((100,), jnp.int8)
    params = ({"weight": Tensor(first, zero)}, {"weight": Tensor(second, zero)})
    assert float(ternary.zero_fraction(params)) == 0.75


# --- from float to trits ----------------------------------------------------------------------


def random_tensor(seed: int, shape: tuple[int, ...], exponent: int, kind: str) -> Tensor:
    choices = sorted(VALUES[kind])
    values = np.random.default_rng(seed).choice(choices, shape).astype(np.int8)
    return Tensor(jnp.asarray(values), jnp.asarray(exponent, jnp.int8))


SHAPES = [(1,), (1, 1), (2,), (7, 3), (64, 16)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_latents_turn_back_into_exactly_their_tensor(kind, shape):
    """Not only the mode of a search is right at the start, so is its scale."""

    @jax.jit
    def round_trip(key, tensor):
        return ternary.discretize(ternary.latent_of(key, tensor, kind), kind)

    for seed, exponent in itertools.product(range(6), range(-3, 6)):
        tensor = random_tensor(seed, shape, exponent, kind)
        back = round_trip(jax.random.key(seed), tensor)
        if jnp.all(tensor.values == 0):  # an all-zero tensor stands for zeros at any exponent
            back = back._replace(exponent=tensor.exponent)
        chex.assert_trees_all_equal(back, tensor, strict=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fan_in", [64, 1500, 2500, 12000])
def test_latents_of_a_wide_start_turn_back_into_it(kind, fan_in):
    """The exponent is that of a policy with so many inputs; images have thousands."""
    exponent = round(math.log2(math.sqrt(fan_in * (2 / 3 if kind == "ternary" else 1))))
    tensor = random_tensor(0, (fan_in, 4), exponent, kind)
    latent = ternary.latent_of(jax.random.key(1), tensor, kind)
    chex.assert_trees_all_equal(ternary.discretize(latent, kind), tensor, strict=True)


@pytest.mark.parametrize("shape", [(1,), (5, 4)], ids=str)
def test_an_all_zero_tensor_has_zero_latents_and_comes_back(shape):
    tensor = Tensor(jnp.zeros(shape, jnp.int8), jnp.asarray(3, jnp.int8))
    latent = ternary.latent_of(jax.random.key(0), tensor, "ternary")
    np.testing.assert_array_equal(latent, 0.0)
    np.testing.assert_array_equal(ternary.discretize(latent, "ternary").values, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_different_keys_differ_and_are_spread_out(kind):
    tensor = random_tensor(0, (32, 8), 2, kind)
    first, second = (ternary.latent_of(jax.random.key(s), tensor, kind) for s in (1, 2))
    assert not np.any(np.asarray(first) == np.asarray(second))
    assert len(np.unique(np.abs(first))) > 200


@few
@given(st.integers(-8, 16), st.floats(-0.49, 0.49))
def test_nearest_exponent_is_nearest_on_a_log_scale(exponent, off):
    level = jnp.asarray(2.0 ** (off - exponent), jnp.float32)
    nearest = ternary.nearest_exponent(level)
    assert nearest.dtype == jnp.int8
    assert int(nearest) == exponent


def test_nearest_exponent_stays_in_its_range():
    extremes = ternary.nearest_exponent(jnp.array([1e-30, 1e30]))
    assert sorted(extremes.tolist()) == sorted(ternary.EXPONENT_RANGE)


@few
@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(-4, 4, width=32, allow_subnormal=False)))
def test_discretize_cuts_at_half_of_the_mean_absolute_latent(latent):
    gamma = np.maximum(np.abs(latent.astype(np.float64)).mean(), ternary.SCALE_FLOOR)
    tensor = ternary.discretize(jnp.asarray(latent), "ternary")
    doubtful = np.abs(np.abs(latent) - gamma / 2) < 1e-5  # float32 rounds the mean
    expected = np.sign(latent) * (np.abs(latent) > gamma / 2)
    np.testing.assert_array_equal(np.asarray(tensor.values)[~doubtful], expected[~doubtful])
    binary = ternary.discretize(jnp.asarray(latent), "binary").values
    np.testing.assert_array_equal(binary, np.where(latent >= 0, 1, -1))
    as_is = ternary.discretize(jnp.asarray(latent), "float")
    np.testing.assert_array_equal(as_is.values, latent)
    assert int(as_is.exponent) == 0


# --- operators --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_flip_at_rate_zero_changes_nothing_and_at_one_redraws_everything(kind):
    values = random_tensor(0, (3000,), 0, kind).values
    redrawn = {"ternary": {-1: 1 / 4, 0: 1 / 2, 1: 1 / 4}, "binary": {-1: 1 / 2, 1: 1 / 2}}
    for seed in range(3):
        key = jax.random.key(seed)
        kept = ternary.flip(key, values, jnp.float32(0), kind)
        fresh = np.asarray(ternary.flip(key, values, jnp.float32(1), kind))
        assert kept.dtype == fresh.dtype == jnp.int8
        np.testing.assert_array_equal(kept, values)
        for value, share in redrawn[kind].items():
            for before in VALUES[kind]:  # whatever it was
                share_now = np.mean(fresh[np.asarray(values) == before] == value)
                assert abs(share_now - share) < 5 * math.sqrt(share * (1 - share) / 900)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(seeds, st.floats(0, 1, width=32))
def test_flip_stays_in_the_value_set(kind, seed, rate):
    values = random_tensor(seed, (50,), 0, kind).values
    flipped = ternary.flip(jax.random.key(seed), values, jnp.float32(rate), kind)
    assert flipped.dtype == jnp.int8
    assert values_of(flipped) <= VALUES[kind]


@few
@given(seeds, st.floats(0, 1, width=32))
def test_crossover_takes_every_value_from_a_parent(seed, rate):
    first = random_tensor(seed, (40,), 0, "ternary").values
    second = random_tensor(seed + 1, (40,), 0, "ternary").values
    key = jax.random.key(seed)
    child = ternary.crossover(key, first, second, jnp.float32(rate))
    assert child.dtype == jnp.int8
    assert np.all((np.asarray(child) == first) | (np.asarray(child) == second))
    np.testing.assert_array_equal(ternary.crossover(key, first, second, jnp.float32(0)), first)
    np.testing.assert_array_equal(ternary.crossover(key, first, second, jnp.float32(1)), second)


def test_tensors_can_be_taken_out_and_put_back():
    def tensor(n):
        return Tensor(jnp.full((n,), 1, jnp.int8), jnp.asarray(n, jnp.int8))

    params = ({"bias": tensor(1), "weight": tensor(2)}, {"weight": tensor(3)})
    taken = ternary.tensors(params)
    assert [int(t.exponent) for t in taken] == [1, 2, 3]
    back = ternary.replace_tensors(params, taken)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert all(a is b for a, b in zip(taken, ternary.tensors(back), strict=True))
