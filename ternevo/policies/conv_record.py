"""The codec of `--policy conv`: converts settings and weights to the record of a .tvp, and back."""

from ternevo.deploy.record import PolicyRecord
from ternevo.policies import conv, network_record
from ternevo.settings.policies import Conv
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is convolutions without padding, and then dense layers."""
    return bool(_filters(record)) and network_record.is_made_by(conv.network, _settings, record)


def to_record(
    settings: Conv, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    net = conv.network(settings, obs, action)
    return network_record.record_of(settings, net, obs, action, params)


def from_record(record: PolicyRecord) -> tuple[Conv, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      PolicyFormatError: no settings of the policy produce such layers.
    """
    return _settings(record), network_record.params_of(record)


def _settings(record: PolicyRecord) -> Conv:
    filters = _filters(record)
    hidden = tuple(layer.size for layer in record.layers[len(filters) : -1])
    return network_record.settings_of(Conv, record, filters=filters, hidden_sizes=hidden)


def _filters(record: PolicyRecord) -> tuple[tuple[int, int, int], ...]:
    found = [(layer, layer.window) for layer in record.layers if layer.type == "convolution"]
    return tuple((layer.size, window.height, window.stride) for layer, window in found if window)
