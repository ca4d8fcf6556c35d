"""The file format: what is written is read, and whatever else is refused, in Python and in C."""

import dataclasses
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from marks import wide
from policy_records import (
    make_layer,
    make_record,
    random_integers,
    sealed,
    with_everything,
    with_functions,
    with_squares,
)

from ternevo.deploy import integer, runtime, tvp
from ternevo.deploy.record import Layer, Moments, PolicyRecord, Squares
from ternevo.deploy.tvp import PolicyFormatError

NATIVE = runtime.native_module()

CARTPOLE = tvp.encode(make_record())
BITS = tvp.encode(with_everything(make_record((6, 5, 3), "int8", inputs="bits")))
WHOLE = tvp.encode(with_everything(make_record((3, 7, 2), "int4", "binary", output="continuous")))
FLOATS = tvp.encode(with_everything(make_record((3, 4, 2), "tanh", "float")))
OLD = tvp.encode(with_squares(make_record((3, 2), "int4")))
OUTPUTS = tvp.encode(with_everything(make_record((3, 5, 2), "int8", scales="output")))
FUNCTIONS = tvp.encode(
    with_everything(with_functions(make_record((3, 5, 2), "int8", scales="output")))
)
FILES = {
    **{"cartpole": CARTPOLE, "bits": BITS, "whole": WHOLE, "floats": FLOATS, "old": OLD},
    **{"outputs": OUTPUTS, "functions": FUNCTIONS},
}
"""Between them every part of the format."""

LAYER_0, LAYER_1 = 32, 44
TABLE = 56
"""Where files of two layers have the records of these, and then the inputs' table."""
EXPONENTS = TABLE + 5 * 3
"""Where a file with three inputs and exponents of outputs has those of the first layer."""


def verdict(decoder, data: bytes) -> tuple[int, str] | None:
    """Return offset and reason of a refusal."""
    try:
        decoder(data)
    except PolicyFormatError as error:
        return error.offset, error.reason
    return None


def judge(data: bytes) -> tuple[int, str] | None:
    """Return what both decoders say."""
    found = verdict(tvp.decode, data)
    if NATIVE is not None:
        assert verdict(NATIVE.check, data) == found
    return found


RECORDS = st.fixed_dictionaries(
    {
        "sizes": st.lists(st.integers(1, 12), min_size=2, max_size=5),
        "activation": st.sampled_from(["int8", "int4", "sign", "ternary", "tanh", "relu"]),
        "kind": st.sampled_from(["ternary", "binary", "float"]),
        "bias": st.booleans(),
        "bits": st.integers(1, 8),
        "shifts": st.tuples(st.integers(0, 8), st.integers(0, 8)),
        "output": st.sampled_from(["discrete", "continuous"]),
        "inputs": st.sampled_from(["f32", "i8", "bits"]),
        "seed": st.integers(0, 2**32 - 1),
        "scales": st.sampled_from(["layer", "output"]),
        "functions": st.booleans(),
        "metadata": st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9)),
    }
)


