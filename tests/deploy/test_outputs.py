"""Exponents of outputs: every route gives the integers of the reference, ties included."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from policy_inputs import inputs
from policy_records import make_record, observations

from ternevo.deploy import integer, runtime, tvp
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.policies import policy_file
from ternevo.types import PolicyParams

MATMULS = ("float32", "bfloat16", "int8", "planes")
NO_FLOATS, NO_INTEGERS = np.zeros(0, np.float32), np.zeros(0, np.int8)


def by_hand(weights, exponents, bias=None, bias_exponent=0) -> PolicyRecord:
    """Return a policy of one layer that takes integers."""
    bias = None if bias is None else np.array(bias, np.int8)
    layer = Layer(
        np.array(weights, np.int8),
        bias,
        "ternary",
        "none",
        np.array(exponents, np.int8),
        bias_exponent,
    )
    return PolicyRecord(
        "i8", 8, 0, 0, NO_FLOATS, NO_INTEGERS, "discrete", NO_FLOATS, NO_FLOATS, (layer,)
    )


@pytest.fixture(params=runtime.BACKENDS)
def backend(request, monkeypatch):
    if request.param == "native" and runtime.native_module() is None:
        pytest.skip("the extension was not built")
    monkeypatch.setenv(runtime.BACKEND_VARIABLE, request.param)


def test_logits_have_the_unit_of_the_largest_exponent(backend):
    """10 * 2**-1 is more than 18 * 2**-2, though its sum is smaller."""
    record = by_hand([[1, 0], [0, 1]], [1, 2])
    policy = runtime.Policy(record)
    assert policy.logits([10, 18]).tolist() == [20, 18]
    assert integer.compile_integer(record).output_exponent == 2 + 7
    assert policy.act([10, 18]) == 0
    assert policy.act([9, 18]) == 0, "of equal logits the first wins"
    assert policy.act([8, 17]) == 1


def test_a_bias_is_worth_the_same_to_every_output(backend):
    """Full scale, 127, times 2**(weight exponent - bias exponent) of each output, at most 2**8."""
    record = by_hand(np.zeros((3, 2)), [-1, 2, 6], [1, -1, 1], 1)
    assert integer.compile_integer(record).layers[0].bias.tolist() == [32, -254, 4064]  # 31.75
    assert runtime.Policy(record).logits([0, 0]).tolist() == [32 * 2**7, -254 * 2**4, 4064]


def test_the_largest_logits_fit(backend):
    """The widest layer, inputs at full scale, the largest bias, exponents farthest apart."""
    record = by_hand(np.ones((2, tvp.MAX_WIDTH)), [2, 2 + tvp.EXPONENT_SPREAD], [1, 1], -24)
    sums = 127 * tvp.MAX_WIDTH + 127 * 2**8
    found = runtime.Policy(record).logits(np.full(tvp.MAX_WIDTH, 127))
    assert found.tolist() == [sums * 2**tvp.EXPONENT_SPREAD, sums]
    assert sums * 2**tvp.EXPONENT_SPREAD < 2**31


PAIRS = list(itertools.product(("discrete", "continuous"), (8, 3)))


def assert_jax_gives_the_integers(activation, kind, case: int, matmul: str) -> None:
    """Compare a policy with the outputs and bits of `PAIRS[case]` with the reference."""
    output, bits = PAIRS[case]
    record = make_record(
        (7, 33, 9, 5), activation, kind, True, bits, (1, 2), output, seed=case, scales="output"
    )
    saved, net = policy_file.from_record(record), integer.compile_integer(record)
    q = integer.quantise(record, observations(record, np.random.default_rng(case), 40))
    wanted = np.ldexp(integer.logits(net, q).astype(np.float32), -net.output_exponent)
    settings = dataclasses.replace(saved.settings, matmul=matmul)
    policy = settings.build(saved.obs, saved.action)
    packed = policy.packing(1).pack(saved.weights)
    found = jax.vmap(lambda x: policy.apply(packed, (), inputs(x))[1])(jnp.asarray(q, jnp.float32))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "activation, kind",
    wide(
        [
            pytest.param(activation, kind, marks=pytest.mark.slow if (i + j) % 2 else ())
            for i, activation in enumerate(integer.GRIDS)
            for j, kind in enumerate(("ternary", "binary"))
        ],
        keep=["sign"],
    ),
)
def test_jax_gives_the_integers_of_the_reference_with_every_matmul(activation, kind):
    """With another of the outputs and bits each; among all activations each matmul has each."""
    shift = list(integer.GRIDS).index(activation)
    for i, matmul in enumerate(MATMULS):
        assert_jax_gives_the_integers(activation, kind, (i + shift) % len(PAIRS), matmul)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ternary", "binary"])
@pytest.mark.parametrize("activation", list(integer.GRIDS))
def test_jax_gives_the_integers_of_the_reference_in_all_combinations(activation, kind):
    for case, matmul in itertools.product(range(len(PAIRS)), MATMULS):
        assert_jax_gives_the_integers(activation, kind, case, matmul)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_float_activation_after_them_agrees_within_rounding(activation):
    record = make_record((5, 9, 3), activation, scales="output", exponents=(2, 3))
    saved = policy_file.from_record(record)
    obs = observations(record, np.random.default_rng(0), 50)
    q = jnp.asarray(integer.quantise(record, obs), jnp.float32)
    wanted = jax.vmap(lambda x: saved.policy.apply(saved.weights, (), inputs(x))[1])(q)
    np.testing.assert_allclose(runtime.Policy(record).logits(obs), wanted, rtol=1e-5, atol=1e-5)


def test_the_record_of_a_jax_policy_is_the_one_it_came_from():
    record = make_record((7, 9, 5), scales="output")
    saved = policy_file.from_record(record)
    assert saved.settings.scales == "output"
    again = policy_file.record_of(
        saved.settings, saved.obs, saved.action, PolicyParams(saved.weights, saved.moments)
    )
    for ours, theirs in zip(again.layers, record.layers, strict=True):
        np.testing.assert_array_equal(ours.exponent, theirs.exponent)
        np.testing.assert_array_equal(ours.weights, theirs.weights)
