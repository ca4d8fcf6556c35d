"""Members that are keys: scored as if they had been made before, in less memory."""

import chex
import jax
import jax.numpy as jnp

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.problems import Plan
from ternevo.settings.policies import MLP
from ternevo.types import Population

ENV = envs.make("probe/sign")


def test_members_are_made_where_they_are_packed():
    """Two routes with the same scores; made late, two of 32 are in memory at once."""
    policy, plan = MLP((64, 64)).build(ENV.obs, ENV.action), Plan(2, chunk_size=2)
    keys, nothing = jax.random.split(jax.random.key(0), 32), observation.empty(ENV.obs.size)

    def score(problem, make):
        def evaluate(keys):
            members = Population(jax.vmap(make)(keys))
            return problem.evaluate(jax.random.key(1), members, nothing, jnp.int32(0))

        compiled = jax.jit(evaluate).lower(keys).compile()
        return compiled(keys), compiled.memory_analysis().temp_size_in_bytes

    problem = problems.of(policy, ENV, plan)
    wanted, many = score(problem, policy.init)
    of_keys = problems.of_keys(problem, policy, ENV, plan)
    found, few = score(of_keys(policy.init), lambda key: key)
    chex.assert_trees_all_equal(found, wanted, strict=True)
    assert few < many / 4
