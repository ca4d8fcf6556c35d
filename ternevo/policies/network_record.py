"""Networks of layers as records of a .tvp, and back: what the codecs of all policies share.

A codec says which layers its settings make; here are the weights, the inputs and the settings that
all policies have.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.latents import has_outputs
from ternevo.deploy.life import Life
from ternevo.deploy.record import InputKind, Layer, Moments, PolicyRecord
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.policies.layers import TYPES, Convolution, MaxPool, Network, Place
from ternevo.settings.policies.layered import Layered
from ternevo.types import ActionSpec, ObsKind, ObsSpec, Params, PolicyParams, Tensor

INPUTS: dict[ObsKind, InputKind] = {
    "floats": "f32",
    "bits": "f32",
    "integers": "i8",
    "pixels": "pixels",
    "planes": "bits",
}
"""What a file calls each kind of observations; those with moments are floats."""

KINDS: dict[InputKind, ObsKind] = {
    "f32": "floats",
    "i8": "integers",
    "pixels": "pixels",
    "bits": "planes",
}
"""What a policy sees of each kind of input."""

Made = TypeVar("Made", bound=Layered)


def record_of(
    settings: Layered,
    net: Network,
    obs: ObsSpec,
    action: ActionSpec,
    params: PolicyParams,
    input_kind: InputKind | None = None,
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata.

    Args:
      settings: its settings.
      net: its network.
      obs: the observations.
      action: the actions.
      params: what would ship.
      input_kind: what the file calls the observations; by default what `INPUTS` says.
    """
    kind = INPUTS[obs.kind] if input_kind is None else input_kind
    given = iter(params.weights)
    names = [settings.activation] * (len(net.places) - 1) + ["none"]
    layers = [
        _layer_of(place, settings, name, next(given) if place.matrix else {})
        for place, name in zip(net.places, names, strict=True)
    ]
    sees = isinstance(net.places[0].layer, Convolution | MaxPool)
    return PolicyRecord(
        input_kind=kind,
        observation_bits=1 if kind == "bits" else settings.observation_bits,
        observation_shift=settings.observation_shift,
        output_shift=settings.output_shift,
        output_kind=action.kind,
        low=np.asarray(action.low, np.float32),
        high=np.asarray(action.high, np.float32),
        layers=tuple(layers),
        obs_shape=net.places[0].shape if sees else (),
        **_quantiser_of(obs, params, kind),
    )


def record_around(
    observation_shift: int,
    obs: ObsSpec,
    action: ActionSpec,
    params: PolicyParams,
    layers: tuple[Layer, ...],
    life: Life,
) -> PolicyRecord:
    """Return the record of a policy that learns while it lives, without metadata.

    Args:
      observation_shift: full scale of an observation is 2**observation_shift units.
      obs: the observations, flat and of 8 bits.
      action: the actions.
      params: what would ship, of which only the moments are used.
      layers: the layers at the start of a life.
      life: how they change.
    """
    kind = INPUTS[obs.kind]
    return PolicyRecord(
        input_kind=kind,
        observation_bits=8,
        observation_shift=observation_shift,
        output_shift=0,
        output_kind=action.kind,
        low=np.asarray(action.low, np.float32),
        high=np.asarray(action.high, np.float32),
        layers=layers,
        life=life,
        **_quantiser_of(obs, params, kind),
    )


def _quantiser_of(obs: ObsSpec, params: PolicyParams, kind: InputKind) -> dict[str, Any]:
    """Return the fields of the quantiser, which only floats have."""
    if kind != "f32":
        return {"mean": np.zeros(0, np.float32), "exponent": np.zeros(0, np.int8)}
    quantiser = observation.freeze(params.moments, obs.kind)
    count, deviation = (np.asarray(x) for x in (params.moments.count, params.moments.deviation))
    return {
        "mean": np.asarray(quantiser.mean),
        "exponent": np.asarray(np.frexp(np.asarray(quantiser.scale))[1] - 1, np.int8),
        "moments": Moments(count, deviation),
    }


def _layer_of(place: Place, settings: Layered, activation: str, params: dict[str, Tensor]) -> Layer:
    layer = place.layer
    window = layer.window if isinstance(layer, Convolution | MaxPool) else None
    if not place.matrix:
        nothing = np.zeros((0, 0), np.int8)
        return Layer(nothing, None, "ternary", "none", 0, 0, TYPES[type(layer)], window)
    return Layer(
        **weights_of(params),
        kind=settings.weights,
        activation=activation,
        type=TYPES[type(layer)],
        window=window,
        skip=layer.skip,
    )


