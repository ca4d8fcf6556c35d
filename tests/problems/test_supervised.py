"""Digits: examples return what episodes return, without their loop, and evolution learns them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from policy_inputs import inputs

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.problems import Plan, episodes, supervised
from ternevo.problems.episodes import keys_of
from ternevo.rollouts.population import Rollout, evaluate
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.wrappers import Wrappers
from ternevo.types import ObservationMoments, ObsSpec, Population

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
DIGITS = envs.make("digits/8x8")
EXAMPLES = DIGITS.examples
NOTHING = observation.empty(64)
QUICK_WAYS = (("planes", "none"), ("float32", "pairs"))
GENERATION = jnp.zeros((), jnp.int32)
KEY = jax.random.key(0)


def members(policy, size):
    return jax.jit(jax.vmap(policy.init))(jax.random.split(jax.random.key(0), size))


def test_the_images_are_there_once_and_their_pixels_are_integers():
    assert EXAMPLES.inputs.shape == (1797, 64) and EXAMPLES.num_test == 360
    assert len(np.unique(np.asarray(EXAMPLES.inputs), axis=0)) == 1797
    pixels = np.unique(EXAMPLES.inputs)
    np.testing.assert_array_equal(pixels, np.arange(-64, 65, 8))
    assert np.bincount(EXAMPLES.labels[-360:]).min() > 20
    quantiser = observation.freeze(NOTHING, DIGITS.obs.kind)
    np.testing.assert_array_equal(
        observation.quantise(quantiser, EXAMPLES.inputs[0]), EXAMPLES.inputs[0]
    )


WAYS = [
    pytest.param(*way, marks=() if way in QUICK_WAYS else pytest.mark.slow)
    for way in itertools.product(("planes", "float32"), ("all", "pairs", "none"))
]


@pytest.mark.parametrize("matmul, shared_by", wide(WAYS, keep=["planes"]))
def test_examples_return_what_episodes_return(matmul, shared_by):
    policy = MLP((8,), matmul=matmul).build(DIGITS.obs, DIGITS.action)
    params, plan = Population(members(policy, 6)), Plan(32, shared_by)
    key = jax.random.key(1)
    problem = problems.of(policy, DIGITS, plan)
    found = quick_jit(lambda key: problem.evaluate(key, params, NOTHING, GENERATION))(key)
    loop = episodes.episodes(policy, DIGITS, plan)
    wanted = quick_jit(lambda key: loop.evaluate(key, params, NOTHING, GENERATION))(key)
    np.testing.assert_array_equal(found.returns, wanted.returns)
    np.testing.assert_array_equal(found.lengths, wanted.lengths)
    assert int(found.steps.low) == int(wanted.steps.low) == 6 * 32
    assert 0 < float(found.returns.mean()) < 1


def test_a_test_counts_every_example_that_was_kept_back_once():
    policy = MLP((8,)).build(DIGITS.obs, DIGITS.action)
    params = policy.init(jax.random.key(0))
    quantiser = Quantiser(jnp.zeros(64), jnp.ones(64))
    problem = problems.of(policy, DIGITS)
    scores = jax.jit(lambda key: problem.test(key, params, quantiser, 5))(jax.random.key(2))
    assert scores.returns.shape == (1, 360)

    outputs = jax.vmap(lambda x: policy.apply(params, (), inputs(x))[1])(EXAMPLES.inputs[-360:])
    np.testing.assert_array_equal(
        scores.returns[0], np.argmax(outputs, axis=1) == EXAMPLES.labels[-360:]
    )


def test_floats_are_scaled_by_the_moments_of_all_training_examples():
    """Told as floats, they are scaled by moments that are counted once and not again."""
    env = DIGITS._replace(obs=ObsSpec((64,)))
    policy = MLP((8,)).build(env.obs, env.action)
    params, plan = Population(members(policy, 4)), Plan(16)
    problem = problems.of(policy, env, plan)
    scored = quick_jit(lambda moments: problem.evaluate(KEY, params, moments, GENERATION))
    first = scored(NOTHING)
    train = np.asarray(EXAMPLES.inputs[:-360], np.float64)
    np.testing.assert_allclose(first.moments.mean, train.mean(0), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(first.moments.deviation, train.std(0), rtol=1e-5)
    again = scored(first.moments)
    np.testing.assert_array_equal(again.moments.count, 0)
    keys = keys_of(KEY, params, plan)
    quantiser = observation.freeze(ObservationMoments(*first.moments))
    rollout = Rollout(policy, env)
    wanted = quick_jit(lambda: evaluate(rollout, params.params, keys, quantiser))()
    np.testing.assert_array_equal(first.returns, wanted.returns)


def test_episodes_of_one_step_cannot_grow():
    policy = MLP(()).build(DIGITS.obs, DIGITS.action)
    with pytest.raises(ValueError, match="--init_horizon must be 1 with digits/8x8"):
        supervised.supervised(policy, DIGITS, Plan(1, horizon=lambda generation: generation))
    with pytest.raises(ValueError, match="episode_length of digits/8x8 must be 1, got 5"):
        envs.make("digits/8x8", 5)
    with pytest.raises(ValueError, match=r"takes no wrappers, .*got frame_stack=2, lifetime=3"):
        envs.make("digits/8x8", None, Wrappers(frame_stack=2, lifetime=3))


@pytest.mark.slow  # examples return what episodes return, and on episodes evolution learns
def test_evolution_learns_digits():
    """Guessing is right for one in ten; sixty generations are right for more than a third."""
    policy = MLP((16,)).build(DIGITS.obs, DIGITS.action)
    settings = STRATEGIES["ternary_nes"].of(population_size=64, num_episodes=128, sigma=0.2)
    strategy = settings.build(DIGITS, policy, "ternary", 60)

    @quick_jit
    def go(key):
        keys = jax.random.split(key, 60)
        state, _ = jax.lax.scan(lambda s, k: strategy.step(k, s), strategy.init(key), keys)
        return strategy.params(state).weights

    problem = problems.of(policy, DIGITS)
    quantiser = observation.freeze(NOTHING, "integers")
    scores = problem.test(jax.random.key(1), go(jax.random.key(0)), quantiser, 1)
    assert float(scores.returns.mean()) > 1 / 3


def test_an_image_is_drawn(tmp_path):
    state, _ = DIGITS.reset(jax.random.key(0), ())
    assert envs.render("digits/8x8", [state], tmp_path / "digit").suffix == ".png"
