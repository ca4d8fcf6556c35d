"""The picture of a graph: which nodes matter, their layers, and what is drawn where."""

from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.policies import contract, policy_file
from ternevo.policies.graph import in_floats
from ternevo.runs import topology
from ternevo.runs.topology import Links
from ternevo.settings.policies import Graph, HyperNEAT
from ternevo.types import Inputs, PolicyParams

EXAMPLE = Path(__file__).parents[2] / "examples" / "two_poles.tvp"

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


def test_links_of_a_graph_without_circles_lead_to_the_right():
    """Also where an observation is linked to a node that others lead to."""
    path = (0, 1, 1), (FIRST + 1, 2, 1), (FIRST + 2, 3, 1), (FIRST + 3, 0, 1)
    graph = links(*path, (0, 2, 1), (0, 3, 1))
    assert topology.layers_of(graph)[:4].tolist() == [4, 1, 2, 3]


def test_a_node_that_nothing_leads_to_is_in_the_first_layer():
    assert topology.layers_of(links((FIRST + 1, 0, 1)))[:2].tolist() == [2, 1]


@pytest.mark.parametrize("graph", [CHAIN, CIRCLE, links()])
def test_a_picture_has_an_arrow_in_the_colour_of_each_link(graph, tmp_path):
    (axes,) = topology.picture(graph).axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    shown = Counter(to_hex(arrow.get_edgecolor()) for arrow in arrows)
    own = graph.weights[:, topology.used_nodes(graph)]
    wanted = {colour: int((own == sign).sum()) for sign, colour in topology.COLOURS.items()}
    assert shown == Counter(wanted)
    with Image.open(topology.draw(graph, tmp_path / "new" / "network.png")) as image:
        assert image.format == "PNG"


def test_a_picture_says_names_layers_and_gains():
    named = CHAIN._replace(names=("a", "b"), actions=("force",), noted="gain")
    (axes,) = topology.picture(named).axes
    texts = [text.get_text() for text in axes.texts]
    assert {"a", "b", "force", "observations", "layer 1", "layer 2", "outputs"} <= set(texts)
    assert [text for text in texts if text.startswith("x 2^")] == ["x 2^0", "x 2^1", "x 2^2"]


TRITS, FLOATS = Graph(max_hidden=1), Graph(max_hidden=1, weights="float")
SHAPED = Graph(max_hidden=1, node_functions=("tanh", "hat", "relu", "sign"))
DRAWS = HyperNEAT(max_hidden=1, hidden_sizes=())
GAINS = (r"$\times 2^{-1}$", r"$\times 2^{3}$")
SHAPES = (f"sign\n{GAINS[0]}", f"hat\n{GAINS[1]}")
BOTH = (f"sine\n{GAINS[0]}", f"tanh\n{GAINS[1]}")


@pytest.mark.parametrize(
    ("settings", "notes", "noted", "name"),
    [
        (TRITS, GAINS, "gain", "a, -1 or +1"),
        (FLOATS, ("", ""), "", "a, -1 or +1"),
        (SHAPED, SHAPES, "function and gain", "a, -1 or +1"),
        (DRAWS, BOTH, "function and gain", "x1"),
    ],
)
def test_what_is_said_of_a_saved_graph(settings, notes, noted, name, tmp_path):
    env = envs.make("control/xor")
    policy = contract.build(settings, env.obs, env.action)
    graph = policy.topology
    matrix = np.zeros((graph.num_sources, graph.num_nodes), np.float32)
    matrix[0, 0], matrix[1, 1], matrix[graph.num_inputs + 2, 0] = 1, -1, 1
    gains, functions = np.array([-1, 3], np.int8), np.array([3, 1], np.int8)
    params = graph.params(*map(jnp.asarray, (matrix, gains, functions)))
    shipped = PolicyParams(params, observation.empty(env.obs.size))
    named = "graph" if isinstance(settings, Graph) else "hyperneat"
    policy_file.save(tmp_path / "policy.tvp", env, named, settings, shipped)
    found = topology.of_policy(policy_file.load(tmp_path / "policy.tvp"), env)
    np.testing.assert_array_equal(found.weights, matrix)
    assert (found.notes, found.noted, found.names[0]) == (notes, noted, name)
    assert found.actions == (() if settings is DRAWS else env.action_names)


def test_a_rounded_graph_is_drawn_as_the_floats_that_compute_the_same():
    """Of the example, what leads to its output are the three numbers that it sees and itself."""
    saved = policy_file.load(EXAMPLE)
    found = topology.of_policy(saved, envs.make(saved.env_id))
    assert np.flatnonzero(found.weights[:, 0]).tolist() == [0, 1, 2, found.num_inputs + 1]
    assert found.num_inputs == len(found.names) == 3
    settings, weights = in_floats(saved.settings, saved.weights)
    floats = contract.build(settings, saved.obs, saved.action)
    seen = np.random.default_rng(0).integers(-127, 128, (20, saved.obs.size)).astype(np.float32)

    def outputs(policy, params):
        memory, found = policy.reset(params, jax.random.key(0)), []
        for obs in jnp.asarray(seen):
            memory, output = policy.apply(params, memory, Inputs(obs, 0.0, False))
            found.append(output)
        return found

    rounded = outputs(saved.policy, saved.weights)
    np.testing.assert_allclose(outputs(floats, weights), rounded, atol=1e-6)
