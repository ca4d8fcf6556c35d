"""PPO trains a policy that sees: convolutions, on all pictures of a task with a known optimum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bars import bars, pictures

from ternevo.arithmetic import observation
from ternevo.deploy import runtime
from ternevo.policies import contract, policy_file
from ternevo.policies.acting import Actor, seen_first
from ternevo.settings.policies import Conv
from ternevo.settings.strategies import STRATEGIES

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SEEDS, GENERATIONS = 4, 120
PLAIN = Conv((16,), "relu", filters=((16, 3, 1),), weights="float")
TERNARY = Conv((16,), "int8", filters=((16, 3, 1),), observation_shift=1)


@pytest.mark.parametrize(
    "settings",
    [pytest.param(PLAIN, id="float", marks=pytest.mark.slow), pytest.param(TERNARY, id="ternary")],
)
def test_ppo_trains_convolutions(settings):
    """Constant actions are right for half of the pictures, and the best policy for all."""
    env = contract.shown_to(settings, bars())
    policy = contract.build(settings, env.obs, env.action)
    options = {"num_envs": 32, "num_steps": 4, "num_minibatches": 2, "lr": 0.01}
    ppo = STRATEGIES["ppo"](**options, critic_hidden_sizes=(16,), entropy_coefficient=0.0)
    strategy = ppo.build(env, policy, settings.weights, GENERATIONS)

    def train(key):
        key_init, key_run = jax.random.split(key)
        keys = jax.random.split(key_run, GENERATIONS)
        start = strategy.init(key_init)
        last, _ = jax.lax.scan(lambda state, key: (strategy.step(key, state)[0], ()), start, keys)
        return strategy.params(last)

    shown = pictures().reshape(-1, env.obs.size)
    wanted = np.arange(len(shown)) >= len(shown) // 2
    actor = Actor(policy, env.obs, env.action)

    def actions_of(params):
        quantiser = observation.freeze(params.moments, env.obs.kind)
        memory = policy.reset(params.weights, jax.random.key(0))
        act = functools.partial(actor.act, params.weights, quantiser, memory)
        return jax.vmap(lambda obs: act(seen_first(obs))[1])(jnp.asarray(shown))

    trained = quick_jit(jax.vmap(train))(jax.random.split(jax.random.key(0), SEEDS))
    found = np.asarray(quick_jit(jax.vmap(actions_of))(trained))
    returns = (found == wanted).mean(1)
    assert returns.max() == 1 and returns.min() > 0.85, returns
    if settings.weights == "ternary":
        best = jax.tree.map(lambda x: x[returns.argmax()], trained)
        shipped = runtime.Policy(policy_file.record_of(settings, env.obs, env.action, best))
        np.testing.assert_array_equal(shipped.act_batch(shown), wanted)
