"""Any float, of every kind of observation: JAX and what is deployed make the same integers of it.

That C, JavaScript, ONNX and the NumPy script follow `integer.quantise` is tested in tests/deploy,
with observations of the same sort.
"""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from marks import wide
from policy_records import make_record, near_ties, observations

from ternevo.arithmetic import observation
from ternevo.deploy import integer, runtime
from ternevo.types import ObsKind

SIZE = 64
KINDS: dict[ObsKind, str] = {"integers": "i8", "planes": "bits", "pixels": "pixels"}
"""Kinds without moments, and what files call them."""
each = pytest.mark.parametrize(("kind", "inputs"), wide(KINDS.items(), keep=["integers"]))


@jax.jit
def in_jax(obs):
    """Return what training makes of observations [64], of each kind."""
    empty = observation.empty(SIZE)
    return {
        kind: observation.quantise(observation.freeze(empty, kind), obs, kind) for kind in KINDS
    }


def by_the_rule(x: np.float32, kind: ObsKind) -> int:
    """Return round(clip(x - mean)), half to even, in fractions; the subtraction is float32."""
    low, high = (0, 1) if kind == "planes" else (-127, 127)
    centred = float(x - np.float32(128)) if kind == "pixels" else float(x)
    if np.isnan(centred):
        return 0
    return low if centred < low else high if centred > high else round(Fraction(centred))


@pytest.mark.exact
@each
@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        hnp.arrays(np.float32, SIZE, elements=st.floats(width=32, allow_subnormal=False)),
        hnp.arrays(np.float32, SIZE, elements=st.integers(-600, 600).map(lambda n: n / 4)),
    )
)
def test_all_floats_follow_one_rule(kind, inputs, obs):
    record = make_record((SIZE, 2), inputs=inputs)
    with np.errstate(over="ignore"):
        wanted = [by_the_rule(x, kind) for x in obs]
    np.testing.assert_array_equal(in_jax(obs)[kind], wanted)
    np.testing.assert_array_equal(integer.quantise(record, obs), wanted)
    np.testing.assert_array_equal(runtime.Policy(record).quantise(obs), wanted)


@pytest.mark.exact
@each
def test_halves_and_what_lies_beside_them(kind, inputs):
    """Each tie in the range and beyond, its two neighbours, and what no sensor should send."""
    rng, record = np.random.default_rng(0), make_record((SIZE, 2), inputs=inputs)
    ties = near_ties(rng, (300, SIZE), (-140, 270))
    obs = np.concatenate([ties, observations(record, rng, 100)])
    wanted = jax.vmap(in_jax)(jnp.asarray(obs))[kind]
    np.testing.assert_array_equal(integer.quantise(record, obs), wanted)
    np.testing.assert_array_equal(runtime.Policy(record).quantise(obs), wanted)
    assert set(np.unique(wanted)) == {0, 1} if kind == "planes" else set(range(-127, 128))
