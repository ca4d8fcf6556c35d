"""Kinds of observations: integers and pixels need no moments, bits do, up to MinAtar and a file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.policies import policy_file
from ternevo.problems import Plan
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import ObsSpec, PolicyParams, Population

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CORRIDOR = envs.make("probe/corridor", 20)
"""It shows bits: a 1 among zeros."""
QUICK = ("gymnax/Breakout-MinAtar", "gymnax/SpaceInvaders-MinAtar")


@pytest.mark.parametrize(
    ("kind", "shown", "integers"),
    [
        ("integers", [-127.0, -1.0, 0.0, 5.0, 127.0], [-127, -1, 0, 5, 127]),
        ("pixels", [0.0, 1.0, 128.0, 255.0], [-127, -127, 0, 127]),
    ],
)
def test_a_kind_has_its_integers_whatever_was_seen(kind, shown, integers):
    seen = observation.empty(len(shown))._replace(count=jnp.ones(len(shown)))
    for moments in (observation.empty(len(shown)), seen):
        quantiser = observation.freeze(moments, kind)
        found = observation.quantise(quantiser, jnp.asarray(shown))
        np.testing.assert_array_equal(found, integers)


def test_floats_and_bits_have_moments():
    assert observation.summed_size(ObsSpec((3, 4))) == 12
    assert observation.summed_size(ObsSpec((3, 4), "bits")) == 12
    assert observation.summed_size(ObsSpec((3, 4), "pixels")) == 0
    assert not observation.is_unit_known(ObsSpec((2,)), observation.empty(2))
    assert observation.is_unit_known(ObsSpec((2,), "pixels"), observation.empty(2))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in envs.available()
        if name.endswith("-MinAtar")
    ],
)
def test_minatar_shows_planes_of_bits(name):
    env = envs.make(name)
    assert env.obs.kind == "bits" and env.obs.shape[:2] == (10, 10)
    state, obs = env.reset(jax.random.key(0), ())
    step = quick_jit(env.step)
    seen = [np.asarray(obs)]
    for t in range(20):
        action = jax.random.randint(jax.random.key(t), (), 0, env.action.size)
        state, timestep = step(jax.random.key(t), state, action)
        seen.append(np.asarray(timestep.obs))
    assert set(np.unique(seen)) == {0, 1}


def shown_as(kind):
    """Return the corridor as if its observations were of that kind."""
    return CORRIDOR._replace(obs=ObsSpec(CORRIDOR.obs.shape, kind), obs_names=())


def evaluated(env):
    policy = MLP((4,)).build(env.obs, env.action)
    params = Population(jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 4)))
    problem = problems.of(policy, env, Plan(2))
    moments = observation.empty(env.obs.size)
    first = jnp.zeros((), jnp.int32)
    return quick_jit(lambda key: problem.evaluate(key, params, moments, first))(jax.random.key(1))


def test_bits_are_scaled_as_floats_are():
    """A bit that is rarely 1 must count for more than one that is nearly always 1."""
    bits, floats = evaluated(shown_as("bits")), evaluated(shown_as("floats"))
    for found, expected in zip(jax.tree.leaves(bits), jax.tree.leaves(floats), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert np.all(np.asarray(bits.moments.count) > 0)


def test_pixels_take_no_look_and_keep_no_moments():
    """Every step is one of an episode: nothing is looked at beforehand, as no unit is unknown."""
    scores = evaluated(shown_as("pixels"))
    assert int(scores.steps.low) == int(scores.lengths.sum())
    np.testing.assert_array_equal(scores.moments.count, 0)


@pytest.mark.parametrize(
    "kind, count", [("bits", 32), pytest.param("pixels", 0, marks=pytest.mark.slow)]
)
def test_gradients_count_what_has_moments(kind, count):
    env = shown_as(kind)
    policy = MLP((4,)).build(env.obs, env.action)
    settings = STRATEGIES["ppo"].of(num_minibatches=2, num_envs=4, num_steps=8)
    strategy = settings.build(env, policy, "ternary", 2)
    state = quick_jit(strategy.init)(jax.random.key(0))
    state, metrics = quick_jit(strategy.step)(jax.random.key(1), state)
    np.testing.assert_array_equal(strategy.params(state).moments.count, count)
    assert np.isfinite(float(metrics["loss/policy"]))


def test_a_file_has_the_quantiser_of_the_kind(tmp_path):
    """So the runtime without JAX, C and JavaScript need to know no kind."""
    env = shown_as("pixels")
    policy = MLP((4,)).build(env.obs, env.action)
    params = PolicyParams(policy.init(jax.random.key(0)), observation.empty(env.obs.size))
    path = tmp_path / "policy.tvp"
    policy_file.save(path, env, "mlp", MLP((4,)), params)
    saved = policy_file.load(path)
    np.testing.assert_array_equal(saved.quantiser.mean, 128)
    np.testing.assert_array_equal(saved.quantiser.scale, 1)