def assert_same(a: PolicyRecord, b: PolicyRecord) -> None:
    """Compare all that the records hold."""
    for name in ("mean", "exponent", "low", "high"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for ours, theirs in zip(a.layers, b.layers, strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        assert (ours.bias is None) == (theirs.bias is None)
        if ours.bias is not None:
            np.testing.assert_array_equal(ours.bias, theirs.bias)
        np.testing.assert_array_equal(ours.exponent, theirs.exponent)
        np.testing.assert_array_equal(ours.functions, theirs.functions)
        for name in ("kind", "activation", "bias_exponent", "has_outputs"):
            assert getattr(ours, name) == getattr(theirs, name)
    for name in ("input_kind", "observation_bits", "observation_shift", "output_shift"):
        assert getattr(a, name) == getattr(b, name)
    assert (a.output_kind, a.metadata) == (b.output_kind, b.metadata)


@settings(deadline=None)  # a busy machine is not an error
@given(RECORDS, st.booleans())
def test_what_is_written_is_read_and_written_alike(options, has_everything):
    has_functions = options.pop("functions")
    record = make_record(**options)
    record = with_functions(record) if has_functions else record
    if has_everything:
        record = with_everything(record)
    data = tvp.encode(record)
    decoded = tvp.decode(data)
    assert judge(data) is None
    assert_same(decoded, record)
    assert tvp.encode(decoded) == data


def test_a_policy_for_cartpole_takes_less_than_160_bytes():
    assert len(CARTPOLE) <= 160


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_every_truncation_is_refused(data):
    for size in range(len(data)):
        assert judge(data[:size]) is not None, size
    assert judge(data + b"\0") is not None


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_every_flipped_bit_is_refused(data):
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            assert judge(bytes(damaged)) is not None, (place, bit)


def edited(data: bytes, offset: int, new: bytes) -> bytes:
    return sealed(data[:offset] + new + data[offset + len(new) :])


def f32(value: float) -> bytes:
    return struct.pack("<f", value)


def chunk(tag: bytes, content: bytes) -> bytes:
    return tag + struct.pack("<I", len(content)) + content


def extended(data: bytes, *chunks: bytes) -> bytes:
    return sealed(data[:-4] + b"".join(chunks) + data[-4:])


def text(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<H", len(each)) + each for each in texts)


END = len(CARTPOLE) - 4
BARE_FLOATS = tvp.encode(make_record((3, 4, 2), "tanh", "float"))
BARE_BITS = tvp.encode(make_record((6, 5, 3), "int8", inputs="bits"))
RANGED = tvp.encode(make_record((3, 7, 2), "int4", "binary", output="continuous"))
MOMENTS = chunk(b"MOMT", f32(1) * 5)
DEVIATIONS = chunk(b"MOMD", f32(1) * 8)
ONE_VECTOR = struct.pack("<I", 1) + bytes(4 + 8)

NO_GRID = "functions need a dense layer or an Elman cell, on int8, int4 or ternary"
APART = "exponents of outputs are 9 apart; at most 8"
REFUSALS = [
    (b"", 0, "not a .tvp policy file"),
    (b"\x89TVP\n\n\x1a\n" + CARTPOLE[8:], 0, "not a .tvp policy file"),
    (CARTPOLE[:47], 47, "the file is cut off"),
    (edited(CARTPOLE, 8, b"\3"), 8, "version 3.0; this ternevo reads 1.0, 1.1, 2.0 and 2.1"),
    (edited(CARTPOLE, 9, b"\2"), 8, "version 1.2; this ternevo reads 1.0, 1.1, 2.0 and 2.1"),
    (edited(CARTPOLE, 9, b"\1"), 8, "version 1.1 of a policy that version 1.0 can hold"),
    (edited(CARTPOLE, 9, b"\1\2"), 10, "unknown flags 0x0002"),
    (edited(CARTPOLE, 10, b"\1\2"), 10, "unknown flags 0x0201"),
    (CARTPOLE + b"x", 12, f"{len(CARTPOLE)} bytes were written, and there are {END + 5}"),
    (edited(CARTPOLE, 16, b"\0\0"), 16, "0 inputs; must be 1 to 4096"),
    (edited(CARTPOLE, 16, b"\1\x10"), 16, "4097 inputs; must be 1 to 4096"),
    (edited(CARTPOLE, 18, b"\0\0"), 18, "0 outputs; must be 1 to 4096"),
    (edited(CARTPOLE, 18, b"\1\x10"), 18, "4097 outputs; must be 1 to 4096"),
    (edited(CARTPOLE, 18, b"\3"), 18, "3 outputs, and the last layer has 2"),
    (edited(CARTPOLE, 20, b"\0"), 20, "0 layers; must be 1 to 16"),
    (edited(CARTPOLE, 20, b"\x11"), 20, "17 layers; must be 1 to 16"),
    (edited(CARTPOLE, 21, b"\3"), 21, "kind of input 3; must be 0 to 2"),
    (edited(CARTPOLE, 22, b"\0"), 22, "0 observation bits; must be 1 to 8"),
    (edited(CARTPOLE, 22, b"\x09"), 22, "9 observation bits; must be 1 to 8"),
    (edited(BARE_BITS, 22, b"\2"), 22, "2 observation bits; must be 1 to 1"),
    (edited(CARTPOLE, 23, b"\2"), 23, "kind of output 2; must be 0 to 1"),
    (edited(CARTPOLE, 24, b"\xff"), 24, "output shift -1; 0 to 8"),
    (edited(CARTPOLE, 24, b"\x09"), 24, "output shift 9; 0 to 8"),
    (edited(CARTPOLE, 25, b"\x09"), 25, "observation shift 9; 0 to 8"),
    (edited(CARTPOLE, 31, b"\1"), 26, "reserved bytes are not 0"),
    (edited(CARTPOLE, LAYER_0, b"\2"), 32, "unknown type of layer 2"),
    (edited(CARTPOLE, LAYER_0, b"\0"), 32, "unknown type of layer 0"),
    (edited(CARTPOLE, LAYER_0 + 1, b"\7"), 33, "activation 7; must be 0 to 6"),
    (edited(CARTPOLE, LAYER_0 + 1, b"\0"), 33, "only the last layer has no activation"),
    (edited(CARTPOLE, LAYER_1 + 1, b"\1"), 45, "only the last layer has no activation"),
    (edited(CARTPOLE, LAYER_0 + 2, b"\3"), 34, "kind of weights 3; must be 0 to 2"),
    (edited(CARTPOLE, LAYER_0 + 3, b"\x08"), 35, "layer flags 8; must be 0 to 7"),
    (edited(CARTPOLE, LAYER_0 + 3, b"\5"), 35, NO_GRID),  # signs
    (edited(FLOATS, LAYER_0 + 3, b"\5"), 35, NO_GRID),
    (edited(FUNCTIONS, LAYER_1 + 3, b"\5"), 47, NO_GRID),  # the last layer
    (edited(FUNCTIONS, EXPONENTS + 6, b"\5"), 77, "function 5 of output 1; must be 0 to 4"),
    (edited(FUNCTIONS, EXPONENTS + 9, b"\xff"), 80, "function 255 of output 4; must be 0 to 4"),
    (edited(FLOATS, LAYER_0 + 3, b"\3"), 35, "float weights have no exponents"),
    (edited(OUTPUTS, LAYER_0 + 6, b"\1"), 38, "exponent 1; at most 0 in size"),
    (edited(OUTPUTS, EXPONENTS + 1, b"\x19"), 72, "exponent 25 of output 1; at most 24 in size"),
    (
        edited(OUTPUTS, EXPONENTS, b"\0\0\7\xfe\0"),
        71,
        "exponents of outputs are 9 apart; at most 8",
    ),
    (edited(CARTPOLE, LAYER_0 + 4, b"\0\0"), 36, "0 outputs; must be 1 to 4096"),
    (edited(CARTPOLE, LAYER_0 + 4, b"\1\x10"), 36, "4097 outputs; must be 1 to 4096"),
    (edited(CARTPOLE, LAYER_0 + 6, b"\x19"), 38, "exponent 25; at most 24 in size"),
    (edited(CARTPOLE, LAYER_0 + 6, b"\x80"), 38, "exponent -128; at most 24 in size"),
    (edited(BARE_FLOATS, LAYER_0 + 6, b"\1"), 38, "exponent 1; at most 0 in size"),
    (edited(CARTPOLE, LAYER_0 + 7, b"\xe7"), 39, "exponent of biases -25; at most 24 in size"),
    (edited(CARTPOLE, LAYER_0 + 3, b"\0\x10\0\0\1"), 39, "exponent of biases 1; at most 0 in size"),
    (edited(CARTPOLE, LAYER_0 + 11, b"\1"), 40, "a dense layer has no geometry"),
    (edited(CARTPOLE, TABLE + 4, f32(np.inf)), 60, "mean 1 is not finite"),
    (edited(CARTPOLE, TABLE + 12, f32(np.nan)), 68, "mean 3 is not finite"),
    (edited(CARTPOLE, TABLE + 18, b"\x87"), 74, "exponent -121 of input 2; at most 120 in size"),
    (edited(CARTPOLE, TABLE + 17, b"\x79"), 73, "exponent 121 of input 1; at most 120 in size"),
    (edited(RANGED, TABLE + 15, f32(-np.inf)), 71, "low of action 0 is not finite"),
    (edited(RANGED, TABLE + 27, f32(np.nan)), 83, "high of action 1 is not finite"),
    (edited(RANGED, TABLE + 19, f32(9)), 75, "action 1 has low above high"),
    (edited(RANGED, TABLE + 15, f32(-2e30)), 71, "action 0 has a bound above 1e+30 in size"),
    (edited(RANGED, TABLE + 27, f32(2e30)), 75, "action 1 has a bound above 1e+30 in size"),
    (edited(BARE_FLOATS, TABLE + 15, f32(np.nan)), 71, "weight 0 is not finite"),
    (edited(CARTPOLE, TABLE + 22, b"\xf3"), 78, "243 is not five base-3 digits"),
    (edited(CARTPOLE, END - 1, b"\0"), END - 1, "unused trits are not 0"),
    (edited(RANGED, TABLE + 34, b"\x80"), 90, "unused bits are not 0"),
    (sealed(CARTPOLE[:56] + bytes(4)), 56, "mean takes 16 bytes, and 0 are left"),
    (sealed(CARTPOLE[:50] + bytes(4)), 44, "layer takes 12 bytes, and 6 are left"),
    (sealed(CARTPOLE[:73] + bytes(4)), 72, "exponents takes 4 bytes, and 1 are left"),
    (sealed(CARTPOLE[:90] + bytes(4)), 76, "weights takes 16 bytes, and 14 are left"),
    (extended(CARTPOLE, b"META"), END, "chunk takes 8 bytes, and 4 are left"),
    (extended(CARTPOLE, chunk(b"ABCD", b"")), END, "unknown chunk 41424344"),
    (extended(CARTPOLE, MOMENTS, MOMENTS), END + 28, "chunk MOMT is out of order, or there twice"),
    (
        extended(CARTPOLE, MOMENTS, chunk(b"META", text(b"a", b"b"))),
        END + 28,
        "chunk META is out of order, or there twice",
    ),
    (extended(CARTPOLE, b"META\xff\0\0\0"), END + 4, "chunk of 255 bytes, and 0 are left"),
    (extended(CARTPOLE, chunk(b"META", b"")), END + 4, "0 bytes of metadata"),
    (extended(CARTPOLE, chunk(b"META", bytes(65_537))), END + 4, "65537 bytes of metadata"),
    (extended(CARTPOLE, chunk(b"META", b"\0")), END + 8, "metadata are cut off"),
    (extended(CARTPOLE, chunk(b"META", text(b"a"))), END + 11, "metadata are cut off"),
    (extended(CARTPOLE, chunk(b"META", b"\5\0a")), END + 8, "metadata are cut off"),
    (
        extended(CARTPOLE, chunk(b"META", text(b"b", b"", b"a", b""))),
        END + 13,
        "names of metadata are empty, or do not ascend",
    ),
    (
        extended(CARTPOLE, chunk(b"META", text(b"", b"a"))),
        END + 8,
        "names of metadata are empty, or do not ascend",
    ),
    (extended(CARTPOLE, chunk(b"META", text(b"a", b"\xff"))), END + 8, "metadata are not UTF-8"),
    (
        extended(BARE_BITS, chunk(b"MOMT", f32(1) * 7)),
        len(BARE_BITS) - 4,
        "moments of inputs that are not floats",
    ),
    (extended(CARTPOLE, chunk(b"MOMT", f32(1))), END + 4, "moments take 20 bytes, not 4"),
    (
        extended(CARTPOLE, chunk(b"MOMT", f32(1) * 4 + f32(np.inf))),
        END + 24,
        "moment 4 is not finite",
    ),
    (extended(CARTPOLE, chunk(b"MOMT", f32(-0.0) * 5)), END + 8, "moment 0 is negative"),
    (extended(CARTPOLE, chunk(b"MOMD", f32(1) * 5)), END + 4, "moments take 32 bytes, not 20"),
    (
        extended(CARTPOLE, chunk(b"MOMD", f32(1) * 7 + f32(np.nan))),
        END + 36,
        "moment 7 is not finite",
    ),
    (
        extended(CARTPOLE, chunk(b"MOMD", f32(1) * 4 + f32(-1e-30) * 4)),
        END + 24,
        "moment 4 is negative",
    ),
    (
        extended(BARE_BITS, chunk(b"MOMD", f32(1) * 12)),
        len(BARE_BITS) - 4,
        "moments of inputs that are not floats",
    ),
    (extended(CARTPOLE, MOMENTS, DEVIATIONS), END + 28, "moments are there twice"),
    (
        extended(CARTPOLE, DEVIATIONS, MOMENTS),
        END + 40,
        "chunk MOMT is out of order, or there twice",
    ),
    (
        extended(BARE_FLOATS, chunk(b"TEST", b"")),
        len(BARE_FLOATS) - 4,
        "test vectors of a policy with floats",
    ),
    (extended(CARTPOLE, chunk(b"TEST", b"abc")), END + 4, "test vectors are cut off"),
    (extended(CARTPOLE, chunk(b"TEST", bytes(4))), END + 8, "0 test vectors; must be 1 to 65535"),
    (
        extended(CARTPOLE, chunk(b"TEST", b"\xff" * 4)),
        END + 8,
        "4294967295 test vectors; must be 1 to 65535",
    ),
    (
        extended(CARTPOLE, chunk(b"TEST", ONE_VECTOR + b"x")),
        END + 4,
        "1 test vectors do not take 17",
    ),
    (
        extended(CARTPOLE, chunk(b"TEST", ONE_VECTOR[:5] + b"\x80" + bytes(10))),
        END + 13,
        "input -128 is not -127 to 127",
    ),
    (
        extended(BARE_BITS, chunk(b"TEST", ONE_VECTOR[:4] + b"\0\2" + bytes(16))),
        len(BARE_BITS) + 9,
        "input 2 is not 0 to 1",
    ),
    (
        extended(CARTPOLE, chunk(b"TEST", ONE_VECTOR[:8] + struct.pack("<2i", 9999, 0))),
        END + 16,
        "the policy does not give the logits of its test",
    ),
]


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    REFUSALS,
    ids=[f"{offset}-{reason}" for _, offset, reason in REFUSALS],
)
def test_every_rule_is_kept(data, offset, reason):
    assert judge(data) == (offset, reason)


def test_a_wrong_check_sum_is_told():
    found = judge(CARTPOLE[:-4] + b"\4\3\2\1")
    assert found is not None
    assert found[0] == len(CARTPOLE) - 4
    assert found[1].endswith(" instead of 01020304")


@settings(deadline=None)
@given(st.binary(max_size=6))
def test_metadata_are_what_python_takes_for_utf8(value):
    """All of one and two bytes, and borders of longer ones, come up by hypothesis and below."""
    is_utf8 = True
    try:
        value.decode()
    except UnicodeDecodeError:
        is_utf8 = False
    assert (judge(extended(CARTPOLE, chunk(b"META", text(b"a", value)))) is None) == is_utf8


@pytest.mark.wide  # and for much else, below
@pytest.mark.skipif(NATIVE is None, reason="the extension was not built")
def test_both_decoders_take_the_same_for_utf8():
    leads = [*range(0x7F, 0x82), *range(0xBE, 0xC4), *range(0xDE, 0xF8), 0xFF]
    for lead in leads:
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF):
            for tail in (b"", b"\x80", b"\xbf\x80", b"\x80\x80\x80", b"\x80\x7f", b"\xc0"):
                value = bytes([lead, second]) + tail
                judge(extended(CARTPOLE, chunk(b"META", text(b"a", value))))


def assert_consistent(data: bytes) -> None:
    """Refused alike; or accepted, written alike, and run alike."""
    if judge(data) is not None:
        return
    record = tvp.decode(data)
    assert tvp.encode(record) == data
    if not record.is_integer or NATIVE is None:
        return
    q = random_integers(record, np.random.default_rng(0), 5)
    found = np.empty((5, record.num_outputs), np.int32)
    NATIVE.Policy(data).logits_q(q, found)
    np.testing.assert_array_equal(found, integer.logits(integer.compile_integer(record), q))


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(-8, 8),
)
def test_mutants_with_a_right_check_sum_are_judged_alike(name, edits, growth):
    data = bytearray(FILES[name])
    for place, value in edits:
        data[place % len(data)] = value
    cut = bytes(data[:growth]) if growth < 0 else bytes(data) + bytes(growth)
    assert_consistent(sealed(cut))


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("data", wide(FILES.values(), keep=[OUTPUTS]), ids=FILES)
def test_every_byte_may_be_wrong(data, step):
    """Bytes in turn get their borders, under a right check sum.

    They are those of the header, which all mean something else, and some or all of those after it.
    """
    for place in (*range(tvp.HEADER.size), *range(tvp.HEADER.size, len(data), step)):
        for value in {0, 1, 127, 128, 255, data[place] ^ 1, data[place] ^ 2}:
            assert_consistent(edited(data, place, bytes([value])))


