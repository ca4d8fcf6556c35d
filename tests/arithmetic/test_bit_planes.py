"""Bit planes against plain integer arithmetic, and every way to multiply against every other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from marks import wide
from policy_inputs import inputs

from ternevo.arithmetic import bit_planes
from ternevo.machine import processor
from ternevo.policies import layers, mlp
from ternevo.settings.policies import MLP
from ternevo.types import ActionSpec, ObsSpec

few = settings(max_examples=40, deadline=None)
# On both sides of whole words of 32 bits. Few, as JAX compiles each operation for each shape.
SHAPES = [(1, 1), (31, 2), (32, 5), (33, 3), (70, 2)]
trits = hnp.arrays(np.int8, st.sampled_from(SHAPES), elements=st.integers(-1, 1))


@few
@given(trits)
def test_a_plane_holds_each_weight_in_its_own_bit(matrix):
    planes = bit_planes.planes_of(jnp.asarray(matrix))
    for plane, expected in ((planes.nonzero, matrix != 0), (planes.negative, matrix < 0)):
        words = np.asarray(plane)
        assert words.shape == (-(-len(matrix) // 32), matrix.shape[1])
        bits = [(words[i // 32] >> (i % 32)) & 1 for i in range(32 * len(words))]
        np.testing.assert_array_equal(bits[: len(matrix)], expected)
        assert not np.any(bits[len(matrix) :]), "the last word is filled with zeros"


@functools.partial(jax.jit, static_argnums=2)
def product_with_integers(matrix, values, num_bits):
    planes = bit_planes.planes_of(matrix)
    offset = bit_planes.offset_of_integers(planes, num_bits)
    return bit_planes.dot_integers(planes, offset, values, num_bits)


@pytest.mark.exact
@few
@given(trits, st.integers(1, 8), st.integers(0, 2**31 - 1))
def test_products_with_integers_of_any_width_are_exact(matrix, num_bits, seed):
    low, high = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1)
    values = np.random.default_rng(seed).integers(low, high, len(matrix))
    values[: min(2, len(values))] = [low, high - 1][: min(2, len(values))]
    product = product_with_integers(matrix, jnp.asarray(values, jnp.int32), num_bits)
    np.testing.assert_array_equal(product, values @ matrix.astype(int))


@pytest.mark.exact
@few
@given(trits, st.integers(0, 2**31 - 1))
def test_products_with_signs_are_exact(matrix, seed):
    signs = np.random.default_rng(seed).choice([-1, 1], len(matrix))
    planes = bit_planes.planes_of(jnp.asarray(matrix))
    product = bit_planes.dot_signs(planes, bit_planes.offset_of_signs(planes), jnp.asarray(signs))
    np.testing.assert_array_equal(product, signs @ matrix.astype(int))


def outputs(settings: MLP, observations) -> np.ndarray:
    """Return what random members, all-zero layers among them, answer to integers [count, obs]."""
    policy = settings.build(ObsSpec((observations.shape[1],)), ActionSpec("discrete", 3))
    members = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 4))
    if settings.weights == "ternary":
        silent = jax.tree.map(lambda x: x.at[0].set(0), members[1]["weight"].values)
        bias = jnp.asarray(np.random.default_rng(1).integers(-1, 2, (4, 33)), jnp.int8)
        layer = {
            "weight": members[1]["weight"]._replace(values=silent),
            "bias": members[1]["bias"]._replace(values=bias),
        }
        members = (members[0], layer, members[2])
    packed = jax.vmap(policy.packing(1).pack)(members)
    each = jax.vmap(jax.vmap(lambda w, o: policy.apply(w, (), inputs(o))[1], (None, 0)), (0, None))
    answers = each(packed, observations)
    np.testing.assert_array_equal(each(members, observations), answers)
    return np.asarray(answers)


MATMULS = ("float32", "planes", "bfloat16", "int8", "auto")
SOME = {8: MATMULS, 3: ("float32", "planes"), 1: ("float32", "planes")}
"""By the bits of observations, which are a loop where planes are multiplied."""
ALL = dict.fromkeys(SOME, MATMULS)


QUICK = (("int8", "ternary"), ("int4", "binary"), ("sign", "ternary"), ("ternary", "binary"))
KINDS = [
    pytest.param(*kind, marks=() if kind in QUICK else pytest.mark.slow)
    for kind in itertools.product(("int8", "int4", "sign", "ternary"), ("ternary", "binary"))
]


@pytest.mark.exact
@pytest.mark.parametrize("activation, weights", wide(KINDS, keep=[("int8", "ternary")]))
@pytest.mark.parametrize(
    "ways", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_every_way_to_multiply_gives_the_same_integers(activation, weights, ways):
    rng = np.random.default_rng(0)
    observations = jnp.asarray(rng.integers(-127, 128, (20, 5)), jnp.float32)
    for bits, matmuls in ways.items():
        answers = [
            outputs(
                MLP(
                    (40, 33),
                    activation,
                    weights=weights,
                    observation_bits=bits,
                    output_shift=1,
                    matmul=matmul,
                ),
                observations,
            )
            for matmul in matmuls
        ]
        for first, other in itertools.pairwise(answers):
            np.testing.assert_array_equal(first, other)


def choose_matmul(settings: MLP, num_episodes: int, obs_size: int = 4) -> str:
    network = mlp.network(settings, ObsSpec((obs_size,)), ActionSpec("discrete", 2))
    return layers.choose_matmul(settings, network, num_episodes)


def test_floats_are_multiplied_as_floats():
    for settings_ in (MLP(weights="float", activation="tanh"), MLP(activation="relu")):
        assert choose_matmul(settings_, 1) == choose_matmul(settings_, 16) == "float32"
    for matmul in ("planes", "bfloat16", "int8"):
        with pytest.raises(ValueError, match=f"--matmul {matmul} needs integers, not --weights f"):
            MLP(weights="float", activation="tanh", matmul=matmul).build(
                ObsSpec((4,)), ActionSpec("discrete", 2)
            )


def test_what_is_asked_for_is_what_multiplies():
    assert choose_matmul(MLP(matmul="int8"), 1) == "int8"
    assert choose_matmul(MLP(matmul="planes"), 16) == "planes"


@pytest.mark.parametrize(
    "activation, obs_size, hidden_sizes, episodes, counts_vectors, chosen",
    [
        ("sign", 4, (31,), 16, True, "float32"),
        ("sign", 4, (32,), 16, True, "planes"),
        ("int8", 4, (64, 63), 1, True, "float32"),
        ("int8", 4, (64, 64), 1, True, "planes"),
        ("int8", 4, (64, 64), 16, True, "float32"),
        ("int8", 4, (), 1, True, "float32"),
        ("ternary", 4, (64, 64), 16, True, "planes"),
        ("int4", 4, (64, 64), 1, True, "planes"),
        ("int4", 4, (64, 64), 1, False, "float32"),
        ("sign", 4, (64, 63), 16, False, "float32"),
        ("sign", 4, (64, 64), 16, False, "planes"),
        ("sign", 400, (64, 64), 16, False, "float32"),
        ("sign", 4, (64,), 16, False, "float32"),
        ("ternary", 4, (64, 64), 16, False, "float32"),
        ("int8", 4, (128, 128), 1, False, "float32"),
        ("int8", 4, (256, 256), 1, False, "planes"),
        ("int8", 4, (256, 256), 2, False, "float32"),
        ("int8", 400, (64, 64), 1, False, "float32"),
        ("int8", 400, (128, 128), 1, False, "planes"),
        ("int8", 4, (), 1, False, "float32"),
    ],
)
def test_the_fastest_way_depends_on_sizes_and_processor(
    activation, obs_size, hidden_sizes, episodes, counts_vectors, chosen, monkeypatch
):
    """A word has 32 weights: where most of it is empty, counting bits is slower."""
    monkeypatch.setattr(processor, "counts_bits_of_vectors", lambda: counts_vectors)
    settings_ = MLP(hidden_sizes=hidden_sizes, activation=activation)
    found = choose_matmul(settings_, episodes, obs_size)
    assert found == chosen, "on CPU, where the tests run"


def test_a_matrix_is_shared_by_the_episodes_of_a_member():
    for matmul, together in (("planes", 1), ("float32", 16)):
        policy = MLP(matmul=matmul).build(ObsSpec((4,)), ActionSpec("discrete", 2))
        assert policy.packing(16).together == together
