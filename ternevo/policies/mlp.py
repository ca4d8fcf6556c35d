"""A multi-layer perceptron whose weights are trits and whose activations are small integers."""

import itertools

from ternevo.deploy import tvp
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
    check_fits_a_file((obs.size, *sizes))
    grid = layers.observation_grid(settings, obs)
    return layers.network(
        tuple(map(Dense, sizes)), obs.shape, grid, ACTIVATIONS[settings.activation]
    )


def check_fits_a_file(sizes: tuple[int, ...]) -> None:
    """Reject, before any training, a network that no policy file can hold.

    If it fits, its sums stay below 2**24, where float32 represents every integer.

    Raises:
      ValueError: a layer is too wide, or there are too many layers or weights.
    """
    if max(sizes) > tvp.MAX_WIDTH or len(sizes) - 1 > tvp.MAX_LAYERS:
        raise ValueError(
            f"layer sizes {sizes} do not fit into a policy file: at most {tvp.MAX_LAYERS} layers "
            f"of {tvp.MAX_WIDTH}; lower --hidden_sizes"
        )
    count = sum((inputs + 1) * out for inputs, out in itertools.pairwise(sizes))
    if 4 * count > tvp.MAX_BYTES:  # as floats, so that the float twin also fits
        raise ValueError(
            f"layer sizes {sizes} are {count:,} weights, and a policy file holds "
            f"{tvp.MAX_BYTES // 4:,}; lower --hidden_sizes"
        )
