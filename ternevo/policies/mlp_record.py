"""The codec of the MLP: converts settings and weights to the record of a .tvp, and back."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.latents import has_outputs
from ternevo.deploy.record import Layer, Moments, PolicyRecord
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.settings.policies import MLP
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams, Tensor


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is an MLP: any that takes floats is, as all layers are dense."""
    return record.input_kind == "f32"


def to_record(
    settings: MLP, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    quantiser = observation.freeze(params.moments, obs.kind)
    count = len(params.weights)
    layers = [
        _layer_of(layer, settings.weights, settings.activation if i < count - 1 else "none")
        for i, layer in enumerate(params.weights)
    ]
    return PolicyRecord(
        input_kind="f32",
        observation_bits=settings.observation_bits,
        observation_shift=settings.observation_shift,
        output_shift=settings.output_shift,
        mean=np.asarray(quantiser.mean),
        exponent=np.asarray(jnp.frexp(quantiser.scale)[1] - 1, np.int8),
        output_kind=action.kind,
        low=np.asarray(action.low, np.float32),
        high=np.asarray(action.high, np.float32),
        layers=tuple(layers),
        moments=Moments(*(np.asarray(x) for x in (params.moments.count, params.moments.deviation))),
    )


def from_record(record: PolicyRecord) -> tuple[MLP, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      PolicyFormatError: no settings of the policy produce such layers.
    """
    return _settings_of(record), tuple(_params_of(layer) for layer in record.layers)


def _layer_of(layer: dict[str, Tensor], kind: Any, activation: str) -> Layer:
    values, exponent = layer["weight"]
    bias = layer.get("bias")
    return Layer(
        np.asarray(values).T,
        None if bias is None else np.asarray(bias.values),
        kind,
        activation,
        np.asarray(exponent) if has_outputs(layer["weight"]) else int(exponent),
        0 if bias is None else int(bias.exponent),
    )


def _params_of(layer: Layer) -> dict[str, Tensor]:
    exponent = jnp.asarray(layer.exponent, jnp.int8)
    params = {"weight": Tensor(jnp.asarray(layer.weights.T), exponent)}
    if layer.bias is not None:
        params["bias"] = Tensor(jnp.asarray(layer.bias), jnp.int8(layer.bias_exponent))
    return params


def _settings_of(record: PolicyRecord) -> MLP:
    """Return the settings of the policy; shared settings must be the same in all layers."""
    hidden = record.layers[:-1]
    shared = {
        "activation": {layer.activation for layer in hidden},
        "weights": {layer.kind for layer in record.layers},
        "use_bias": {layer.bias is not None for layer in record.layers},
        "scales": {"output" if layer.has_outputs else "layer" for layer in record.layers},
    }
    for name, values in shared.items():
        if len(values) > 1:
            raise PolicyFormatError(32, f"layers differ in {name}: {sorted(map(str, values))}")
    return MLP(
        hidden_sizes=record.sizes[1:-1],
        observation_bits=record.observation_bits,
        observation_shift=record.observation_shift,
        output_shift=record.output_shift,
        **{name: values.pop() for name, values in shared.items() if values},
    )
