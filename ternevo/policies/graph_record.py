"""The codec of `--policy graph`: converts settings and weights to a .tvp's record, and back."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from ternevo.deploy.record import COPIES, Layer, PolicyRecord
from ternevo.policies import graph, network_record
from ternevo.settings.policies.graph import OBSERVATION_BITS, OBSERVATION_SHIFT, Graph
from ternevo.settings.policies.settings import FUNCTIONS
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams, Tensor


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is the layers of a graph, with the weights that all graphs have.

    Only a graph has biases in all layers but the last.
    """
    *cells, last = record.layers
    if not cells or last.bias is not None or any(layer.bias is None for layer in cells):
        return False
    is_plain = record.observation_shift == OBSERVATION_SHIFT and record.output_shift == 0
    if not is_plain or any(layer.has_outputs == (layer.kind == "float") for layer in cells):
        return False
    if OBSERVATION_BITS.get(cells[0].activation) != record.observation_bits:
        return False
    try:
        settings, params = from_record(record)
    except ValueError:  # also a PolicyFormatError
        return False
    return _is_unrolled(settings, record, params)


def to_record(
    settings: Graph, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    net = graph.network(settings, obs, action)
    sizes = graph.sizes_of(settings, obs, action)
    unrolled = params._replace(weights=graph.unroll(jnp, sizes, params.weights))
    record = network_record.record_of(settings.layered, net, obs, action, unrolled)
    if settings.copies == 1:
        return record
    return dataclasses.replace(record, metadata={COPIES: str(settings.copies)})


def from_record(record: PolicyRecord) -> tuple[Graph, Params]:
    """Return the settings and weights in a file's record.

    Raises:
      ValueError: no settings of the policy produce such layers.
    """
    *cells, last = record.layers
    is_recurrent = cells[0].type == "elman"
    num_nodes = cells[0].size - (0 if is_recurrent else record.obs_size)
    own: dict[str, Any] = {} if is_recurrent else {"max_depth": len(cells)}
    settings = Graph(
        max_hidden=num_nodes - last.size,
        update="recurrent" if is_recurrent else "feed_forward",
        activation=cells[0].activation,  # pyright: ignore (checked when it is built)
        weights=cells[0].kind,
        copies=int(record.metadata.get(COPIES, "1")),  # pyright: ignore (checked when it is built)
        node_functions=("tanh",) if cells[0].functions is None else FUNCTIONS,
        **own,
    )
    links = _links_of(record, cells, num_nodes)
    return settings, (_without_copies(record.obs_size, settings.copies, links),)


def _without_copies(num_obs: int, copies: int, links: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the links of a graph whose observations count once, the inverse of its unrolling."""
    if copies == 1:
        return links
    values, exponent = links["weight"]
    kept = jnp.concatenate([values[:num_obs:copies], values[num_obs:]])
    return {**links, "weight": Tensor(kept, exponent)}


def _links_of(record: PolicyRecord, cells: list[Layer], num_nodes: int) -> dict[str, Tensor]:
    """Return the links in the layers of a graph: of one layer, or in all after the first."""
    given = network_record.params_of(record)
    first, later = given[0], given[min(1, len(cells) - 1)]
    own = {}
    if "function" in first:
        codes, dtype = first["function"].values[-num_nodes:], first["weight"].values.dtype
        own["function"] = graph.one_hot(codes, len(FUNCTIONS), dtype)
    if cells[0].type == "elman":
        return first | own
    width = record.obs_size + num_nodes
    values, exponent = first["weight"]
    links = np.zeros((width, num_nodes), values.dtype)
    links[: record.obs_size] = values[:, -num_nodes:]
    if len(cells) > 1:
        scale = 2.0 ** -_shift_of(record) if values.dtype == np.float32 else 1
        links[record.obs_size :] = later["weight"].values[record.obs_size :, -num_nodes:] * scale
    exponent = exponent[-num_nodes:] if exponent.ndim else exponent
    bias = first["bias"]._replace(values=first["bias"].values[-num_nodes:])
    return {"weight": Tensor(jnp.asarray(links), exponent), "bias": bias, **own}


def _shift_of(record: PolicyRecord) -> int:
    obs, action = network_record.obs_of(record), network_record.action_of(record)
    settings = Graph(activation=record.layers[0].activation)  # pyright: ignore (is one of them)
    return graph.sizes_of(settings, obs, action).shift


def _is_unrolled(settings: Graph, record: PolicyRecord, params: Params) -> bool:
    """Return whether the record has the very layers of these settings and params."""
    obs, action = network_record.obs_of(record), network_record.action_of(record)
    if not network_record.is_made_by(
        lambda *arguments: graph.network(settings, obs, action),
        lambda record: settings.layered,
        record,
    ):
        return False
    unrolled = graph.unroll(jnp, graph.sizes_of(settings, obs, action), params)
    found = network_record.params_of(record)
    names = [layer.kind for layer in record.layers]
    return len(set(names)) == 1 and all(
        own.keys() == there.keys()
        and all(
            np.array_equal(x.values, there[name].values)
            and np.array_equal(x.exponent, there[name].exponent)
            for name, x in own.items()
        )
        for own, there in zip(unrolled, found, strict=True)
    )
