"""Pruning of graphs: fewer nodes and the same outputs, with ==, in the record and in C."""

import dataclasses

import numpy as np
import pytest
from layered_records import Builder
from policy_records import make_record, with_functions

from ternevo.deploy import integer, pruning
from ternevo.deploy.record import Layer, PolicyRecord

NUM_OUTPUTS, NUM_NODES, NUM_OBS = 2, 9, 3


def graph(seed: int, density: float, type_="elman", depth: int = 1) -> PolicyRecord:
    """Return a random graph: cells that share few links, and a layer that selects outputs."""
    rng = np.random.default_rng(seed)
    builder = Builder((NUM_OBS,), seed, output="continuous", scales="output")
    for _ in range(depth):
        builder.add(type_, NUM_NODES)
    record = builder.record(NUM_OUTPUTS)
    layers = [thinned(rng, layer, density) for layer in record.layers[:-1]]
    selection = np.eye(NUM_OUTPUTS, NUM_NODES, dtype=np.int8)
    last = Layer(selection, None, "ternary", "none", 0, 0)
    return dataclasses.replace(record, layers=(*layers, last))


def thinned(rng: np.random.Generator, layer: Layer, density: float) -> Layer:
    kept = rng.random(layer.weights.shape) < density
    return dataclasses.replace(layer, weights=layer.weights * kept.astype(np.int8))


def outputs(record: PolicyRecord, q: np.ndarray) -> np.ndarray:
    return integer.episode(integer.compile_integer(record), q)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("type_", "depth"), [("elman", 1), ("dense", 1), ("dense", 3)])
def test_a_pruned_graph_has_the_same_outputs(seed, type_, depth):
    record = graph(seed, 0.15 + 0.02 * seed, type_, depth)
    record = with_functions(record, seed) if seed % 2 else record
    pruned = pruning.pruned(record)
    q = np.random.default_rng(seed).integers(-127, 128, (60, NUM_OBS)).astype(np.int8)
    np.testing.assert_array_equal(outputs(pruned, q), outputs(record, q))
    assert (pruned.obs_size, pruned.num_outputs) == (NUM_OBS, NUM_OUTPUTS)
    assert pruning.pruned(pruned).sizes == pruned.sizes


def test_exactly_the_nodes_from_which_links_lead_to_an_output_stay():
    """1 -> 0, 3 -> 1 and back, 4 -> 2 -> nowhere, 5 alone; observations lead to 1, 4 and 5."""
    record = graph(0, 0.0)
    weights = np.zeros((NUM_NODES, NUM_OBS + NUM_NODES), np.int8)
    for source, target in ((1, 0), (3, 1), (1, 3), (4, 2)):
        weights[target, NUM_OBS + source] = 1
    weights[[1, 4, 5], 0] = -1
    cell = dataclasses.replace(record.layers[0], weights=weights)
    selection = np.eye(1, NUM_NODES, dtype=np.int8)
    last = dataclasses.replace(record.layers[1], weights=selection)
    record = dataclasses.replace(
        record, layers=(cell, last), low=record.low[:1], high=record.high[:1]
    )
    pruned = pruning.pruned(record)
    kept = [0, 1, 3]
    columns = [*range(NUM_OBS), *(NUM_OBS + node for node in kept)]
    np.testing.assert_array_equal(pruned.layers[0].weights, weights[kept][:, columns])
    np.testing.assert_array_equal(pruned.layers[0].exponent, cell.exponent[kept])
    np.testing.assert_array_equal(pruned.layers[1].weights, [[1, 0, 0]])


def test_other_policies_stay_as_they_are():
    mlp = make_record((5, 9, 3), "int8", shifts=(1, 0), exponents=(3, 3), bias_exponent=2)
    assert pruning.pruned(mlp) is mlp
