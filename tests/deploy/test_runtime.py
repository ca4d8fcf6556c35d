"""The runtime computes what `integer` says, in C and in NumPy, and what JAX does."""

import functools
import gc
import os
import pickle
import shutil
import struct
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deep_records import deep_record, thinned
from marks import wide
from policy_inputs import inputs
from policy_records import (
    check_against_reference,
    check_table,
    make_record,
    mixed,
    observations,
    sealed,
    table,
    with_everything,
    with_extreme_exponents,
    with_squares,
)

from ternevo.arithmetic import actions, observation
from ternevo.deploy import integer, runtime, tvp
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.policies import policy_file

HERE = Path(__file__).parent
SUPPORT = HERE.parent / "support"
SOURCES = HERE.parents[1] / "ternevo" / "deploy" / "native"
NATIVE = runtime.native_module()
BACKENDS = [
    pytest.param(
        "native", marks=pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
    ),
    "numpy",
]


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch) -> str:
    monkeypatch.setenv("TERNEVO_BACKEND", request.param)
    assert runtime.backend() == request.param
    return request.param


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), **environment},
        capture_output=True,
        text=True,
    )


def as_numpy(record) -> np.ndarray:
    """Return random observations."""
    return np.random.default_rng(2).normal(size=(6, record.obs_size)).astype(np.float32)


# ------------------------------------------------------------------------------- the same numbers


def test_all_kinds_of_policies_give_the_integers_of_the_reference(backend):
    """The next, wide test goes through the whole table, with each kernel of the extension."""
    # A step that is prime to the number of values of every property goes through all of them.
    check_table(11)


@pytest.mark.wide  # the best of this processor is above
@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_every_kernel_gives_the_integers_of_the_reference(kernel):
    code = (
        "from ternevo.deploy import runtime; import policy_records;"
        f"assert runtime.native_module().kernel == {kernel!r}; policy_records.check_table()"
    )
    done = run_python(code, TERNEVO_KERNEL=kernel, TERNEVO_BACKEND="native")
    if "this machine has no such kernel" in done.stderr:
        pytest.skip(f"this machine does not run {kernel}")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
def test_thousands_of_observations_are_acted_on_alike(monkeypatch):
    rng = np.random.default_rng(3)
    for seed in range(4):
        record = mixed(seed)
        obs = observations(record, rng, 5000)
        monkeypatch.setenv("TERNEVO_BACKEND", "native")
        found = runtime.Policy(record).act_batch(obs)
        monkeypatch.setenv("TERNEVO_BACKEND", "numpy")
        np.testing.assert_array_equal(found, runtime.Policy(record).act_batch(obs))


def jax_outputs(saved: policy_file.SavedPolicy, obs: np.ndarray) -> jax.Array:
    q = observation.quantise(saved.quantiser, jnp.asarray(obs))
    apply = lambda one: saved.policy.apply(saved.weights, (), inputs(one))[1]  # noqa: E731
    return jax.jit(jax.vmap(apply))(q)


@pytest.mark.exact
@pytest.mark.parametrize("activation", ["int8", "int4", "sign", "ternary"])
@pytest.mark.parametrize("output", wide(["discrete", "continuous"], keep=["continuous"]))
def test_integer_policies_act_as_in_jax(activation, output, backend):
    record = make_record((5, 33, 6, 3), activation, bits=7, shifts=(1, 2), output=output, seed=3)
    saved, policy = policy_file.from_record(record), runtime.Policy(record)
    obs = observations(record, np.random.default_rng(0), 300)
    outputs = jax_outputs(saved, obs)
    exponent = integer.compile_integer(record).output_exponent
    np.testing.assert_array_equal(np.ldexp(policy.logits(obs), -exponent), outputs)
    wanted = jax.vmap(lambda one: actions.mode(saved.action, one))(outputs)
    np.testing.assert_array_equal(policy.act_batch(obs), wanted)


