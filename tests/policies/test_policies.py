"""The forward pass equals the policy arithmetic, integer for integer, and so does the quantiser."""

import functools
import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from marks import wide
from policy_inputs import inputs

from ternevo.arithmetic import actions, latents, observation, ternary
from ternevo.arithmetic.observation import Quantiser
from ternevo.deploy import tvp
from ternevo.machine import devices
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import bias_shift_limit
from ternevo.types import ActionSpec, ObservationMoments, ObsSpec, Tensor

INTEGER_ACTIVATIONS = {"int8": 7, "int4": 3, "sign": 0, "ternary": 0}  # bits of full scale
VALUES = {"ternary": [-1, 0, 1], "binary": [-1, 1]}
HIDDEN, OBS_SIZE, ACTION = (5, 4), 6, ActionSpec("discrete", 3)
ONE_FORCE = ActionSpec("continuous", 1, (-1,), (1,))
SIZES = (OBS_SIZE, *HIDDEN, ACTION.size)
few = settings(max_examples=30, deadline=None)


# --- a second implementation, in Python integers, written from the specification --------------


def shifted(number: int, shift: int) -> int:
    """Return number * 2**-shift, rounded half to even."""
    if shift <= 0:
        return number << -shift
    quotient, rest = divmod(number, 1 << shift)
    half = 1 << (shift - 1)
    return quotient + (rest > half or (rest == half and quotient % 2 == 1))


def activate(name: str, total: int, scale_bits: int) -> int:
    """Activate a sum of which 2**scale_bits is one full scale."""
    if name == "sign":
        return 1 if total >= 0 else -1
    if name == "ternary":
        half_scale = Fraction(2) ** (scale_bits - 1)
        return int(total > half_scale) - int(total < -half_scale)
    bits = INTEGER_ACTIVATIONS[name]
    limit = 2**bits - 1
    return max(-limit, min(limit, shifted(total, scale_bits - bits)))


def integer_forward(params, obs, activation: str, observation_bits: int, shifts=(0, 0)):
    """Return every output as (integer, exponent): the number is integer * 2**-exponent."""
    values = [int(x) >> (8 - observation_bits) for x in obs]
    full_scale = max(2 ** (observation_bits - 1) - 1, 1)
    bits = observation_bits - 1 - shifts[0]
    for depth, layer in enumerate(params):
        weight, k = np.asarray(layer["weight"].values), int(layer["weight"].exponent)
        totals = [sum(int(w) * x for w, x in zip(col, values, strict=True)) for col in weight.T]
        if "bias" in layer:
            shift = min(k - int(layer["bias"].exponent), 8)
            beta = shifted(full_scale, -shift)
            totals = [t + beta * int(b) for t, b in zip(totals, layer["bias"].values, strict=True)]
        if depth == len(params) - 1:
            return [(t, k + bits + shifts[1]) for t in totals]
        values = [activate(activation, t, k + bits) for t in totals]
        bits = INTEGER_ACTIVATIONS[activation]
        full_scale = max(2**bits - 1, 1)
    raise AssertionError("no layers")


def random_params(seed: int, kind: str, exponents, use_bias: bool = True):
    rng = np.random.default_rng(seed)

    def tensor(shape, exponent):
        values = rng.choice(VALUES[kind], shape).astype(np.int8)
        return Tensor(jnp.asarray(values), jnp.asarray(exponent, jnp.int8))

    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(SIZES)):
        layer = {"weight": tensor((fan_in, fan_out), exponents[2 * i])}
        if use_bias:
            layer["bias"] = tensor((fan_out,), exponents[2 * i + 1])
        layers.append(layer)
    return tuple(layers)


@functools.cache
def jitted(activation: str, observation_bits: int = 8, weights: str = "ternary", shifts=(0, 0)):
    policy = MLP(
        HIDDEN,
        activation,
        weights=weights,
        observation_bits=observation_bits,
        observation_shift=shifts[0],
        output_shift=shifts[1],
    ).build(ObsSpec((OBS_SIZE,)), ACTION)
    return jax.jit(lambda params, obs: policy.apply(params, (), inputs(obs))[1])


def assert_equals_integers(params, obs, activation, observation_bits=8, shifts=(0, 0)):
    output = jitted(activation, observation_bits, shifts=shifts)(
        params, jnp.asarray(obs, jnp.float32)
    )
    expected = integer_forward(params, obs, activation, observation_bits, shifts)
    assert [Fraction(float(x)) for x in output] == [n * Fraction(2) ** -e for n, e in expected]


