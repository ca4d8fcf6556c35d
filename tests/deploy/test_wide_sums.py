"""Sums of hidden layers that float32 cannot hold: int32 in JAX, NumPy and C, refused by ONNX."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deep_records import check_deep
from policy_inputs import inputs
from policy_records import check_against_reference, make_record
from test_c_layers import compare, one_file
from test_numpy_layers import check as check_script

from ternevo.deploy import integer, onnx_graph, runtime
from ternevo.deploy.capabilities import UnsupportedError
from ternevo.deploy.record import Layer, PolicyRecord, Window
from ternevo.policies import layers, policy_file
from ternevo.settings.policies import MLP, Conv
from ternevo.types import ActionSpec, ObsSpec

NATIVE = runtime.native_module()
SHIFT = 20
STEP = 2**SHIFT
SIZES = [half * STEP // 2 + d for half in (33, 81) for d in (-1, 0, 1)]
TOTALS = [sign * size for size in SIZES for sign in (1, -1)]
"""About 16.5 and 40.5 steps of a grid: only at d = 0 are they ties."""
MOST = max(TOTALS) // 127**2 + 1
Q = np.array([[127] * (MOST + 1) + [1]], np.int8)
"""What the first layer sees."""


def row_of(total: int) -> np.ndarray:
    """Return weights int8 whose sum over Q is the total."""
    size = abs(total)
    fulls, rest = divmod(size, 127**2)
    row = np.zeros(Q.size, np.int8)
    row[:fulls], row[fulls], row[-1] = 127, rest // 127, rest % 127
    assert row.astype(object) @ Q[0].astype(object) == size
    return np.int8(np.sign(total)) * row


def ties(activation: str) -> PolicyRecord:
    """Return a policy whose logits are the hidden values, of sums that are about ties."""
    exponent = {"int8": SHIFT, "int4": SHIFT - 4, "sign": 0, "ternary": SHIFT - 7 + 5}[activation]
    base = make_record((Q.size, len(TOTALS)), "int8", "int8", bias=False)
    base = dataclasses.replace(
        base, mean=np.zeros(Q.size, np.float32), exponent=np.zeros(Q.size, np.int8)
    )
    hidden = Layer(np.stack(list(map(row_of, TOTALS))), None, "int8", activation, exponent, 0)
    last = Layer(np.eye(len(TOTALS), dtype=np.int8), None, "int8", "none", 0, 0)
    return dataclasses.replace(base, layers=(hidden, last))


def of_jax(record: PolicyRecord, matmul: str, q: np.ndarray) -> np.ndarray:
    """Return the logits of integers as the policy in training computes them."""
    saved = policy_file.from_record(record)
    own = dataclasses.replace(saved.settings, matmul=matmul).build(saved.obs, saved.action)
    packed = own.packing(1).pack(saved.weights)
    outputs = jax.vmap(lambda row: own.apply(packed, (), inputs(row))[1])(jnp.float32(q))
    return np.ldexp(np.asarray(outputs), integer.compile_integer(record).output_exponent)


def test_float32_takes_other_sums_for_ties():
    exact = [round(total / STEP) for total in TOTALS]  # float64 holds them, and rounds to even
    rounded = np.rint(np.array(TOTALS, np.float32) / np.float32(STEP)).astype(int).tolist()
    assert exact[:6] == [16, -16, 16, -16, 17, -17]
    assert rounded[:6] == [16, -16, 16, -16, 16, -16]


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_ties_are_those_of_the_integers(backend, monkeypatch):
    if backend == "native" and NATIVE is None:
        pytest.skip("the extension was not built")
    monkeypatch.setenv(runtime.BACKEND_VARIABLE, backend)
    record = ties("int8")
    wanted = [round(total / STEP) for total in TOTALS]
    assert runtime.Policy(record).logits_q(Q)[0].tolist() == wanted
    assert integer.logits(integer.compile_integer(record), Q)[0].tolist() == wanted
    for matmul in ("float32", "bfloat16", "int8"):
        assert of_jax(record, matmul, Q)[0].tolist() == wanted


@pytest.mark.parametrize("activation", integer.GRIDS)
def test_all_activations_are_the_same_everywhere(activation):
    rng = np.random.default_rng(0)
    q = np.concatenate([Q, -Q, rng.integers(-127, 128, (3, Q.size)).astype(np.int8)])
    for record in (
        ties(activation),
        make_record((3000, 40, 30, 3), activation, "int8", density=1, exponents=[9, 4, 3]),
    ):
        net = integer.compile_integer(record)
        assert net.layers[0].largest_sum >= integer.EXACT
        own = q if record.obs_size == Q.size else rng.choice([-127, 127], (4, 3000)).astype(np.int8)
        wanted = integer.logits(net, own)
        np.testing.assert_array_equal(runtime.Policy(record).logits_q(own), wanted)
        np.testing.assert_array_equal(of_jax(record, "auto", own), wanted)
        check_against_reference(record, 6)


def deep(type_: str, activation: str) -> PolicyRecord:
    """Return a policy whose first layer has 2,048 inputs or more, and weights of 127."""
    shape = (16, 16, 8) if type_ == "convolution" else (2040,)
    window = Window(16, 16, 1, 0) if type_ == "convolution" else None
    rows = 16 if type_ == "gated" else 8
    fan_in = 2048 if type_ != "dense" else 2040
    signs = np.random.default_rng(3).choice([-1, 1], (rows, 1))
    weights = (signs * np.random.default_rng(4).integers(100, 128, (rows, fan_in))).astype(np.int8)
    bias = np.full(rows, 127, np.int8)
    first = Layer(weights, bias, "int8", activation, 18, 12, type_, window)
    last = Layer(np.ones((2, 8), np.int8), np.ones(2, np.int8), "int8", "none", 0, 0)
    base = make_record((int(np.prod(shape)), 2), inputs="i8")
    sees = {"obs_shape": shape} if window else {}
    return dataclasses.replace(base, layers=(first, last), **sees)


DEEP = [("convolution", "int8"), ("convolution", "ternary"), ("elman", "int8"), ("gated", "int8")]


@pytest.mark.parametrize(("type_", "activation"), DEEP)
def test_all_layers_are_the_same_everywhere(type_, activation):
    record = deep(type_, activation)
    net, policy = integer.compile_integer(record), runtime.Policy(record)
    check_deep(record, 4)
    saved = policy_file.from_record(record)
    for fill in (-127, 127, 101):
        q = np.full((1, record.obs_size), fill, np.int8)
        memory, wanted = integer.step(net, policy.reset(1), q)
        own = saved.policy.reset(saved.weights, jax.random.key(0))
        seen = inputs(jnp.float32(q[0]).reshape(saved.obs.shape))
        found = saved.policy.apply(saved.weights, own, seen)
        np.testing.assert_array_equal(np.ldexp(found[1], net.output_exponent), wanted[0])
        if record.memory_size:
            np.testing.assert_array_equal(found[0][0], memory[0])


def test_headers_and_scripts_take_int32(tmp_path):
    records = [ties("int8"), ties("ternary"), *(deep(*each) for each in DEEP[::3])]
    compare(one_file(tmp_path, records, 4), "gcc", "PORTABLE", "-O1")
    check_script(ties("int8"), tmp_path)
    check_script(deep(*DEEP[3]), tmp_path)


def test_a_graph_would_round_them():
    pytest.importorskip("onnx")
    with pytest.raises(UnsupportedError, match=r"those of layer 0 may be 4\d,\d+,\d+; --to tvp, c"):
        onnx_graph.to_bytes(ties("int8"))
    bits = make_record((3000, 2), kind="int8", inputs="bits")
    assert onnx_graph.to_bytes(bits)  # of 0 and 1 the same inputs have sums that fit


OBS, ACTION = ObsSpec((40_000,)), ActionSpec("discrete", 4)


@pytest.mark.parametrize(
    ("settings", "obs", "message"),
    [
        (MLP((4, 1100), weights="int8"), ObsSpec((4,)), r"layer 3.* 1,100 inputs: .* 2\*\*24"),
        (MLP((4,), weights="int8"), ObsSpec((65_537,)), "65,537 observations do not fit"),
        (  # three bits reach -4, though full scale is 3
            MLP((), weights="int8", observation_bits=3),
            ObsSpec((44_000,)),
            r"layer 1.* 44,000 inputs: .* 2\*\*24",
        ),
        (
            Conv(filters=((4, 16, 16), (4, 3, 1)), weights="int8"),
            ObsSpec((32, 32, 600)),
            r"153,600 inputs: a sum may exceed 2\*\*31; use fewer or --weights int4",
        ),
    ],
)
def test_sums_that_do_not_fit_are_refused_in_words(settings, obs, message):
    with pytest.raises(ValueError, match=message):
        settings.build(obs, ACTION)
    MLP((4,), weights="int8").build(OBS, ACTION)


def test_rounded_to_odd_they_round_and_compare_as_they_are():
    """About all halves of steps of a grid, and at random; each for all shifts that there are."""
    rng = np.random.default_rng(0)
    halves = np.array([k << shift for shift in range(8, 30) for k in range(1, 257, 2)])
    halves = halves[halves < 2**30, None] + np.array([-257, -256, -129, -1, 0, 1, 127, 128, 256])
    totals = np.concatenate([halves.ravel(), -halves.ravel(), rng.integers(-(2**30), 2**30, 9999)])
    found = np.asarray(layers.rounded_to_odd(jnp.asarray(totals, jnp.int32)))
    np.testing.assert_array_equal(np.sign(found), np.sign(totals))
    for shift in range(32):
        wanted = np.clip(integer.shift_half_to_even(totals, shift), -128, 128)
        scaled = np.ldexp(found, -shift)
        np.testing.assert_array_equal(np.clip(np.rint(scaled), -128, 128), wanted)
        np.testing.assert_array_equal(scaled > 1, totals > 2**shift)


def test_gradients_go_through_as_if_sums_were_floats():
    rng = np.random.default_rng(0)
    values, weight = jnp.float32(rng.integers(-9, 10, 50)), jnp.float32(rng.normal(size=(50, 3)))
    arguments = values, weight, jnp.zeros(3)
    found = jax.grad(lambda *given: jnp.sum(layers.wide_dot(7)(*given)), (0, 1, 2))(*arguments)
    plain = jax.grad(lambda v, w, b: jnp.sum(v @ w + b), (0, 1, 2))(*arguments)
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