def test_a_file_that_is_too_large_is_refused():
    data = bytes(tvp.MAX_BYTES + 1)
    assert judge(data) == (0, f"larger than {tvp.MAX_BYTES} bytes")


def test_sizes_are_not_believed():
    """A few bytes that promise many weights are refused before any memory is taken."""
    header = bytearray(CARTPOLE[:32])
    header[16:21] = b"\0\x10\0\x10\2"
    layers = b"".join(tvp.LAYER.pack(1, activation, 0, 0, 4096, 0, 0, b"") for activation in (1, 0))
    data = sealed(bytes(header) + layers + bytes(100))
    tracemalloc.start()
    try:
        assert judge(data) == (20, f"more than {tvp.MAX_WEIGHTS} weights")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_test_vectors_take_no_more_than_they_may():
    """A small file cannot promise hours of work."""
    rng = np.random.default_rng(0)
    layer = make_layer(rng, 100, 100, "ternary", False, "none")
    record = make_record((100, 1))
    data = tvp.encode(PolicyRecord(**{**vars(record), "layers": (layer,)}))
    many = extended(data, chunk(b"TEST", struct.pack("<I", 65_535)))
    at = len(data) - 4 + 8
    assert judge(many) == (at, "65535 test vectors take more than 2**28 products")


def test_the_largest_layer_is_read():
    rng = np.random.default_rng(0)
    layer = make_layer(rng, 4096, 4096, "ternary", False, "none")
    record = make_record((4096, 1))
    data = tvp.encode(PolicyRecord(**{**vars(record), "layers": (layer,)}))
    assert judge(data) is None


