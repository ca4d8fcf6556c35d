"""Run by test_ppo.py in a process of its own, with two CPU devices.

    python ppo_on_devices.py OUT.npz CASE...

trains on one device and on two: with environments that they share, where what the critic learns
does not depend on the random numbers of each, for policies without memory and with one; and with
a number of them that they cannot share.
"""

import sys

import jax
import numpy as np
import optax

from ternevo import envs
from ternevo.machine import devices
from ternevo.settings.policies import MLP, PolicySettings, Recurrent
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.numbered import unwrapped
from ternevo.training import loop

CASES = {  # generations, and settings
    # One step from starts drawn before devices part: different for each environment, and every
    # action pays the same. One minibatch has all of it.
    "shared": (1, {"num_envs": 512, "num_steps": 1, "num_minibatches": 1, "max_grad_norm": 0.0}),
    "uneven": (4, {"num_envs": 3, "num_steps": 8, "num_minibatches": 2}),
    "remembering": (1, {"num_envs": 512, "num_steps": 1, "num_minibatches": 1, "max_grad_norm": 0}),
}
POLICIES = {"remembering": Recurrent(memory_size=4)}


def trained(policy_settings: PolicySettings, generations: int, options: dict) -> list[np.ndarray]:
    """Return the leaves of the critic's mean gradients and of all moments, then of all learned."""
    env = envs.make("probe/random_length", 40)
    policy = policy_settings.build(env.obs, env.action)
    strategy = STRATEGIES["ppo"].of(critic_hidden_sizes=(8,), **options)
    strategy = strategy.build(env, policy, "ternary", generations)
    first = loop.start(jax.random.key(0), strategy)
    state = unwrapped(list(loop.train(strategy, first, generations))[-1].state.strategy)
    # Of Adam: its steps are all of about one length, whatever the gradient.
    gradients = optax.tree.get(state.learner.optimizer, "mu")
    parts = (gradients.critic, state.rewards, state.moments, state.learner.learned)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(parts)]


def main() -> None:
    devices.use_cores(2)
    found = {}
    for name in sys.argv[2:]:
        case = CASES[name]
        settings = POLICIES.get(name, MLP((4,)))
        with devices.on_all_devices(1):
            alone = trained(settings, *case)
        with devices.on_all_devices(2):
            together = trained(settings, *case)
        for i, (one, two) in enumerate(zip(alone, together, strict=True)):
            found |= {f"{name}/{i}/one": one, f"{name}/{i}/two": two}
    np.savez(sys.argv[1], **found)


if __name__ == "__main__":
    main()
