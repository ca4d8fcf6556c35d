"""All types of layers: a plain loop, NumPy and every kernel in C give the same integers."""

import itertools
import os
import pickle
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from deep_records import check_deep, check_many, deep_record
from hypothesis import given, settings, strategies as st
from marks import wide
from policy_records import make_record, observations, random_integers

from ternevo.deploy import capabilities, forward, integer, runtime, tvp
from ternevo.deploy.record import Layer, PolicyRecord, Window

NATIVE = runtime.native_module()
SUPPORT = Path(__file__).parents[1] / "support"
BACKENDS = [
    pytest.param(
        "native", marks=pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
    ),
    "numpy",
]
TYPES = ("dense", "convolution", "max_pool", "elman", "gated")


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch) -> str:
    monkeypatch.setenv("TERNEVO_BACKEND", request.param)
    return request.param


# ------------------------------------------------------------------------- by the definition


def half_to_even(value: Fraction) -> int:
    return round(value)  # Python's own


def plain_policy(record: PolicyRecord, q: np.ndarray, memory: list[int]) -> tuple[list, list]:
    """Return memory and logits of one observation, by loops over fractions of units."""
    shift = integer.input_shift(record)
    values = {
        place: int(value) >> shift
        for place, value in zip(places(record.shapes[0]), q.tolist(), strict=True)
    }
    grid, full = integer.input_grid(record)
    taken, after, units = [], [], {}
    for layer, shape, out in zip(record.layers, record.shapes, record.shapes[1:], strict=False):
        taken.append(values)
        if layer.type == "max_pool":
            values = {
                place: max(window_of(layer, shape, values, place, None)) for place in places(out)
            }
            continue
        own, memory = memory[: layer.memory_size], memory[layer.memory_size :]
        units = plain_units(layer, shape, out, values, own, Fraction(2) ** grid, full)
        added = taken[-layer.skip] if layer.skip else {}
        values = plain_values(layer, units, own, added, out)
        after += [values[place] for place in places(out)] if layer.memory_size else []
        grid, full = integer.GRIDS.get(layer.activation, (0, 0))
    exponent = integer.compile_integer(record).output_exponent
    unit = Fraction(2) ** (exponent - record.output_shift)
    return after, [int(units[place] * unit) for place in places(record.shapes[-1])]


def places(shape) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, shape)))


def window_of(layer: Layer, shape, values, place, fill) -> list:
    """Return what a window sees at a place: of all channels, or of one if `fill` is None."""
    y, x, channel = place
    window = layer.window
    seen = []
    for ky, kx in itertools.product(range(window.height), range(window.width)):
        at = (y * window.stride - window.padding + ky, x * window.stride - window.padding + kx)
        channels = [channel] if fill is None else range(shape[2])
        if 0 <= at[0] < shape[0] and 0 <= at[1] < shape[1]:
            seen += [values[(*at, c)] for c in channels]
        elif fill is not None:
            seen += [fill] * shape[2]
    return seen


def plain_units(layer: Layer, shape, out, values, memory, scale, full) -> dict:
    """Return pre-activations in units, by place; of "gated" a row for each gate as well."""
    exponents = np.broadcast_to(layer.exponents, len(layer.weights)).tolist()
    rows = places((len(layer.weights),)) if len(out) == 1 else places(out)
    units = {}
    for place in rows:
        row = place[-1]
        if layer.type == "convolution":
            inputs = window_of(layer, shape, values, place, 0)
        else:
            inputs = [values[at] for at in places(shape)] + memory
        total = sum(w * x for w, x in zip(layer.weights[row].tolist(), inputs, strict=True))
        if layer.bias is not None:
            size = Fraction(2) ** min(exponents[row] - layer.bias_exponent, 8) * full
            total += int(layer.bias[row]) * half_to_even(size)
        units[place] = total / (Fraction(2) ** exponents[row] * scale)
    return units


def plain_activation(activation: str, unit: Fraction, added: int) -> int:
    if activation == "sign":
        return 1 if unit >= 0 else -1
    if activation == "ternary":
        return (unit > Fraction(1, 2)) - (unit < -Fraction(1, 2))
    bits, limit = integer.GRIDS[activation]
    return min(max(half_to_even(unit * 2**bits) + added, -limit), limit)


def plain_values(layer: Layer, units: dict, memory: list, added: dict, out) -> dict:
    if layer.activation == "none":
        return units
    if layer.type != "gated":
        return {p: plain_activation(layer.activation, u, added.get(p, 0)) for p, u in units.items()}
    values, parts = {}, 2 ** integer.GRIDS[layer.activation][0]
    for place in places(out):
        candidate = plain_activation(layer.activation, units[place], 0)
        gate = half_to_even(parts * (units[(place[0] + out[0],)] + 1) / 2)
        gate = min(max(gate, 0), parts)
        before = memory[place[0]]
        values[place] = before + half_to_even(Fraction(gate * (candidate - before), parts))
    return values


