"""Searches over float latents that are cut into trits, signs or nothing before each evaluation."""

from collections.abc import Callable
from typing import Any

import jax

from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import discretize_all, kind_of, latents_of
from ternevo.strategies.evolve import evolve
from ternevo.strategies.search import search_of
from ternevo.types import Key, Params, Policy, Problem, Strategy


def evolve_latents(
    make_algorithm: Callable[[Any], tuple[Any, Any]],
    problem: Problem,
    policy: Policy,
    weights: WeightName,
) -> Strategy:
    """Return the strategy in which an algorithm over float latents drives any kind of policy.

    Args:
      make_algorithm: from latents, one float array for each tensor, to an evosax algorithm over
        solutions like them and its evosax params.
      problem: what members are scored on.
      policy: the policy.
      weights: what the latents are cut into before each evaluation.
    """
    template, kind = policy.init(jax.random.key(0)), kind_of(weights)

    def decode(latents: list[jax.Array]) -> Params:
        return discretize_all(template, latents, kind)

    def draw(key: Key) -> list[jax.Array]:
        key_policy, key_latents = jax.random.split(key)
        return latents_of(key_latents, policy.init(key_policy), kind)

    first = latents_of(jax.random.key(0), template, kind)
    algorithm, params = make_algorithm(first)
    return evolve(search_of(algorithm, params, draw), problem, decode)
