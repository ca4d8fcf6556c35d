"""Policies with all types of layers for tests of the file and the runtimes, without JAX."""

import dataclasses
import math
from typing import Any

import numpy as np
from policy_records import (
    check_bytes,
    make_layer,
    make_record,
    observations,
    random_integers,
    with_functions,
)

from ternevo.deploy import integer, runtime
from ternevo.deploy.record import Layer, PolicyRecord, Window

ACTIVATIONS = tuple(integer.GRIDS)
TYPES = ("dense", "convolution", "convolution", "max_pool", "elman", "gated")
INPUTS = ("f32", "i8", "bits", "pixels")
SHAPES = ((1, 1, 1), (4, 4, 1), (5, 7, 3), (6, 6, 8), (8, 5, 4), (3, 9, 16), (12, 12, 2))
WIDTHS = (1, 3, 8, 16, 17, 24, 33, 64)


def deep_record(seed: int, **given: Any) -> PolicyRecord:
    """Return a random policy of all types of layers, which meets the rules of the format.

    Args:
      seed: of everything random.
      **given: "inputs", "shape" (of the observation), "types" (what hidden layers may be),
        "activations" (what may follow them), "kinds" (of weights), "depth" (hidden layers).
    """
    rng = np.random.default_rng(seed)
    pick = lambda choices: choices[rng.integers(len(choices))]  # noqa: E731
    is_image = rng.random() < 0.7
    shape = given.get("shape") or (pick(SHAPES) if is_image else (int(rng.integers(1, 40)),))
    inputs = given.get("inputs") or pick(INPUTS)
    depth = given.get("depth") or int(rng.integers(1, 6))
    if rng.random() < 0.5:  # so that skips find their own grid
        given["activations"] = (pick(given.get("activations", ACTIVATIONS)),)
    layers, shapes, befores = [], [shape], [""]
    for _ in range(depth):
        layer = _random_layer(rng, pick, given, shapes, befores)
        layers.append(layer)
        befores.append(befores[-1] if layer.type == "max_pool" else layer.activation)
        shapes.append(layer.shape_after(shapes[-1]))
    outputs = int(rng.integers(1, 9))
    kind = str(pick(given.get("kinds", ("ternary", "binary"))))
    last = make_layer(
        rng, math.prod(shapes[-1]), outputs, kind, bool(rng.integers(2)), "none", _scales(rng)
    )
    sees = layers[0].type in ("convolution", "max_pool")
    return _of_layers(rng, inputs, shape, (*layers, last), sees)


def _scales(rng) -> str:
    return "output" if rng.random() < 0.4 else "layer"


def _random_layer(rng, pick, given, shapes, befores) -> Layer:
    shape, before = shapes[-1], befores[-1]
    types = given.get("types") or TYPES
    windowed = [t for t in types if t in ("convolution", "max_pool")]
    others = [t for t in types if t not in windowed]
    stays = windowed and len(shape) == 3 and (not others or rng.random() < 0.75)
    type_ = pick(windowed if stays else others or ("dense",))
    kind = pick(given.get("kinds", ("ternary", "binary")))
    activation = pick(given.get("activations", ACTIVATIONS))
    if type_ not in ("convolution", "max_pool"):
        out = shape[0] if len(shape) == 1 and rng.random() < 0.3 else pick(WIDTHS)
        rows, fan_in = out, math.prod(shape)
        if type_ in ("elman", "gated"):
            fan_in += out
            rows = 2 * out if type_ == "gated" else out
        layer = make_layer(rng, fan_in, rows, kind, bool(rng.integers(2)), activation, _scales(rng))
        layer = dataclasses.replace(layer, type=type_)
    else:
        layer = _random_window(rng, pick, shape, before, type_, kind, activation)
    skips = [
        n
        for n in range(1, len(shapes))
        if layer.type in ("dense", "convolution")
        and layer.activation in ("int8", "int4", "tanh", "relu")
        and befores[-n] == layer.activation
        and shapes[-n] == layer.shape_after(shape)
    ]
    return dataclasses.replace(layer, skip=int(pick(skips))) if skips else layer


def _random_window(rng, pick, shape, before, type_, kind, activation) -> Layer:
    height, width = (int(rng.integers(1, min(size, 4) + 1)) for size in shape[:2])
    largest = min(height, width) - 1
    padding = int(rng.integers(0, largest + 1))
    if before == "sign" and type_ == "convolution":
        padding = 0
    if type_ == "convolution" and rng.random() < 0.4 and before != "sign":  # for skips: same size
        window = Window(3, 3, 1, 1)
    else:
        window = Window(height, width, int(rng.integers(1, 4)), padding)
    if type_ == "max_pool":
        none = np.zeros((0, 0), np.int8)
        return Layer(none, None, "ternary", "none", 0, 0, "max_pool", window)
    out = shape[2] if rng.random() < 0.5 else pick(WIDTHS)
    fan_in = window.height * window.width * shape[2]
    bias = bool(rng.integers(2))
    layer = make_layer(rng, fan_in, out, kind, bias, activation, _scales(rng))
    return dataclasses.replace(layer, type="convolution", window=window)