@pytest.mark.parametrize("seed", wide(range(60), keep=range(10)))
def test_the_reference_is_the_definition(seed):
    """Sums of integers and halves of a unit: `integer` and a loop over fractions agree."""
    record = deep_record(seed)
    net, rng = integer.compile_integer(record), np.random.default_rng(seed)
    memory = net.memory
    for row in random_integers(record, rng, 3):
        plain_memory, plain = plain_policy(record, row, memory.tolist())
        memory, found = integer.step(net, memory, row)
        assert found.tolist() == plain
        assert memory.tolist() == plain_memory


@pytest.mark.parametrize("type_", TYPES)
def test_each_type_of_layer_is_the_definition(type_):
    for seed in range(1000, 1020):
        shape = (4, 5, 3) if type_ in ("convolution", "max_pool") else (7,)
        record = deep_record(seed, types=(type_,), shape=shape, depth=2)
        net = integer.compile_integer(record)
        q = random_integers(record, np.random.default_rng(seed), 2)
        memory, plain_memory = net.memory, net.memory.tolist()
        for row in q:
            plain_memory, plain = plain_policy(record, row, plain_memory)
            memory, found = integer.step(net, memory, row)
            assert (found.tolist(), memory.tolist()) == (plain, plain_memory)


# ------------------------------------------------------------------------- every backend


def test_random_policies_give_the_integers_of_the_reference(backend):
    check_many(60)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(t,) for t in TYPES] + [TYPES]),
    st.sampled_from(["f32", "i8", "bits", "pixels"]),
    st.sampled_from(["int8", "int4", "sign", "ternary"]),
)
def test_policies_of_any_options_give_the_integers_of_the_reference(seed, types, inputs, name):
    shape = (5, 6, 2) if {"convolution", "max_pool"} & set(types) else None
    record = deep_record(seed, types=types, inputs=inputs, activations=(name,), shape=shape)
    assert tvp.encode(tvp.decode(tvp.encode(record))) == tvp.encode(record)
    check_deep(record, 6)


def run_kernel(kernel: str, code: str) -> None:
    """Run code in a process with one of the kernels, or skip where there is none."""
    names = {"TERNEVO_KERNEL": kernel, "TERNEVO_BACKEND": "native", "PYTHONPATH": str(SUPPORT)}
    names["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    code = (
        "from ternevo.deploy import runtime; import deep_records;"
        f"assert runtime.native_module().kernel == {kernel!r}; {code}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **names}, capture_output=True, text=True
    )
    if "this machine has no such kernel" in done.stderr:
        pytest.skip(f"this machine does not run {kernel}")
    assert done.returncode == 0, done.stderr


@pytest.mark.wide  # the best of this processor is above
@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_every_kernel_gives_the_integers_of_the_reference(kernel):
    run_kernel(kernel, "deep_records.check_many(150, 500); deep_records.check_types(2000)")


@pytest.mark.slow
@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_every_kernel_gives_the_integers_of_100_000_inputs_for_each_type(kernel):
    run_kernel(kernel, "deep_records.check_many(3000); deep_records.check_types(100_000)")


EXPONENTS = [-24, 0, 3, 24, *(pytest.param(more, marks=pytest.mark.slow) for more in (-2, 9))]


