"""Searches over float latents that are cut into trits, signs or nothing before each evaluation."""

from collections.abc import Callable
from typing import Any

import jax

from ternevo.arithmetic import ternary
from ternevo.arithmetic.ternary import WeightKind
from ternevo.strategies.evolve import evolve
from ternevo.strategies.search import search_of
from ternevo.types import Key, Params, Policy, Problem, Strategy


def evolve_latents(
    make_algorithm: Callable[[Any], tuple[Any, Any]],
    problem: Problem,
    policy: Policy,
    weights: WeightKind,
) -> Strategy:
    """Return the strategy in which an algorithm over float latents drives any kind of policy.

    Args:
      make_algorithm: from latents, one float array for each tensor, to an evosax algorithm over
        solutions like them and its evosax params.
      problem: what members are scored on.
      policy: the policy.
      weights: what the latents are cut into before each evaluation.
    """
    template = policy.init(jax.random.key(0))

    def decode(latents: list[jax.Array]) -> Params:
        return ternary.discretize_all(template, latents, weights)

    def draw(key: Key) -> list[jax.Array]:
        key_policy, key_latents = jax.random.split(key)
        return ternary.latents_of(key_latents, policy.init(key_policy), weights)

    first = ternary.latents_of(jax.random.key(0), template, weights)
    algorithm, params = make_algorithm(first)
    return evolve(search_of(algorithm, params, draw), problem, decode)
