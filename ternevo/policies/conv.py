"""Convolutions and then dense layers: MinAtar's network, or that of Mnih et al. 2015 for Atari.

References:
  Young and Tian 2019, "MinAtar: An Atari-Inspired Testbed", 16 filters of 3 x 3 and a dense layer
  of 128.
  Mnih et al. 2015, "Human-level control through deep reinforcement learning".
"""

from ternevo.deploy.record import Window
from ternevo.policies import layers
from ternevo.policies.layers import ACTIVATIONS, Convolution, Dense, Network
from ternevo.settings.policies import Conv
from ternevo.types import ActionSpec, ObsSpec, Policy


def build(settings: Conv, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for images and actions of `action.size`.

    Raises:
      ValueError: observations are not images, a filter does not fit, or the network does not fit
        into a policy file.
    """
    return layers.policy(settings, network(settings, obs, action))


def network(settings: Conv, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the network.

    Raises:
      ValueError: see `build`.
    """
    shape = layers.image_shape("conv", obs)
    filters = [
        Convolution(out, Window(size, size, stride, 0)) for out, size, stride in settings.filters
    ]
    dense = map(Dense, (*settings.hidden_sizes, action.size))
    grid = layers.observation_grid(settings, obs)
    try:
        hidden = ACTIVATIONS[settings.activation]
        return layers.network((*filters, *dense), shape, grid, hidden, settings.weights)
    except ValueError as error:
        raise ValueError(f"{error}; change --filters or --hidden_sizes") from error