@pytest.mark.parametrize("channels", [4, 6, 7, 10])
@pytest.mark.parametrize("activation", ["int8", "int4", "sign", "ternary"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_convolutions_of_minatar_are_looked_up_alike(channels, activation, exponent, backend):
    rng = np.random.default_rng(channels)
    trits = lambda *shape: rng.integers(-1, 2, shape).astype(np.int8)  # noqa: E731
    weights, window = trits(16, 9 * channels), Window(3, 3, 1, 0)
    head = ("ternary", activation, exponent, -1, "convolution", window)
    layers = (
        Layer(weights, trits(16), *head),
        Layer(trits(5, 8 * 8 * 16), None, "ternary", "none", 0, 0),
    )
    base = make_record((100 * channels, 5), inputs="bits", shifts=(1, 0))
    check_deep(PolicyRecord(**{**vars(base), "layers": layers, "obs_shape": (10, 10, channels)}), 6)


def extreme(type_: str, activation: str, out: int = 3) -> PolicyRecord:
    """Return a policy of the largest sums: all weights 1, the largest biases."""
    shape = (16, 16, 64) if type_ == "convolution" else (65_535 - out,)
    window = Window(16, 16, 1, 0) if type_ == "convolution" else None
    fan_in = 16 * 16 * 64 if type_ == "convolution" else 65_535 - (out if type_ == "dense" else 0)
    rows = 2 * out if type_ == "gated" else out
    first = Layer(
        np.ones((rows, fan_in), np.int8),
        np.ones(rows, np.int8),
        "ternary",
        activation,
        *(8, -24, type_, window),
    )
    last = Layer(np.ones((2, out), np.int8), None, "ternary", "none", 0, 0)
    base = make_record((int(np.prod(shape)), 2), inputs="i8")
    sees = {"obs_shape": shape} if window else {}
    return PolicyRecord(**{**vars(base), "layers": (first, last), **sees})


@pytest.mark.parametrize("type_", ["dense", "convolution", "elman", "gated"])
@pytest.mark.parametrize("exponent", [-24, 8])
def test_the_largest_sums_fit(type_, exponent, backend):
    record = extreme(type_, "int8")
    first = Layer(**{**vars(record.layers[0]), "exponent": exponent})
    record = PolicyRecord(**{**vars(record), "layers": (first, record.layers[1])})
    policy, net = runtime.Policy(record), integer.compile_integer(record)
    for fill in (-128, -127, 127):
        q = np.full((2, record.obs_size), fill, np.int8)
        memory, found = policy.step_logits_q(policy.reset(2), q)
        wanted = integer.step(net, policy.reset(2), q)
        np.testing.assert_array_equal(memory, wanted[0])
        np.testing.assert_array_equal(found, wanted[1])


# ------------------------------------------------------------------------- floats


@pytest.mark.parametrize("seed", range(40))
def test_integers_computed_as_floats_are_the_same(seed):
    record = deep_record(seed)
    net, rng = integer.compile_integer(record), np.random.default_rng(seed)
    q = random_integers(record, rng, 4)
    memory = np.tile(net.memory, (4, 1))
    floats, steps = memory.astype(np.float32), runtime.float_steps(record)
    for _ in range(3):
        memory, wanted = integer.step(net, memory, q)
        floats, found = runtime.float_step(record, steps, floats, q)
        np.testing.assert_array_equal(floats, memory)
        scaled = np.ldexp(wanted.astype(np.float32), -net.output_exponent)
        np.testing.assert_array_equal(found, scaled)


@pytest.mark.parametrize("seed", range(30))
def test_float_policies_run(seed):
    """All types of layers with tanh and relu: a batch is the same as its rows."""
    names = ("tanh", "relu", "int8")
    record = deep_record(seed, activations=names, kinds=("float", "ternary"))
    policy = runtime.Policy(record)
    obs = observations(record, np.random.default_rng(seed), 5)
    obs = np.clip(np.nan_to_num(obs), -9, 9).astype(np.float32)
    assert policy.reset().dtype == (np.int8 if record.is_integer else np.float32)
    memories, logits = policy.step_logits_q(policy.reset(5), policy.quantise(obs))
    assert np.isfinite(logits).all()
    for row in range(5):
        after, action = policy.step(policy.reset(), obs[row])
        assert after.shape == (record.memory_size,)
        np.testing.assert_allclose(after, memories[row], rtol=1e-4, atol=1)
        assert np.shape(action) == (() if record.output_kind == "discrete" else logits.shape[1:])
    assert runtime.Policy.from_bytes(tvp.encode(record)).to_bytes() == tvp.encode(record)


def test_a_gate_of_floats_moves_the_memory_part_of_the_way():
    """By hand: c = tanh(3), and the gate of u = 0.5 is 0.75."""
    weights = np.array([[3, 0], [0.5, 0]], np.float32)
    cell = Layer(weights, None, "float", "tanh", 0, 0, "gated")
    last = Layer(np.ones((1, 1), np.float32), None, "float", "none", 0, 0)
    base = make_record((1, 1), inputs="bits")
    policy = runtime.Policy(PolicyRecord(**{**vars(base), "layers": (cell, last)}))
    memory, logits = policy.step_logits_q(policy.reset(1), [[1]])
    np.testing.assert_allclose(memory, [[0.75 * np.tanh(3)]], rtol=1e-6)
    memory, logits = policy.step_logits_q(memory, [[1]])
    np.testing.assert_allclose(memory, [[(0.75 + 0.25 * 0.75) * np.tanh(3)]], rtol=1e-6)
    np.testing.assert_allclose(logits, memory, rtol=1e-6)


# ------------------------------------------------------------------------- the API


def image_record(**given) -> PolicyRecord:
    return deep_record(3, types=("convolution",), shape=(5, 6, 2), depth=2, **given)


def test_images_are_given_as_they_are_or_flat(backend):
    record = image_record(inputs="pixels")
    policy = runtime.Policy(record)
    flat = np.random.default_rng(0).integers(0, 256, (4, 60)).astype(np.uint8)
    images = flat.reshape(4, 5, 6, 2)
    np.testing.assert_array_equal(policy.act_batch(images), policy.act_batch(flat))
    np.testing.assert_array_equal(policy.logits(images), policy.logits(flat))
    assert policy.quantise(images).shape == images.shape
    np.testing.assert_array_equal(policy.logits(images[0]), policy.logits(flat)[0])
    for image, row in zip(images, flat, strict=True):
        np.testing.assert_array_equal(policy.act(image), policy.act(row))
        np.testing.assert_array_equal(policy.act(image.astype(np.float32)), policy.act(row))
    with pytest.raises(ValueError, match=r"\(6, 5, 2\); must be \(60,\) or \(5, 6, 2\)"):
        policy.act(images[0].swapaxes(0, 1))
    with pytest.raises(ValueError, match=r"must be \(n, 60\) or \(n, 5, 6, 2\)"):
        policy.act_batch(images[0])


def test_pixels_are_rounded_and_moved(backend):
    policy = runtime.Policy(image_record(inputs="pixels"))
    obs = np.zeros(60, np.float32)
    obs[:12] = [0, 0.5, 1, 1.5, 127.5, 128, 128.5, 255, 256, np.inf, -np.inf, np.nan]
    wanted = [-127, -127, -127, -126, 0, 0, 0, 127, 127, 127, -127, 0]
    assert policy.quantise(obs)[:12].tolist() == wanted


def test_a_policy_with_memory_is_stepped(backend):
    record = deep_record(8, types=("gated",), shape=(6,), depth=2)
    policy, net = runtime.Policy(record), integer.compile_integer(record)
    assert policy.info()["memory_size"] == record.memory_size > 0
    obs = observations(record, np.random.default_rng(0), 9)
    memory, wanted = policy.reset(), integer.episode(net, integer.quantise(record, obs))
    before = memory.copy()
    actions = integer.actions(record, net.output_exponent, wanted)
    for row, action in zip(obs, actions, strict=True):
        after, found = policy.step(memory, row)
        np.testing.assert_array_equal(found, action)
        memory = after
    np.testing.assert_array_equal(policy.reset(), before)
    for name in ("act", "act_batch", "logits", "logits_q"):
        with pytest.raises(ValueError, match=f"which {name} would forget; start with memory"):
            getattr(policy, name)(np.zeros((1, 6), np.int8))
    with pytest.raises(ValueError, match=r"the memory is float32 .* must be int8"):
        policy.step(memory.astype(np.float32), obs[0])
    with pytest.raises(ValueError, match="as reset gives it"):
        policy.step_batch(policy.reset(2), obs)
    again = pickle.loads(pickle.dumps(policy))
    np.testing.assert_array_equal(again.step(memory, obs[0])[0], policy.step(memory, obs[0])[0])


def test_threads_may_share_a_deep_policy(backend):
    record = image_record(inputs="f32")
    policy = runtime.Policy(record)
    obs = observations(record, np.random.default_rng(0), 2000)
    found = [np.empty(0)] * 4

    def act(place):
        found[place] = policy.act_batch(obs)

    threads = [threading.Thread(target=act, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        np.testing.assert_array_equal(each, policy.act_batch(obs))


def test_batches_run_in_pieces(monkeypatch):
    record = deep_record(3, types=("elman",), shape=(6,))
    net = integer.compile_integer(record)
    q = random_integers(record, np.random.default_rng(0), 11)
    monkeypatch.setattr(forward, "ROWS_AT_ONCE", 4)
    monkeypatch.setenv("TERNEVO_BACKEND", "numpy")
    policy = runtime.Policy(record)
    memories, logits = policy.step_logits_q(policy.reset(11), q)
    wanted = integer.step(net, policy.reset(11), q)
    np.testing.assert_array_equal(memories, wanted[0])
    np.testing.assert_array_equal(logits, wanted[1])


@pytest.mark.parametrize("export", ["c", "onnx", "html", "numpy"])
def test_an_export_refuses_what_it_does_not_run(export):
    record = deep_record(3, types=("convolution",), shape=(5, 6, 2), inputs="pixels")
    missing = [t for t in TYPES if t not in capabilities.CAPABILITIES[export].layers]
    if "convolution" in missing:
        match = rf"--to {export} does not support layers of type convolution.* with --to tvp"
        with pytest.raises(capabilities.UnsupportedError, match=match):
            capabilities.check_export(record, export)
    capabilities.check_export(make_record(), export)
    capabilities.check_export(record, "tvp")
