"""Counts of operations: by hand, beside the program itself, and beside the published tables."""

import math

import jax
import jax.numpy as jnp
import optax
import pytest
from jaxprs import equations

from ternevo import envs
from ternevo.learners import actor_critic, flops
from ternevo.learners.actor_critic import Optimizers
from ternevo.learners.critics import Batch, View
from ternevo.learners.flops import Networks
from ternevo.learners.latents import latent_policy
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.sac import SAC
from ternevo.types import ActionSpec, Inputs, ObsSpec


def test_a_small_network_by_hand():
    """An actor 2-3-1 of 14 operations, and critics 3-3-1, of observation and action, of 20."""
    actor = flops.forward([(2, 3, 1.0), (3, 1, 1.0)])
    critic = flops.forward([(3, 3, 1.0), (3, 1, 1.0)])
    assert (actor, critic) == (3 * 3 + 5 * 1, 5 * 3 + 5 * 1)
    networks, target, fitted = Networks(actor, critic), 14 + 2 * 20, 2 * 3 * 20
    assert flops.sac(networks) == target + fitted + 3 * 14 + 2 * (20 + 20)  # both critics
    assert flops.td3(networks) == target + fitted + (3 * 14 + (20 + 20)) / 2  # one of them
    assert flops.forward([(2, 3, 0.5), (3, 1, 0.2)]) == 4.5 + 1


def test_the_passes_of_sac_are_those_of_its_program():
    """Products of weights and samples, one for each weight in a pass, in what JAX is given."""
    size, action, rows, hidden, wide = 3, 2, 8, 5, 7
    spec = ActionSpec("continuous", action, (-1.0,) * action, (1.0,) * action)
    env = envs.make("probe/bandit")._replace(obs=ObsSpec((size,)), action=spec)
    policy = MLP((hidden,), "tanh", weights="float").build(env.obs, env.action)
    optimizers = Optimizers(*[optax.sgd(0.1)] * 3)
    settings = SAC.of(critic_hidden_sizes=(wide,))
    learner = actor_critic.sac(settings, env, latent_policy(policy, "float"), optimizers)
    obs, row = jnp.zeros((rows, size)), jnp.zeros(rows)
    seen = View(Inputs(obs, row, jnp.zeros(rows, bool)), obs)
    given = Batch(seen, jnp.zeros((rows, action)), row, seen, row)
    key = jax.random.key(0)
    program = jax.make_jaxpr(learner.update)(key, jax.eval_shape(learner.init, key), given)
    found = sum(map(products, equations(program.jaxpr))) / rows

    first = size * hidden, (size + action) * wide
    networks = Networks(float(first[0] + hidden * action), float(first[1] + wide))
    # No gradient goes back to what is given: observations, and the actions that were taken.
    assert found == flops.sac(networks) - (first[0] + 2 * first[1])


def products(equation) -> int:
    if equation.primitive.name != "dot_general":
        return 0
    (summed, _), _ = equation.params["dimension_numbers"]
    sizes = [equation.invars[0].aval.shape[axis] for axis in summed]
    return math.prod(sizes) * math.prod(equation.outvars[0].aval.shape)


@pytest.mark.parametrize(
    ("count", "actor", "critic", "published"),
    [
        (flops.td3_of_rlx2, 0.10, 0.15, 0.138),
        (flops.td3_of_rlx2, 0.02, 0.05, 0.043),
        (flops.td3_of_rlx2, 0.03, 0.05, 0.045),
        (flops.td3_of_rlx2, 0.04, 0.12, 0.100),
        (flops.sac_of_rlx2, 0.10, 0.20, 0.197),
        (flops.sac_of_rlx2, 0.02, 0.05, 0.048),
        (flops.sac_of_rlx2, 0.10, 0.10, 0.113),
        (flops.sac_of_rlx2, 0.10, 0.25, 0.239),
    ],
)
def test_rules_give_the_published_shares(count, actor, critic, published):
    """Those of RLx2: HalfCheetah, Hopper, Walker2d and Ant, whose networks are about as large."""
    sparse, dense = Networks(actor, critic), Networks(1.0, 1.0)
    steps = (3,) if count is flops.sac_of_rlx2 else ()
    assert count(sparse, *steps) / count(dense) == pytest.approx(published, abs=0.001)