observations = hnp.arrays(np.int64, OBS_SIZE, elements=st.integers(-127, 127))
# Small exponents make rounding ties frequent; the whole range has saturation and silence.
exponent_lists = st.one_of(
    st.lists(st.integers(0, 4), min_size=6, max_size=6),
    st.lists(st.integers(*latents.EXPONENT_RANGE), min_size=6, max_size=6),
)


@pytest.mark.exact
@pytest.mark.parametrize("kind", wide(VALUES, keep=["ternary"]))
@pytest.mark.parametrize("activation", list(INTEGER_ACTIVATIONS))
@few
@given(st.integers(0, 10**6), exponent_lists, observations)
def test_outputs_are_the_integers_of_the_specification(activation, kind, seed, exponents, obs):
    assert_equals_integers(random_params(seed, kind, exponents), obs, activation)


@pytest.mark.exact
@pytest.mark.parametrize("observation_bits", range(1, 9))
@pytest.mark.parametrize("activation", wide(["int8", "sign"], keep=["int8"]))
def test_coarser_observations_are_an_arithmetic_shift(activation, observation_bits):
    rng = np.random.default_rng(observation_bits)
    for seed in range(12):
        params = random_params(seed, "ternary", rng.integers(0, 5, 6).tolist())
        assert_equals_integers(params, rng.integers(-127, 128, 6), activation, observation_bits)


@pytest.mark.exact
@pytest.mark.parametrize("shifts", [(2, 0), (0, 3), (8, 8)], ids=str)
@pytest.mark.parametrize("activation", wide(["int8", "ternary"], keep=["int8"]))
def test_observation_and_output_shifts_are_powers_of_two(activation, shifts):
    rng = np.random.default_rng(0)
    for seed in range(12):
        params = random_params(seed, "ternary", rng.integers(0, 5, 6).tolist())
        assert_equals_integers(params, rng.integers(-127, 128, 6), activation, shifts=shifts)


@pytest.mark.exact
@pytest.mark.parametrize("activation", wide(INTEGER_ACTIVATIONS, keep=["int8"]))
def test_a_policy_without_biases_is_one_whose_biases_are_zero(activation):
    without = random_params(3, "ternary", [2] * 6, use_bias=False)
    zeros = tuple(
        layer | {"bias": Tensor(jnp.zeros(n, jnp.int8), jnp.asarray(0, jnp.int8))}
        for layer, n in zip(without, SIZES[1:], strict=True)
    )
    obs = jnp.arange(-60.0, 60.0, 20.0)
    np.testing.assert_array_equal(jitted(activation)(without, obs), jitted(activation)(zeros, obs))
    assert_equals_integers(without, obs, activation)


@pytest.mark.exact
@pytest.mark.parametrize(
    "total, expected", [(1, 0), (2, 0), (3, 1), (6, 2), (10, 2), (-2, 0), (-6, -2), (-3, -1)]
)
def test_int8_rounds_quarters_half_to_even(total, expected):
    """A net of one chain: the hidden unit is total / 4, and the output shows it."""
    one = Tensor(jnp.ones((1, 1), jnp.int8), jnp.asarray(2, jnp.int8))
    policy = MLP((1,), "int8", use_bias=False, observation_shift=0).build(ObsSpec((1,)), ONE_FORCE)
    _, output = policy.apply(({"weight": one},) * 2, (), inputs(jnp.array([float(total)])))
    assert float(output[0]) * 2**9 == expected


def test_the_sign_of_zero_is_plus_one():
    zero = Tensor(jnp.zeros((1, 1), jnp.int8), jnp.asarray(0, jnp.int8))
    one = Tensor(jnp.ones((1, 1), jnp.int8), jnp.asarray(0, jnp.int8))
    policy = MLP((1,), "sign", use_bias=False).build(ObsSpec((1,)), ONE_FORCE)
    _, output = policy.apply(({"weight": zero}, {"weight": one}), (), inputs(jnp.array([5.0])))
    assert float(output[0]) == 1.0


