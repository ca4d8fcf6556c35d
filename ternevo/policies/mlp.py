"""A multi-layer perceptron whose weights are trits and whose activations are small integers."""

from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Dense
from ternevo.settings.policies import MLP
from ternevo.types import ActionSpec, ObsSpec, Policy


def build(settings: MLP, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file, or `matmul` needs integers but the
        settings have floats.
    """
    return layers.policy(settings, network(settings, obs, action))


def network(settings: MLP, obs: ObsSpec, action: ActionSpec) -> layers.Network:
    """Return the network: dense layers.

    Raises:
      ValueError: it does not fit into a policy file.
    """
    sizes = (*settings.hidden_sizes, action.size)
    grid = layers.observation_grid(settings, obs)
    hidden = ACTIVATIONS[settings.activation]
    try:
        return layers.network(tuple(map(Dense, sizes)), obs.shape, grid, hidden, settings.weights)
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes") from error
