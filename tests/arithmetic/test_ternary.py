"""Trits and params as lists of tensors, against direct sums and exact integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ternevo.arithmetic import ternary
from ternevo.types import Tensor

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


@few
@given(seeds, st.sampled_from([0.01, 0.1, 0.25, 2 / 3, 1.0]))
def test_weights_of_a_density_have_that_many_others_than_zero(seed, density):
    exponents = jnp.array([3, -8], jnp.int8)
    weight = Tensor(jnp.zeros((20, 10), jnp.int8), exponents[0])
    bias = Tensor(jnp.ones(10, jnp.int8), exponents[1])
    found = ternary.with_density(jax.random.key(seed), {"a": bias, "b": weight}, density)
    values = np.asarray(found["b"].values)
    assert np.sum(values != 0) == round(200 * density)
    assert values_of(values) <= {-1, 0, 1} and found["b"].values.dtype == jnp.int8
    np.testing.assert_array_equal(found["a"].values, bias.values)
    # A layer of 200 inputs is drawn with the exponent round(log2(sqrt(200 density))).
    shift = {0.01: -3, 0.1: -1, 0.25: -1, 2 / 3: 0, 1.0: 0}[density]
    assert [int(found[name].exponent) for name in "ba"] == [3 + shift, -8]


def test_places_and_signs_of_a_density_are_any():
    weight = Tensor(jnp.zeros((4, 5), jnp.int8), jnp.zeros((), jnp.int8))
    draw = jax.vmap(lambda key: ternary.with_density(key, [weight], 0.25)[0].values)
    values = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    np.testing.assert_allclose((values != 0).mean(0), 0.25, atol=4 * (0.1875 / 4000) ** 0.5)
    np.testing.assert_allclose(values.mean(0), 0, atol=4 * (0.25 / 4000) ** 0.5)


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


def test_zero_fraction_counts_over_all_tensors():
    zero = jnp.zeros((), jnp.int8)
    first, second = jnp.zeros((3, 100), jnp.int8), jnp.ones((100,), jnp.int8)
    params = ({"weight": Tensor(first, zero)}, {"weight": Tensor(second, zero)})
    assert float(ternary.zero_fraction(params)) == 0.75


@few
@given(seeds, st.floats(0, 1, width=32))
def test_crossover_takes_every_value_from_a_parent(seed, rate):
    parents = np.random.default_rng(seed).integers(-1, 2, (2, 40), np.int8)
    first, second = jnp.asarray(parents)
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