@pytest.mark.parametrize("weights", wide(["ternary", "binary", "float"], keep=["ternary"]))
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_float_activations_agree_with_numpy(activation, weights):
    function = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}[activation]
    policy = MLP(HIDDEN, activation, weights=weights, observation_shift=0).build(
        ObsSpec((OBS_SIZE,)), ACTION
    )
    rng = np.random.default_rng(0)
    for seed in range(4):
        params = jax.jit(policy.init)(jax.random.key(seed))
        obs = rng.integers(-127, 128, OBS_SIZE)
        values, full_scale, unit = obs.astype(np.float64), 127, 2.0**-7
        for depth, layer in enumerate(params):
            scale = 2.0 ** -int(layer["weight"].exponent)
            bias_scale = 2.0 ** -int(layer["bias"].exponent)
            values = values @ np.asarray(layer["weight"].values, np.float64) * scale * unit
            values += full_scale * unit * bias_scale * np.asarray(layer["bias"].values)
            if depth < len(params) - 1:
                values, full_scale, unit = function(values), 1, 1.0
        output = jitted(activation, weights=weights)(params, jnp.asarray(obs, jnp.float32))
        np.testing.assert_allclose(output, values, rtol=2e-5, atol=1e-6)


@pytest.mark.exact
@pytest.mark.parametrize(
    "activation",
    [
        pytest.param(name, marks=() if name in ("int8", "sign") else pytest.mark.slow)
        for name in INTEGER_ACTIVATIONS
    ],
)
def test_jit_vmap_and_float32_weights_change_no_bit(activation):
    policy = MLP(HIDDEN, activation).build(ObsSpec((OBS_SIZE,)), ACTION)
    params = jax.jit(jax.vmap(policy.init))(jax.random.split(jax.random.key(0), 2))
    as_float = jax.tree.map(
        lambda t: t._replace(values=t.values.astype(jnp.float32)), params, is_leaf=ternary.is_tensor
    )
    obs = jnp.asarray(np.random.default_rng(1).integers(-127, 128, (2, OBS_SIZE)), jnp.float32)
    together = jax.jit(jax.vmap(lambda p, x: policy.apply(p, (), inputs(x))[1]))
    alone = [
        policy.apply(jax.tree.map(lambda x, i=i: x[i], params), (), inputs(obs[i]))[1]
        for i in range(2)
    ]
    np.testing.assert_array_equal(together(params, obs), jnp.stack(alone))
    np.testing.assert_array_equal(together(as_float, obs), jnp.stack(alone))


def test_the_forward_pass_mixes_no_dtypes(strict_promotion):
    policy = MLP(HIDDEN).build(ObsSpec((OBS_SIZE,)), ACTION)
    params = policy.init(jax.random.key(0))
    memory, output = policy.apply(params, (), inputs(jnp.ones(OBS_SIZE)))
    assert (memory, output.dtype, output.shape) == ((), jnp.float32, (3,))


# --- how a policy starts, and what is refused -------------------------------------------------


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", ["ternary", "binary", "float"])
def test_a_random_policy_has_the_values_of_its_kind(kind, use_bias):
    policy = MLP((40,), weights=kind, use_bias=use_bias).build(ObsSpec((30,)), ACTION)
    params = jax.jit(policy.init)(jax.random.key(0))
    assert len(params) == 2
    density = {"ternary": 2 / 3, "binary": 1.0}.get(kind)
    for layer, fan_in, fan_out in zip(params, (30, 40), (40, 3), strict=True):
        assert set(layer) == ({"weight", "bias"} if use_bias else {"weight"})
        weight = layer["weight"]
        assert weight.values.shape == (fan_in, fan_out)
        assert weight.exponent.dtype == jnp.int8
        if density is None:
            assert weight.values.dtype == jnp.float32
            assert int(weight.exponent) == 0
            assert abs(np.std(weight.values) * math.sqrt(fan_in) - 1) < 0.3
        else:
            assert weight.values.dtype == jnp.int8
            assert np.unique(weight.values).tolist() == VALUES[kind]
            assert int(weight.exponent) == round(math.log2(math.sqrt(fan_in * density)))
        if use_bias:
            bias = layer["bias"].values
            assert (bias.shape, bias.dtype) == ((fan_out,), weight.values.dtype)
            assert set(np.unique(bias).tolist()) <= ({-1, 1} if kind == "binary" else {0})


def test_a_first_bias_is_worth_one_unit_of_its_layer_whatever_the_observation_shift():
    """Full scale, 2**shift units, times the bias scale over the weight scale."""
    policy = MLP((8,), observation_shift=3).build(ObsSpec((4,)), ACTION)
    first, second = jax.jit(policy.init)(jax.random.key(0))
    assert int(first["bias"].exponent) == int(first["weight"].exponent) + 3
    assert int(second["bias"].exponent) == int(second["weight"].exponent)


