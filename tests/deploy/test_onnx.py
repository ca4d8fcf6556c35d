"""An ONNX graph computes the integers of integer.py, in the reference evaluator and elsewhere."""

import dataclasses
import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from deep_records import deep_record
from layered_records import Builder, minatar, of_one_type, recurrent, resnet
from marks import wide
from policy_inputs import inputs
from policy_records import make_record, near_ties, with_extreme_exponents, with_functions

import ternevo
from ternevo.deploy import integer, onnx_graph, runtime, tvp
from ternevo.deploy.record import ACTIVATIONS, LAYER_TYPES, PolicyRecord, Window

onnx = pytest.importorskip("onnx")
FORMATS = ("int8", "int2")
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-40, 3.4e38, -3.4e38, 0.5, 1.5, 2.5, -0.5]
"""Not a number, infinite, subnormal, nearly overflowing, and halfway between two integers."""


def random_record(
    rng, sizes=(5, 7, 6, 3), activations=("int8", "sign"), spread=4, **how
) -> PolicyRecord:
    """Return a policy of random numbers; exponents are -1 to `spread`."""
    return make_record(
        sizes,
        activations,
        seed=int(rng.integers(2**31)),
        exponents=rng.integers(-1, spread + 1, len(sizes) - 1).tolist(),
        bias_exponent=int(rng.integers(-1, spread + 1)),
        metadata={"env": "gymnax/Some-v0"},
        **how,
    )


def observations(record, rng, count=64):
    """Return ordinary observations, and one of each special number."""
    shape = (count, record.obs_size)
    if record.input_kind == "i8":
        return rng.integers(-128, 128, shape).astype(np.int8)
    if record.input_kind == "bits":
        return rng.choice(np.float32([0, 1, *SPECIAL]), shape)
    obs = rng.normal(size=shape) * rng.choice([0.1, 1, 10, 100], (count, 1))
    mean = np.resize(record.mean, record.obs_size)
    on_ties = mean + (rng.integers(-20, 20, shape) + 0.5) * np.ldexp(1.0, -record.exponent)
    special = rng.permuted(np.resize(SPECIAL, (record.obs_size, len(SPECIAL))), axis=1).T
    return np.concatenate([obs, on_ties, special]).astype(np.float32)


def expected(record, obs):
    """Return the action and the logits of integer.py."""
    net = integer.compile_integer(record)
    logits = integer.logits(net, integer.quantise(record, obs))
    return integer.actions(record, net.output_exponent, logits), logits


INPUT_NAMES = ("obs", onnx_graph.MEMORY)


