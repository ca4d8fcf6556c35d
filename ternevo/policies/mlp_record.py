"""The codec of the MLP: converts settings and weights to the record of a .tvp, and back."""

from ternevo.deploy.record import PolicyRecord
from ternevo.policies import mlp, network_record
from ternevo.settings.policies import MLP
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is an MLP: dense layers that take floats, or bits."""
    is_plain = all(layer.type == "dense" and not layer.skip for layer in record.layers)
    return record.input_kind in ("f32", "bits") and is_plain and record.life is None


def to_record(
    settings: MLP, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    net, kind = mlp.network(settings, obs, action), "bits" if obs.kind == "planes" else "f32"
    return network_record.record_of(settings, net, obs, action, params, kind)


def from_record(record: PolicyRecord) -> tuple[MLP, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      PolicyFormatError: no settings of the policy produce such layers.
    """
    own = {"hidden_sizes": record.sizes[1:-1], "observation_moments": record.input_kind != "bits"}
    return network_record.settings_of(MLP, record, **own), network_record.params_of(record)