def test_random_policies_of_different_keys_differ():
    policy = MLP((8,)).build(ObsSpec((4,)), ACTION)
    first, second = (jax.jit(policy.init)(jax.random.key(seed)) for seed in (0, 1))
    assert np.any(np.asarray(first[0]["weight"].values) != second[0]["weight"].values)


def test_sums_of_the_widest_layer_are_exact_in_float32():
    """Biases included; wider ones are refused."""
    assert 127 * (tvp.MAX_FAN_IN + 2 ** bias_shift_limit("ternary")) < 2**24
    MLP(()).build(ObsSpec((tvp.MAX_OBSERVATION,)), ACTION)
    with pytest.raises(ValueError, match="do not fit into a policy file"):
        MLP(()).build(ObsSpec((tvp.MAX_OBSERVATION + 1,)), ACTION)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_sizes": (4, 0)},
        {"observation_bits": 0},
        {"observation_bits": 9},
        {"output_shift": -1},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MLP(**wrong)


# --- from output to action --------------------------------------------------------------------


def test_the_lowest_index_wins_a_tie():
    action = actions.mode(ActionSpec("discrete", 4), jnp.array([1.0, 3.0, 3.0, -1.0]))
    assert (int(action), action.dtype) == (1, jnp.int32)


def test_outputs_are_clipped_and_mapped_to_the_action_range():
    spec = ActionSpec("continuous", 4, (-2.0, 0.0, -1.0, -1.0), (2.0, 1.0, 1.0, 1.0))
    action = actions.mode(spec, jnp.array([0.5, -7.0, 7.0, -0.25]))
    np.testing.assert_array_equal(action, jnp.array([1.0, 0.0, 1.0, -0.25]))


# --- the quantiser ----------------------------------------------------------------------------


def test_quantising_rounds_half_to_even_and_clamps():
    obs = jnp.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.4, 1e30, -1e30])
    quantised = observation.quantise(Quantiser(jnp.zeros(9), jnp.ones(9)), obs)
    np.testing.assert_array_equal(quantised, [0, 2, 2, 0, -2, 126, 127, 127, -127])


def test_nan_becomes_zero_and_infinity_full_scale():
    quantiser = Quantiser(jnp.full(3, 5.0), jnp.full(3, 2.0))
    quantised = observation.quantise(quantiser, jnp.array([jnp.nan, jnp.inf, -jnp.inf]))
    np.testing.assert_array_equal(quantised, [0, 127, -127])