def in_reference(data: bytes, *values):
    """Run a file by the interpreter that comes with onnx."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        given = dict(zip(INPUT_NAMES, values, strict=False))
        return ReferenceEvaluator(onnx.load_from_string(data)).run(None, given)


def in_onnxruntime(data: bytes, *values):
    """Run a file by onnxruntime, with its optimisations."""
    runtime = pytest.importorskip("onnxruntime", exc_type=ImportError)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(INPUT_NAMES, values, strict=False)))


def operators(data: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(data).graph.node}


HIDDEN = [(), ("sign", "int4"), ("int8", "ternary"), ("ternary", "sign"), ("int4", "int8")]
GRIDS = [(8, (0, 0)), (8, (8, 8)), (3, (2, 3)), (1, (0, 1))]
"""Bits of an observation, and how far observations and outputs are shifted."""

TABLE = list(itertools.product(["ternary", "binary"], HIDDEN, [True, False], GRIDS))
NAMES = ("kind", "bias", "inputs", "output", "bits", "shifts", "scales")


# A step that is prime to the number of values of every property goes through all of them.
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
@pytest.mark.parametrize("weights", wide(FORMATS, keep=["int2"]))
@pytest.mark.parametrize("output_kind", ["discrete", "continuous"])
@pytest.mark.parametrize("input_kind", wide(["f32", "i8", "bits"], keep=["f32", "bits"]))
def test_it_computes_the_integers_of_every_policy(input_kind, output_kind, weights, run, step):
    rng = np.random.default_rng(0)
    for i, (kind, activations, bias, (bits, shifts)) in list(enumerate(TABLE))[::step]:
        sizes = (5, 7, 6)[: len(activations) + 1]
        scales = "output" if i % 3 else "layer"
        how = (kind, bias, input_kind, output_kind, bits, shifts, scales)
        record = random_record(rng, (*sizes, 3), activations, **dict(zip(NAMES, how, strict=True)))
        assert tvp.decode(tvp.encode(record)).sizes == record.sizes  # one that a file can hold
        obs = observations(record, rng)
        data = onnx_graph.to_bytes(record, weights)
        assert "Sign" not in operators(data)
        for found, wanted in zip(run(data, obs), expected(record, obs), strict=True):
            assert found.dtype == (np.int64 if wanted.ndim == 1 else wanted.dtype)
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
def test_extreme_exponents_change_nothing(run):
    """Thresholds beyond every sum, shifts of every layer to both sides."""
    rng = np.random.default_rng(1)
    for activation, exponent in itertools.product(
        ["int8", "int4", "sign", "ternary"], [-24, -9, 9, 24]
    ):
        record = random_record(rng, activations=(activation, activation), output="continuous")
        layers = [dataclasses.replace(layer, exponent=exponent) for layer in record.layers]
        record = with_extreme_exponents(dataclasses.replace(record, layers=tuple(layers)))
        obs = observations(record, rng)
        for found, wanted in zip(
            run(onnx_graph.to_bytes(record), obs), expected(record, obs), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
def test_the_widest_layer_is_exact(run):
    rng = np.random.default_rng(2)
    record = random_record(rng, (tvp.MAX_WIDTH, 2, 2), ("int8",), inputs="i8", spread=-1)
    same = np.ones_like(record.layers[0].weights)
    first = dataclasses.replace(record.layers[0], weights=same, exponent=24, bias_exponent=-24)
    record = dataclasses.replace(record, layers=(first, record.layers[1]))
    obs = np.full((1, tvp.MAX_WIDTH), 127, np.int8)
    for found, wanted in zip(
        run(onnx_graph.to_bytes(record), obs), expected(record, obs), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def episode(run, data: bytes, record, obs):
    """Return actions, logits and memories of an episode, and of a second one beside it."""
    [told] = [
        p.value for p in onnx.load_from_string(data).metadata_props if p.key == "first_memory"
    ]
    memory = np.repeat(np.array([json.loads(told)], np.int8), 2, axis=0)
    found = []
    for row in obs:
        *outputs, memory = run(data, np.stack([row, row]), memory)
        found.append([*outputs, memory])
        for output in found[-1]:
            np.testing.assert_array_equal(output[0], output[1])
    return [np.stack([step[i][0] for step in found]) for i in range(3)]


def expected_episode(record, obs):
    """Return the actions, logits and memories of integer.py."""
    net = integer.compile_integer(record)
    memory, found = net.memory, []
    for q in integer.quantise(record, obs):
        memory, logits = integer.step(net, memory, q)
        found.append((logits, memory))
    logits, memories = (np.stack(each) for each in zip(*found, strict=True))
    return integer.actions(record, net.output_exponent, logits), logits, memories


def compare_layers(records, run, weights, steps=6):
    """Assert that a graph of each computes what NumPy does."""
    rng = np.random.default_rng(0)
    for record in records:
        obs = deep_observations(record, rng, steps)
        data = onnx_graph.to_bytes(record, weights)
        if record.memory_size:
            found, wanted = episode(run, data, record, obs), expected_episode(record, obs)
        else:
            found, wanted = run(data, obs), expected(record, obs)
        for each, right in zip(found, wanted, strict=True):
            assert each.dtype == (np.int64 if right.ndim == 1 else right.dtype)
            np.testing.assert_array_equal(each, right)


def deep_observations(record, rng, count):
    if record.input_kind != "pixels":
        return observations(record, rng, count)[:count]
    pixels = near_ties(rng, (count, record.obs_size), (-2, 260))
    special = rng.choice(np.array(SPECIAL, np.float32), pixels.shape)
    return np.where(rng.random(pixels.shape) < 0.1, special, pixels).astype(np.float32)


NETWORKS = [minatar(), resnet(), recurrent("elman"), recurrent("gated", hidden=(5,))]


@pytest.mark.parametrize("weights", FORMATS)
def test_it_computes_all_layers_in_the_reference(weights):
    compare_layers([*map(deep_record, range(20)), *NETWORKS[1:]], in_reference, weights, steps=3)


@pytest.mark.parametrize("weights", wide(FORMATS, keep=["int8"]))
def test_it_computes_all_layers_in_onnxruntime(weights):
    compare_layers([*map(deep_record, range(30)), *NETWORKS], in_onnxruntime, weights)


@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
@pytest.mark.parametrize("type_", ["dense", "elman"])
def test_it_computes_functions_of_outputs(type_, run):
    records = (deep_record(seed, types=(type_,), shape=(9,), depth=2) for seed in range(8))
    compare_layers(map(with_functions, records), run, "int8", steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
def test_it_computes_many_more_networks(run):
    compare_layers(map(deep_record, range(1000, 2500)), run, "int8", steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
@pytest.mark.parametrize("type_", LAYER_TYPES)
def test_it_computes_a_hundred_thousand_inputs_of_each_type(type_, run):
    rng, count = np.random.default_rng(0), 25_000
    for record in of_one_type(type_):
        net, data = integer.compile_integer(record), onnx_graph.to_bytes(record)
        obs = deep_observations(record, rng, count)
        memory = rng.integers(-1, 2, (count, record.memory_size)).astype(np.int8)
        after, logits = integer.step(net, memory, integer.quantise(record, obs))
        found = run(data, obs, *([memory] if record.memory_size else []))
        np.testing.assert_array_equal(found[1], logits)
        for now in found[2:]:
            np.testing.assert_array_equal(now, after)


@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
def test_the_widest_convolution_is_exact(run):
    """Sums of 65,536 inputs, each at the end of its range, and the largest bias: below 2**24."""
    made = Builder((16, 16, 255), inputs="i8")
    record = made.add("convolution", 2, "int8", Window(16, 16, 1, 0)).record(2)
    first = record.layers[0]
    ones = {"weights": np.ones_like(first.weights), "bias": np.ones_like(first.bias)}
    first = dataclasses.replace(first, **ones, exponent=24, bias_exponent=-24)
    record = dataclasses.replace(record, layers=(first, record.layers[1]))
    obs = np.full((1, record.obs_size), 127, np.int8)
    for found, wanted in zip(
        run(onnx_graph.to_bytes(record), obs), expected(record, obs), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("run", [in_reference, in_onnxruntime])
@pytest.mark.parametrize(
    "activation", wide(["tanh", "relu", "int8", "int4", "sign", "ternary"], keep=["tanh", "int8"])
)
def test_all_layers_with_floats_agree_with_numpy_up_to_rounding(activation, run):
    rng = np.random.default_rng(4)
    is_float = activation in ("tanh", "relu")
    for seed, kind in itertools.product(range(6), ["float", "ternary"]):
        if kind == "ternary" and not is_float:
            continue
        record = deep_record(seed, kinds=(kind,), activations=(activation,))
        policy = runtime.Policy(record)
        data, obs = onnx_graph.to_bytes(record), deep_observations(record, rng, 4)
        q, memory = policy.quantise(obs), policy.reset(4)
        for turn in range(2):
            now = np.roll(obs, turn, 0)
            memory_before = memory
            memory, wanted = policy.step_logits_q(memory, np.roll(q, turn, 0))
            found = run(data, now, *([memory_before] if record.memory_size else []))
            np.testing.assert_allclose(found[1], wanted, rtol=1e-4, atol=1e-4)
            for after in found[2:]:
                np.testing.assert_allclose(after, memory, rtol=1e-4, atol=1e-4)


def test_of_equal_logits_the_first_wins():
    record = random_record(np.random.default_rng(3), (2, 4), (), bias=False)
    layer = dataclasses.replace(record.layers[0], weights=np.zeros((4, 2), np.int8))
    record = dataclasses.replace(record, layers=(layer,))
    obs = np.zeros((3, 2), np.float32)
    for run in (in_reference, in_onnxruntime):
        assert run(onnx_graph.to_bytes(record), obs)[0].tolist() == [0, 0, 0]


FLOAT_NETS = [
    *itertools.product(["float"], ["tanh", "relu", "int8", "int4", "sign", "ternary"]),
    *itertools.product(["ternary", "binary"], ["tanh", "relu"]),
]


@pytest.mark.parametrize("kind, activation", wide(FLOAT_NETS, keep=[("ternary", "tanh")]))
def test_a_policy_with_floats_agrees_with_jax_up_to_rounding(kind, activation):
    import jax

    from ternevo.policies import policy_file

    rng = np.random.default_rng(4)
    for bias, output_kind, bits in itertools.product(
        [True, False], ["discrete", "continuous"], [8, 3]
    ):
        record = random_record(
            rng,
            activations=(activation,) * 2,
            kind=kind,
            bias=bias,
            output=output_kind,
            scales="output" if bits == 3 else "layer",
            bits=bits,
            shifts=(2, 1),
        )
        obs = rng.normal(size=(32, record.obs_size)).astype(np.float32) * 3
        saved = policy_file.from_record(record)
        q = np.float32(integer.quantise(record, obs))
        wanted = jax.vmap(lambda x, s=saved: s.policy.apply(s.weights, (), inputs(x))[1])(q)
        for run, weights in itertools.product((in_reference, in_onnxruntime), FORMATS):
            action, logits = run(onnx_graph.to_bytes(record, weights), obs)
            np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
            if output_kind == "discrete":
                assert (action == logits.argmax(1)).all()
            else:
                units = np.clip(logits, -1, 1)
                np.testing.assert_array_equal(action, integer.in_range(record, units))


def test_every_activation_is_exported():
    rng = np.random.default_rng(5)
    for activation in ACTIVATIONS[1:]:
        onnx_graph.to_onnx(random_record(rng, (4, 4, 2), (activation,)))


@pytest.mark.parametrize("weights, versions", [("int8", (13, 8)), ("int2", (25, 13))])
def test_the_file_says_what_it_is(weights, versions):
    record = random_record(np.random.default_rng(6), output="continuous")
    model = onnx_graph.to_onnx(record, weights)
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == versions
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert told["policy_id"] == hashlib.sha256(tvp.encode(record.bare())).hexdigest()
    assert told["env"] == "gymnax/Some-v0"
    assert told["ternevo_version"] == ternevo.__version__
    bounds = np.float32(json.loads(told["action_range"]))
    np.testing.assert_array_equal(bounds, [record.low, record.high])
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert onnx_graph.to_bytes(record, weights) == onnx_graph.to_bytes(record, weights)


def test_two_bits_take_a_quarter():
    """Widths of policies for Ant and CartPole; `pytest -s` prints the sizes."""
    rng = np.random.default_rng(7)
    for sizes in ((27, 64, 64, 8), (4, 16, 2)):
        hidden = ("sign",) * (len(sizes) - 2)
        record = random_record(rng, sizes, hidden, output="continuous")
        count = sum(layer.weights.size for layer in record.layers)
        size = {weights: len(onnx_graph.to_bytes(record, weights)) for weights in FORMATS}
        print(f"{sizes}: {size} bytes, .tvp {len(tvp.encode(record.bare()))}")
        assert size["int8"] - size["int2"] == pytest.approx(count * 3 / 4, abs=64)
        assert size["int8"] < count + 4 * sum(sizes[1:]) + 2500


def test_without_onnx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs onnx: pip install .*\[onnx\]"):
        onnx_graph.to_onnx(random_record(np.random.default_rng(8)))


def test_an_old_onnx_is_refused_for_two_bits_only(monkeypatch):
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 24)
    record = random_record(np.random.default_rng(9))
    onnx_graph.to_onnx(record)
    with pytest.raises(ImportError, match=r"onnx>=1\.20"):
        onnx_graph.to_onnx(record, "int2")


def test_importing_it_imports_neither_onnx_nor_jax():
    code = "import sys, ternevo.deploy.onnx_graph; print({'onnx', 'jax'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
