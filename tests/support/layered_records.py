"""Networks of known shapes for tests, without JAX; `deep_records` has random ones."""

import dataclasses
import math

import numpy as np
from deep_records import deep_record
from policy_records import make_layer, make_record

from ternevo.deploy.record import CELL_TYPES, Layer, PolicyRecord, Window

POOL = Layer(np.zeros((0, 0), np.int8), None, "ternary", "none", 0, 0, "max_pool")


class Builder:
    """Adds layers to a network, each with the matrix that the values before it ask for."""

    def __init__(self, shape, seed=0, inputs="i8", output="discrete", **how):
        """Begin with observations of a shape: (size,), or [height, width, channels]."""
        self.rng, self.inputs, self.output = np.random.default_rng(seed), inputs, output
        self.obs_shape, self.shape, self.layers = shape, shape, []
        self.how = {"kind": "ternary", "bias": True, "scales": "layer", **how}

    def add(self, type_, out=0, activation="int8", window=None, skip=0, **how) -> "Builder":
        """Add a layer; `how` replaces the kind of weights, biases, scales and exponents."""
        if type_ == "max_pool":
            layer = dataclasses.replace(POOL, window=window)
        else:
            fan_in = math.prod(self.shape)
            if window is not None:
                fan_in = window.height * window.width * self.shape[2]
            fan_in += out if type_ in CELL_TYPES else 0
            rows = 2 * out if type_ == "gated" else out
            drawn = {**self.how, **how}
            kind, bias = drawn.pop("kind"), drawn.pop("bias")
            layer = make_layer(self.rng, fan_in, rows, kind, bias, activation, **drawn)
            layer = dataclasses.replace(layer, type=type_, window=window, skip=skip)
        self.layers.append(layer)
        self.shape = layer.shape_after(self.shape)
        return self

    def record(self, outputs=3, bits=8, shifts=(1, 1), **fields) -> PolicyRecord:
        """Return the policy, with a dense layer at its end."""
        self.add("dense", outputs, "none")
        size = math.prod(self.obs_shape)
        sees = self.layers[0].type in ("convolution", "max_pool")
        start = make_record(
            (size, outputs),
            bits=bits,
            shifts=shifts,
            inputs=self.inputs,
            output=self.output,
            seed=int(self.rng.integers(2**31)),
            reach=(0, 7),
            obs_shape=self.obs_shape if sees else (),
            **fields,
        )
        return dataclasses.replace(start, layers=tuple(self.layers))


def of_one_type(type_: str) -> list[PolicyRecord]:
    """Return four random networks of one type of layer, each on another grid."""
    shape = (5, 6, 8) if type_ in ("convolution", "max_pool") else (19,)
    return [
        deep_record(turn, types=(type_,), shape=shape, depth=2, activations=(name,))
        for turn, name in enumerate(("int8", "int4", "sign", "ternary"))
    ]


def minatar(channels=4, outputs=3, seed=0, activation="ternary", **fields) -> PolicyRecord:
    """Return MinAtar's network: 16 filters of 3x3, 128 units."""
    made = Builder((10, 10, channels), seed, inputs="bits")
    made.add("convolution", 16, activation, Window(3, 3, 1, 0)).add("dense", 128, activation)
    return made.record(outputs, **fields)


def resnet(shape=(12, 12, 3), channels=(4, 6), seed=0, inputs="pixels", **how) -> PolicyRecord:
    """Return a residual network: of each stage a convolution, a pool, and two blocks of two."""
    made, same = Builder(shape, seed, inputs, **how), Window(3, 3, 1, 1)
    for size in channels:
        made.add("convolution", size, "int8", Window(3, 3, 1, 0))
        made.add("max_pool", window=Window(3, 3, 2, 1))
        for _ in range(2):
            made.add("convolution", size, "int8", same)
            made.add("convolution", size, "int8", same, skip=2)
    return made.add("dense", 8, "int4").record(4)


def recurrent(
    cell="gated", size=4, memory=6, hidden=(), activation="int8", seed=0, inputs="f32", **how
) -> PolicyRecord:
    """Return dense layers, a cell, and outputs."""
    made = Builder((size,), seed, inputs, **how)
    for out in hidden:
        made.add("dense", out, activation)
    return made.add(cell, memory, activation).record(2)
