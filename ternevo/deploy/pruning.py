"""Take the nodes out of a graph that no output depends on: a smaller file, the same outputs.

The file of a graph (`ternevo/policies/graph.py`) has rows for all hidden nodes that it might have,
and evolution leaves nodes behind whose links lead nowhere. Neither of them changes an output.
"""

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.record import Layer, PolicyRecord


def is_graph(record: PolicyRecord) -> bool:
    """Return whether a record is a graph: cells or dense layers, and a layer that selects outputs.

    Only a graph has biases in all layers but the last.
    """
    *cells, last = record.layers
    is_plain = all(layer.type in ("dense", "elman") and not layer.skip for layer in record.layers)
    if not cells or not is_plain or last.bias is not None or last.type != "dense":
        return False
    selects = (last.weights != 0).sum(1) == 1
    return all(layer.bias is not None for layer in cells) and bool(selects.all())


def pruned(record: PolicyRecord) -> PolicyRecord:
    """Return a graph without the nodes that no output depends on; its outputs are the same.

    A layer keeps one node at least, and all observations, as they are what a caller gives.
    Any other record, and floats, whose sums depend on their order, are returned as they are.
    """
    if not is_graph(record) or not record.is_integer:
        return record
    rows = [np.ones(record.num_outputs, bool)]  # of each layer, from the last one
    for after, layer in itertools.pairwise(reversed(record.layers)):
        rows.append(_needed(layer, _inputs(after, rows[-1])))
    before = [np.ones(record.obs_size, bool), *rows[:0:-1]]
    layers = map(_kept, record.layers, reversed(rows), before)
    return dataclasses.replace(record, layers=tuple(layers), vectors=None)


def _needed(layer: Layer, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rows of which the given ones are made: of a cell also those that it remembers."""
    rows = rows.copy()
    rows[0] |= not rows.any()
    if layer.is_cell:
        memory = layer.weights[:, -layer.size :] != 0
        for _ in range(layer.size):
            rows |= memory[rows].any(0)
    return rows


def _inputs(layer: Layer, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which inputs of a layer the given rows depend on, without its memory."""
    size = layer.weights.shape[1] - layer.memory_size
    return (layer.weights[rows][:, :size] != 0).any(0)


def _kept(layer: Layer, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Layer:
    """Return a layer with some of its rows and inputs, and the memory of these rows."""
    kept = np.concatenate([columns, rows]) if layer.is_cell else columns
    exponent, bias, functions = layer.exponent, layer.bias, layer.functions
    return dataclasses.replace(
        layer,
        weights=np.ascontiguousarray(layer.weights[rows][:, kept]),
        bias=None if bias is None else bias[rows],
        exponent=exponent[rows] if isinstance(exponent, np.ndarray) else exponent,
        functions=None if functions is None else functions[rows],
    )
