"""The codec of `--policy hill_climber`: weights and masks to the record of a .tvp, and back."""

import jax.numpy as jnp
import numpy as np

from ternevo.deploy import hill_climber as trials
from ternevo.deploy.life import Life, Rules
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.policies import adaptable, hill_climber, network_record
from ternevo.settings.policies.hill_climber import HillClimber
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams, Tensor


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is a hill climber."""
    return record.life is not None and record.life.kind == "hill_climber"


def to_record(
    settings: HillClimber, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata.

    Evolved weights are not stored if each life begins at random ones.
    """
    count = len(params.weights)
    activations = [settings.activation] * (count - 1) + ["none"]
    layers, masks = [], []
    for layer, activation in zip(params.weights, activations, strict=True):
        given = network_record.weights_of(layer)
        if settings.start == "random":
            given |= {
                name: np.zeros_like(given[name])
                for name in ("weights", "bias")
                if given[name] is not None
            }
        layers.append(Layer(**given, kind=settings.weights, activation=activation))
        for name in ("weight", "bias") if settings.evolve_mask else ():
            if name in layer:
                mask = np.asarray(layer[adaptable.mask_of(name)].values)
                masks.append(Rules(np.atleast_2d(mask.T), 0))
    options = hill_climber.climbing_of(settings).to_options()
    life = Life("hill_climber", options, tuple(masks))
    return network_record.record_around(
        settings.observation_shift, obs, action, params, tuple(layers), life
    )


def from_record(record: PolicyRecord) -> tuple[HillClimber, Params]:
    """Return the settings, weights and masks in a file's record."""
    assert record.life is not None
    climbing = trials.from_options(record.life.options)
    own = climbing._asdict()
    own["evolve_mask"] = own.pop("evolves_mask")
    first = record.layers[0]
    settings = HillClimber(
        hidden_sizes=record.sizes[1:-1],
        activation=first.activation if len(record.layers) > 1 else "int8",  # pyright: ignore
        use_bias=first.bias is not None,
        observation_shift=record.observation_shift,
        weights=first.kind,
        **own,
    )
    params, masks = network_record.params_of(record), iter(record.life.rules)
    if not climbing.evolves_mask:
        return settings, params
    found = []
    for layer in params:
        own_masks = {}
        for name in ("weight", "bias"):
            if name in layer:
                values = jnp.asarray(next(masks).values.T).reshape(layer[name].values.shape)
                own_masks[adaptable.mask_of(name)] = Tensor(values, jnp.int8(0))
        found.append({**layer, **own_masks})
    return settings, tuple(found)
