"""Problems on which populations are scored: episodes, in JAX or outside it, or labelled examples.

`of(policy, env, plan)` is the problem of an environment. Nothing here decides what to run next.
"""

import contextlib

from ternevo.machine import devices
from ternevo.problems import episodes, host, supervised
from ternevo.problems.episodes import Plan
from ternevo.types import Env, Policy, Problem


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
