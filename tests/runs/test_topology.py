"""The picture of a graph: which nodes matter, their layers, and what is drawn where."""

import numpy as np
import pytest
from PIL import Image

from ternevo.runs import topology
from ternevo.runs.topology import Links

NUM_INPUTS, NUM_OUTPUTS, NUM_NODES = 2, 1, 6
FIRST = NUM_INPUTS + 1


def links(*pairs: tuple[int, int, float]) -> Links:
    """Return links (source, node, weight); a source is an observation, a bias or FIRST + node."""
    weights = np.zeros((FIRST + NUM_NODES, NUM_NODES))
    for source, node, weight in pairs:
        weights[source, node] = weight
    return Links(weights, tuple(f"x 2^{node}" for node in range(NUM_NODES)), NUM_OUTPUTS)


CHAIN = links((0, 1, 1), (FIRST + 1, 2, -1), (FIRST + 2, 0, 1), (1, 0, 1), (2, 3, 1))
"""Observation 0 - node 1 - node 2 - output; observation 1 - output; bias - node 3 - nowhere."""
CIRCLE = links((0, 1, 1), (FIRST + 1, 2, 1), (FIRST + 2, 1, -1), (FIRST + 1, 0, 1), (FIRST, 0, -1))
"""Nodes 1 and 2 in a circle, and an output that remembers itself."""


def test_the_nodes_that_matter_are_those_from_which_links_lead_to_an_output():
    assert np.flatnonzero(topology.used_nodes(CHAIN)).tolist() == [0, 1, 2]
    assert np.flatnonzero(topology.used_nodes(CIRCLE)).tolist() == [0, 1, 2]
    assert np.flatnonzero(topology.used_nodes(links())).tolist() == [0]


def test_layers_count_links_from_the_observations_and_outputs_are_last():
    assert topology.layers_of(CHAIN)[:3].tolist() == [3, 1, 2]
    assert topology.layers_of(CIRCLE)[:3].tolist() == [3, 1, 2]
    assert topology.layers_of(links((0, 0, 1)))[0] == 1


@pytest.mark.parametrize("graph", [CHAIN, CIRCLE, links()])
def test_a_picture_has_both_signs_and_what_it_drew_is_there(graph, tmp_path):
    path = topology.draw(graph, ("a", "b"), ("force",), tmp_path / "network.png")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    wanted = {np.sign(weight) for weight in graph.weights[:, topology.used_nodes(graph)].ravel()}
    for sign, colour in topology.COLOURS.items():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(1).any() == (sign in wanted)