@pytest.mark.exact
@few
@given(
    hnp.arrays(np.float32, 4, elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(np.float32, 4, elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(np.int64, 4, elements=st.integers(-24, 24)),
)
def test_quantising_is_exact_but_for_one_subtraction(obs, mean, exponents):
    scale = np.ldexp(np.float32(1), exponents)
    quantiser = Quantiser(jnp.asarray(mean), jnp.asarray(scale))
    quantised = np.asarray(observation.quantise(quantiser, jnp.asarray(obs)))
    for x, m, e, q in zip(obs, mean, exponents, quantised, strict=True):
        exact = Fraction(float(x - m)) * Fraction(2) ** int(e)
        assert q == max(-127, min(127, round(exact)))  # round of a Fraction is half to even


def frozen_exponent(deviation: float) -> int:
    """floor(log2(127 / (4 std))) in exact arithmetic."""
    ratio = Fraction(127) / (4 * Fraction(float(deviation)))
    exponent = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > ratio
    assert Fraction(2) ** exponent <= ratio < Fraction(2) ** (exponent + 1)
    return max(-observation.EXPONENT_LIMIT, min(observation.EXPONENT_LIMIT, exponent))


@few
@given(
    st.integers(1, 10**6),
    hnp.arrays(np.float32, 5, elements=st.floats(1, 2, width=32)),
    hnp.arrays(np.int64, 5, elements=st.integers(-126, 126)),
)
def test_the_scale_is_the_largest_power_of_two_that_fits_four_deviations(count, share, exponents):
    """Of any size that float32 holds; beyond the limit of exponents, that."""
    deviation = np.ldexp(share, exponents)
    moments = ObservationMoments(jnp.full(5, float(count)), jnp.zeros(5), jnp.asarray(deviation))
    scale = freeze(moments).scale
    np.testing.assert_array_equal(scale, [2.0 ** frozen_exponent(x) for x in deviation])


@pytest.mark.parametrize(
    ("mean", "deviation"), [(0.0, 1e-3), (1.0, 2.0**-10), (-1e-30, 1e-30 / 1024), (1e6, 976.5625)]
)
def test_a_component_that_never_moved_has_a_deviation_in_its_own_unit(mean, deviation):
    """So that the last bits of a large number, when they come to move, are not all there is."""
    frozen = freeze(ObservationMoments(jnp.ones(1), jnp.full(1, mean), jnp.zeros(1)))
    np.testing.assert_array_equal(frozen.scale, 2.0 ** frozen_exponent(deviation))


def test_a_component_that_was_never_finite_is_taken_for_mean_zero_and_deviation_one():
    seen = ObservationMoments(jnp.array([9.0, 0.0]), jnp.array([5.0, 0.0]), jnp.array([2.0, 0.0]))
    frozen = freeze(seen)
    np.testing.assert_array_equal(frozen.mean, [5, 0])
    np.testing.assert_array_equal(frozen.scale, [8, 16])


def test_a_mean_that_is_subnormal_is_frozen_to_zero():
    """XLA takes it for 0, and other runtimes would not."""
    tiny = np.array([1e-40, 2.0**-126], np.float32)
    frozen = freeze(ObservationMoments(jnp.ones(2), jnp.asarray(tiny), jnp.ones(2)))
    np.testing.assert_array_equal(np.asarray(frozen.mean), [0, tiny[1]])


@pytest.mark.exact
@pytest.mark.parametrize("exponent", [*range(-10, 15), -119, -100, 100, 119])
def test_the_scale_changes_exactly_at_the_power_of_two(exponent):
    """At std = 31.75 / 2^e the ratio is 2^e; the next larger std gets half of the scale."""
    at = np.float32(31.75 * 2.0**-exponent)
    stds = np.array([np.nextafter(at, 0, dtype="f"), at, np.nextafter(at, np.inf, dtype="f")], "f")
    scale = freeze(ObservationMoments(jnp.ones(3), jnp.zeros(3), jnp.asarray(stds))).scale
    expected = [2.0 ** frozen_exponent(x) for x in stds]
    assert {2.0**exponent, 2.0 ** (exponent - 1)} == set(expected)
    np.testing.assert_array_equal(scale, expected)


def test_nothing_seen_is_taken_for_mean_zero_and_deviation_one():
    quantiser = observation.freeze(observation.empty(2))
    np.testing.assert_array_equal(quantiser.mean, 0)
    np.testing.assert_array_equal(quantiser.scale, 16)  # 127 / 4 is between 16 and 32


# --- moments ----------------------------------------------------------------------------------


@jax.jit
def moments_of(rows, counted, mean, scale) -> ObservationMoments:
    """Moments of rows [steps, lanes, obs], of which those lanes count."""
    sums = observation.start_sums(rows[0], mean)

    def one_step(sums, row):
        return observation.add(sums, *row, scale), ()

    sums, _ = jax.lax.scan(one_step, sums, (rows, counted))
    return devices.combine_in_order(observation.merge, observation.from_sums(sums, scale))


merge = jax.jit(observation.merge)
freeze = jax.jit(observation.freeze)
update = jax.jit(observation.update)


@few
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=5),
    st.integers(0, 10**6),
    st.floats(-5, 5, width=32),
)
def test_moments_merged_from_any_split_are_those_of_all_observations(sizes, seed, offset):
    """Empty parts included. A part is what is counted of a batch of six, in two lanes."""
    rng = np.random.default_rng(seed)
    mean, scale = jnp.array([0.0, 1.0, -3.0]), jnp.array([16.0, 1.0, 0.25])
    merged, parts = observation.empty(3), []
    for size in sizes:
        batch, counted = rng.normal(offset, 2, (6, 3)).astype(np.float32), rng.permutation(6) < size
        found = moments_of(batch.reshape(3, 2, 3), counted.reshape(3, 2), mean, scale)
        merged = merge(merged, found)
        parts.append(batch[counted])
    everything = np.concatenate(parts).astype(np.float64)
    np.testing.assert_array_equal(merged.count, len(everything))
    if len(everything):
        np.testing.assert_allclose(merged.mean, everything.mean(0), rtol=1e-5, atol=1e-5)
        # The pivot need not be among the counted ones here: some 2**-12 of its distance is lost.
        np.testing.assert_allclose(merged.deviation, everything.std(0), rtol=1e-4, atol=5e-3)


