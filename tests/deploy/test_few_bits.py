"""Integers of 8, 4 and 2 bits, and layers in their smallest storage: files, runtimes, exports."""

import dataclasses
import itertools
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from deep_records import check_deep, deep_record, thinned
from hypothesis import given, settings, strategies as st
from layered_records import Builder
from marks import wide
from policy_records import check_against_reference, make_record, with_everything
from test_c_layers import compare, one_file
from test_deep_layers import run_kernel
from test_numpy_layers import check as check_script

from ternevo.deploy import c_layers, c_tables, coder, codes, integer, onnx_graph, runtime, tvp
from ternevo.deploy.reader import Reader
from ternevo.deploy.record import PolicyRecord, Window
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.settings.policies.settings import LARGEST_LEVELS, largest_sum

FEW = tuple(LARGEST_LEVELS)
KINDS = ("ternary", "binary", "float", *FEW)
DENSITIES = (1.0, 0.5, 0.1, 0.02, 0.0)
NATIVE = runtime.native_module()


def policies() -> list[PolicyRecord]:
    """Chains of dense layers: every kind with every activation, some of them almost empty."""
    kinds = itertools.product(FEW, integer.GRIDS, (1.0, 0.03))
    sizes = itertools.cycle([(4, 16, 2), (17, 65, 9, 3), (300, 7, 5), (3, 1)])
    return [
        make_record(
            next(sizes),
            activation,
            kind,
            density=density,
            bits=(8, 4, 1)[i % 3],
            inputs=("f32", "i8", "bits")[i % 3],
            output=("discrete", "continuous")[i % 2],
            scales=("layer", "output")[i // 2 % 2],
            seed=i,
        )
        for i, (kind, activation, density) in enumerate(kinds)
    ]


def deep(count: int) -> list[PolicyRecord]:
    """Images, pools, cells and skips, as far as their sums fit."""
    found = []
    for seed in range(count):
        record = deep_record(seed, kinds=(*FEW, "ternary"), depth=1 + seed % 3)
        try:
            found.append(tvp.decode(tvp.encode(record)))
        except PolicyFormatError as error:
            assert "inputs of int8 weights: sums of" in error.reason
    return [record for record in found if record.has_few_bits]


def counted() -> PolicyRecord:
    """A convolution of bits whose sums and thresholds are beyond those of the tables of trits."""
    how = {"output": "continuous", "kind": "int8", "bias": False, "exponent": 15}
    builder = Builder((6, 6, 8), inputs="bits", **how)
    record = builder.add("convolution", 5, "ternary", Window(4, 4, 1, 0)).record()
    first = dataclasses.replace(record.layers[0], weights=np.full((5, 128), 120, np.int8))
    return dataclasses.replace(record, layers=(first, *record.layers[1:]))


def pruned() -> list[PolicyRecord]:
    """Every kind at every sparsity, with an empty row, one of a last column only, long gaps."""
    found = []
    for i, (kind, density) in enumerate(itertools.product((*FEW, "ternary"), DENSITIES)):
        record = make_record((1020, 7, 3), "int8", kind, inputs="i8", density=density, seed=i)
        weights = record.layers[0].weights.copy()
        weights[:3] = 0
        weights[1, -1] = -1
        weights[2, [253, 507, 762, 1019]] = [1, -1, 1, -1]  # gaps of 253, 254, 255 and 257
        layer = dataclasses.replace(record.layers[0], weights=weights)
        found.append(dataclasses.replace(record, layers=(layer, *record.layers[1:])))
    return found


# ------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize("is_compact", [False, True])
def test_a_file_gives_back_the_policy_in_all_readers(is_compact):
    small = [record for record in policies() if record.obs_size < 300]
    for i, record in enumerate([*(small[::3] if is_compact else small), *deep(3)]):
        record = dataclasses.replace(record, is_compact=is_compact)
        record = with_everything(record) if i % 3 == 0 else record
        data = tvp.encode(record)
        assert data[9] == 1 and data[10] == is_compact
        found = tvp.decode(data)
        assert tvp.encode(found) == data
        for layer, own in zip(found.layers, record.layers, strict=True):
            np.testing.assert_array_equal(layer.weights, own.weights)
            assert layer.kind == own.kind
        if NATIVE is not None and not is_compact:
            NATIVE.check(data)


@pytest.mark.parametrize("kind", wide(KINDS, keep=("ternary", "float", "int4")))
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31 - 1), st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.booleans()
)
def test_every_storage_gives_back_its_layer(kind, seed, rows, inputs, density, has_bias):
    record = make_record((inputs, rows), kind=kind, density=density, bias=has_bias, seed=seed)
    layer = record.layers[0]
    data = codes.pack(kind, layer.weights, layer.bias)
    reader = Reader(data + bytes(4))
    values = codes.read(reader, kind, codes.Shape(rows, inputs, has_bias))
    wanted = layer.weights.ravel() if layer.bias is None else np.append(layer.weights, layer.bias)
    np.testing.assert_array_equal(values, wanted)
    assert reader.at == len(data) <= 1 + len(codes.pack_plain(kind, wanted))