def test_what_does_not_fit_is_not_written():
    with pytest.raises(PolicyFormatError, match="byte 36: 4097 outputs"):
        tvp.encode(make_record((1, 4097, 1)))
    with pytest.raises(PolicyFormatError, match="does not fit into a file"):
        tvp.encode(make_record((4, 70_000)))


def test_a_file_of_before_is_read_and_written_as_it_was():
    """A policy of CartPole of 2026, whose moments are one count and squares."""
    data = (Path(__file__).parent / "of_before.tvp").read_bytes()
    assert judge(data) is None
    assert tvp.encode(tvp.decode(data)) == data
    assert isinstance(tvp.decode(data).moments, Squares)
    moments = tvp.decode(OLD).moments
    assert isinstance(moments, Squares) and moments.m2.shape == (3,)


def test_moments_come_back_as_they_were():
    record = with_everything(make_record((3, 2)))
    found = tvp.decode(tvp.encode(record)).moments
    np.testing.assert_array_equal(found.count, record.moments.count)
    np.testing.assert_array_equal(found.deviation, record.moments.deviation)


@pytest.mark.parametrize("shapes", [(2, 4), (4, 2), (4, 4), (2, 2)])
def test_moments_of_another_shape_are_not_written(shapes):
    moments = Moments(*(np.ones(size, np.float32) for size in shapes))
    with pytest.raises(PolicyFormatError):
        tvp.encode(dataclasses.replace(make_record((3, 2)), moments=moments))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        tvp.load(tmp_path / "none.tvp")
    path = tmp_path / "some.tvp"
    path.write_bytes(CARTPOLE)
    assert tvp.encode(tvp.load(path)) == CARTPOLE


