"""Policies of 8, 4 and 2 bits, learned: what acts, what learns and what ships."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import REPLAYED as LARGER
from marks import wide
from policy_inputs import inputs

import ternevo
from ternevo import envs
from ternevo.arithmetic.ternary import tensors
from ternevo.deploy import runtime
from ternevo.learners.latents import latent_policy
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import LARGEST_LEVELS
from ternevo.settings.strategies import STRATEGIES

FEW = list(LARGEST_LEVELS)
BRIEF = {
    "num_generations": 4,
    "eval_every": 4,
    "num_eval_episodes": 2,
    "num_final_episodes": 2,
    "hidden_sizes": [9],
}


def own_policy(kind, scales="layer"):
    env = envs.make("probe/sign")
    return MLP((7,), weights=kind, scales=scales).build(env.obs, env.action)


@pytest.mark.parametrize("kind", FEW)
@pytest.mark.parametrize("scales", wide(["layer", "output"], keep=["output"]))
def test_weights_are_rounded_from_an_update_on(kind, scales):
    latent = latent_policy(own_policy(kind, scales), kind, quantise_from=3)
    latents = [x + 0.01 * jax.random.normal(jax.random.key(1), x.shape) for x in latent.init(KEY)]
    shipped = latent.shipped(latents)
    for updates in (2, 3):
        now = latent.at(jnp.int32(updates))
        for params in (now.differentiable(latents), now.acting(latents)):
            for tensor, hard, own in zip(tensors(params), tensors(shipped), latents, strict=True):
                wanted = np.asarray(hard.values, np.float32)
                if updates < 3:
                    wanted = np.ldexp(np.asarray(own), np.asarray(hard.exponent, int))
                np.testing.assert_array_equal(tensor.values, wanted)
                np.testing.assert_array_equal(tensor.exponent, hard.exponent)
    assert all(tensor.values.dtype == jnp.int8 for tensor in tensors(shipped))


KEY = jax.random.key(0)


@pytest.mark.parametrize("kind", FEW)
def test_outputs_do_not_depend_on_how_weights_are_held(kind):
    """The float32 of training give the outputs of the integers, by ==."""
    latent = latent_policy(own_policy(kind), kind)
    latents = [x + 0.01 * jax.random.normal(jax.random.key(1), x.shape) for x in latent.init(KEY)]
    obs = jax.random.randint(jax.random.key(2), (20, 1), -127, 128).astype(jnp.float32)
    outputs = [
        jax.vmap(lambda row, params=params: latent.policy.apply(params, (), inputs(row))[1])(obs)
        for params in (latent.differentiable(latents), latent.shipped(latents))
    ]
    np.testing.assert_array_equal(*outputs)


SMALL_PPO = {"num_envs": 8, "num_steps": 8, "num_minibatches": 2}
CASES = [  # how weights are rounded depends on no learner
    pytest.param("ppo", "probe/sign", SMALL_PPO, marks=pytest.mark.slow),
    ("dqn", "probe/sign", LARGER),
    pytest.param("td3", "probe/double_integrator", LARGER, marks=pytest.mark.slow),
    pytest.param("sac", "probe/double_integrator", LARGER, marks=pytest.mark.slow),
]


@pytest.mark.wide  # files of few bits are in test_few_bits.py
@pytest.mark.parametrize(("strategy", "env", "own"), CASES)
def test_every_learner_ships_integers(strategy, env, own):
    kind = {"ppo": "int4", "td3": "int2"}.get(strategy, "int8")
    how = {"weights": kind, "quantize_start": 0.5, "sparsity": 0.5, "prune_events": 2}
    scales = "output" if strategy == "sac" else "layer"
    policy = ternevo.train(env, strategy, scales=scales, **how, **BRIEF, **own)
    largest = LARGEST_LEVELS[kind]
    for layer in policy.record.layers:
        assert layer.kind == kind and layer.weights.dtype == np.int8
        assert np.abs(layer.weights.astype(int)).max() <= largest
        assert np.mean(layer.weights == 0) >= 0.5 - 1 / layer.weights.size
    again = runtime.Policy.from_bytes(policy.to_bytes())
    assert again.record.has_few_bits


@pytest.mark.slow
def test_evolution_of_latents_ships_integers():
    found = ternevo.train("probe/sign", "latent", weights="int8", population_size=8, **BRIEF)
    assert {layer.kind for layer in found.record.layers} == {"int8"}


def test_evolution_of_latents_searches_integers():
    policy = own_policy("int8")
    strategy = STRATEGIES["latent"].of(population_size=8)
    strategy = strategy.build(envs.make("probe/sign"), policy, "int8", 4)
    shipped = jax.eval_shape(lambda key: strategy.params(strategy.init(key)).weights, KEY)
    assert {tensor.values.dtype for tensor in tensors(shipped)} == {jnp.dtype("int8")}


def test_evolution_of_trits_says_what_searches_integers():
    with pytest.raises(ValueError, match="--weights int8 is for gradient learners"):
        ternevo.train("probe/sign", "ternary_nes", weights="int8", **BRIEF)
    with pytest.raises(ValueError, match="--matmul planes counts bits of trits and signs"):
        ternevo.train("probe/sign", "latent", weights="int4", matmul="planes", **BRIEF)


def test_too_many_inputs_are_refused_before_training():
    env = envs.make("probe/sign")
    wide = MLP((4, 1100), weights="int8")
    with pytest.raises(ValueError, match=r"1,100 inputs: a sum may exceed .* --weights int4"):
        wide.build(env.obs, env.action)
    MLP((4, 1100), weights="int4").build(env.obs, env.action)
    MLP((1100, 4), weights="int8").build(env.obs, env.action)  # hidden layers have int32