def of_one(count, mean, deviation) -> ObservationMoments:
    return ObservationMoments(*(jnp.full(1, x, jnp.float32) for x in (count, mean, deviation)))


def scales_after(combine, first, deviation, size=1000, generations=2000) -> list[float]:
    """The scale after each generation of `size` observations, after a million with `first`."""
    moments, scales = of_one(10**6, 0, first), []
    for _ in range(generations):
        moments = combine(moments, of_one(size, 0, deviation))
        scales.append(freeze(moments).scale.item())
    return scales


@pytest.mark.parametrize(("first", "later", "scale"), [(0.5, 0.45, 32.0), (0.49, 0.6, 64.0)])
def test_a_late_drift_past_a_power_of_two_moves_no_exponent(first, later, scale):
    """127 / 4 is 31.75, and 31.75 / 64 is 0.496: on one side of it the scale is 32, or 64."""
    assert set(scales_after(update, first, later)) == {scale}
    assert scales_after(merge, first, later)[-1] == 32 * 64 / scale


@pytest.mark.parametrize(
    ("first", "later", "scale"), [(0.5, 0.3, 64.0), (0.49, 0.8, 32.0), (0.49, 0.45, 64.0)]
)
def test_an_exponent_moves_once_where_late_observations_are_far_beyond_its_octave(
    first, later, scale
):
    """Half an octave beyond 0.496 is 0.351, and 0.702."""
    scales = scales_after(update, first, later)
    assert scales[-1] == scale
    assert sum(a != b for a, b in itertools.pairwise(scales)) <= 1


def test_early_exponents_follow_all_observations():
    """A generation that is at least a hundredth of what was seen."""
    assert scales_after(update, 0.5, 0.45, 20_000, 20) == scales_after(merge, 0.5, 0.45, 20_000, 20)
    assert scales_after(update, 0.5, 0.45, 20_000, 20)[-1] == 64.0


numbers = st.floats(2.0**-20, 2.0**20, width=32)


@few
@given(numbers, numbers, st.floats(-100, 100, width=32), st.sampled_from([0, 1, 2000]))
def test_an_update_merges_and_its_deviation_is_the_old_or_that_of_all(old, new, offset, count):
    before, seen = of_one(10**5, 1, old), of_one(count, offset, new)
    both, found = merge(before, seen), update(before, seen)
    assert (found.count, found.mean) == (both.count, both.mean)
    assert found.deviation in (before.deviation, both.deviation)
    if freeze(both).scale == freeze(before).scale or count == 2000:
        assert found.deviation == both.deviation
    for known, other in ((observation.empty(1), before), (before, observation.empty(1))):
        assert update(known, other) == before


def test_only_what_is_counted_and_finite_enters_the_sums_each_component_by_itself():
    obs = jnp.array([[[1.0, 2.0], [jnp.nan, 3.0]], [[5.0, -jnp.inf], [7.0, 8.0]]])
    counted = jnp.array([[True, True], [True, False]])
    nothing = observation.start_sums(obs - 1.0, jnp.array([-1.0, -2.0]))
    np.testing.assert_array_equal(nothing.pivot, [[[0, 1], [-1, 2]], [[4, -2], [6, 7]]])
    sums = observation.add(nothing, obs, counted, jnp.array([2.0, 4.0]))
    np.testing.assert_array_equal(sums.count, [[[1, 1], [0, 1]], [[1, 0], [0, 0]]])
    np.testing.assert_array_equal(sums.first, [[[2, 4], [0, 4]], [[2, 0], [0, 0]]])
    np.testing.assert_array_equal(sums.second, [[[4, 16], [0, 16]], [[4, 0], [0, 0]]])


def measured(rows, scale=16.0, passes=1) -> ObservationMoments:
    """Moments of rows [steps, lanes, obs], each time in the units of the last."""
    rows, expected = jnp.asarray(rows, jnp.float32), None
    scale = jnp.full(rows.shape[2], scale)
    mean = jnp.zeros(rows.shape[2])
    for _ in range(passes):
        expected = moments_of(rows, jnp.ones(rows.shape[:2], bool), mean, scale)
        mean, scale = freeze(expected)
    return expected


