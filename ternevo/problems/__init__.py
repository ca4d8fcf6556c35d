"""Problems on which populations are scored: episodes, in JAX or outside it, or labelled examples.

`of(policy, env, plan)` is the problem of an environment. Nothing here decides what to run next.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax

from ternevo.machine import devices
from ternevo.problems import episodes, host, supervised
from ternevo.problems.episodes import Plan
from ternevo.types import Env, Key, Packing, Params, Policy, Population, Problem, Scores


def own_devices(env: Env) -> contextlib.AbstractContextManager:
    """Set the mesh to the devices of this host that can share an evaluation in an environment."""
    return devices.on_one_device() if env.host else devices.on_own_devices()


def of(policy: Policy, env: Env, plan: Plan | None = None) -> Problem:
    """Return the problem of an environment for members with this policy.

    Args:
      policy: the policy.
      env: the environment; one with `examples` needs no episode loop.
      plan: how to score a population; needed to call `evaluate` of the problem.
    """
    plan = plan or Plan(1)
    if env.examples is not None:
        return supervised.supervised(policy, env, plan)
    if env.host is not None:
        return host.host(policy, env, plan)
    return episodes.episodes(policy, env, plan)


def of_keys(
    problem: Problem, policy: Policy, env: Env, plan: Plan
) -> Callable[[Callable[[Key], Params]], Problem]:
    """Return what maps `make` to the problem of members that are keys, `Population(keys)`.

    `make` maps the key of a member to its params. A member is made where it is packed, so a device
    holds only those in its queue. A simulator outside JAX takes files, and all are made before.

    Args:
      problem: the same problem for params.
      policy: the policy with such params.
      env: the environment.
      plan: how to score a population.
    """
    if env.host is None:
        return lambda make: of(_packed_from_keys(make, policy), env, plan)

    def made_first(make: Callable[[Key], Params]) -> Problem:
        def evaluate(key: Key, population: Population, *arguments: Any) -> Scores:
            made = population._replace(params=jax.vmap(make)(population.params))
            return problem.evaluate(key, made, *arguments)

        return problem._replace(evaluate=evaluate)

    return made_first


def _packed_from_keys(make: Callable[[Key], Params], policy: Policy) -> Policy:
    """Return the policy whose params are a key until they are packed."""

    def packing(num_episodes: int) -> Packing:
        own = policy.packing(num_episodes)
        return own._replace(pack=lambda key: own.pack(make(key)))

    return policy._replace(init=lambda key: key, packing=packing)
