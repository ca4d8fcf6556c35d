"""Layers compute the integers of docs/explanation/policy_arithmetic.md, written here as loops."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import equations
from marks import wide
from policy_inputs import inputs

from ternevo.deploy.record import Window
from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Convolution, Dense, Elman, Gated, MaxPool
from ternevo.settings.policies import Conv
from ternevo.types import ActionSpec, ObsSpec, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
BITS = {"int8": (7, 127), "int4": (3, 7), "sign": (0, 1), "ternary": (0, 1)}
"""Of each activation: the bits of a unit, and the largest number."""


# --- a second implementation: Python integers and loops ----------------------------------------


def shifted(number: int, shift: int) -> int:
    """Return number * 2**-shift, rounded half to even."""
    if shift <= 0:
        return number << -shift
    quotient, rest = divmod(number, 1 << shift)
    half = 1 << (shift - 1)
    return quotient + (rest > half or (rest == half and quotient % 2 == 1))


def activated(name: str, total: int, unit_bits: int, added: int = 0) -> int:
    """Activate a sum of which 2**unit_bits is one unit."""
    if name == "sign":
        return 1 if total >= 0 else -1
    if name == "ternary":
        # Twice the sum against a unit, both times a power of two that makes them integers.
        twice, unit = total << (1 + max(-unit_bits, 0)), 1 << max(unit_bits, 0)
        return (twice > unit) - (twice < -unit)
    bits, limit = BITS[name]
    return max(-limit, min(limit, shifted(total, unit_bits - bits) + added))


def opened(name: str, total: int, unit_bits: int) -> int:
    """Return the gate: round(G * (u + 1) / 2), clipped to 0 and G."""
    size = 1 << BITS[name][0]
    # G * (u + 1) / 2 = (total + 2**unit_bits) * size / 2**(unit_bits + 1), in integers.
    up = max(-unit_bits, 0)
    number = (total << up) + (1 << (unit_bits + up))
    return max(0, min(size, shifted(number * size, unit_bits + up + 1)))


class Sums(NamedTuple):
    """What the sums of a layer need: its integers, and the bits of a unit of each row."""

    weight: np.ndarray
    bias: np.ndarray
    unit_bits: np.ndarray

    def __call__(self, patch) -> list[int]:
        flat = np.asarray(patch).reshape(-1)
        return [
            int(sum(flat * column)) + int(b)
            for column, b in zip(self.weight.T, self.bias, strict=True)
        ]


def sums_of(params, bits: int, full_scale: int) -> Sums:
    weight = np.asarray(params["weight"].values, np.int64)
    exponents = np.broadcast_to(np.asarray(params["weight"].exponent, int), weight.shape[1])
    bias = np.zeros(weight.shape[1], np.int64)
    if "bias" in params:
        less = np.minimum(exponents - int(params["bias"].exponent), 8)
        sizes = [shifted(full_scale, -int(shift)) for shift in less]
        bias = np.asarray(params["bias"].values, np.int64) * sizes
    return Sums(weight, bias, exponents + bits)


def windows(window: Window, image, filling):
    """Yield each place (y, x) of the output with the part of the image below it."""
    height, width, stride, padding = window
    high, wide, channels = image.shape
    padded = np.full((high + 2 * padding, wide + 2 * padding, channels), filling)
    padded[padding : padding + high, padding : padding + wide] = image
    for y, top in enumerate(range(0, high + 2 * padding - height + 1, stride)):
        for x, left in enumerate(range(0, wide + 2 * padding - width + 1, stride)):
            yield (y, x), padded[top : top + height, left : left + width]


def run_layer(layer, sums, name, values, memory, added):
    """Return the new memory and the values of one layer."""
    if isinstance(layer, MaxPool):
        found = {place: part.max((0, 1)) for place, part in windows(layer.window, values, -999)}
        return memory, as_image(found)
    if isinstance(layer, Convolution):
        found = {}
        for (y, x), part in windows(layer.window, values, 0):
            extra = added[y, x] if layer.skip else [0] * layer.out
            rows = zip(sums(part), sums.unit_bits, extra, strict=True)
            found[y, x] = [activated(name, t, int(u), int(a)) for t, u, a in rows]
        return memory, as_image(found)
    flat = values.reshape(-1)
    if isinstance(layer, Dense):
        extra = added.reshape(-1) if layer.skip else [0] * layer.out
        rows = zip(sums(flat), sums.unit_bits, extra, strict=True)
        return memory, np.array([activated(name, t, int(u), int(a)) for t, u, a in rows])
    totals = list(zip(sums(np.concatenate([flat, memory])), map(int, sums.unit_bits), strict=True))
    candidates = np.array([activated(name, *each) for each in totals[: layer.out]])
    if isinstance(layer, Gated):
        gates = [opened(name, *each) for each in totals[layer.out :]]
        moves = [g * int(c - h) for g, c, h in zip(gates, candidates, memory, strict=True)]
        candidates = memory + [shifted(move, BITS[name][0]) for move in moves]
    return candidates, candidates


def as_image(found) -> np.ndarray:
    high, wide = (1 + max(place[axis] for place in found) for axis in (0, 1))
    return np.array([[found[y, x] for x in range(wide)] for y in range(high)])


def run_network(case: "Case", params, values, memory):
    """Return the memory and the values after all layers, for integers as the first layer takes."""
    bits, full_scale = case.input_bits, case.full_scale
    given, seen = iter(params), []
    values = np.asarray(values, np.int64).reshape(case.shape)
    for layer in case.layers:
        seen.append(values)
        sums = None
        if not isinstance(layer, MaxPool):
            sums = sums_of(next(given), bits, full_scale)
            bits, full_scale = BITS[case.activation]
        added = seen[-layer.skip] if layer.skip else None
        memory, values = run_layer(layer, sums, case.activation, values, memory, added)
    return memory, values


# --- cases -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """Layers to compare, and how random weights and inputs are drawn for them."""

    layers: tuple
    shape: tuple[int, ...]
    activation: str
    kind: str = "ternary"
    scales: str = "layer"
    use_bias: bool = True
    planes: bool = False
    shift: int = 2

    @property
    def input_bits(self) -> int:
        return -self.shift if self.planes else 7 - self.shift

    @property
    def full_scale(self) -> int:
        return 1 if self.planes else 127

    @property
    def settings(self) -> Conv:
        return Conv(activation=self.activation, observation_shift=self.shift)

    @property
    def network(self) -> layers.Network:
        obs = ObsSpec(self.shape, "planes" if self.planes else "pixels")
        grid = ACTIVATIONS[self.activation]
        first = layers.observation_grid(self.settings, obs)
        return layers.placed(tuple((layer, grid) for layer in self.layers), self.shape, first)

    def draw(self, rng, count: int):
        """Return weights and inputs with a leading axis, and memories that the cell may have."""
        levels = [-1, 1] if self.kind == "binary" else [-1, 0, 1]
        params = []
        for fan_in, rows in (p.matrix for p in self.network.places if p.matrix):
            size = rows if self.scales == "output" else 1
            about = round(np.log2(fan_in**0.5))
            exponents = rng.integers(about - 3, about + 3, (count, size))
            exponents[: count // 8] += rng.integers(-16, 12, (count // 8, 1))
            exponents = exponents if self.scales == "output" else exponents[:, 0]
            layer = {"weight": tensor(rng.choice(levels, (count, fan_in, rows)), exponents)}
            if self.use_bias:
                near = rng.integers(about - 6, about + 3, count)
                layer["bias"] = tensor(rng.choice(levels, (count, rows)), near)
            params.append(layer)
        low, high = (0, 2) if self.planes else (-127, 128)
        obs = rng.integers(low, high, (count, *self.shape))
        limit = BITS[self.activation][1]
        memory = rng.integers(-limit, limit + 1, (count, *self.network.memory_sizes))
        if self.activation == "sign":
            memory = np.where(memory >= 0, 1, -1)
        return tuple(params), obs, memory


def tensor(values, exponents) -> Tensor:
    return Tensor(jnp.asarray(values, jnp.int8), jnp.asarray(exponents, jnp.int8))


CONV, SAME = Window(3, 3, 1, 0), Window(3, 3, 1, 1)
PADDED, STRIDED = Window(3, 2, 1, 1), Window(2, 3, 2, 1)
IMAGE = (4, 5, 3)
CASES = {
    "bits": Case((Convolution(4, CONV),), IMAGE, "int8", planes=True),
    "bits padded": Case(
        (Convolution(4, PADDED),), IMAGE, "int4", "binary", "output", planes=True, shift=0
    ),
    "pixels": Case((Convolution(3, STRIDED),), IMAGE, "int8", "ternary", "output"),
    "sign": Case((Convolution(3, PADDED), Convolution(4, Window(2, 2, 1, 0))), IMAGE, "sign"),
    "ternary": Case((Convolution(2, PADDED),) * 2, IMAGE, "ternary", "binary"),
    "skips": Case(
        (
            *(Convolution(3, PADDED), Convolution(3, SAME), Convolution(3, SAME, skip=2)),
            *(Dense(72), Dense(72, skip=1)),
        ),
        IMAGE,
        "int8",
        "binary",
        "output",
    ),
    "skip int4": Case(
        (Convolution(2, Window(1, 1, 1, 0)), Convolution(2, SAME, skip=1)),
        IMAGE,
        "int4",
        use_bias=False,
    ),
    "pools": Case(
        (MaxPool(Window(2, 2, 1, 1)), Convolution(2, CONV), MaxPool(Window(2, 2, 2, 0)), Dense(3)),
        (5, 6, 2),
        "int8",
    ),
    **{
        f"{name} {activation}": Case(
            (cell,) if activation == "int8" else (Dense(6), cell), (5,), activation, *drawn
        )
        for (name, cell), (activation, *drawn) in itertools.product(
            (("elman", Elman(4)), ("gated", Gated(4))),
            (
                ("int8", "ternary", "output"),
                ("int4", "binary", "layer", False),
                ("sign", "ternary", "layer"),
                ("ternary", "binary", "output"),
            ),
        )
    },
}
MORE_CELLS = ("elman int4", "elman ternary", "gated sign", "gated ternary")
"""Slow tests: each activation is in one other cell, and in other layers."""
ACTION = ActionSpec("discrete", 3)
MATMULS = ("float32", "planes", "bfloat16", "int8")


def answers(case: Case, matmul: str, params, obs, memory):
    """Return the memories [count, memory] and values of our layers for every set of weights."""
    net = case.network

    @quick_jit
    def run(params, obs, memory):
        packed = layers.pack(case.settings, net, matmul, params)
        carried = (memory,) if net.memory_sizes else ()
        after, values = layers.forward(net, packed, carried, obs)
        return after[0] if after else memory, values

    cast = jnp.asarray(obs, jnp.float32), jnp.asarray(memory, jnp.float32)
    found = jax.vmap(run)(params, *cast)
    return [np.asarray(x) for x in found]


@pytest.mark.exact
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    wide(
        [
            pytest.param(name, marks=pytest.mark.slow if name in MORE_CELLS else ())
            for name in CASES
        ],
        keep=("bits", "skips", "gated int4"),
    ),
)
def test_layers_are_loops_over_integers(name, count):
    """With 16 cases, the slow ones are 16,000 random sets of weights, inputs and memories."""
    case = CASES[name]
    params, obs, memory = case.draw(np.random.default_rng(len(name)), count)
    found = answers(case, "float32", params, obs, memory)
    for i in range(count):
        own = jax.tree.map(lambda x, i=i: np.asarray(x[i]), params)
        after, values = run_network(case, own, obs[i], memory[i])
        np.testing.assert_array_equal(found[0][i], after)
        np.testing.assert_array_equal(found[1][i], values)
    for other in MATMULS[1:] if count > 40 else MATMULS[1:2]:
        again = answers(case, other, params, obs, memory)
        for one, two in zip(found, again, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.exact
@pytest.mark.parametrize("activation", wide(BITS, keep=["int4"]))
def test_gates_and_means_are_exact_for_all_numbers(activation):
    """Every gate, for sums about all of its steps, and every mean of two numbers."""
    grid, (bits, limit) = ACTIVATIONS[activation], BITS[activation]
    steps = np.arange(-3 * 2**bits * 8, 3 * 2**bits * 8 + 1)
    for unit_bits in (0, bits, bits + 3, 24):
        totals = steps if unit_bits < 24 else np.concatenate([steps, steps * 2**12 + 1])
        units = jnp.asarray(totals, jnp.float32) * 2.0**-unit_bits
        wanted = [opened(activation, int(total), unit_bits) for total in totals]
        np.testing.assert_array_equal(layers.gate(grid)(units), wanted)
    shares, old, new = np.meshgrid(
        np.arange(2**bits + 1), np.arange(-limit, limit + 1), np.arange(-limit, limit + 1, 9)
    )
    found = layers.blend(grid)(*(jnp.asarray(x, jnp.float32) for x in (shares, new, old)))
    moved = shares * (new - old)
    half_less = (1 << bits >> 1) - 1 if bits else 0
    rounded = (moved + half_less + ((moved >> bits) & 1)) >> bits if bits else moved
    np.testing.assert_array_equal(found, old + rounded)
    assert np.abs(found).max() <= limit


def test_padding_never_wins_a_pool():
    image = -jnp.arange(1.0, 10.0).reshape(3, 3, 1)
    pool = MaxPool(Window(2, 2, 1, 1))
    _, found = pool.run(lambda x: x, ACTIVATIONS["int8"], image, None)
    rows = [-1, -1, -2, -3], [-1, -1, -2, -3], [-4, -4, -5, -6], [-7, -7, -8, -9]
    np.testing.assert_array_equal(found[..., 0], rows)


def test_float_twins_are_the_convolution_of_jax():
    window = Window(3, 2, 2, 1)
    net = layers.placed(((Convolution(5, window), ACTIVATIONS["relu"]),), (7, 6, 3), layers.OUTPUT)
    settings = Conv(weights="float", activation="relu")
    params = layers.init(settings, net, jax.random.key(0))
    image = jax.random.normal(jax.random.key(1), (7, 6, 3))

    def ours(params, image):
        return layers.forward(net, layers.pack(settings, net, "float32", params), (), image)[1]

    def theirs(params, image):
        kernel = params[0]["weight"].values.reshape(3, 2, 3, 5)
        found = jax.lax.conv_general_dilated(
            image[None],
            kernel,
            (2, 2),
            [(1, 1), (1, 1)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jax.nn.relu(found[0])

    def loss(function, weight, image):
        own = ({**params[0], "weight": Tensor(weight, params[0]["weight"].exponent)},)
        return jnp.sum(function(own, image) ** 2)

    np.testing.assert_allclose(ours(params, image), theirs(params, image), atol=1e-6)
    for argument in (0, 1):
        found, wanted = (
            jax.grad(functools.partial(loss, function), argument)(params[0]["weight"].values, image)
            for function in (ours, theirs)
        )
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def dots(jaxpr) -> int:
    """Count matrix products."""
    return sum(equation.primitive.name == "dot_general" for equation in equations(jaxpr))


def test_a_minibatch_is_one_product_for_each_layer():
    """Forward one, backward one for the weights and, after the first layer, one for the inputs."""
    policy = Conv(filters=((4, 3, 1), (4, 2, 1)), hidden_sizes=(8,), weights="float").build(
        ObsSpec((6, 6, 2), "planes"), ACTION
    )
    params = policy.init(jax.random.key(0))
    batch = jax.random.bernoulli(jax.random.key(1), 0.2, (7, 6, 6, 2)).astype(jnp.float32)

    def loss(values):
        own = tuple(
            {**layer, "weight": Tensor(x, layer["weight"].exponent)}
            for layer, x in zip(params, values, strict=True)
        )
        outputs = jax.vmap(lambda obs: policy.apply(own, (), inputs(obs))[1])(batch)
        return jnp.sum(outputs**2)

    values = [layer["weight"].values for layer in params]
    assert dots(jax.make_jaxpr(loss)(values).jaxpr) == 4
    assert dots(jax.make_jaxpr(jax.grad(loss))(values).jaxpr) == 4 + 4 + 3
    assert all(float(jnp.abs(x).sum()) > 0 for x in quick_jit(jax.grad(loss))(values))
