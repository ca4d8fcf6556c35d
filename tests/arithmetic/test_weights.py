"""Kinds of weights and their latents, against definitions and round trips."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from ternevo.arithmetic import latents, weights
from ternevo.arithmetic.weights import kind_of
from ternevo.types import Tensor

VALUES = {"ternary": {-1, 0, 1}, "binary": {-1, 1}}
KINDS = list(VALUES)
few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def values_of(array) -> set:
    return set(np.unique(np.asarray(array)).tolist())


def assert_same_tensor(left: Tensor, right: Tensor) -> None:
    assert (left.values.dtype, left.exponent.dtype) == (jnp.int8, jnp.int8)
    np.testing.assert_array_equal(left.values, right.values)
    assert int(left.exponent) == int(right.exponent)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_values_are_uniform_int8(kind):
    drawn = np.asarray(kind_of(kind).draw(jax.random.key(0), (3000,)))
    assert drawn.dtype == np.int8
    assert values_of(drawn) == VALUES[kind]
    share = 1 / len(VALUES[kind])
    for value in VALUES[kind]:  # five standard deviations
        assert abs(np.mean(drawn == value) - share) < 5 * math.sqrt(share * (1 - share) / 3000)


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
        return kind_of(kind).discretize(kind_of(kind).latent(key, tensor))

    for seed, exponent in itertools.product(range(6), range(-3, 6)):
        tensor = random_tensor(seed, shape, exponent, kind)
        back = round_trip(jax.random.key(seed), tensor)
        if jnp.all(tensor.values == 0):  # an all-zero tensor stands for zeros at any exponent
            back = back._replace(exponent=tensor.exponent)
        assert_same_tensor(back, tensor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fan_in", [64, 1500, 2500, 12000])
def test_latents_of_a_wide_start_turn_back_into_it(kind, fan_in):
    """The exponent is that of a policy with so many inputs; images have thousands."""
    exponent = round(math.log2(math.sqrt(fan_in * (2 / 3 if kind == "ternary" else 1))))
    tensor = random_tensor(0, (fan_in, 4), exponent, kind)
    latent = kind_of(kind).latent(jax.random.key(1), tensor)
    assert_same_tensor(kind_of(kind).discretize(latent), tensor)


@pytest.mark.parametrize("shape", [(1,), (5, 4)], ids=str)
def test_an_all_zero_tensor_has_zero_latents_and_comes_back(shape):
    tensor = Tensor(jnp.zeros(shape, jnp.int8), jnp.asarray(3, jnp.int8))
    latent = kind_of("ternary").latent(jax.random.key(0), tensor)
    np.testing.assert_array_equal(latent, 0.0)
    np.testing.assert_array_equal(kind_of("ternary").discretize(latent).values, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_different_keys_differ_and_are_spread_out(kind):
    tensor = random_tensor(0, (32, 8), 2, kind)
    first, second = (kind_of(kind).latent(jax.random.key(s), tensor) for s in (1, 2))
    assert not np.any(np.asarray(first) == np.asarray(second))
    assert len(np.unique(np.abs(first))) > 200


@few
@given(st.integers(-8, 16), st.floats(-0.49, 0.49))
def test_nearest_exponent_is_nearest_on_a_log_scale(exponent, off):
    level = jnp.asarray(2.0 ** (off - exponent), jnp.float32)
    nearest = latents.nearest_exponent(level)
    assert nearest.dtype == jnp.int8
    assert int(nearest) == exponent


def test_nearest_exponent_stays_in_its_range():
    extremes = latents.nearest_exponent(jnp.array([1e-30, 1e30]))
    assert sorted(extremes.tolist()) == sorted(latents.EXPONENT_RANGE)


@few
@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(-4, 4, width=32, allow_subnormal=False)))
def test_discretize_cuts_at_half_of_the_mean_absolute_latent(latent):
    gamma = np.maximum(np.abs(latent.astype(np.float64)).mean(), latents.SCALE_FLOOR)
    tensor = kind_of("ternary").discretize(jnp.asarray(latent))
    doubtful = np.abs(np.abs(latent) - gamma / 2) < 1e-5  # float32 rounds the mean
    expected = np.sign(latent) * (np.abs(latent) > gamma / 2)
    np.testing.assert_array_equal(np.asarray(tensor.values)[~doubtful], expected[~doubtful])
    binary = kind_of("binary").discretize(jnp.asarray(latent)).values
    np.testing.assert_array_equal(binary, np.where(latent >= 0, 1, -1))
    as_is = kind_of("float").discretize(jnp.asarray(latent))
    np.testing.assert_array_equal(as_is.values, latent)
    assert int(as_is.exponent) == 0


# --- operators --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_flip_at_rate_zero_changes_nothing_and_at_one_redraws_everything(kind):
    values = random_tensor(0, (3000,), 0, kind).values
    redrawn = {"ternary": {-1: 1 / 4, 0: 1 / 2, 1: 1 / 4}, "binary": {-1: 1 / 2, 1: 1 / 2}}
    for seed in range(3):
        key = jax.random.key(seed)
        kept = weights.flip(key, values, jnp.float32(0), kind_of(kind))
        fresh = np.asarray(weights.flip(key, values, jnp.float32(1), kind_of(kind)))
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
    flipped = weights.flip(jax.random.key(seed), values, jnp.float32(rate), kind_of(kind))
    assert flipped.dtype == jnp.int8
    assert values_of(flipped) <= VALUES[kind]
