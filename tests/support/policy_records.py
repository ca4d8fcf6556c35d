"""Policies for tests of the file format and the runtimes, without JAX: made from a seed."""

import dataclasses
import itertools
import zlib

import numpy as np

from ternevo.deploy import functions, integer, runtime, tvp
from ternevo.deploy.record import Layer, Moments, PolicyRecord, Squares, Vectors
from ternevo.settings.policies.settings import FUNCTIONS, LARGEST_LEVELS, exponent_spread

NO_FLOATS, NO_INTEGERS = np.zeros(0, np.float32), np.zeros(0, np.int8)
WIDTHS = (
    (4, 16, 2),
    (1, 1, 1),
    (5, 31, 33, 3),
    (17, 65, 64, 8),
    (300, 33, 17),
    (7, 1, 300),
    (9, 4),
)
"""Layer sizes about the borders of vectors and words."""


def make_record(
    sizes=(4, 16, 2),
    activation="sign",
    kind="ternary",
    bias=True,
    bits=8,
    shifts=(0, 0),
    output="discrete",
    inputs="f32",
    seed=0,
    scales="layer",
    exponents=None,
    bias_exponent=None,
    density=2 / 3,
    reach=(-3, 7),
    range_=None,
    **others,
) -> PolicyRecord:
    """Return a random policy: the one builder of all tests.

    Args:
      sizes: widths from the observation to the output.
      activation: of all hidden layers, or a tuple of one for each.
      kind: what weights may be.
      bias: whether layers have biases.
      bits: of an observation; 1 of "bits" inputs.
      shifts: of observations and of the output.
      output: "discrete" or "continuous".
      inputs: "f32", "i8" or "bits".
      seed: of everything random.
      scales: "output" gives every output an exponent of its own.
      exponents: of the weights of each layer; None draws them.
      bias_exponent: of all biases; None draws it.
      density: share of ternary weights that are not 0.
      reach: least and largest exponent of an input.
      range_: low and high of all actions; None draws them.
      **others: fields of the record.
    """
    rng = np.random.default_rng(seed)
    last = len(sizes) - 2
    hidden = (activation,) * last if isinstance(activation, str) else activation[:last]
    layers = tuple(
        make_layer(
            rng,
            *(fan_in, out, kind, bias, name, scales),
            exponent=None if exponents is None else exponents[i],
            bias_exponent=bias_exponent,
            density=density,
        )
        for i, (fan_in, out, name) in enumerate(
            zip(sizes[:-1], sizes[1:], (*hidden, "none"), strict=True)
        )
    )
    is_float, is_discrete = inputs == "f32", output == "discrete"
    low = -rng.random(sizes[-1], np.float32)
    high = low + 3 * rng.random(sizes[-1], np.float32)
    if range_ is not None:
        low, high = (np.full(sizes[-1], bound, np.float32) for bound in range_)
    return PolicyRecord(
        inputs,
        1 if inputs == "bits" else bits,
        *shifts,
        rng.normal(size=sizes[0]).astype(np.float32) if is_float else NO_FLOATS,
        rng.integers(reach[0], reach[1] + 1, sizes[0]).astype(np.int8) if is_float else NO_INTEGERS,
        output,
        NO_FLOATS if is_discrete else low,
        NO_FLOATS if is_discrete else high,
        layers,
        **others,
    )


def make_layer(
    rng,
    fan_in,
    out,
    kind,
    bias,
    activation,
    scales="layer",
    exponent=None,
    bias_exponent=None,
    density=2 / 3,
) -> Layer:
    def draw(*shape):
        if kind == "float":
            return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)
        if kind in LARGEST_LEVELS:
            largest = LARGEST_LEVELS[kind]
            levels = rng.integers(-largest, largest + 1, shape).astype(np.int8)
            return levels * (rng.random(shape) < density)
        signs = (2 * rng.integers(0, 2, shape) - 1).astype(np.int8)
        return signs if kind == "binary" else signs * (rng.random(shape) < density)

    # Mostly where sums meet the grid, and now and then far off.
    drawn = rng.integers(-3, 7, 2) if rng.random() < 0.9 else (24, -24)
    exponent = int(drawn[0] if exponent is None else exponent)
    bias_exponent = int(drawn[1] if bias_exponent is None else bias_exponent)
    if kind == "float":
        exponent, bias_exponent = 0, 0
    elif scales == "output":
        exponent = own_exponents(rng, exponent, out, exponent_spread(kind))
    return Layer(
        draw(out, fan_in),
        draw(out) if bias else None,
        kind,
        activation,
        exponent,
        bias_exponent if bias else 0,
    )


