"""Draws from uniform numbers: every place and number is as likely, and none is out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo.algorithms import draws

UNIFORM = jnp.arange(1200) / 1200


@pytest.mark.parametrize("mask", [[1, 0, 1, 1], [0, 0, 0, 1], [1], [0, 1, 0]])
def test_places_where_the_mask_holds_are_as_likely(mask):
    mask = jnp.array(mask, bool)
    found = jax.vmap(lambda u: draws.place(u, mask))(UNIFORM)
    counts = np.bincount(found, minlength=mask.size)
    np.testing.assert_array_equal(counts, np.where(mask, 1200 // int(mask.sum()), 0))


def test_a_place_of_none_is_the_first():
    assert int(draws.place(jnp.float32(0.9), jnp.zeros(3, bool))) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_numbers_below_are_as_likely_and_the_largest_float_is_in_range(count):
    found = draws.below(UNIFORM, count)
    np.testing.assert_array_equal(np.bincount(found), 1200 // count)
    largest = np.nextafter(np.float32(1), np.float32(0))
    assert int(draws.below(jnp.float32(largest), count)) == count - 1


def test_the_last_axis_is_split_in_order_and_rows_stay():
    rows = np.arange(18).reshape(2, 9)
    first, one, last = draws.split(jnp.asarray(rows), [(2, 3), (), (2,)])
    np.testing.assert_array_equal(first, rows[:, :6].reshape(2, 2, 3))
    np.testing.assert_array_equal(one, rows[:, 6])
    np.testing.assert_array_equal(last, rows[:, 7:])


def test_signs_and_shapes():
    assert int(draws.sign(UNIFORM).sum()) == 0
    one, other, last = draws.uniforms(jax.random.key(0), (2, 3), (), (4,))
    assert (one.shape, other.shape, last.shape) == ((2, 3), (), (4,))
    assert len(set(np.concatenate([one.ravel(), other[None], last]).tolist())) == 11
