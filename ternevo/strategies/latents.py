"""Search over float latents, which are cut into trits or signs, or kept, for each evaluation."""

from collections.abc import Callable
from typing import Any

import jax

from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import discretize_all, kind_of, latents_of
from ternevo.settings.policies.settings import Ternarizer
from ternevo.strategies.evolve import evolve
from ternevo.strategies.search import search_of
from ternevo.types import Key, Params, Policy, Problem, Strategy


def evolve_latents(
    make_algorithm: Callable[[Any], tuple[Any, Any]],
    problem: Problem,
    policy: Policy,
    weights: WeightName,
    ternarizer: Ternarizer = "absmean",
) -> Strategy:
    """Return a strategy that searches any kind of policy with an algorithm over float latents.

    Args:
      make_algorithm: maps latents, one float array per tensor, to an evosax algorithm over
        such solutions and its evosax params.
      problem: the problem on which members are scored.
      policy: the policy.
      weights: the kind of weights that the latents are cut into before each evaluation.
      ternarizer: how they are cut into trits.
    """
    template, kind = template_of(policy), kind_of(weights, ternarizer)

    def decode(latents: list[jax.Array]) -> Params:
        return discretize_all(template, latents, kind)

    def draw(key: Key) -> list[jax.Array]:
        key_policy, key_latents = jax.random.split(key)
        return latents_of(key_latents, policy.init(key_policy), kind)

    first = latents_of(jax.random.key(0), template, kind)
    algorithm, params = make_algorithm(first)
    return evolve(search_of(algorithm, params, draw), problem, decode)


def template_of(policy: Policy) -> Params:
    """Return some params of a policy, drawn by one program instead of one for each operation."""
    return jax.jit(policy.init)(jax.random.key(0))