def own_exponents(rng, exponent: int, out: int, spread=tvp.EXPONENT_SPREAD) -> np.ndarray:
    """Return exponents about one, as far apart as a file may have them."""
    exponents = exponent + rng.integers(-spread // 2, spread // 2 + 1, out)
    return np.clip(exponents, -tvp.EXPONENT_LIMIT, tvp.EXPONENT_LIMIT).astype(np.int8)


def with_everything(record: PolicyRecord, count: int = 3) -> PolicyRecord:
    """Add every optional part that the record may have."""
    rng = np.random.default_rng(1)
    moments = vectors = None
    if record.input_kind == "f32":
        moments = Moments(*rng.random((2, record.obs_size), np.float32))
    if record.is_integer:
        q = random_integers(record, rng, count)
        vectors = Vectors(q, integer.episode(integer.compile_integer(record), q))
    metadata = {"env": "probe/é", "seed": "3", "ωμέγα": "日本 😀"}
    return dataclasses.replace(record, metadata=metadata, moments=moments, vectors=vectors)


def with_squares(record: PolicyRecord) -> PolicyRecord:
    """Add moments as files had them before there were deviations."""
    squares = np.random.default_rng(2).random(record.obs_size, np.float32)
    return dataclasses.replace(record, moments=Squares(7.0, squares))


def with_extreme_exponents(record: PolicyRecord) -> PolicyRecord:
    """Give inputs the largest and smallest exponents, with means that matter beside them."""
    limit = tvp.INPUT_EXPONENT_LIMIT
    exponent = np.resize([limit, -limit, limit - 1, 1 - limit], record.obs_size).astype(np.int8)
    mean = np.ldexp(record.mean, 3 - exponent.astype(int)).astype(np.float32)
    mean[np.abs(mean) < np.finfo(np.float32).tiny] = 0  # as `observation.freeze` has it
    return dataclasses.replace(record, mean=mean, exponent=exponent)


def with_functions(record: PolicyRecord, seed: int = 0) -> PolicyRecord:
    """Give a random function to each output of the layers that may have functions."""
    rng, most = np.random.default_rng(seed), len(FUNCTIONS)

    def own(layer: Layer) -> Layer:
        is_able = layer.type in ("dense", "elman") and layer.activation in functions.GRIDS
        if not is_able or layer.skip:
            return layer
        codes = rng.integers(0, most, len(layer.weights)).astype(np.int8)
        return dataclasses.replace(layer, functions=codes)

    return dataclasses.replace(record, layers=tuple(map(own, record.layers)))


def random_integers(record: PolicyRecord, rng, count: int) -> np.ndarray:
    low, high = (0, 2) if record.input_kind == "bits" else (-127, 128)
    return rng.integers(low, high, (count, record.obs_size)).astype(np.int8)


def observations(record: PolicyRecord, rng, count: int) -> np.ndarray:
    """Return floats of every size, ties of the rounding, and what is no number."""
    shape = (count, record.obs_size)
    obs = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, (count, 1))).astype(np.float32)
    if record.input_kind == "f32":
        ties = rng.integers(-130, 130, shape) + np.float32(0.5)
        tied = np.ldexp(ties, -record.exponent.astype(int)).astype(np.float32) + record.mean
    else:
        tied = near_ties(rng, shape, (0, 1) if record.input_kind == "bits" else (-130, 270))
    obs = np.where(rng.random(shape) < 0.3, tied, obs)
    special = np.array(
        [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-40, 3.4e38, -3.4e38, 127.5, -127.5],
        np.float32,
    )
    return np.where(rng.random(shape) < 0.1, rng.choice(special, shape), obs).astype(np.float32)


def near_ties(rng, shape, bounds: tuple[int, int]) -> np.ndarray:
    """Return numbers halfway between two integers, float32, and those beside them."""
    ties = rng.integers(*bounds, shape).astype(np.float32) + np.float32(0.5)
    return np.nextafter(ties, ties + rng.integers(-1, 2, shape).astype(np.float32))


