"""The policy and the world on which a strategy is tested: a small MLP, or what it needs instead."""

import jax.numpy as jnp

from ternevo.settings.policies import MLP, Graph, PolicySettings
from ternevo.types import Descriptor, Env

NOTHING = Descriptor(("nothing",), (-1.0,), (1.0,), lambda state: jnp.zeros(1))
"""Of all behaviours alike, so that an archive is one best member."""


def world_for(strategy: str, env: Env) -> Env:
    """Return the environment, for MAP-Elites with a descriptor."""
    return env._replace(descriptor=NOTHING) if strategy == "map_elites" else env


def mlp_for(strategy: str, hidden: tuple[int, ...], **options) -> PolicySettings:
    """Return the settings of an MLP, or for NEAT of a small graph with the same weights."""
    if strategy == "neat":
        return Graph(max_hidden=3, weights=options["weights"])
    return MLP(hidden, **options)
