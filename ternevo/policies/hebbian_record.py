"""The codec of `--policy hebbian`: settings and rules to the record of a .tvp, and back."""

import jax.numpy as jnp
import numpy as np

from ternevo.deploy import hebbian as rules
from ternevo.deploy.life import Rules
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.policies import hebbian, network_record
from ternevo.settings.policies.hebbian import Hebbian
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams, Tensor


def understands(record: PolicyRecord) -> bool:
    """Return whether a record has Hebbian rules."""
    return record.life is not None and record.life.kind == "hebbian"


def to_record(
    settings: Hebbian, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    places = hebbian.network(settings, obs, action)
    activations = [settings.activation] * (len(places) - 1) + ["none"]
    layers, found = [], []
    for place, layer, activation in zip(places, params.weights, activations, strict=True):
        dtype = jnp.float32 if settings.weights == "float" else jnp.int8
        start = layer.get("start", Tensor(jnp.zeros(place.shape, dtype), jnp.int8(0)))
        weights, exponent = np.asarray(start.values).T, int(start.exponent)
        layers.append(Layer(weights, None, settings.weights, activation, exponent, 0))
        names = ("rule", "rate") if settings.evolve_rate else ("rule",)
        found += [Rules(np.asarray(layer[n].values), int(layer[n].exponent)) for n in names]
    return network_record.record_around(
        settings.observation_shift,
        obs,
        action,
        params,
        tuple(layers),
        rules.life_of(hebbian.plasticity_of(settings), found),
    )


def from_record(record: PolicyRecord) -> tuple[Hebbian, Params]:
    """Return the settings and rules in a file's record."""
    assert record.life is not None
    plasticity = rules.from_options(record.life.options)
    own = plasticity._asdict()
    own["evolve_rate"], own["rules_per"] = own.pop("evolves_rate"), own.pop("sharing")
    activations = [layer.activation for layer in record.layers]
    settings = Hebbian(
        hidden_sizes=record.sizes[1:-1],
        activation=activations[0] if len(activations) > 1 else "int8",  # pyright: ignore
        observation_shift=record.observation_shift,
        weights=record.layers[0].kind,
        **own,
    )
    return settings, tuple(_params_of(record, plasticity))


def _params_of(record: PolicyRecord, plasticity: rules.Plasticity) -> list[dict[str, Tensor]]:
    assert record.life is not None
    given, params = iter(record.life.rules), []
    for layer in record.layers:
        found = {"rule": _tensor(*next(given))}
        if plasticity.evolves_rate:
            found["rate"] = _tensor(*next(given))
        if plasticity.start == "evolved":
            found["start"] = _tensor(layer.weights.T, layer.exponent)
        params.append(found)
    return params


def _tensor(values: np.ndarray, exponent: int | np.ndarray) -> Tensor:
    return Tensor(jnp.asarray(values), jnp.int8(exponent))