@pytest.mark.parametrize("number", range(4))
def test_each_storage_is_the_smallest_of_some_layer(number):
    weights = {
        0: np.arange(1, 9, dtype=np.float32)[None],
        1: np.tile(np.float32([0, 1, 1, 0, 0, 1]), 20)[None],
        2: (np.arange(64) % 32 == 1).astype(np.int8)[None],
        3: np.where(np.arange(4096) % 9 < 3, 7, 0).astype(np.int8).reshape(64, 64),
    }[number]
    kind = "float" if weights.dtype == np.float32 else "int8"
    assert codes.pack(kind, weights, None)[0] == number


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-127, 127) | st.just(0), min_size=1, max_size=120),
    st.integers(1, 12),
    st.sampled_from([0, 1, 7, 127]),
)
def test_the_coder_decodes_what_it_encodes(numbers, width, largest):
    clipped = [max(-largest, min(largest, x)) if largest else int(x != 0) for x in numbers]
    shape = width, len(clipped) // width, largest
    symbols = coder.symbols(np.array(clipped, np.int8), *shape)
    code = coder.encode(symbols)
    assert coder.decode(code, len(clipped), *shape) == clipped
    assert not code.endswith(b"\0")
    assert abs(len(code) - coder.expected_size(symbols)) < codes.MARGIN / 4


def test_the_coder_is_near_the_entropy():
    rng = np.random.default_rng(0)
    for density in (0.02, 0.1, 0.5):
        values = np.where(rng.random(4_000) < density, rng.choice([-1, 1], 4_000), 0)
        bound = codes.entropy("ternary", values) / 8
        assert (
            bound - 8
            < len(coder.encode(coder.symbols(values.astype(np.int8), 40, 100, 1)))
            < 1.02 * bound + 16
        )


def test_what_is_pruned_costs_little():
    """Of 64 x 64 integers of 8 bits with 2 % not 0: 82 bytes of numbers, 72 of their places."""
    dense = make_record((64, 64), kind="int8", bias=False, inputs="i8", density=1.0)
    pruned = make_record((64, 64), kind="int8", bias=False, inputs="i8", density=0.02)
    size = len(tvp.encode(tvp.smallest(pruned))) - 32 - 12 - 4
    count = np.count_nonzero(pruned.layers[0].weights)
    assert count < size < 2.2 * count
    assert not tvp.smallest(dense).is_compact and tvp.smallest(pruned).is_compact
    assert tvp.smallest(pruned).bare() == pruned or not pruned.is_compact


def test_damage_is_refused_or_is_another_policy():
    """No byte of a compact file can change without notice, and none brings the reader down."""
    record = make_record((5, 7, 2), "int8", "int8", density=0.3, is_compact=True, seed=3)
    ternary = make_record((20, 5, 2), "int8", density=0.1, is_compact=True, seed=3)
    for data in map(tvp.encode, (record, ternary)):
        for place in range(8, len(data) - 4):
            for change in (1 << place % 8, 255):
                damaged = bytearray(data)
                damaged[place] ^= change
                with pytest.raises(PolicyFormatError):
                    tvp.decode(bytes(damaged))
                body = bytes(damaged[:-4])
                try:
                    found = tvp.decode(body + zlib.crc32(body).to_bytes(4, "little"))
                except PolicyFormatError:
                    continue
                assert tvp.encode(found)[:-4] == body