def weights_of(params: dict[str, Tensor]) -> dict[str, Any]:
    """Return the fields of a `Layer` that hold its weights, made of NumPy arrays without JAX."""
    values, exponent = params["weight"]
    bias = params.get("bias")
    return {
        "weights": np.asarray(values).T,
        "bias": None if bias is None else np.asarray(bias.values),
        "exponent": np.asarray(exponent) if has_outputs(params["weight"]) else int(exponent),
        "bias_exponent": 0 if bias is None else int(bias.exponent),
        "functions": np.asarray(params["function"].values) if "function" in params else None,
    }


def params_of(record: PolicyRecord) -> Params:
    """Return the weights in a record."""
    return tuple(_params_of(layer) for layer in record.layers if layer.type != "max_pool")


def _params_of(layer: Layer) -> dict[str, Tensor]:
    put = jax.device_put  # unlike jnp.asarray, it compiles nothing
    exponent = put(np.asarray(layer.exponent, np.int8))
    params = {"weight": Tensor(put(layer.weights.T), exponent)}
    if layer.bias is not None:
        params["bias"] = Tensor(put(layer.bias), put(np.asarray(layer.bias_exponent, np.int8)))
    if layer.functions is not None:
        params["function"] = Tensor(put(layer.functions), put(np.zeros((), np.int8)))
    return params


def settings_of(class_: type[Made], record: PolicyRecord, **own: Any) -> Made:
    """Return the settings of a policy.

    Args:
      class_: their class.
      record: the record.
      **own: the fields that make the layers.

    Raises:
      PolicyFormatError: layers differ in what is the same for all layers of a policy, or their
        outputs have functions.
    """
    weighted = [layer for layer in record.layers if layer.type != "max_pool"]
    shared = {
        "activation": {layer.activation for layer in weighted[:-1]},
        "weights": {layer.kind for layer in weighted},
        "use_bias": {layer.bias is not None for layer in weighted},
        "scales": {"output" if layer.has_outputs else "layer" for layer in weighted},
    }
    for name, values in shared.items():
        if len(values) > 1:
            raise PolicyFormatError(32, f"layers differ in {name}: {sorted(map(str, values))}")
    if any(layer.functions is not None for layer in weighted):
        raise PolicyFormatError(32, "functions of outputs, which only --policy graph has")
    if record.input_kind != "bits":  # which have one bit, whatever the settings say
        own["observation_bits"] = record.observation_bits
    return class_(
        observation_shift=record.observation_shift,
        output_shift=record.output_shift,
        **own,
        **{name: values.pop() for name, values in shared.items() if values},
    )


def obs_of(record: PolicyRecord) -> ObsSpec:
    """Return the observations that a policy in a file takes."""
    shape = record.obs_shape or record.sheet or (record.obs_size,)
    return ObsSpec(shape, KINDS[record.input_kind])


def action_of(record: PolicyRecord) -> ActionSpec:
    """Return the actions of a policy in a file."""
    low, high = (tuple(map(float, bound)) for bound in (record.low, record.high))
    return ActionSpec(record.output_kind, record.num_outputs, low, high)


def is_made_by(
    network: Callable[[Any, ObsSpec, ActionSpec], Network],
    settings: Callable[[PolicyRecord], Layered],
    record: PolicyRecord,
) -> bool:
    """Return whether a record has the layers of the network that its settings make.

    Args:
      network: maps settings, observations and actions to the network.
      settings: maps the record to settings; it may refuse.
      record: the record.
    """
    try:
        net = network(settings(record), obs_of(record), action_of(record))
    except ValueError:  # also a PolicyFormatError
        return False
    wanted = [_geometry(place) for place in net.places]
    found = [(layer.type, layer.window, layer.skip, layer.size) for layer in record.layers]
    return wanted == found


def _geometry(place: Place) -> tuple:
    layer = place.layer
    if isinstance(layer, MaxPool):
        return TYPES[MaxPool], layer.window, 0, 0
    window = layer.window if isinstance(layer, Convolution) else None
    return TYPES[type(layer)], window, layer.skip, layer.out
