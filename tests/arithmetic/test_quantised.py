"""Integers of a few bits: against numbers worked out by hand, brute force, and round trips."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from marks import wide

from ternevo.arithmetic.latents import EXPONENT_RANGE
from ternevo.arithmetic.weights import discretize_all, kind_of, straight_through_all
from ternevo.settings.policies.settings import LARGEST_LEVELS, exponent_spread
from ternevo.types import Tensor

KINDS = list(LARGEST_LEVELS)
few = settings(max_examples=50, deadline=None)
latents = hnp.arrays(np.float32, (6, 5), elements=st.floats(-4, 4, width=32, allow_subnormal=False))
discretize = {
    (kind, per_output): jax.jit(lambda x, k=kind, p=per_output: kind_of(k).discretize(x, None, p))
    for kind in KINDS
    for per_output in (False, True)
}


def restored(tensor: Tensor) -> np.ndarray:
    return np.ldexp(np.asarray(tensor.values, np.float64), -np.asarray(tensor.exponent, int))


BY_HAND = [
    # 127 / 1.5 is below 2**7: k = 6, and 1.5 * 64 = 96; 0.0234375 * 64 = 1.5 to even
    ("int8", [1.5, -0.75, 0.0234375, 0.0], 6, [96, -48, 2, 0]),
    ("int8", [0.5, -0.25, 0.125], 7, [64, -32, 16]),
    # unclipped 7 / 1.5 gives k = 2, errors 0, 0, 0
    ("int4", [1.5, -0.75, 0.25], 2, [6, -3, 1]),
    # k = 1 restores 3.5, .5 (0.25 * 2 = .5 to even: 0), error .0625; k = 2 clips 3.5 to 1.75
    ("int4", [3.5, 0.25], 1, [7, 0]),
    # k = 0: 1 -> 1, .4 -> 0, errors 3 * .16 = .48; k = 1: .5 each, errors .25 + 3 * .01 = .28
    ("int2", [1.0, 0.4, -0.4, 0.4], 1, [1, 1, -1, 1]),
    ("int2", [1.0, 0.1, -0.1, 0.1], 0, [1, 0, 0, 0]),
]


@pytest.mark.parametrize(("kind", "latent", "exponent", "values"), BY_HAND)
def test_integers_are_those_worked_out_by_hand(kind, latent, exponent, values):
    found = kind_of(kind).discretize(jnp.array(latent))
    assert (int(found.exponent), found.values.tolist()) == (exponent, values)
    assert found.values.dtype == found.exponent.dtype == jnp.int8


def test_each_output_has_its_own_exponent():
    latent = jnp.array([[1.5, 0.25], [-0.75, 0.125]])
    found = kind_of("int8").discretize(latent, None, True)
    assert found.exponent.tolist() == [6, 8]
    assert found.values.tolist() == [[96, 64], [-48, 32]]
    far = kind_of("int8").discretize(jnp.array([[1.0, 1e-4, 0.0]]), None, True)
    assert far.exponent.tolist() == [6, 12, 12]  # no further apart than a file allows


@pytest.mark.parametrize("kind", wide(KINDS, keep=["int4"]))
@pytest.mark.parametrize("per_output", [False, True])
@few
@given(latents)
def test_no_exponent_nearby_has_a_smaller_error(kind, per_output, latent):
    largest, spread = LARGEST_LEVELS[kind], exponent_spread(kind)
    found = discretize[kind, per_output](latent)
    assert np.abs(np.asarray(found.values, int)).max() <= largest
    exponents = np.atleast_1d(np.asarray(found.exponent, int))
    assert exponents.max() - exponents.min() <= spread
    columns = latent.T if per_output else [latent.ravel()]
    lowest = exponents.min()
    for column, exponent in zip(columns, exponents, strict=True):
        errors = {}
        for k in range(*EXPONENT_RANGE):
            whole = np.clip(np.round(np.ldexp(column.astype(np.float64), k)), -largest, largest)
            errors[k] = ((np.ldexp(whole, -k) - column) ** 2).sum()
        unclipped = max(
            (k for k in errors if np.abs(np.round(np.ldexp(column, k))).max() <= largest),
            default=EXPONENT_RANGE[0],
        )
        near = [errors[k] for k in range(unclipped, unclipped + 4) if k in errors]
        is_held = per_output and exponent == lowest + spread
        assert is_held or exponent not in errors or errors[exponent] <= min(near) * 1.001 + 1e-9


@pytest.mark.parametrize("kind", wide(KINDS, keep=["int4"]))
@pytest.mark.parametrize("per_output", [False, True])
@few
@given(latents)
def test_a_tensor_comes_back_as_it_is(kind, per_output, latent):
    """So a run begins at the very policy that it was told to begin at."""
    tensor = discretize[kind, per_output](latent)
    latent = kind_of(kind).latent(jax.random.key(0), tensor)
    again = discretize[kind, per_output](latent)
    np.testing.assert_array_equal(again.values, tensor.values)
    if np.any(tensor.values):
        np.testing.assert_array_equal(again.exponent, tensor.exponent)


@pytest.mark.parametrize("kind", wide(KINDS, keep=["int4"]))
@pytest.mark.parametrize("scales", [(), (5,)])
def test_training_sees_the_integers_that_ship(kind, scales):
    """By ==, pruned weights too; and gradients go straight through to what is not pruned."""
    own, keys = kind_of(kind), jax.random.split(jax.random.key(0), 3)
    template = ({"weight": Tensor(jnp.zeros((7, 5), jnp.int8), jnp.zeros(scales, jnp.int8))},)
    latent = [jax.random.normal(keys[0], (7, 5))]
    mask = [jax.random.uniform(keys[1], (7, 5)) < 0.6]

    @jax.jit
    def both(latent):
        soft = straight_through_all(template, latent, own, mask)
        return soft, discretize_all(template, latent, own, mask)

    soft, hard = (params[0]["weight"] for params in both(latent))
    np.testing.assert_array_equal(soft.values, np.asarray(hard.values, np.float32))
    np.testing.assert_array_equal(soft.exponent, hard.exponent)

    def total(latent):
        found = straight_through_all(template, latent, own, mask)[0]["weight"]
        return jnp.sum(found.values * jnp.exp2(-found.exponent.astype(jnp.float32)))

    slope = jax.grad(total)(latent)[0]
    np.testing.assert_allclose(slope, np.asarray(mask[0], np.float32), rtol=1e-6)


def test_what_powers_of_two_cost_beside_free_scales():
    """In decibels, on average over the size of normal weights; free scales may clip too."""
    drawn = np.random.default_rng(0).normal(size=(128, 64))
    cost = {}
    for kind, largest in LARGEST_LEVELS.items():
        for size in np.exp2(np.arange(8) / 8):
            latent = (size * drawn).astype(np.float32)
            scales = np.abs(latent).max() / largest * np.linspace(0.1, 1, 46)
            errors = [np.clip(np.round(latent / s), -largest, largest) * s - latent for s in scales]
            free = min((error**2).mean() for error in errors)
            own = ((restored(discretize[kind, False](latent)) - latent) ** 2).mean()
            cost.setdefault(kind, []).append(10 * np.log10(own / free))
    found = {kind: round(float(np.mean(each)), 1) for kind, each in cost.items()}
    assert found == {"int8": 1.9, "int4": 1.0, "int2": 0.4}


@pytest.mark.parametrize("kind", KINDS)
def test_other_levels_and_draws_are_levels(kind):
    own, largest = kind_of(kind), LARGEST_LEVELS[kind]
    drawn = own.draw(jax.random.key(0), (3000,))
    assert (int(drawn.min()), int(drawn.max())) == (-largest, largest)
    moved = own.other(jax.random.key(1), drawn)
    assert not np.any(np.asarray(moved) == np.asarray(drawn))
    assert np.abs(np.asarray(moved, int)).max() <= largest


NORMALS = np.random.default_rng(0).normal(size=(4, 5)).round(2).astype(np.float32)
QWIX = {  # integers of qwix 0.1.8 for these numbers, and their scale
    "int8": (
        2.0**-5,
        [[4, -4, 20, 3, -17], [12, 42, 30, -22, -41], [-20, 1, -75, -7, -40]],
        [-23, -17, -10, 13, 33],
    ),
    "int4": (
        2.0**-2,
        [[1, -1, 3, 0, -2], [1, 5, 4, -3, -5], [-2, 0, -8, -1, -5]],
        [-3, -2, -1, 2, 4],
    ),
    "int2": (
        2.0**0,
        [[0, 0, 1, 0, -1], [0, 1, 1, -1, -1], [-1, 0, -2, 0, -1]],
        [-1, -1, 0, 0, 1],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_integers_are_those_of_qwix_at_the_same_scale(kind):
    """Google's library, which is not a dependency: recorded, as it needs packages of its own.

    With `pip install qwix==0.1.8`, `k` the exponent found here and `L` the largest level:

        qwix.quantize(NORMALS, kind, calibration_method=f"fixed,{(L + 0.5) * 2.0**-k}")

    It has one level more below 0, to which it clips; levels here are symmetric.
    """
    scale, rows, last = QWIX[kind]
    found = discretize[kind, False](NORMALS)
    assert 2.0 ** -float(found.exponent) == scale
    largest = LARGEST_LEVELS[kind]
    np.testing.assert_array_equal(found.values, np.maximum([*rows, last], -largest))


OF_MANY_SIZES = np.random.default_rng(0).normal(size=(16, 5)) * np.exp2([0, 1, -2, 0.5, -1])
OF_MANY_SIZES = OF_MANY_SIZES.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_integers_of_each_output_are_those_of_qwix_at_the_same_scales(kind):
    """Where it is installed. It finds a scale from the largest size, which a row more sets here."""
    qwix = pytest.importorskip("qwix")
    largest = LARGEST_LEVELS[kind]
    found = discretize[kind, True](OF_MANY_SIZES)
    steps = np.exp2(-np.asarray(found.exponent, np.float32))
    assert len(set(steps)) > 2
    more = np.vstack([OF_MANY_SIZES, 8 * (largest + 0.5) * steps]).astype(np.float32)
    wanted = qwix.quantize(more, kind, channelwise_axes=(1,), calibration_method=f"absmax,{1 / 8}")
    np.testing.assert_array_equal(wanted.scale, steps[None])
    integers = np.asarray(wanted.qvalue, int)[:-1]
    np.testing.assert_array_equal(found.values, np.maximum(integers, -largest))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:'VariableState' was removed:DeprecationWarning")
def test_outputs_and_gradients_are_those_of_qwix(kind):
    """A layer of flax that it trains aware of quantisation, beside ours; both at our scale.

    Its gradients end where a weight is beyond the range; ours pass there too.
    """
    qwix = pytest.importorskip("qwix")
    latent, largest = jnp.asarray(OF_MANY_SIZES), LARGEST_LEVELS[kind]
    hard = discretize[kind, False](latent)
    bound = (largest + 0.5) * 2.0 ** -float(hard.exponent)
    assert OF_MANY_SIZES.min() > -bound  # it would use the one level more that it has below 0
    rule = qwix.QtRule(
        module_path=".*",
        weight_qtype=kind,
        disable_channelwise_axes=True,
        weight_calibration_method=f"fixed,{bound}",
    )
    layer = qwix.quantize_model(nn.Dense(5, use_bias=False), qwix.QtProvider([rule]))
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(7, 16)), jnp.float32)

    def of_qwix(latent):
        return jnp.sum(jnp.sin(layer.apply({"params": {"kernel": latent}}, inputs)))

    def ours(latent):
        soft = kind_of(kind).straight_through(latent)
        weight = soft.values * jnp.exp2(-soft.exponent.astype(jnp.float32))
        return jnp.sum(jnp.sin(inputs @ weight))

    (value, slope), (own_value, own_slope) = (
        jax.value_and_grad(loss)(latent) for loss in (of_qwix, ours)
    )
    np.testing.assert_allclose(own_value, value, rtol=1e-6)
    is_within = np.abs(OF_MANY_SIZES) <= bound
    np.testing.assert_allclose(own_slope[is_within], slope[is_within], rtol=1e-5, atol=1e-6)
    assert np.all(slope[~is_within] == 0) and np.all(own_slope[~is_within] != 0)
