"""Read the policies in a training state, without copying the whole state."""

import math
from typing import NamedTuple

from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.strategies.across_seeds import of_each_seed
from ternevo.training.setup import Setup
from ternevo.types import Best, PolicyParams, TrainState


class Policies(NamedTuple):
    """A seed's newest policy, and the best so far."""

    last: PolicyParams
    best: Best


def policies_of(setup: Setup, state: TrainState) -> Policies:
    """Return the policies of all seeds, as arrays local to this process.

    The rest of the state, such as populations and buffers, is not copied. All processes of a run
    must call this at the same time, because their devices share the work.
    """
    assert state.best is not None
    policy = setup.evaluation.policy_of(setup.strategy, state)
    return devices.own_copy(Policies(policy, state.best))


def save(setup: Setup, policies: Policies, generation: int) -> None:
    """Write the two policy files of each seed."""
    of_each = of_each_seed(policies, setup.config.num_seeds)
    for (seed, folder), found in zip(setup.seed_folders.items(), of_each, strict=True):
        info = {"strategy": setup.config.strategy_name, "seed": seed}
        last = {**info, "generation": generation}
        best = {**info, "generation": int(found.best.generation)}
        if math.isfinite(found.best.mean_return):
            best["return"] = float(found.best.mean_return)
        config = setup.config
        for path, params, origin in (
            (folder.policy, found.last, last),
            (folder.best_policy, found.best.policy, best),
        ):
            policy_file.save(path, setup.env, config.policy_name, config.policy, params, origin)