@pytest.mark.parametrize(
    ("of_record", "of_layer", "reason"),
    [
        ({}, {"weights": np.full((2, 3), 2, np.int8)}, "values that the format cannot hold"),
        ({}, {"kind": "binary"}, "values that the format cannot hold"),
        ({"output_shift": 300}, {}, "does not fit into a file"),
        ({"mean": np.zeros(4, np.float32)}, {}, "mean has shape (4,); must be (3,)"),
        ({}, {"bias": np.zeros(3, np.int8)}, "bias of layer 0 has shape (3,); must be (2,)"),
        ({}, {"activation": "sing"}, "unknown activation 'sing'. Did you mean 'sign'"),
    ],
    ids=["weight", "zero", "shift", "mean", "bias", "activation"],
)
def test_a_record_that_breaks_the_rules_is_no_other_policy(of_record, of_layer, reason):
    """What does not come back as it was is refused, and not cut off or wrapped around."""
    layer = make_layer(np.random.default_rng(3), 3, 2, "ternary", True, "none")
    given = {"weights": np.eye(2, 3, dtype=np.int8), "bias": np.array([1, -1], np.int8)}
    layer = Layer(**{**vars(layer), **given, **of_layer})
    record = PolicyRecord(**{**vars(make_record((3, 2))), "layers": (layer,), **of_record})
    with pytest.raises(tvp.PolicyFormatError) as error:
        tvp.encode(record)
    assert reason in str(error.value)


def test_the_error_reaches_another_process():
    error = pickle.loads(pickle.dumps(tvp.PolicyFormatError(7, "why", "here.tvp")))
    assert (error.offset, error.reason, str(error)) == (7, "why", "here.tvp: byte 7: why")