def _of_layers(rng, inputs, shape, layers, sees) -> PolicyRecord:
    size, outputs = math.prod(shape), layers[-1].size
    bits = int(rng.integers(1, 9)) if rng.random() < 0.5 else 8
    base = make_record(
        (size, outputs),
        bits=bits,
        shifts=(int(rng.integers(0, 4)), int(rng.integers(0, 4))),
        output=("discrete", "continuous")[rng.integers(2)],
        inputs=inputs,
        seed=int(rng.integers(2**31)),
    )
    return dataclasses.replace(base, layers=layers, obs_shape=shape if sees else ())


def thinned(record: PolicyRecord) -> PolicyRecord:
    """Return the policy with about 95 % of its weights 0."""
    rng = np.random.default_rng(0)
    layers = [
        dataclasses.replace(
            layer, weights=np.where(rng.random(layer.weights.shape) < 0.05, layer.weights, 0)
        )
        for layer in record.layers
    ]
    return dataclasses.replace(record, layers=tuple(layers))


def check_deep(record: PolicyRecord, count: int = 12) -> None:
    """Compare what the runtime in use gives with `integer`, by ==: batches, rows, episodes."""
    rng = np.random.default_rng(5)
    policy, net = runtime.Policy(record), integer.compile_integer(record)
    obs = observations(record, rng, count)
    q = integer.quantise(record, obs)
    np.testing.assert_array_equal(policy.quantise(obs), q)
    memories = policy.reset(count)
    np.testing.assert_array_equal(memories, np.tile(net.memory, (count, 1)))
    wanted = memories
    for turn in range(2 + bool(record.memory_size)):
        mixed = np.roll(q, turn, 0)
        wanted, logits = integer.step(net, wanted, mixed)
        memories, found = policy.step_logits_q(memories, mixed)
        np.testing.assert_array_equal(found, logits)
        np.testing.assert_array_equal(memories, wanted)
    actions = integer.actions(record, net.output_exponent, integer.step(net, wanted, q)[1])
    np.testing.assert_array_equal(policy.step_batch(memories, obs)[1], actions)
    if not record.memory_size:  # from floats: convolutions of bits are looked up only here
        np.testing.assert_array_equal(policy.logits(obs), integer.logits(net, q))
    for row in range(2):
        after, action = policy.step(memories[row], obs[row])
        np.testing.assert_array_equal(action, actions[row])
        np.testing.assert_array_equal(after, integer.step(net, wanted[row], q[row])[0])
        if not record.memory_size:
            np.testing.assert_array_equal(policy.act(obs[row]), action)
            check_bytes(policy, rng)


def check_many(count: int, first: int = 0) -> None:
    """Check policies of many seeds: also in processes with another kernel."""
    for seed in range(first, first + count):
        try:
            check_deep(deep_record(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def check_functions(count: int) -> None:
    """Check chains and cells whose outputs have functions."""
    for seed in range(count):
        for types in (("dense",), ("elman",), ("dense", "elman")):
            check_deep(with_functions(deep_record(seed, types=types, shape=(9,)), seed))


def check_types(count: int) -> None:
    """Compare logits of many random inputs for each type of layer, by ==."""
    for type_ in ("dense", "convolution", "max_pool", "elman", "gated"):
        for turn in range(4):
            shape = (5, 6, 8) if type_ in ("convolution", "max_pool") else (19,)
            name = ACTIVATIONS[turn]
            options = {"types": (type_,), "shape": shape, "activations": (name,)}
            record = deep_record(turn, **options, depth=2)
            rng = np.random.default_rng(turn)
            policy, net = runtime.Policy(record), integer.compile_integer(record)
            check_deep(deep_record(turn, **options, inputs="bits"), min(count // 4, 2000))
            for start in range(0, count // 4, 5000):
                rows = min(5000, count // 4 - start)
                q = random_integers(record, rng, rows)
                memory = _random_memory(rng, name, (rows, record.memory_size))
                wanted, logits = integer.step(net, memory, q)
                after, found = policy.step_logits_q(memory, q)
                np.testing.assert_array_equal(found, logits)
                np.testing.assert_array_equal(after, wanted)


def _random_memory(rng, activation: str, shape: tuple[int, int]) -> np.ndarray:
    limit = integer.GRIDS[activation][1]
    values = rng.integers(-limit, limit + 1, shape)
    return np.where((values == 0) & (activation == "sign"), 1, values).astype(np.int8)