def test_a_diverged_simulation_does_not_poison_the_moments():
    """1e25 is a finite float32, but its square is not."""
    found = measured(np.array([[[0.0]], [[1.0]], [[1e25]]]))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(found))
    scale = observation.freeze(found).scale
    assert bool(jnp.all(jnp.isfinite(scale) & (scale > 0)))


OFFSETS_AND_DEVIATIONS = [
    *((1e6, 10.0), (5e6, 1.0), (-1e6, 10.0), (1e-2, 1e-4), (0.0, 1e-4), (0.0, 1e-30)),
    *((0.0, 1e30), (1e-30, 1e-32), (-1e32, 1e30), (3e-36, 2e-36), (1e37, 1e37)),
]


@pytest.mark.parametrize(("mean", "deviation"), OFFSETS_AND_DEVIATIONS)
def test_exponents_are_those_of_float64_wherever_the_observations_are(mean, deviation):
    """Two looks from a unit that has nothing to do with them, and then the measurement."""
    rows = np.random.default_rng(0).normal(mean, deviation, (200, 16, 2)).astype(np.float32)
    frozen = freeze(measured(rows, passes=3))
    wide = rows.astype(np.float64)
    expected = [frozen_exponent(x) for x in wide.std((0, 1))]
    assert np.all(np.abs(np.log2(frozen.scale) - expected) <= 1), (frozen, expected)
    np.testing.assert_allclose(frozen.mean, wide.mean((0, 1)), atol=deviation / 50, rtol=1e-6)


@pytest.mark.exact
@few
@given(st.integers(0, 10**6), st.integers(-100, 100), st.floats(-1e4, 1e4, width=32))
def test_the_unit_of_observations_changes_no_bit(seed, exponent, offset):
    rng = np.random.default_rng(seed)
    rows = rng.normal(offset, rng.choice([1e-2, 1.0, 30.0]), (7, 4, 2)).astype(np.float32)
    plain = measured(rows, passes=3)
    other = measured(np.ldexp(rows, exponent), passes=3)
    np.testing.assert_array_equal(plain.count, other.count)
    np.testing.assert_array_equal(np.ldexp(plain.mean, exponent), other.mean)
    np.testing.assert_array_equal(np.ldexp(plain.deviation, exponent), other.deviation)


@pytest.mark.parametrize("value", [0.0, 1e6 + 0.1, -3e-33, 7e36])
def test_what_never_moves_has_deviation_zero_and_its_very_mean(value):
    rows = np.full((50, 24, 1), value, np.float32)
    found = merge(measured(rows, passes=2), measured(rows))
    np.testing.assert_array_equal(found.mean, rows[0, 0])
    np.testing.assert_array_equal(found.deviation, 0)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 3e38])
def test_a_component_that_is_never_finite_leaves_the_others_as_they_are(broken):
    rows = np.random.default_rng(0).normal(3, 2, (50, 4, 3)).astype(np.float32)
    plain = measured(rows, passes=2)
    rows[:, :, 1] = broken
    found = measured(rows, passes=2)
    np.testing.assert_array_equal(found.count, [200, 0, 200])
    for ours, theirs in zip(found, plain, strict=True):
        np.testing.assert_array_equal(ours[::2], theirs[::2])


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**120])
def test_a_unit_that_is_all_wrong_heals_itself(scale):
    """A component of one unit that comes to move in another one."""
    rows = np.random.default_rng(0).normal(0, 1, (50, 4, 1)).astype(np.float32)
    found = measured(rows, scale, passes=4)
    np.testing.assert_allclose(found.deviation, rows.std(), rtol=1e-5)


@pytest.mark.parametrize(
    ("hidden_sizes", "message"),
    [
        ((4097,), "4,097 outputs of a layer do not fit into a policy file; at most 4,096; change"),
        (
            (2,) * 48,
            "49 layers do not fit into a policy file; at most 48; change --hidden_sizes",
        ),
        pytest.param(
            *((4096, 1024), "weights do not fit into a policy file; at most 3,932,160"),
            marks=pytest.mark.wide,
        ),
    ],
    ids=["wide", "deep", "large"],
)
def test_what_no_file_can_hold_is_refused_before_training(hidden_sizes, message):
    with pytest.raises(ValueError, match=message):
        MLP(hidden_sizes=hidden_sizes).build(ObsSpec((4,)), ActionSpec("discrete", 2))
