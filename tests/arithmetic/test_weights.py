"""Kinds of weights and their latents, against definitions and round trips."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from marks import wide

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


@pytest.mark.parametrize("kind", wide(KINDS, keep=["ternary"]))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_latents_turn_back_into_exactly_their_tensor(kind, shape):
    """Not only the mode of a search is right at the start, so is its scale."""

    @jax.jit
    def round_trip(key, tensor):
        return kind_of(kind).discretize(kind_of(kind).latent(key, tensor))

    for seed, exponent in itertools.product(range(6), range(-3, 6)):
        tensor = random_tensor(seed, shape, exponent, kind)
        back = round_trip(jax.random.key(seed), tensor)
        if not np.any(tensor.values):  # an all-zero tensor stands for zeros at any exponent
            back = back._replace(exponent=tensor.exponent)
        assert_same_tensor(back, tensor)


@pytest.mark.parametrize("kind", wide(KINDS, keep=["ternary"]))
@pytest.mark.parametrize("fan_in", [64, 1500, 2500, 12000])
def test_latents_of_a_wide_start_turn_back_into_it(kind, fan_in):
    """The exponent is that of a policy with so many inputs; images have thousands."""
    exponent = round(math.log2(math.sqrt(fan_in * (2 / 3 if kind == "ternary" else 1))))
    tensor = random_tensor(0, (fan_in, 4), exponent, kind)
    start = jax.jit(kind_of(kind).latent)(jax.random.key(1), tensor)
    assert_same_tensor(jax.jit(kind_of(kind).discretize)(start), tensor)


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


# --- masks ------------------------------------------------------------------------------------

SCALED = ("ternary", "binary")


@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("shape", [(7, 3), (33, 5)], ids=str)
@pytest.mark.parametrize("kind", wide(["ternary", "binary", "float"], keep=["binary"]))
def test_a_mask_that_keeps_all_changes_no_bit(kind, shape, per_output):
    latent = jax.random.normal(jax.random.key(0), shape)
    mask = jnp.ones(shape, bool)

    @jax.jit  # with a mask it is another program
    def both(x, m):
        functions = (kind_of(kind).discretize, kind_of(kind).straight_through)
        return [array for function in functions for array in function(x, m, per_output)]

    for ours, theirs in zip(both(latent, mask), both(latent, None), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    scales = [latents.scale(latent, m, per_output) for m in (mask, None)]
    np.testing.assert_array_equal(*scales)


@pytest.mark.parametrize("kind", SCALED)
def test_a_pruned_tensor_has_the_scale_of_what_is_kept(kind):
    """Half of it is pruned, and has latents that would double the scale."""
    kept = jax.random.normal(jax.random.key(0), (20, 6))
    latent = jnp.concatenate([kept, jnp.full((20, 6), 3.0)])
    mask = jnp.arange(40)[:, None] < jnp.full(6, 20)
    assert float(latents.scale(latent, mask)) == pytest.approx(float(latents.scale(kept)))
    tensor, alone = (kind_of(kind).discretize(*x) for x in ((latent, mask), (kept,)))
    np.testing.assert_array_equal(tensor.values[:20], alone.values)
    np.testing.assert_array_equal(tensor.values[20:], 0)
    assert int(tensor.exponent) == int(alone.exponent)
    assert int(kind_of(kind).discretize(latent).exponent) < int(alone.exponent)


@pytest.mark.parametrize("kind", ["ternary", "binary", "float"])
def test_nothing_pulls_a_pruned_weight(kind):
    latent = jax.random.normal(jax.random.key(0), (9, 4))
    mask = jax.random.bernoulli(jax.random.key(1), 0.5, (9, 4))

    def total(latent):
        tensor = kind_of(kind).straight_through(latent, mask)
        return jnp.sum(tensor.values * jnp.exp2(-tensor.exponent.astype(jnp.float32)))

    np.testing.assert_array_equal(jax.grad(total)(latent), mask.astype(jnp.float32))


def test_an_output_that_is_pruned_whole_is_zero_at_a_finite_scale():
    latent, mask = jnp.ones((4, 2)), jnp.array([[True, False]] * 4)
    tensor = kind_of("ternary").discretize(latent, mask, per_output=True)
    np.testing.assert_array_equal(tensor.values, [[1, 0]] * 4)
    assert np.all(np.abs(tensor.exponent) <= 16)


def test_masks_go_with_the_tensors_of_params():
    template = {
        "weight": Tensor(jnp.zeros((6, 3), jnp.int8), jnp.zeros(3, jnp.int8)),
        "bias": Tensor(jnp.zeros(3, jnp.int8), jnp.int8(0)),
    }
    given = [jnp.ones(3), jnp.ones((6, 3))]  # by name, as in the tree
    masks = [jnp.array([True, True, False]), jnp.arange(18).reshape(6, 3) % 2 == 0]
    for make in (weights.discretize_all, weights.straight_through_all):
        params = make(template, given, kind_of("ternary"), masks)
        np.testing.assert_array_equal(params["bias"].values, masks[0])
        np.testing.assert_array_equal(params["weight"].values, masks[1])
        assert (params["bias"].exponent.shape, params["weight"].exponent.shape) == ((), (3,))


# --- a scale for each output ------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCALED)
def test_each_output_is_discretized_as_a_tensor_of_its_own(kind):
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(50, 5, 3)), jnp.float32)
    latents *= jnp.array([0.01, 1.0, 20.0])  # so that some exponents are too far apart
    together = jax.vmap(lambda x: kind_of(kind).discretize(x, per_output=True))(latents)
    alone = jax.vmap(jax.vmap(kind_of(kind).discretize, 1), 0)(latents)
    largest = alone.exponent.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(together.exponent, np.maximum(alone.exponent, largest - 8))
    assert np.any(together.exponent != alone.exponent)
    np.testing.assert_array_equal(together.values, alone.values.swapaxes(1, 2))


@pytest.mark.parametrize("kind", wide(KINDS, keep=["ternary"]))
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 3), (64, 16)], ids=str)
def test_latents_turn_back_into_a_tensor_with_exponents_of_outputs(kind, shape):
    round_trip = jax.jit(
        lambda key, tensor: kind_of(kind).discretize(
            kind_of(kind).latent(key, tensor), per_output=True
        )
    )
    rng = np.random.default_rng(0)
    for seed in range(8):
        tensor = random_tensor(seed, shape, 0, kind)
        tensor = tensor._replace(exponent=jnp.asarray(rng.integers(-3, 6, shape[1]), jnp.int8))
        back = round_trip(jax.random.key(seed), tensor)
        np.testing.assert_array_equal(back.values, tensor.values)
        used = np.any(np.asarray(tensor.values) != 0, axis=0)  # zeros stand for zeros anyway
        np.testing.assert_array_equal(back.exponent[used], tensor.exponent[used])


@pytest.mark.parametrize("kind", SCALED)
def test_a_straight_through_weight_has_slope_one_with_scales_of_outputs(kind):
    latent = 0.2 * jax.random.normal(jax.random.key(0), (6, 4)) * jnp.array([1.0, 2.0, 5.0, 30.0])

    def total(latent):
        tensor = kind_of(kind).straight_through(latent, per_output=True)
        return jnp.sum(tensor.values * jnp.exp2(-tensor.exponent.astype(jnp.float32)))

    np.testing.assert_array_equal(jax.grad(total)(latent), 1)
    soft = kind_of(kind).straight_through(latent, per_output=True)
    hard = kind_of(kind).discretize(latent, per_output=True)
    assert len(set(np.asarray(hard.exponent).tolist())) > 2
    for ours, theirs in zip(soft, hard, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["ternary", "binary", "float"])
def test_a_kind_is_found_by_its_name(name):
    kind = kind_of(name)
    drawn = kind.draw(jax.random.key(0), (500,))
    assert (kind.name, drawn.dtype) == (name, kind.dtype)
    assert kind.is_float or values_of(drawn) == set(kind.levels)
    assert kind.has_zero == (name != "binary")


# --- ternarisers ------------------------------------------------------------------------------

NUMPY_CUTS = {
    "absmean": lambda sizes: 0.5 * sizes.mean(),
    "twn": lambda sizes: 0.7 * sizes.mean(),
    "ttq": lambda sizes: 0.05 * sizes.max(),
}
drawn_latents = hnp.arrays(np.float32, (5, 3), elements=st.floats(-4, 4, width=16))


@given(drawn_latents, st.sampled_from(sorted(NUMPY_CUTS)), st.booleans(), seeds)
@few
def test_ternarisers_are_their_formulas(latent, name, is_pruned, seed):
    mask = np.random.default_rng(seed).random(latent.shape) < 0.5 if is_pruned else latent == latent
    sizes = np.abs(latent[mask]).astype(np.float64)
    cut = NUMPY_CUTS[name](sizes) if sizes.size else 0.0
    assume(not np.any(np.isclose(sizes, cut, rtol=1e-5)))  # rounding decides
    assume(name != "absmean" or cut > latents.SCALE_FLOOR)  # it has a least scale
    given = jnp.asarray(latent), jnp.asarray(mask) if is_pruned else None
    tensor = kind_of("ternary", name).discretize(*given)
    wanted = np.where(mask & (np.abs(latent) > cut), np.sign(latent), 0)
    np.testing.assert_array_equal(tensor.values, wanted)
    if name != "absmean" and np.any(wanted):
        level = np.log2(np.abs(latent[wanted != 0]).astype(np.float64).mean())
        assert abs(min(-level, 16) - int(tensor.exponent)) < 0.5 + 1e-5
    soft = kind_of("ternary", name).straight_through(*given)
    np.testing.assert_array_equal(soft.values, tensor.values)
    assert soft.exponent == tensor.exponent


def test_a_third_of_normal_weights_are_zeros_with_absmean_and_more_with_twn():
    latent = jax.random.normal(jax.random.key(0), (400, 500))
    zeros = {
        name: float(jnp.mean(kind_of("ternary", name).discretize(latent).values == 0))
        for name in ("absmean", "twn")
    }
    assert zeros["absmean"] == pytest.approx(0.310, abs=0.005)  # erf(0.5 * 0.798 / sqrt(2))
    assert zeros["twn"] == pytest.approx(0.423, abs=0.005)


@pytest.mark.parametrize("name", ["twn", "ttq"])
@pytest.mark.parametrize("per_output", [False, True])
def test_latents_of_a_ternariser_turn_back_into_their_tensor(name, per_output):
    kind = kind_of("ternary", name)
    round_trip = jax.jit(lambda key, x: kind.discretize(kind.latent(key, x), None, per_output))
    for seed, exponent in itertools.product(range(4), (-3, 0, 9)):
        values = random_tensor(seed, (7, 3), exponent, "ternary").values
        if seed == 3:
            values = values.at[:, 1].set(0)  # an output of zeros
        exponents = jnp.array([exponent, exponent + 2, exponent + 4], jnp.int8)
        tensor = Tensor(values, exponents if per_output else jnp.int8(exponent))
        back = round_trip(jax.random.key(seed), tensor)
        np.testing.assert_array_equal(back.values, values)
        is_there = np.any(np.asarray(values) != 0, axis=0) if per_output else True
        assert np.all((np.asarray(back.exponent) == np.asarray(tensor.exponent)) | ~is_there)
