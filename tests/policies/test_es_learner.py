"""Steps of an evolution strategy within a life: beside NumPy, by hand, in a task, from files."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.deploy import hashing, hill_climber as trials
from ternevo.policies import adaptable, contract, policy_file
from ternevo.settings.policies import ESLearner
from ternevo.types import ActionSpec, Inputs, ObsSpec, PolicyParams, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
TWO, PUSH = ObsSpec((2,), "integers"), ActionSpec("continuous", 2, (-1.0, -1.0), (1.0, 1.0))


def lived(policy, params, feedback):
    """Return all memories and outputs of a life of episodes of one step, paid in the next."""

    @quick_jit
    def live(feedback):
        def step(memory, told):
            inputs = Inputs(jnp.full(2, 64.0), told, jnp.asarray(True))
            memory, output = policy.apply(params, memory, inputs)
            return memory, (memory, output)

        return jax.lax.scan(step, policy.reset(params, KEY), feedback)[1]

    return jax.tree.map(np.asarray, live(jnp.asarray(feedback, jnp.float32)))


@pytest.mark.parametrize("weights", ["float", pytest.param("ternary", marks=pytest.mark.slow)])
def test_a_step_is_that_of_the_formula(weights):
    """Two steps of six queries of two episodes each, from the same random numbers in NumPy."""
    settings = ESLearner(
        weights=weights, queries=6, num_es_steps=2, trial_episodes=2, step_size=0.7
    )
    policy = contract.build(settings, TWO, PUSH)
    params = policy.init(jax.random.key(1))
    own = adaptable.build(settings.layered, TWO, PUSH, "es_learner", True)
    pay = np.random.default_rng(0).normal(size=24) - 5
    lives, outputs = lived(policy, params, [0, *pay, 1, 1])
    latents = np.asarray(adaptable.flat(own, params), np.float32)
    pace, seed = np.asarray(adaptable.paces(own, params)), lives.seed[:1]
    scores = pay.reshape(12, 2).sum(1)
    for step in (0, 1):
        changes = []
        for pair in range(3 * step, 3 * step + 3):
            counter = np.arange(6, dtype=np.uint32) + np.uint32(6 * pair)
            drawn = settings.trial_noise * pace * trials.normals(seed, hashing.EXPLORE, counter)
            changes += [drawn, -drawn]
        first = 12 * step
        np.testing.assert_allclose(lives.change[first + 2 : first + 12 : 2], changes[1:], rtol=1e-5)
        np.testing.assert_allclose(
            lives.latents[first : first + 12], [latents] * 12, rtol=1e-3, atol=1e-5
        )
        own_scores = scores[6 * step : 6 * step + 6]
        normalised = (own_scores - own_scores.mean()) / own_scores.std()
        along = np.mean(normalised[:, None] * np.array(changes), 0) / settings.trial_noise
        latents = latents + settings.step_size * along
        if weights == "ternary":
            latents = latents.clip(-1, 1)
    np.testing.assert_allclose(lives.latents[24:], [latents] * 3, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(lives.change[24:], 0)
    weights = adaptable.cut(own, jnp.asarray(lives.latents[-1]))
    plain = adaptable.output(own, params, weights, jnp.full(2, 64.0))
    np.testing.assert_allclose(outputs[-1], plain, rtol=1e-5)


def frozen(free, num_es_steps=1):
    """Return a policy of trits without weights, whose first bias may change if it is `free`."""
    settings = ESLearner(queries=20, num_es_steps=num_es_steps, step_size=4.0)
    policy, none = contract.build(settings, TWO, PUSH), jnp.int8(0)
    layer = {
        "weight": Tensor(jnp.zeros((2, 2), jnp.int8), none),
        "bias": Tensor(jnp.zeros(2, jnp.int8), none),
        "weight_mask": Tensor(-jnp.ones((2, 2), jnp.int8), none),
        "bias_mask": Tensor(jnp.array([1 if free else -1, -1], jnp.int8), none),
    }
    return policy, (layer,)


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_pays_is_learned_and_what_is_frozen_stays(sign):
    """The reward is what a bias does, by its sign: one step moves it beyond the cut."""

    def last(policy, params):
        def step(carry, _):
            memory, pay = carry
            inputs = Inputs(jnp.zeros(2), pay, jnp.asarray(True))
            memory, output = policy.apply(params, memory, inputs)
            return (memory, sign * output[0]), output

        run = quick_jit(
            lambda: jax.lax.scan(step, (policy.reset(params, KEY), jnp.zeros(())), None, 21)
        )
        return np.asarray(run()[1])[-1]

    assert np.sign(last(*frozen(True))).tolist() == [sign, 0]
    if sign > 0:
        np.testing.assert_array_equal(last(*frozen(False)), 0)


def test_small_differences_of_large_returns_are_told():
    """Near -4,000 by 1/8: a sum of squares in float32 has no digit for them."""
    policy, params = frozen(True)
    pay = np.float32(-4000) + np.float32(0.0625) * np.array([1, -1] * 10, np.float32)
    plain, shifted = (
        lived(policy, params, [0, *given])[0].total[-1]
        for given in (pay[:19] + np.float32(4000), pay[:19])
    )
    np.testing.assert_array_equal(plain, shifted)
    lives, _ = lived(policy, params, [0, *pay, 0])
    assert np.any(lives.latents[-1])


def test_returns_that_are_all_the_same_teach_nothing():
    policy, params = frozen(True)
    lives, _ = lived(policy, params, [0, *np.full(21, -400)])
    np.testing.assert_array_equal(lives.latents[-1], 0)


def test_a_learner_comes_back_from_its_file(tmp_path):
    settings, env = ESLearner(), envs.make("meta/four_corners")
    params = frozen(True)[1]
    path = tmp_path / "policy.npz"
    policy_file.save(path, env, "es_learner", settings, PolicyParams(params, observation.empty(2)))
    found = policy_file.load(path)
    assert (found.policy_name, found.settings) == ("es_learner", settings)
    chex.assert_trees_all_equal(found.weights, params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ESLearner(queries=5), "queries must be even, as directions go in pairs, got 5"),
        (lambda: ESLearner(queries=0), "queries must be at least 2"),
        (lambda: ESLearner(step_size=0.0), "step_size must be positive"),
        (lambda: ESLearner(weights="int8"), "use --weights ternary or float, not int8"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()
