"""The codec of `--policy recurrent`: converts settings and weights to a .tvp's record, and back."""

from ternevo.deploy.record import PolicyRecord
from ternevo.policies import network_record, recurrent
from ternevo.settings.policies import Recurrent
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is dense layers, a cell, and a dense layer."""
    is_before = len(record.layers) > 1 and record.layers[-2].is_cell
    return is_before and network_record.is_made_by(recurrent.network, _settings, record)


def to_record(
    settings: Recurrent, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    net = recurrent.network(settings, obs, action)
    return network_record.record_of(settings, net, obs, action, params)


def from_record(record: PolicyRecord) -> tuple[Recurrent, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      PolicyFormatError: no settings of the policy produce such layers.
    """
    return _settings(record), network_record.params_of(record)


def _settings(record: PolicyRecord) -> Recurrent:
    *hidden, cell, _ = record.layers
    return network_record.settings_of(
        Recurrent,
        record,
        hidden_sizes=tuple(layer.size for layer in hidden),
        cell=cell.type,
        memory_size=cell.size,
        observation_moments=record.input_kind != "bits",
    )