def test_a_layer_in_another_storage_is_refused():
    record = make_record((30, 9), kind="int8", density=0.1, bias=False, inputs="i8")
    weights = record.layers[0].weights.ravel()
    data = tvp.encode(dataclasses.replace(record, is_compact=True))
    start = 32 + 12
    assert data[start] in (2, 3)
    body = data[:start] + b"\0" + codes.pack_plain("int8", weights)
    body = body[:12] + (len(body) + 4).to_bytes(4, "little") + body[16:]
    with pytest.raises(PolicyFormatError, match="are not in their smallest storage"):
        tvp.decode(body + zlib.crc32(body).to_bytes(4, "little"))


def test_sums_that_float32_would_round_are_refused():
    wide = make_record((1100, 2), kind="int8", inputs="i8", bias=False)
    with pytest.raises(PolicyFormatError, match="1100 inputs of int8 weights: sums of 17999"):
        tvp.encode(wide)
    tvp.encode(make_record((1024, 2), kind="int8", inputs="i8"))
    tvp.encode(make_record((1100, 2), kind="int4", inputs="i8"))
    assert largest_sum("int8", 127, 1024) < 2**24 <= largest_sum("int8", 127, 1025)


def test_older_files_keep_their_bytes_and_their_identity():
    record = make_record((9, 30, 3), "int8", density=0.05)
    plain = tvp.encode(record)
    assert plain[8:12] == b"\1\0\0\0"
    compact = tvp.encode(dataclasses.replace(record, is_compact=True))
    assert compact[8:12] == b"\1\1\1\0" and len(compact) < len(plain)
    assert tvp.encode(tvp.decode(compact).bare()) == tvp.encode(record.bare())


# ---------------------------------------------------------------------------------- runtimes


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_every_backend_computes_the_integers(backend, monkeypatch):
    if backend == "native" and NATIVE is None:
        pytest.skip("the extension was not built")
    monkeypatch.setenv(runtime.BACKEND_VARIABLE, backend)
    check_all()
    check_against_reference(make_record(kind="int8", is_compact=True), 4)
    check_against_reference(make_record((30, 30, 2), density=0.02, is_compact=True), 4)


def check_all() -> None:
    """Compare the backend in use with the reference, by ==."""
    for record in [*policies(), *pruned()]:
        check_against_reference(record, 12)
    for record in deep(16):
        check_deep(record, 6)
        check_deep(thinned(record), 6)
    check_deep(counted(), 12)


@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_every_kernel_computes_the_integers(kernel):
    here = str(Path(__file__).parent)
    run_kernel(
        kernel,
        f"import sys; sys.path.append({here!r}); import test_few_bits as few; few.check_all()",
    )


def largest(kind: str, spread: int) -> PolicyRecord:
    """Return a policy with the largest sums that there are."""
    record = make_record((1024, 3), kind=kind, inputs="i8", exponents=[4], bias_exponent=0)
    layer = record.layers[0]
    level = np.int8(LARGEST_LEVELS[kind])
    signs = np.sign(np.random.default_rng(0).normal(size=(3, 1))).astype(np.int8)
    layer = dataclasses.replace(
        layer,
        weights=np.full_like(layer.weights, level) * signs,
        bias=np.full(3, level) * signs[:, 0],
        exponent=np.array([0, spread, spread], np.int8),
    )
    return dataclasses.replace(record, layers=(layer,))


@pytest.mark.parametrize("kind", FEW)
def test_the_largest_sums_are_exact_everywhere(kind):
    record = largest(kind, 6)
    q = np.array([[127] * 1024, [-127] * 1024], np.int8)
    layer = record.layers[0]
    exact = layer.weights.astype(object) @ q[0] + layer.bias.astype(object) * 127 * np.array(
        [1, 16, 16], object
    )
    wanted = exact * np.array([64, 1, 1], object)
    found = runtime.Policy(record).logits_q(q)
    np.testing.assert_array_equal(found[0], wanted.astype(np.int32))
    np.testing.assert_array_equal(found, integer.logits(integer.compile_integer(record), q))
    with pytest.raises(PolicyFormatError, match="are 7 apart; at most 6"):
        tvp.encode(largest(kind, 7))


