"""The policy and the world on which a strategy is tested: a small MLP, or what it needs instead."""

import jax.numpy as jnp

from ternevo.settings.policies import MLP, Graph, PolicySettings
from ternevo.types import Descriptor, Env, TaskSpace

NOTHING = Descriptor(("nothing",), (-1.0,), (1.0,), lambda state: jnp.zeros(1))
"""Of all behaviours alike, so that an archive is one best member."""


ONE_NUMBER = TaskSpace(("nothing",), (0.0,), (1.0,), (0.0,), (1.0,))
"""Tasks that a world without tasks ignores."""

OWN = {
    "map_elites": {"grid": (1,)},
    "poet": {"niches": 2, "retired": 1, "children": 1, "score_episodes": 1, "transfer_every": 50},
}
"""Options with which a strategy is small, or fits these worlds."""


def world_for(strategy: str, env: Env) -> Env:
    """Return the environment, for MAP-Elites with a descriptor, for POET with a space of tasks."""
    changes = {"map_elites": {"descriptor": NOTHING}, "poet": {"task_space": ONE_NUMBER}}
    return env._replace(**changes.get(strategy, {}))


def mlp_for(strategy: str, hidden: tuple[int, ...], **options) -> PolicySettings:
    """Return the settings of an MLP, or for NEAT of a small graph with the same weights."""
    if strategy == "neat":
        return Graph(max_hidden=3, weights=options["weights"])
    return MLP(hidden, **options)