def sealed(data: bytes) -> bytes:
    """Return the file with the size and the check sum that go with what else it says."""
    body = data[:12] + len(data).to_bytes(4, "little") + data[16:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def table():
    """Yield small integer policies over all kinds of everything, with widths in turn."""
    kinds = itertools.product(
        ("int8", "int4", "sign", "ternary"),
        ("ternary", "binary"),
        (True, False),
        ((8, (0, 0)), (8, (2, 3)), (4, (8, 0)), (1, (0, 8))),
        ("discrete", "continuous"),
        ("f32", "i8", "bits"),
    )
    for seed, (activation, kind, bias, (bits, shifts), output, inputs) in enumerate(kinds):
        sizes = WIDTHS[seed % len(WIDTHS)]
        scales = "output" if seed % 5 < 2 else "layer"
        yield make_record(sizes, activation, kind, bias, bits, shifts, output, inputs, seed, scales)


def mixed(seed: int) -> PolicyRecord:
    """Return a policy whose layers differ in everything."""
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(1, 80, rng.integers(2, 7))]
    record = make_record(sizes, seed=seed, output=str(rng.choice(["discrete", "continuous"])))
    layers = [
        make_layer(
            rng,
            layer.weights.shape[1],
            layer.weights.shape[0],
            str(rng.choice(["ternary", "binary"])),
            bool(rng.integers(2)),
            "none" if layer.activation == "none" else str(rng.choice(list(integer.GRIDS))),
            str(rng.choice(["layer", "output"])),
        )
        for layer in record.layers
    ]
    return dataclasses.replace(record, layers=tuple(layers))


def check_against_reference(record: PolicyRecord, count: int = 40) -> None:
    """Compare what the runtime in use gives with `integer`, by ==."""
    rng = np.random.default_rng(5)
    policy, net = runtime.Policy(record), integer.compile_integer(record)
    obs = observations(record, rng, count)
    q = integer.quantise(record, obs)
    np.testing.assert_array_equal(policy.quantise(obs), q)
    logits = integer.logits(net, q)
    np.testing.assert_array_equal(policy.logits(obs), logits)
    actions = integer.actions(record, net.output_exponent, logits)
    found = policy.act_batch(obs)
    assert found.dtype == actions.dtype
    np.testing.assert_array_equal(found, actions)
    for one, action in zip(obs[:5], actions, strict=False):
        np.testing.assert_array_equal(policy.act(one), action)
    check_bytes(policy, rng)
    anything = rng.integers(-128, 128, q.shape).astype(np.int8)
    anything[:2] = [[-128], [127]]
    np.testing.assert_array_equal(policy.logits_q(anything), integer.logits(net, anything))


def check_bytes(policy: runtime.Policy, rng) -> None:
    """Compare the action for bytes, and for packed bits, with that for the same floats, by ==."""
    record = policy.record
    octets = rng.integers(0, 256, record.obs_size).astype(np.uint8)
    octets = np.where(rng.random(octets.shape) < 0.5, octets % 2, octets)
    for obs in (octets, octets.view(np.int8), octets % 2 == 1):
        wanted = policy.act(obs.astype(np.float32))
        np.testing.assert_array_equal(policy.act(obs), wanted)
    if record.input_kind == "bits":
        packed = np.packbits(obs, bitorder="little")
        np.testing.assert_array_equal(policy.act(packed), wanted)
        words = np.pad(packed, (0, -packed.size % 8)).view("<u8").astype(np.uint64)
        np.testing.assert_array_equal(policy.act(words), wanted)


def check_table(step: int = 1) -> None:
    """Run all of it, or a part: also in processes with another kernel."""
    for record in itertools.islice(table(), 0, None, step):
        check_against_reference(record)
    for seed in range(0, 100, step):
        check_against_reference(mixed(seed))
    for seed in range(8):
        check_against_reference(with_extreme_exponents(make_record((37, 9, 3), seed=seed)))
    for sizes in ((4096, 33, 3), (3, 4096, 3)):
        for activation in integer.GRIDS:
            check_against_reference(with_largest_sums(make_record(sizes, activation)), 10)


def with_largest_sums(record: PolicyRecord) -> PolicyRecord:
    """Return the policy with weights of 1 only, and the largest bias that there is."""
    layers = tuple(
        dataclasses.replace(
            layer,
            weights=np.ones_like(layer.weights),
            bias=np.ones(len(layer.weights), np.int8),
            exponent=8,
            bias_exponent=-24,
        )
        for layer in record.layers
    )
    return dataclasses.replace(record, layers=layers)
