"""Version 2 of the file: every rule is kept, in Python and in C alike."""

import dataclasses
import struct

import numpy as np
import pytest
from deep_records import deep_record
from hypothesis import given, settings, strategies as st
from marks import wide
from policy_records import make_record, sealed, with_everything

from ternevo.deploy import integer, runtime, tvp
from ternevo.deploy.record import Layer, PolicyRecord, Window
from ternevo.deploy.tvp import PolicyFormatError

NATIVE = runtime.native_module()
LAYER_0, SIZE = 32, 16


def by_hand(inputs: str = "bits", **changes) -> PolicyRecord:
    """Return 4x4x2 - convolution - convolution with skip - pool - elman - gated - dense."""
    rng = np.random.default_rng(0)
    trits = lambda *shape: rng.integers(-1, 2, shape).astype(np.int8)  # noqa: E731
    none = np.zeros((0, 0), np.int8)
    layers = (
        Layer(trits(3, 18), trits(3), "ternary", "int8", 0, 1, "convolution", Window(3, 3, 1, 1)),
        Layer(
            *(trits(3, 27), None, "ternary", "int8", np.int8([5, 4, 6]), 0),
            *("convolution", Window(3, 3, 1, 1), 1),
        ),
        Layer(none, None, "ternary", "none", 0, 0, "max_pool", Window(2, 2, 2, 0)),
        Layer(trits(3, 15), trits(3), "ternary", "sign", 2, 0, "elman"),
        Layer(trits(4, 5), None, "ternary", "int4", 1, 0, "gated"),
        Layer(trits(2, 2), None, "ternary", "none", 0, 0),
    )
    base = make_record((32, 2), inputs=inputs)
    record = dataclasses.replace(base, layers=layers, obs_shape=(4, 4, 2))
    return dataclasses.replace(record, **changes)


ALL = tvp.encode(with_everything(by_hand(), 2))
BARE = tvp.encode(by_hand())
PIXELS = tvp.encode(make_record((3, 4, 2), "int8", inputs="pixels"))
FLOATS = tvp.encode(
    deep_record(4, types=("gated", "dense"), activations=("tanh",), kinds=("float",), depth=2)
)
MANY = tvp.encode(make_record((1,) * 18, "ternary", bias=False))
WIDE = tvp.encode(make_record((4097, 1), inputs="i8", bias=False, kind="binary"))
FILES = {"all": ALL, "pixels": PIXELS, "floats": FLOATS, "many": MANY}


def verdict(decoder, data: bytes) -> tuple[int, str] | None:
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


def edited(data: bytes, offset: int, new: bytes) -> bytes:
    return sealed(data[:offset] + new + data[offset + len(new) :])


def at(layer: int, field: int = 0) -> int:
    return LAYER_0 + SIZE * layer + field


def test_version_1_is_kept_where_it_can_hold_the_policy():
    assert tvp.encode(make_record())[8] == 1
    assert tvp.encode(make_record((4096, 1)))[8] == 1
    assert tvp.encode(make_record((1,) * 17))[8] == 1
    for data in (*FILES.values(), BARE, WIDE):
        assert data[8] == 2 and judge(data) is None
        assert tvp.encode(tvp.decode(data)) == data


def test_what_is_read_is_what_was_written():
    record = tvp.decode(ALL)
    assert record.shapes == ((4, 4, 2), (4, 4, 3), (4, 4, 3), (2, 2, 3), (3,), (2,), (2,))
    assert (record.memory_size, record.obs_size, record.num_outputs) == (5, 32, 2)
    wanted = with_everything(by_hand(), 2)
    for layer, other in zip(record.layers, wanted.layers, strict=True):
        assert (layer.type, layer.window, layer.skip) == (other.type, other.window, other.skip)
        np.testing.assert_array_equal(layer.weights, other.weights)
        np.testing.assert_array_equal(layer.exponent, other.exponent)
    net = integer.compile_integer(record)
    assert net.memory.tolist() == [1, 1, 1, 0, 0]  # a sign has no 0
    found = integer.episode(net, record.vectors.inputs)
    np.testing.assert_array_equal(found, record.vectors.logits)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_what_is_written_is_read_and_written_alike(seed, has_everything):
    record = deep_record(seed)
    data = tvp.encode(with_everything(record) if has_everything else record)
    assert judge(data) is None
    assert tvp.encode(tvp.decode(data)) == data


@pytest.mark.parametrize("data", wide(FILES.values(), keep=[FILES["all"]]), ids=FILES)
def test_every_truncation_is_refused(data):
    for size in range(len(data)):
        assert judge(data[:size]) is not None, size
        if size >= 20:
            judge(sealed(data[:size]))
    assert judge(data + b"\0") is not None


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_every_flipped_bit_is_refused(data):
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            assert judge(bytes(damaged)) is not None, (place, bit)


