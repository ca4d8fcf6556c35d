"""A residual network: stages of a convolution, a max pool and two residual blocks.

Reference:
  Espeholt et al. 2018, "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
  Actor-Learner Architectures"; here the first convolution of a stage has no padding.
"""

import itertools

from ternevo.deploy.record import Shape, Window
from ternevo.policies import layers
from ternevo.policies.layers import (
    ACTIVATIONS,
    Convolution,
    Dense,
    Layer,
    MaxPool,
    Network,
)
from ternevo.settings.policies import ResNet
from ternevo.types import ActionSpec, ObsSpec, Policy

FILTER, PADDED, POOL = Window(3, 3, 1, 0), Window(3, 3, 1, 1), Window(3, 3, 2, 0)


def build(settings: ResNet, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for images and actions of `action.size`.

    Raises:
      ValueError: observations are not images or too small for the stages, or the network does not
        fit into a policy file.
    """
    return layers.policy(settings, network(settings, obs, action))


def network(settings: ResNet, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the network.

    Raises:
      ValueError: see `build`.
    """
    shape = layers.image_shape("resnet", obs)
    most = most_stages(shape)
    if len(settings.channels) > most:
        raise ValueError(
            f"an image of {shape[0]} x {shape[1]} is too small for {len(settings.channels)} "
            f"stages, and at most {most} fit: give --channels no more numbers than that"
        )
    stages = [layer for count in settings.channels for layer in stage(count)]
    dense = map(Dense, (*settings.hidden_sizes, action.size))
    grid = layers.observation_grid(settings, obs)
    try:
        hidden = ACTIVATIONS[settings.activation]
        return layers.network((*stages, *dense), shape, grid, hidden, settings.weights)
    except ValueError as error:
        raise ValueError(f"{error}; change --channels or --hidden_sizes") from error


def stage(channels: int) -> tuple[Layer, ...]:
    """Return the layers of a stage."""
    block = (Convolution(channels, PADDED), Convolution(channels, PADDED, skip=2))
    return Convolution(channels, FILTER), MaxPool(POOL), *block, *block


def most_stages(shape: Shape) -> int:
    """Return how many stages fit on an image.

    Examples:
      >>> most_stages((10, 10, 4)), most_stages((84, 84, 4))
      (1, 4)
    """
    image = shape[:2]
    for count in itertools.count():
        for window in (FILTER, POOL):
            if not window.fits(*image):
                return count
            image = window.places(*image)
    raise AssertionError("images become smaller")