# ----------------------------------------------------------------------------------- exports


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    sparse = [
        make_record((300, 40, 3), "int8", density=0.02, seed=5),
        make_record((40, 40, 3), "sign", density=0.02, seed=6, bias=False),
        make_record((40, 9, 3), "ternary", density=0.0, seed=7),
        make_record((40, 9, 3), "int4", "int8", density=0.0, seed=8),
        *pruned(),
    ]
    return one_file(tmp_path_factory.mktemp("few"), [*policies()[::2], *deep(8), *sparse], 6)


@pytest.mark.wide  # as those of test_c_header.py
@pytest.mark.parametrize("kernel", ["PORTABLE", pytest.param("AVX2", marks=pytest.mark.slow)])
def test_headers_compute_the_integers(header, kernel):
    compare(header, "gcc", kernel, "-O1")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["PORTABLE", "VERTICAL", "AVX2", "AVX512"])
@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang"])
def test_headers_compute_the_integers_with_other_compilers(header, kernel, compiler):
    compare(header, compiler, kernel, "-O2")


def test_headers_have_the_smaller_table():
    takes = {}
    for density in (1.0, 0.3):
        for kind in ("int8", "ternary"):
            record = make_record((64, 16, 2), "int8", kind, density=density)
            net = integer.compile_integer(record)
            takes[kind, density] = c_layers.plan(record, net).matrices[0].takes
    assert takes == {
        ("int8", 1.0): "wide",
        ("ternary", 1.0): "bytes",
        ("int8", 0.3): "sparse",
        ("ternary", 0.3): "bytes",
    }
    assert c_tables.is_sparse(make_record((64, 16), density=0.05).layers[0].weights)


def test_gaps_lead_to_all_weights():
    """As the comment in c/layers.h reads them; of trits first those of +1, then those of -1."""
    for record in pruned():
        weights = record.layers[0].weights
        is_wide = c_tables.is_wide_valued(weights)
        halves = [weights] if is_wide else [weights > 0, weights < 0]
        at, row, found = 0, 0, []
        for gap in c_tables.gaps(weights).tolist():
            at, row = (0, row + 1) if gap == 255 else (at + gap, row)
            found += [(row // len(halves), row % len(halves), at)] if gap < 254 else []
        places = zip(*np.nonzero(np.stack(halves, axis=1)), strict=True)
        assert found == [tuple(map(int, place)) for place in places]
        assert row == len(halves) * len(weights)


@pytest.mark.parametrize("kind, times", [("int8", 22), ("int4", 22), ("ternary", 7)])
def test_the_tables_of_a_pruned_header_are_small(kind, times):
    """With 2 % of the weights; the bytes are those of the arrays that the header has."""
    sizes = {}
    for density in (1.0, 0.02):
        record = make_record((256, 256, 4), "int8", kind, bias=False, density=density)
        net = integer.compile_integer(record)
        writer = c_tables.Writer(record, net, "p", "", None, None)
        matrix = c_layers.plan(record, net).matrices[0]
        text = "".join(c_tables.of_kernels(writer, matrix))
        sizes[density] = writer.table_bytes["plain"] - 4 * 256  # without biases
        if density < 1:
            counts = {name: int(n) for name, n in re.findall(r"@_([pw])0\[(\d+)\]", text)}
            assert sum(counts.values()) == sizes[density]
            assert counts["p"] >= matrix.size + 256
            assert counts.get("w", matrix.size) == matrix.size
    print(f"{kind}: {sizes[0.02]:,} instead of {sizes[1.0]:,} bytes")
    assert sizes[1.0] > times * sizes[0.02]


def test_scripts_compute_the_integers(tmp_path):
    for record in [*policies()[::3], *deep(8)]:
        check_script(record, tmp_path)


def test_graphs_compute_the_integers():
    pytest.importorskip("onnx")
    from test_onnx import expected, in_onnxruntime, in_reference, observations

    rng = np.random.default_rng(0)
    for i, record in enumerate(policies()[::2]):
        obs, data = observations(record, rng, 8), onnx_graph.to_bytes(record)
        run = in_reference if i % 2 else in_onnxruntime
        for found, wanted in zip(run(data, obs), expected(record, obs), strict=True):
            np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="--onnx_weights int2 holds trits and signs"):
        onnx_graph.to_bytes(make_record(kind="int8"), "int2")
    assert onnx_graph.to_bytes(make_record(kind="int2"), "int2")