SKIPS = "only a convolution or a dense layer before the last has a skip"
REFUSALS = [
    (edited(BARE, 8, b"\1"), 26, "reserved bytes are not 0"),
    (edited(BARE, 9, b"\1"), 8, "version 2.1 of a policy that version 2.0 can hold"),
    (edited(BARE, 16, b"\0\0"), 16, "0 inputs; must be 1 to 65535"),
    (edited(BARE, 18, b"\3"), 18, "3 outputs, and the last layer has 2"),
    (edited(BARE, 20, b"\x31"), 20, "49 layers; must be 1 to 48"),
    (edited(BARE, 21, b"\4"), 21, "kind of input 4; must be 0 to 3"),
    (
        edited(tvp.encode(make_record(inputs="i8")), 21, b"\3"),
        21,
        "kind of input 3; must be 0 to 2",
    ),
    (edited(BARE, 26, b"\5"), 26, "an image of 5 by 4 by 2 is not 32 inputs"),
    (edited(BARE, 26, b"\0"), 26, "an image of 0 by 4 by 2 is not 32 inputs"),
    (edited(BARE, 26, bytes(6)), at(0), "a convolution or a pool takes an image"),
    (edited(PIXELS, 26, b"\1\0\3\0\1\0"), 26, "the first layer does not take an image"),
    (edited(PIXELS, 21, b"\1"), 8, "version 2.0 of a policy that version 1.0 can hold"),
    (edited(BARE, at(0), b"\0"), at(0), "unknown type of layer 0"),
    (edited(BARE, at(0), b"\6"), at(0), "unknown type of layer 6"),
    (edited(BARE, at(5), b"\4"), at(5), "the last layer must be dense"),
    (edited(BARE, at(2, 1), b"\1"), at(2, 1), "a pool has no activation"),
    (edited(BARE, at(2, 2), b"\1"), at(2, 2), "a pool has no weights"),
    (edited(BARE, at(2, 3), b"\1"), at(2, 2), "a pool has no weights"),
    (edited(BARE, at(2, 4), b"\2"), at(2, 4), "a pool gives 3 channels"),
    (edited(BARE, at(2, 6), b"\1"), at(2, 6), "exponent 1; at most 0 in size"),
    (edited(BARE, at(2, 7), b"\1"), at(2, 7), "exponent of biases 1; at most 0 in size"),
    (edited(BARE, at(0, 1), b"\0"), at(0, 1), "only the last layer has no activation"),
    (edited(BARE, at(3), b"\2"), at(3, 8), "height 0 of a window; must be 1 to 16"),
    (edited(BARE, at(4), b"\2"), at(4), "a convolution or a pool takes an image"),
    (edited(BARE, at(3, 8), b"\1"), at(3, 8), "a cell has no geometry"),
    (edited(BARE, at(5, 11), b"\1"), at(5, 8), "a dense layer has no geometry"),
    (edited(BARE, at(0, 8), b"\x11"), at(0, 8), "height 17 of a window; must be 1 to 16"),
    (edited(BARE, at(0, 9), b"\0"), at(0, 9), "width 0 of a window; must be 1 to 16"),
    (edited(BARE, at(0, 10), b"\0"), at(0, 10), "stride 0 of a window; must be 1 to 16"),
    (edited(BARE, at(0, 10), b"\x11"), at(0, 10), "stride 17 of a window; must be 1 to 16"),
    (edited(BARE, at(0, 11), b"\3"), at(0, 11), "padding 3; must be 0 to 2"),
    (edited(BARE, at(0, 9), b"\2\1\2"), at(0, 11), "padding 2; must be 0 to 1"),
    (
        edited(BARE, at(0, 8), b"\7"),
        at(0, 8),
        "a window of 7 by 3 does not fit an image of 4 by 4",
    ),
    (edited(BARE, at(0, 1), b"\3"), at(1, 11), "signs have no 0 to pad with"),
    (edited(BARE, at(0, 12), b"\1"), at(0, 12), "skip 1 of layer 0; at most 0"),
    (edited(BARE, at(1, 12), b"\2"), at(1, 12), "skip 2 of layer 1; at most 1"),
    (edited(BARE, at(2, 12), b"\1"), at(2, 12), SKIPS),
    (edited(BARE, at(3, 12), b"\1"), at(3, 12), SKIPS),
    (edited(BARE, at(5, 12), b"\1"), at(5, 12), SKIPS),
    (edited(BARE, at(1, 1), b"\4"), at(1, 12), "a skip before the activation ternary"),
    (edited(BARE, at(1, 1), b"\2"), at(1, 12), "a skip adds values of another grid"),
    (edited(BARE, at(1, 10), b"\2"), at(1, 12), "a skip adds values of another shape"),
    (edited(BARE, at(0, 13), b"\1"), at(0, 13), "reserved bytes are not 0"),
    (edited(BARE, at(5, 15), b"\1"), at(5, 13), "reserved bytes are not 0"),
    (sealed(BARE[: at(1, 9)] + bytes(4)), at(1), "layer takes 16 bytes, and 9 are left"),
]


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    REFUSALS,
    ids=[f"{offset}-{reason}" for _, offset, reason in REFUSALS],
)
def test_every_rule_is_kept(data, offset, reason):
    assert judge(data) == (offset, reason)


def header(obs_size: int, outputs: int, layers: int, image=(0, 0, 0)) -> bytes:
    return tvp.HEADER.pack(tvp.MAGIC, 2, 0, 0, 0, obs_size, outputs, layers, 1, 8, 0, 0, 0, *image)


