"""The codec of `--policy hyperneat`: the network that was drawn, and the graph as metadata.

The file is that of an MLP, so every runtime runs it, and a device gets the layers alone. In the
metadata is what drew them, so that a run can start from the file and pictures may have another
size. The layers are the truth: if they are not what the graph draws here, such as on a machine
whose exponential rounds differently next to the threshold, the file is read as the MLP that it is.
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.deploy.record import CPPN, SHEET, PolicyRecord
from ternevo.policies import contract, hyperneat, network_record
from ternevo.settings.policies.hyperneat import HyperNEAT
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams, Tensor

MAX_NODES = 256
"""Largest number of nodes of a graph in a file, which may be anybody's."""


def understands(record: PolicyRecord) -> bool:
    """Return whether a record has a graph that draws the very layers that it has."""
    if CPPN not in record.metadata or record.input_kind != "f32":
        return False
    try:
        settings, params = from_record(record)
        obs, action = _specs(record)
        places = hyperneat.sheets(settings, obs, action)
        drawn = jax.jit(lambda params: hyperneat.draw(settings, places, params))(params)
    except (ValueError, TypeError, KeyError):
        return False
    found = network_record.params_of(record)
    return len(drawn) == len(found) and all(
        own.keys() == there.keys()
        and np.array_equal(own["weight"].values, there["weight"].values)
        and np.array_equal(own["weight"].exponent, there["weight"].exponent)
        for own, there in zip(drawn, found, strict=True)
    )


def to_record(
    settings: HyperNEAT, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of the network that a graph draws, with the graph as metadata."""
    drawn = hyperneat.draw(settings, hyperneat.sheets(settings, obs, action), params.weights)
    net = hyperneat.network(settings, obs, action)
    shipped = params._replace(weights=drawn)
    record = network_record.record_of(settings.layered, net, obs, action, shipped, "f32")
    text = json.dumps(
        {
            "settings": contract.to_json(settings),
            **{name: np.asarray(x.values).tolist() for name, x in params.weights[0].items()},
            "exponent": np.asarray(params.weights[0]["weight"].exponent).tolist(),
        }
    )
    return dataclasses.replace(record, metadata={CPPN: text, SHEET: " ".join(map(str, obs.shape))})


def from_record(record: PolicyRecord) -> tuple[HyperNEAT, Params]:
    """Return the settings and the graph in a file's record.

    Raises:
      ValueError, TypeError, KeyError: the metadata are not what `to_record` writes.
    """
    told = json.loads(record.metadata[CPPN])
    settings = contract.from_json(HyperNEAT, told["settings"])
    assert isinstance(settings, HyperNEAT)
    sizes = hyperneat.sizes_of(settings)
    if sizes.nodes > MAX_NODES or sizes.depth > MAX_NODES:
        raise ValueError(f"{sizes.nodes} nodes, {sizes.depth} updates; at most {MAX_NODES}")
    shapes = jax.eval_shape(settings.build(*_specs(record)).init, jax.random.key(0))
    (graph,) = shapes
    exponents = {name: tensor.exponent for name, tensor in graph.items()}
    return settings, (
        {
            name: Tensor(
                _array(told[name], tensor.values),
                _array(told["exponent"] if name == "weight" else 0, exponents[name]),
            )
            for name, tensor in graph.items()
        },
    )


def _specs(record: PolicyRecord) -> tuple[ObsSpec, ActionSpec]:
    return network_record.obs_of(record), network_record.action_of(record)


def _array(values: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
    """Return values of a file as an array of a known shape and type.

    Raises:
      ValueError, TypeError: they have another shape, are not numbers, or are not finite.
    """
    found = np.asarray(values, np.float64)
    is_small = found.shape == like.shape and bool((np.abs(found) < 2.0**100).all())  # not NaN
    is_whole = like.dtype == np.float32 or (found == np.clip(np.round(found), -128, 127)).all()
    if not is_small or not is_whole:
        raise ValueError(f"numbers of shape {found.shape}; must be {like.dtype}{list(like.shape)}")
    return jnp.asarray(found, like.dtype)
