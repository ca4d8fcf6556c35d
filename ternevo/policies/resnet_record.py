"""The codec of `--policy resnet`: converts settings and weights to a .tvp's record, and back."""

from ternevo.deploy.record import PolicyRecord
from ternevo.policies import network_record, resnet
from ternevo.settings.policies import ResNet
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams

SIZE_OF_STAGE = len(resnet.stage(1))


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is stages of a residual network, and then dense layers."""
    has_stages = any(layer.skip for layer in record.layers)
    return has_stages and network_record.is_made_by(resnet.network, _settings, record)


def to_record(
    settings: ResNet, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    net = resnet.network(settings, obs, action)
    return network_record.record_of(settings, net, obs, action, params)


def from_record(record: PolicyRecord) -> tuple[ResNet, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      PolicyFormatError: no settings of the policy produce such layers.
    """
    return _settings(record), network_record.params_of(record)


def _settings(record: PolicyRecord) -> ResNet:
    images = [layer.type in ("convolution", "max_pool") for layer in record.layers]
    stages = record.layers[: sum(images) : SIZE_OF_STAGE]
    hidden = tuple(layer.size for layer in record.layers[sum(images) : -1])
    channels = tuple(layer.size for layer in stages)
    return network_record.settings_of(ResNet, record, channels=channels, hidden_sizes=hidden)