def test_sizes_are_not_believed():
    """A few bytes that promise much are refused before any memory is taken."""
    conv = tvp.LAYER_2.pack(2, 1, 0, 0, 4096, 0, 0, 1, 1, 1, 0, 0, b"")
    last = tvp.LAYER_2.pack(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b"")
    data = sealed(header(65_535, 1, 2, (65_535, 1, 1)) + conv + last + bytes(8))
    assert judge(data) == (36, f"a layer of {65_535 * 4096} values; at most {2**18}")
    data = sealed(header(65_535, 1, 2, (255, 257, 1)) + conv + last + bytes(8))
    assert judge(data) == (36, f"a layer of {65_535 * 4096} values; at most {2**18}")
    deep = tvp.LAYER_2.pack(2, 1, 0, 0, 4096, 0, 0, 16, 16, 1, 0, 0, b"")
    data = sealed(header(65_280, 1, 2, (16, 16, 255)) + deep + last + bytes(8))
    assert judge(data) == (20, f"more than {2**24} weights")
    data = sealed(header(65_536 - 256, 1, 2, (16, 16, 255)) + deep + last + bytes(8))
    cell = tvp.LAYER_2.pack(4, 1, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0, b"")
    data = sealed(header(65_535, 1, 2) + cell + last + bytes(8))
    assert judge(data) == (32, f"{65_535 + 4096} inputs of an output; at most {2**16}")


def test_an_evaluation_takes_no_more_than_it_may():
    """A small file cannot promise minutes of work."""
    conv = tvp.LAYER_2.pack(2, 1, 0, 0, 64, 0, 0, 3, 3, 1, 1, 0, b"")
    last = tvp.LAYER_2.pack(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b"")
    few = tvp.LAYER_2.pack(2, 1, 0, 0, 64, 0, 0, 3, 3, 16, 0, 0, b"")
    data = header(64 * 64, 1, 11, (64, 64, 1)) + conv * 9 + few + last + bytes(200_000)
    found = judge(sealed(data))
    assert found == (20, f"an evaluation takes more than {2**30} products")


def test_test_vectors_of_another_episode_are_refused():
    record = with_everything(by_hand(), 3)
    logits = record.vectors.logits.copy()
    logits[2] += 1
    data = tvp.encode(record)
    wrong = data[: -4 - 24] + logits.astype("<i4").tobytes() + data[-4:]
    where = len(data) - 4 - 8
    assert judge(sealed(wrong)) == (where, "the policy does not give the logits of its test")


def assert_consistent(data: bytes) -> None:
    """Refused alike; or accepted, written alike, and run alike."""
    if judge(data) is not None:
        return
    record = tvp.decode(data)
    assert tvp.encode(record) == data
    if not record.is_integer or NATIVE is None:
        return
    net, rng = integer.compile_integer(record), np.random.default_rng(0)
    low, high = (0, 2) if record.input_kind == "bits" else (-127, 128)
    q = rng.integers(low, high, (5, record.obs_size)).astype(np.int8)
    memories = np.tile(net.memory, (5, 1))
    wanted = integer.step(net, memories, q)
    found = np.empty((5, record.num_outputs), np.int32)
    NATIVE.Policy(data).step_logits_q(memories, q, found)
    np.testing.assert_array_equal(memories, wanted[0])
    np.testing.assert_array_equal(found, wanted[1])


@settings(max_examples=150, deadline=None)
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


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("data", wide([BARE, PIXELS], keep=[PIXELS]), ids=["all", "pixels"])
def test_every_byte_may_be_wrong(data, step):
    """Bytes in turn get their borders, under a right check sum; see the test of version 1."""
    for place in (*range(tvp.HEADER.size), *range(tvp.HEADER.size, len(data), step)):
        for value in {0, 255, data[place] ^ 1, data[place] ^ 2}:
            assert_consistent(edited(data, place, bytes([value])))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"obs_shape": (4, 4)}, "takes no (4, 4)"),
        ({"obs_shape": (4, 4, 3)}, "weights of layer 0 has shape (3, 18); must be (3, 27)"),
        ({"obs_shape": ()}, "takes no (18,)"),
    ],
    ids=["flat", "channels", "none"],
)
def test_a_record_that_breaks_the_rules_is_not_written(changed, reason):
    with pytest.raises(PolicyFormatError) as error:
        tvp.encode(by_hand(**changed))
    assert reason in str(error.value)


def test_rows_of_a_gated_unit_come_in_pairs():
    record = by_hand()
    odd = dataclasses.replace(record.layers[4], weights=record.layers[4].weights[:3])
    layers = (*record.layers[:4], odd, record.layers[5])
    with pytest.raises(PolicyFormatError, match="layer 4"):
        tvp.encode(dataclasses.replace(record, layers=layers))


def test_the_struct_of_a_layer_has_its_size():
    assert (tvp.HEADER.size, tvp.LAYER.size, tvp.LAYER_2.size) == (32, 12, SIZE)
    assert struct.calcsize("<BBBBHbb5B3s") == SIZE
