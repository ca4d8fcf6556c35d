"""Two policies beside the MLP, as a second built-in one would be: with a codec, and without."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy.record import Layer, Moments, PolicyRecord
from ternevo.settings.policies import PolicySettings
from ternevo.types import Policy, Tensor

SHIFT = 8
"""An output shift that the toy has and no other policy of the tests."""


@dataclasses.dataclass(frozen=True)
class Bare(PolicySettings):
    """One matrix, without a codec."""

    built_by: ClassVar[str] = "toy_policies:build"

    exponent: int = 1
    """Of all weights."""


@dataclasses.dataclass(frozen=True)
class Coded(Bare):
    """The same with the codec of this module."""

    codec: ClassVar[str | None] = "toy_policies"


def build(settings: Bare, obs, action) -> Policy:
    """Return a policy whose output is the product of a matrix and the observation."""

    def init(key):
        values = kind_of(settings.weights).draw(key, (obs.size, action.size))
        return {"matrix": Tensor(values, jnp.int8(settings.exponent))}

    def apply(params, memory, inputs):
        scale = jnp.ldexp(jnp.float32(1), -settings.exponent - 7 - SHIFT)
        return memory, inputs.obs @ params["matrix"].values.astype(jnp.float32) * scale

    return Policy(init, lambda params, key: (), apply)


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is the toy's."""
    return record.output_shift == SHIFT and len(record.layers) == 1


def to_record(settings: Coded, obs, action, params) -> PolicyRecord:
    """Return the matrix as the only layer."""
    quantiser = observation.freeze(params.moments, obs.kind)
    values, exponent = params.weights["matrix"]
    return PolicyRecord(
        "f32",
        8,
        0,
        SHIFT,
        np.asarray(quantiser.mean),
        np.asarray(jnp.frexp(quantiser.scale)[1] - 1, np.int8),
        action.kind,
        np.asarray(action.low, np.float32),
        np.asarray(action.high, np.float32),
        (Layer(np.asarray(values).T, None, settings.weights, "none", int(exponent), 0),),
        Moments(np.asarray(params.moments.count), np.asarray(params.moments.deviation)),
    )


def from_record(record: PolicyRecord):
    """Return the settings, and the matrix."""
    (layer,) = record.layers
    settings = Coded(layer.exponent, weights=layer.kind)
    return settings, {"matrix": Tensor(jnp.asarray(layer.weights.T), jnp.int8(layer.exponent))}


def random_params(policy: Policy, size: int):
    """Return params with moments of a thousand observations."""
    from ternevo.types import ObservationMoments, PolicyParams

    moments = ObservationMoments(*(jnp.full(size, x) for x in (1000.0, 0.5, 2.0)))
    return PolicyParams(policy.init(jax.random.key(4)), moments)
