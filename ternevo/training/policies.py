"""Read the policies in a training state, without copying the whole state."""

import math
from functools import partial
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int32

from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.strategies.across_seeds import of_each_seed
from ternevo.training.setup import Setup
from ternevo.types import PolicyParams, Strategy, TrainState


class Policies(NamedTuple):
    """A seed's newest policy, and the best so far with its generation and evaluation return."""

    last: PolicyParams
    best: PolicyParams
    best_generation: Int32[Array, "..."]
    best_return: Float[Array, "..."]


@partial(jax.jit, static_argnums=0)
def _read(strategy: Strategy, state: TrainState) -> Policies:
    evaluated = state.strategy
    return Policies(
        strategy.params(evaluated),
        evaluated.best,
        evaluated.best_generation,
        evaluated.best_return,
    )


def policies_of(setup: Setup, state: TrainState) -> Policies:
    """Return the policies of all seeds, as arrays local to this process.

    The rest of the state, such as populations and buffers, is not copied. All processes of a run
    must call this at the same time, because their devices share the work.
    """
    return devices.own_copy(_read(setup.strategy, state))


def save(setup: Setup, policies: Policies, generation: int) -> None:
    """Write the two policy files of each seed."""
    of_each = of_each_seed(policies, setup.config.num_seeds)
    for (seed, folder), found in zip(setup.seed_folders.items(), of_each, strict=True):
        info = {"strategy": setup.config.strategy_name, "seed": seed}
        last = {**info, "generation": generation}
        best = {**info, "generation": int(found.best_generation)}
        if math.isfinite(found.best_return):
            best["return"] = float(found.best_return)
        config = setup.config
        for path, params, origin in (
            (folder.policy, found.last, last),
            (folder.best_policy, found.best, best),
        ):
            policy_file.save(path, setup.env, config.policy_name, config.policy, params, origin)
