"""Dense layers, a cell that remembers, and a dense output layer.

The memory is float32 integers on the grid of the activation; it is 0 at the start of an episode,
or +1 if it is signs.
"""

from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Dense, Elman, Gated, Network
from ternevo.settings.policies import Recurrent
from ternevo.types import ActionSpec, ObsSpec, Policy

CELLS = {"elman": Elman, "gated": Gated}


def build(settings: Recurrent, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: memory and observations are not numbers of the same size, or the network does not
        fit into a policy file.
    """
    return layers.policy(settings, network(settings, obs, action))


def network(settings: Recurrent, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the network.

    Raises:
      ValueError: see `build`.
    """
    cell = CELLS[settings.cell](settings.memory_size)
    dense = map(Dense, settings.hidden_sizes)
    grid = layers.observation_grid(settings, obs)
    hidden = ACTIVATIONS[settings.activation]
    try:
        return layers.network((*dense, cell, Dense(action.size)), obs.shape, grid, hidden)
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes or --memory_size") from error