@pytest.mark.exact
def test_extreme_exponents_quantise_as_in_jax(backend):
    """Ties, the least numbers above a mean, and what is subnormal once the mean is off."""
    record = with_extreme_exponents(make_record((64, 9, 3), seed=5))
    saved, policy = policy_file.from_record(record), runtime.Policy(record)
    rng = np.random.default_rng(0)
    obs = observations(record, rng, 300)
    obs[:50] = np.nextafter(record.mean, rng.choice([-np.inf, np.inf], (50, 64)), dtype=np.float32)
    tiny = np.finfo(np.float32).tiny
    obs = np.where(np.abs(obs) < tiny, np.copysign(tiny, obs), obs)  # all normal
    found = policy.quantise(obs)
    np.testing.assert_array_equal(found, observation.quantise(saved.quantiser, jnp.asarray(obs)))
    for column in found.T[:4]:
        assert len(np.unique(column)) > 50


@pytest.mark.parametrize("kind", ["float", "ternary", "binary"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("output", "seed"), [("discrete", 0), ("continuous", 1)])
def test_float_policies_act_as_in_jax_within_rounding(kind, activation, output, seed):
    record = make_record((5, 33, 6, 3), activation, kind, True, 7, (1, 2), output, seed=seed)
    saved, policy = policy_file.from_record(record), runtime.Policy(record)
    assert policy.backend == "numpy"
    obs = observations(record, np.random.default_rng(0), 300)
    outputs = jax_outputs(saved, obs)
    np.testing.assert_allclose(policy.logits(obs), outputs, rtol=1e-5, atol=1e-5)
    if output == "continuous":
        wanted = jax.vmap(lambda one: actions.mode(saved.action, one))(outputs)
        np.testing.assert_allclose(policy.act_batch(obs), wanted, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(policy.act_batch(obs), policy.logits(obs).argmax(-1))


@pytest.mark.parametrize("activation", ["int8", "int4", "sign", "ternary"])
def test_float_weights_between_grids_act_as_in_jax(activation):
    """A sum near a step of the grid may fall on either side of it, and few do."""
    record = make_record((5, 9, 3), activation, "float")
    obs = observations(record, np.random.default_rng(0), 300)
    outputs = np.asarray(jax_outputs(policy_file.from_record(record), obs))
    close = np.isclose(runtime.Policy(record).logits(obs), outputs, rtol=1e-5, atol=1e-5)
    assert close.mean() > 0.98


@pytest.mark.exact
@pytest.mark.parametrize("activation", ["int8", "int4", "sign", "ternary"])
def test_integers_computed_as_floats_are_the_same(activation):
    """The float path, run on an integer policy, gives its logits times a power of two, exactly."""
    for seed in range(20):
        record = make_record((6, 8, 3), activation, shifts=(1, 3), bits=5, seed=seed)
        net = integer.compile_integer(record)
        q = integer.quantise(record, observations(record, np.random.default_rng(0), 50))
        wanted = np.ldexp(integer.logits(net, q).astype(np.float32), -net.output_exponent)
        np.testing.assert_array_equal(runtime.float_logits(record, q), wanted)


# --------------------------------------------------------------------------------------- the API


def test_lists_and_other_dtypes_are_converted(backend):
    record = make_record(seed=4)
    policy = runtime.Policy(record)
    for row in as_numpy(record):
        action = policy.act(row)
        assert type(action) is int
        assert policy.act(row.tolist()) == action
        assert policy.act(row.astype(np.float64)) == action
        assert policy.act(jnp.asarray(row)) == action
        assert policy.act(np.stack([row, row], 1)[:, 0]) == action
        assert policy.act_batch(row.astype(np.float64)[None])[0] == action
        assert policy.act_batch([row.tolist()])[0] == action
    assert policy.act([1e300, -1e300, 0, 0]) == policy.act([np.inf, -np.inf, 0, 0])


DTYPES = ["?", *"bBhHiIlLqQ", "e", "f", "d", "g", ">f4", ">i4"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", wide(["discrete", "continuous"], keep=["continuous"]))
def test_an_observation_of_any_dtype_is_what_numpy_makes_of_it(backend, dtype, output):
    rng = np.random.default_rng(7)
    record = make_record((5, 8, 3), output=output, seed=4)
    policy, wide = runtime.Policy(record), np.dtype(dtype)
    # The extension has a conversion of its own for each dtype; where it is missing, NumPy converts.
    count = 200 if backend == "native" else 5
    obs = rng.integers(0, 256, (count, 5 * wide.itemsize), dtype=np.uint8).view(wide)
    if wide.kind == "b":
        obs = rng.integers(0, 2, (count, 5)).astype(bool)
    obs = np.concatenate([obs, rng.integers(0, 3, (count, 5)).astype(wide)])
    with np.errstate(all="ignore"):
        floats = obs.astype(np.float32)
    for row, converted in zip(obs, floats, strict=True):
        np.testing.assert_array_equal(policy.act(row), policy.act(converted))
    np.testing.assert_array_equal(policy.act(obs[0, ::-1]), policy.act(floats[0, ::-1].copy()))
    unaligned = np.zeros(5 * wide.itemsize + 1, np.uint8)[1:].view(wide)
    np.testing.assert_array_equal(policy.act(unaligned), policy.act(np.zeros(5)))
    with pytest.raises(ValueError, match=r"has shape .4,"):
        policy.act(obs[0, :4])


@pytest.mark.parametrize("size", wide([2, 63, 64, 65, 130, 400, 1100], keep=[2, 65, 1100]))
@pytest.mark.parametrize("output", wide(["discrete", "continuous"], keep=["discrete"]))
def test_bits_may_be_packed_into_words(backend, size, output):
    """The longest is longer than what the extension unpacks itself."""
    record = make_record((size, 8, 3), inputs="bits", bits=1, output=output, seed=4)
    policy = runtime.Policy(record)
    bits = np.random.default_rng(size).integers(0, 2, (40, size)).astype(bool)
    padded = np.pad(bits, [(0, 0), (0, -size % 64)])
    words = np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    octets = np.packbits(bits, axis=1, bitorder="little")
    message = rf"must be \({size},\); or packed bits, uint8 \({octets.shape[1]},"
    for all_packed in (words, octets):
        for row, packed in zip(bits, all_packed, strict=True):
            wanted = policy.act(row)
            gaps = np.repeat(packed, 3)[::3]
            unaligned = np.frombuffer(b"-" + packed.tobytes(), packed.dtype, offset=1)
            swapped = packed.astype(packed.dtype.newbyteorder(">"))
            for each in (packed, gaps, unaligned, swapped):
                np.testing.assert_array_equal(policy.act(each), wanted)
        for wrong in (
            np.zeros(packed.size + 2, packed.dtype),
            packed.astype(f"i{packed.itemsize}"),
            packed[None],
            packed.astype(np.float32),
        ):
            with pytest.raises(ValueError, match=message):
                policy.act(wrong)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64])
def test_words_are_no_observation_of_a_policy_that_takes_numbers(backend, dtype):
    policy = runtime.Policy(make_record((64, 8, 3), seed=4))
    count = 64 // (8 * np.dtype(dtype).itemsize)
    with pytest.raises(ValueError, match=rf"has shape .{count},\); must be \(64,\)$"):
        policy.act(np.zeros(count, dtype))


def test_a_long_observation_of_another_dtype(backend):
    record = make_record((1500, 3), seed=4)
    policy, obs = runtime.Policy(record), np.random.default_rng(1).normal(size=1500)
    assert policy.act(obs) == policy.act(obs.astype(np.float32))


def test_one_and_many_are_the_same(backend):
    record = make_record((4, 9, 3), output="continuous", seed=4)
    policy, obs = runtime.Policy(record), as_numpy(record)
    q = policy.quantise(obs)
    assert q.shape == (6, 4)
    logits = policy.logits(obs)
    assert logits.dtype == np.int32
    assert logits.shape == (6, 3)
    assert policy.logits(obs[:0]).shape == policy.logits_q(q[:0]).shape == (0, 3)
    found = policy.act_batch(obs)
    for i in range(6):
        np.testing.assert_array_equal(policy.act(obs[i]), found[i])
        np.testing.assert_array_equal(policy.quantise(obs[i]), q[i])
        np.testing.assert_array_equal(policy.logits(obs[i]), logits[i])
        np.testing.assert_array_equal(policy.logits_q(q[i]), logits[i])
        np.testing.assert_array_equal(policy.logits_q(q[i].tolist()), logits[i])


@pytest.mark.parametrize(("output", "dtype"), [("discrete", np.int32), ("continuous", np.float32)])
def test_a_batch_fills_the_array_it_is_given(backend, output, dtype):
    record = make_record((4, 9, 3), output=output)
    policy, obs = runtime.Policy(record), as_numpy(record)
    shape = (6,) if output == "discrete" else (6, 3)
    out = np.empty(shape, dtype)
    assert policy.act_batch(obs, out) is out
    np.testing.assert_array_equal(out, policy.act_batch(obs))
    assert policy.act_batch(obs[:0]).shape == (0, *shape[1:])
    other = np.int32 if dtype is np.float32 else np.float32
    with pytest.raises(ValueError, match=rf"out is {np.dtype(other)} of shape .*; must be "):
        policy.act_batch(obs, out.astype(other))
    with pytest.raises(ValueError, match=r"out is .* of shape \(3"):
        policy.act_batch(obs, out[:3])
    with pytest.raises(ValueError, match="must be contiguous"):
        policy.act_batch(obs, np.empty((2 * shape[0], *shape[1:]), dtype)[::2])


def test_wrong_shapes_are_refused_by_name(backend):
    policy = runtime.Policy(make_record())
    for wrong, shape in ((np.zeros(3), r"\(3,\)"), (np.zeros((1, 4)), r"\(1, 4\)"), (0.0, r"\(\)")):
        with pytest.raises(ValueError, match=rf"observation has shape {shape}; must be \(4,\)"):
            policy.act(wrong)
        with pytest.raises(ValueError, match=rf"observation has shape {shape}; must be \(4,\)"):
            policy.act(np.asarray(wrong, np.float32))
    for wrong, shape in ((np.zeros(4), r"\(4,\)"), (np.zeros((2, 3)), r"\(2, 3\)")):
        with pytest.raises(ValueError, match=rf"obs has shape {shape}; must be \(n, 4\)"):
            policy.act_batch(wrong)
    with pytest.raises(ValueError, match=r"obs has shape \(3,\); must be \(4,\) or \(n, 4\)"):
        policy.logits(np.zeros(3))
    with pytest.raises(ValueError, match=r"obs has shape \(1, 1, 4\)"):
        policy.quantise(np.zeros((1, 1, 4)))
    with pytest.raises(ValueError, match=r"q has shape \(5,\)"):
        policy.logits_q(np.zeros(5, np.int8))
    with pytest.raises(TypeError, match="q has dtype float64; must be integers"):
        policy.logits_q(np.zeros(4))
    with pytest.raises(ValueError, match="outside int8"):
        policy.logits_q([0, 0, 128, 0])
    with pytest.raises((TypeError, ValueError)):
        policy.act("four")


def test_information_and_identity(backend, tmp_path):
    record = with_everything(make_record((4, 16, 2), seed=2))
    policy = runtime.Policy(record)
    info = policy.info()
    bare = tvp.encode(record.bare())
    assert info["env"] == "probe/é"
    assert info["sizes"] == (4, 16, 2)
    assert (info["activation"], info["weights"]) == ("sign", "ternary")
    assert info["num_weights"] == 4 * 16 + 16 + 16 * 2 + 2
    nonzero = sum(np.count_nonzero(layer.weights) for layer in record.layers)
    assert info["num_nonzero"] == nonzero + sum(np.count_nonzero(x.bias) for x in record.layers)
    assert info["bytes"] == len(bare) <= 160
    assert info["sha256"] == runtime.Policy(record.bare()).info()["sha256"]
    assert info["backend"] == policy.backend == backend
    assert info["metadata"] == record.metadata
    path = tmp_path / "policy.tvp"
    path.write_bytes(policy.to_bytes())
    assert runtime.load(path).to_bytes() == policy.to_bytes() == tvp.encode(record)
    assert runtime.load(path).info() == info
    assert "sizes=(4, 16, 2)" in repr(policy)


def test_a_policy_is_pickled_as_its_file(backend):
    policy = runtime.Policy(make_record())
    again = pickle.loads(pickle.dumps(policy))
    assert again.to_bytes() == policy.to_bytes()
    obs = as_numpy(policy.record)
    np.testing.assert_array_equal(again.act_batch(obs), policy.act_batch(obs))


def test_a_damaged_file_is_refused_with_its_name(tmp_path):
    path = tmp_path / "damaged.tvp"
    path.write_bytes(tvp.encode(make_record())[:-1])
    with pytest.raises(PolicyFormatError, match=r"damaged\.tvp: byte 12: "):
        runtime.load(path)
    with pytest.raises(PolicyFormatError, match=r"^byte 12: "):
        runtime.Policy.from_bytes(path.read_bytes())
    with pytest.raises(FileNotFoundError):
        runtime.load(tmp_path / "none.tvp")


def test_threads_may_share_a_policy(backend):
    record = make_record((27, 64, 8), seed=3)
    policy = runtime.Policy(record)
    obs = observations(record, np.random.default_rng(0), 3000)
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


def test_a_policy_is_freed(backend):
    policy = runtime.Policy(make_record())
    gone = weakref.ref(policy)
    gc.disable()
    try:
        del policy
        assert gone() is None  # without the collector: nothing refers back
    finally:
        gc.enable()


def test_importing_the_runtime_imports_no_jax():
    code = (
        "import sys, ternevo.deploy.runtime;"
        "assert not {'jax', 'jaxlib', 'flax'} & set(sys.modules), 'jax was imported'"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_backend_can_be_chosen(monkeypatch):
    monkeypatch.setenv("TERNEVO_BACKEND", "fortran")
    with pytest.raises(ValueError, match="TERNEVO_BACKEND=fortran: must be one of native, numpy"):
        runtime.backend()
    monkeypatch.setenv("TERNEVO_BACKEND", "native")
    monkeypatch.setattr(runtime, "native_module", lambda: None)
    with pytest.raises(ImportError, match="the extension was not built"):
        runtime.backend()
    monkeypatch.delenv("TERNEVO_BACKEND")
    assert runtime.backend() == "numpy"
    check_against_reference(make_record())


# ----------------------------------------------------------------------------------- the extension


@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
class TestExtension:
    """What only the extension has; `runtime` hands it nothing that it refuses."""

    record = make_record((4, 9, 3))
    obs = np.zeros((2, 4), np.float32)

    @property
    def policy(self):
        assert NATIVE is not None
        return NATIVE.Policy(tvp.encode(self.record))

    def test_an_unknown_kernel_is_refused(self):
        done = run_python("import ternevo.deploy._native", TERNEVO_KERNEL="mmx")
        assert "TERNEVO_KERNEL=mmx: this machine has no such kernel" in done.stderr
        assert done.returncode != 0

    def test_an_observation_that_only_numpy_can_convert_is_refused(self):
        with pytest.raises(TypeError, match=r"format 'e' and shape \(4,\); must be a contiguous"):
            self.policy.act(np.zeros(4, np.float16))
        with pytest.raises(ValueError, match=r"shape \(5,\).* array of float32 \(4,\)"):
            self.policy.act(np.zeros(5, np.float32))
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            self.policy.act(np.zeros((2, 2), np.float32))
        with pytest.raises(ValueError, match="contiguous"):
            self.policy.act(np.zeros(8, np.float32)[::2])
        with pytest.raises(TypeError, match="<class 'list'>, not a contiguous array of float32"):
            self.policy.act([0.0] * 4)

    def test_arrays_to_fill_must_fit(self):
        with pytest.raises(ValueError, match=r"out has .* \(3,\); must be a writable"):
            self.policy.act_batch(self.obs, np.empty(3, np.int32))
        with pytest.raises(TypeError, match="array of int32"):
            self.policy.act_batch(self.obs, np.empty(2, np.float32))
        read_only = np.empty(2, np.int32)
        read_only.flags.writeable = False
        with pytest.raises(ValueError, match="writable"):
            self.policy.act_batch(self.obs, read_only)
        with pytest.raises(ValueError, match=r"\(2, 3\)"):
            self.policy.logits(self.obs, np.empty((2, 4), np.int32))
        with pytest.raises(TypeError, match="int8"):
            self.policy.quantise(self.obs, np.empty((2, 4), np.uint8))
        with pytest.raises(ValueError, match=r"\(n, 4\)"):
            self.policy.logits_q(np.zeros((2, 5), np.int8), np.empty((2, 3), np.int32))
        with pytest.raises(TypeError, match="takes 2 arguments, not 1"):
            self.policy.act_batch(self.obs)

    def test_a_file_is_refused_with_the_error_of_python(self):
        assert NATIVE is not None
        with pytest.raises(PolicyFormatError) as caught:
            NATIVE.Policy(b"nothing")
        assert (caught.value.offset, caught.value.reason) == (0, "not a .tvp policy file")
        with pytest.raises(TypeError):
            NATIVE.Policy("text")
        with pytest.raises(ValueError, match="computes with floats"):
            NATIVE.Policy(tvp.encode(make_record(activation="tanh")))
        with pytest.raises(TypeError, match="continuous"):
            NATIVE.Policy(tvp.encode(make_record(output="continuous"))).act(self.obs[0])

    def test_memory_is_let_go(self):
        """Refusals and calls in a row leave no references behind."""
        refused, obs, policy = np.zeros(4, np.float16), np.zeros(4), self.policy
        before = sys.getrefcount(refused), sys.getrefcount(obs)
        for _ in range(100):
            with pytest.raises(TypeError):
                policy.act(refused)
            policy.act(obs)
        assert (sys.getrefcount(refused), sys.getrefcount(obs)) == before


# ------------------------------------------------------------------------- under the sanitizers


class Corpus(NamedTuple):
    """Files, and the line that the driver must print for each."""

    files: list[bytes]
    answers: list[str]


def with_answers(files: list[bytes]) -> Corpus:
    return Corpus(files, [*map(expected, files)])


@functools.cache  # with what Python says of them, for all kernels
def corpus(count: int, step: int) -> Corpus:
    """Return files of version 1, whole, cut off, and changed under a right check sum."""
    whole = [tvp.encode(with_everything(record, 2)) for record in list(table())[::step]]
    whole += [tvp.encode(mixed(seed)) for seed in range(20)]
    whole += [tvp.encode(with_everything(make_record((3, 4, 2), "tanh", "float")))]
    whole += [tvp.encode(with_squares(with_extreme_exponents(make_record((5, 4, 2)))))]
    return with_answers(damaged(whole, count))


@functools.cache
def second_corpus(count: int) -> Corpus:
    """Return the same of version 2."""
    records = [deep_record(seed) for seed in range(60 + count // 50)]
    records += [thinned(deep_record(seed, kinds=("ternary", "int4"))) for seed in range(30)]
    whole = [tvp.encode(with_everything(record, 2)) for record in records]
    return with_answers(damaged([data for data in whole if data[8] == 2], count))


def damaged(whole: list[bytes], count: int) -> list[bytes]:
    """Return the files, and `count` that are cut off or changed, most with a right check sum."""
    rng = np.random.default_rng(0)
    small = [data for data in whole if len(data) < 600]
    files = list(whole)
    for _ in range(count):
        data = bytearray(small[rng.integers(len(small))])
        # As often in the header and the records of layers as in all that follows.
        reach = len(data) if rng.random() < 0.5 else 32 + 16 * data[20]
        for place in rng.integers(0, min(reach, len(data)), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        if rng.random() < 0.3:
            data = data[: rng.integers(len(data))]
        files.append(sealed(bytes(data)) if len(data) >= 20 and rng.random() < 0.9 else bytes(data))
    return files


def expected(data: bytes) -> str:
    """Return the line that the driver prints: the verdict, and what the policy gives."""
    try:
        record = tvp.decode(data)
    except PolicyFormatError as error:
        return f"refused {error.offset} {error.reason}"
    assert tvp.encode(record) == data
    if not record.is_integer:
        return "floats"
    net = integer.compile_integer(record)
    place, row = np.arange(record.obs_size), np.arange(4)[:, None]
    q = ((37 * place + 91 * row + 11) % 255 - 127).astype(np.int8)
    found = integer.episode(net, q)
    obs = q.astype(np.float32) / 8
    acted = integer.episode(net, integer.quantise(record, obs))
    taken = integer.actions(record, net.output_exponent, acted)
    texts = [" ".join(map(str, found.ravel())), " ".join(map(str, taken.view(np.int32).ravel()))]
    return f"logits {texts[0]} actions {texts[1]}"


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    program = tmp_path_factory.mktemp("native") / "driver"
    flags = ["-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [HERE / "native_driver.c", SOURCES / "tvp.c", SOURCES / "kernels.c"]
    done = subprocess.run(
        [compiler, *flags, *sanitizers, f"-I{SOURCES}", *map(str, sources), "-o", str(program)],
        capture_output=True,
        text=True,
    )
    if "cannot find -lasan" in done.stderr or "cannot find -lubsan" in done.stderr:
        pytest.skip("gcc has no sanitizers here")
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_the_sanitizers_find_nothing_in_many_files(kernel, driver, tmp_path):
    check_under_sanitizers(driver, tmp_path, kernel, corpus(6000, 7))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_the_sanitizers_find_nothing_in_many_files_of_version_2(kernel, driver, tmp_path):
    count = 100_000 if kernel == "avx2" else 20_000
    check_under_sanitizers(driver, tmp_path, kernel, second_corpus(count))


@pytest.mark.wide  # a part of it is in test_c_layers.py
def test_the_sanitizers_find_nothing(driver, tmp_path):
    check_under_sanitizers(driver, tmp_path, "portable", corpus(400, 37))


@pytest.mark.wide  # as those of version 1
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_the_sanitizers_find_nothing_in_version_2(kernel, driver, tmp_path):
    check_under_sanitizers(driver, tmp_path, kernel, second_corpus(300))


def check_under_sanitizers(driver: Path, folder: Path, kernel: str, corpus: Corpus) -> None:
    """Run the decoder and the kernels in C on the files; verdicts and actions are Python's."""
    path = folder / "corpus"
    path.write_bytes(b"".join(struct.pack("<I", len(data)) + data for data in corpus.files))
    done = subprocess.run([driver, path, kernel], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"this machine does not run {kernel}")
    assert done.returncode == 0, done.stderr[-4000:]
    for line, wanted in zip(done.stdout.splitlines(), corpus.answers, strict=True):
        assert line == wanted
