"""The codec of the MLP: converts settings and weights to the record of a .tvp, and back."""

from ternevo.deploy.record import PolicyRecord
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.policies import mlp, network_record
from ternevo.settings.policies import MLP
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is an MLP: dense layers that take floats."""
    is_plain = all(layer.type == "dense" and not layer.skip for layer in record.layers)
    return record.input_kind == "f32" and is_plain and record.life is None


def to_record(
    settings: MLP, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata.

    Raises:
      PolicyFormatError: it sees bits without moments, which a file of floats would not say.
    """
    if obs.kind == "planes":
        raise PolicyFormatError(
            0, "the file of an MLP holds moments, and planes have none: let `sees` return bits"
        )
    net = mlp.network(settings, obs, action)
    return network_record.record_of(settings, net, obs, action, params, "f32")


def from_record(record: PolicyRecord) -> tuple[MLP, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      PolicyFormatError: no settings of the policy produce such layers.
    """
    settings = network_record.settings_of(MLP, record, hidden_sizes=record.sizes[1:-1])
    return settings, network_record.params_of(record)
