"""Dense layers, a cell that remembers, and a dense output layer.

The memory is float32 integers on the grid of the activation; it is 0 at the start of an episode,
or +1 if it is signs.
"""

from ternevo.deploy import tvp
from ternevo.names import lookup
from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Dense, Elman, Gated, Grid, Network
from ternevo.settings.policies import Recurrent
from ternevo.types import ActionSpec, ObsSpec, Policy

CELLS = {"elman": Elman, "gated": Gated}


def build(settings: Recurrent, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      UnknownName: there is no such cell.
      ValueError: memory and observations are not numbers of the same size, or the network does not
        fit into a policy file.
    """
    return layers.policy(settings, network(settings, obs, action))


def network(settings: Recurrent, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the network.

    Raises:
      UnknownName, ValueError: see `build`.
    """
    cell = lookup("cell", settings.cell, CELLS)(settings.memory_size)
    dense = map(Dense, settings.hidden_sizes)
    grid = layers.observation_grid(settings, obs)
    hidden = ACTIVATIONS[settings.activation]
    _check_cell(settings, grid)
    try:
        own = (*dense, cell, Dense(action.size))
        return layers.network(own, obs.shape, grid, hidden, settings.weights)
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes or --memory_size") from error


def _check_cell(settings: Recurrent, observations: Grid) -> None:
    """Refuse a memory that is too large, or observations that do not go with it."""
    rows = 2 if settings.cell == "gated" else 1
    most = tvp.MAX_WIDTH // rows
    if settings.memory_size > most:
        raise ValueError(
            f"memory_size must be at most {most:,} with --cell {settings.cell}, to fit into a "
            f"policy file; got {settings.memory_size:,}"
        )
    if not settings.hidden_sizes and not observations.is_same(ACTIVATIONS[settings.activation]):
        raise ValueError(
            "--policy recurrent adds up what the cell sees and what it remembers, so both must be "
            f"numbers of the same size, and observations of {observations.num_bits} bits are "
            f"not as a memory of --activation {settings.activation}. Put a layer between them, "
            "such as --hidden_sizes 32, or use --activation int8 with --observation_bits 8"
        )
