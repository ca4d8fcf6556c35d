"""NEAT: genomes by hand, what mutations and crossover may do, and who has children."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evolved_graphs import ACTION, GROWING, OBS, evolved, graph_of, quick_jit
from marks import wide

from ternevo.algorithms import genomes, neat
from ternevo.algorithms.genomes import Genome, Growth, New
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import FUNCTIONS
from ternevo.settings.strategies.neat import NEAT
from ternevo.types import Inputs


def by_hand(links: dict[tuple[int, int], tuple[int, float]], nodes=(0, 0, 0), off=()) -> Genome:
    """Return a genome of two observations (0, 1), a bias (2), an output (3) and hidden nodes (4-6).

    Args:
      links: innovation number and weight of each link by its source and the slot of its target,
        of which 0 is the output.
      nodes: ids of the hidden nodes.
      off: numbers of the links that are off.
    """
    number, weight = np.zeros((7, 4), np.int32), np.zeros((7, 4), np.float32)
    for at, (innovation, value) in links.items():
        number[at], weight[at] = innovation, value
    is_on = (number > 0) & ~np.isin(number, off)
    zeros = np.zeros(4, np.int8)
    parts = map(jnp.asarray, (np.array(nodes, np.int32), number, weight, is_on, zeros, zeros))
    return Genome._make(parts)


ONE = by_hand(
    {(0, 0): (1, 0.5), (1, 0): (2, -1.0), (0, 1): (5, 1.0), (4, 0): (6, 2.0)}, (7, 0, 0), off=(1,)
)
"""A node of id 7 in the first slot, which split link 1."""
OTHER = by_hand(
    {
        **{(0, 0): (1, 1.5), (1, 0): (2, 3.0), (0, 2): (5, 4.0), (5, 0): (6, 2.0)},
        **{(1, 1): (8, 9.0), (4, 0): (9, 9.0)},
    },
    (11, 7, 0),
)
"""The same node in the second slot, and another one in the first, which split link 2."""


def test_genes_are_aligned_by_their_history_and_not_by_their_slots():
    _, graph = graph_of("float")
    found = genomes.aligned(graph, ONE, OTHER)
    np.testing.assert_array_equal(found.has_link, ONE.innovation > 0)
    weights = {(0, 0): 1.5, (1, 0): 3.0, (0, 1): 4.0, (4, 0): 2.0}
    for at, weight in weights.items():
        assert float(found.weight[at]) == weight
    np.testing.assert_array_equal(found.has_node, [True, True, False, False])
    back = genomes.aligned(graph, OTHER, ONE)
    assert int(back.has_link.sum()) == 4 and not back.has_link[1, 1] and not back.has_link[4, 0]


def test_distance_is_that_of_the_paper_by_hand():
    """Two links of the other alone; differences 1, 4, 3 and 0 of four common ones."""
    _, graph = graph_of("float")
    measure = functools.partial(genomes.distance, graph, of_gene=1.0, of_weight=0.4)
    assert float(measure(ONE, OTHER)) == pytest.approx(2 + 0.4 * 8 / 4)
    assert float(measure(OTHER, ONE)) == pytest.approx(2 + 0.4 * 8 / 4)
    assert float(measure(ONE, ONE)) == 0


def test_a_child_has_the_topology_of_the_fitter_parent_and_weights_of_both():
    _, graph = graph_of("float")
    keys = jax.random.split(jax.random.key(0), 500)
    children = jax.vmap(lambda key: genomes.crossed(graph, key, ONE, OTHER))(keys)
    np.testing.assert_array_equal(children.innovation, np.tile(ONE.innovation, (500, 1, 1)))
    assert set(np.unique(children.weight[:, 0, 0])) == {0.5, 1.0, 1.5}
    assert set(np.unique(children.weight[:, 1, 0])) == {-1.0, 1.0, 3.0}
    off = 1 - children.is_on[:, 0, 0].mean()  # off in one parent
    assert abs(off - genomes.STAYS_OFF) < 0.07
    assert bool(children.is_on[:, 1, 0].all())


def test_equal_mutations_of_a_generation_get_the_same_numbers():
    """Nodes in place of the same link, and links between the same nodes in other slots."""
    _, graph = graph_of("float")
    yes, no = jnp.asarray(True), jnp.asarray(False)
    at = lambda source, target: (jnp.int32(source), jnp.int32(target))  # noqa: E731
    rows = [
        genomes.history_of(graph, genome, Growth(*growth))
        for genome, growth in (
            (ONE, (no, yes, *at(1, 1))),  # from observation 1 to node 7
            (OTHER, (no, yes, *at(1, 2))),
            (OTHER, (no, yes, *at(1, 3))),
            (ONE, (yes, no, *at(0, 1))),  # in place of link 5
            (OTHER, (yes, no, *at(0, 2))),
            (OTHER, (yes, no, *at(5, 0))),
            (ONE, (no, no, *at(0, 0))),
        )
    ]
    a, b, c, d, e, f, _ = np.asarray(neat.same_history(jnp.stack(rows)))
    assert a == b and d == e and len({a, c, d, f}) == 4


def test_a_new_node_passes_numbers_on():
    policy, graph = graph_of("float", "feed_forward")
    genome = genomes.from_params(graph, policy.init(jax.random.key(1)))
    growth = Growth(jnp.asarray(True), jnp.asarray(False), jnp.int32(0), jnp.int32(0))
    grown = genomes.grown(
        graph,
        genome,
        growth,
        New(jnp.int32(9), jnp.int32(70), jnp.float32(0), jnp.int8(2), jnp.int8(0)),
    )
    assert (int(grown.innovation[0, 1]), int(grown.innovation[4, 0])) == (70, 71)
    assert not bool(grown.is_on[0, 0]) and int(grown.node[0]) == 9
    for q in ((-100.0, 3.0), (5.0, 127.0)):
        inputs = Inputs(jnp.array(q), jnp.zeros(()), jnp.asarray(False))
        before, after = (
            policy.apply(genomes.to_params(graph, x), policy.reset((), KEY), inputs)[1]
            for x in (genome, grown)
        )
        np.testing.assert_allclose(after, before, atol=4 / 128)  # the node rounds


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("weights", "update"),
    wide([("float", "recurrent"), ("ternary", "feed_forward")], keep=["ternary"]),
)
def test_numbers_and_ids_mean_the_same_in_all_genomes(weights, update):
    """Of the whole history: a number is one pair of nodes, an id appears once in a genome."""
    graph, state, populations = evolved(weights, update)
    first, outputs = graph.first, graph.topology.num_outputs
    ends: dict[int, tuple[int, int]] = {}
    node, innovation = np.asarray(populations.node), np.asarray(populations.innovation)
    for ids, numbers in zip(node.reshape(-1, 5), innovation.reshape(-1, 9, 6), strict=True):
        names = [*range(-outputs, 0), *ids]
        sources = [*range(-100, -100 + first), *names]
        used = numbers[numbers > 0]
        assert len(set(used)) == len(used) and len(set(ids[ids > 0])) == (ids > 0).sum()
        for s, t in np.argwhere(numbers > 0):
            pair = (sources[s], names[t])
            assert 0 not in pair and ends.setdefault(int(numbers[s, t]), pair) == pair
    assert innovation.max() < int(state.next_number) and node.max() < int(state.next_node)
    assert node[-1].any(1).mean() > 0.5  # they grew


def test_a_graph_without_memory_has_no_circle_and_is_as_deep_as_allowed():
    graph, _, populations = evolved("ternary", "feed_forward")
    depths = [depth_of(graph, x) for x in np.asarray(populations.innovation).reshape(-1, 9, 6)]
    assert max(depths) == graph.topology.max_depth


def depth_of(graph, numbers) -> int:
    """Return the most links on a way; endless where there is a circle."""
    between = numbers[graph.first :] > 0
    ways, depth = np.eye(len(between), dtype=int), 0
    while ways.any():
        ways, depth = (ways @ between > 0).astype(int), depth + 1
        assert depth <= len(between), "a circle"
    return depth  # links between nodes, and one from an observation


def test_a_recurrent_graph_has_circles_and_weights_stay_in_range():
    graph, _, populations = evolved("float", "recurrent")
    numbers = np.asarray(populations.innovation[-1])
    assert any(
        (np.linalg.matrix_power((x[graph.first :] > 0).astype(int), 6) > 0).any() for x in numbers
    )
    assert float(jnp.abs(populations.weight).max()) <= GROWING.weight_limit
    assert not bool((np.asarray(populations.weight)[np.asarray(populations.innovation) == 0]).any())


def test_trits_stay_trits_and_gains_in_range():
    _, _, populations = evolved("ternary", "feed_forward")
    assert populations.weight.dtype == jnp.int8
    assert set(np.unique(populations.weight)) == {-1, 0, 1}
    gains = np.unique(populations.gain)
    assert gains.min() >= genomes.MIN_GAIN and gains.max() <= genomes.MAX_GAIN and len(gains) > 3


NAMES = ("absolute", "tanh", "hat")
evolved_with_functions = functools.partial(evolved, "ternary", "feed_forward", node_functions=NAMES)


def test_nodes_begin_with_the_first_function_and_draw_others_of_those_that_are_named():
    """Codes are places among the names, and params have those of all functions."""
    graph, state, populations = evolved_with_functions()
    codes = np.asarray(populations.function)
    assert graph.topology.functions == NAMES
    assert not codes[0].any() and set(np.unique(codes[-1])) == {0, 1, 2}
    outputs = codes[:, :, 0]  # which only mutation changes
    assert set(np.unique(outputs)) == {0, 1, 2}
    params = jax.vmap(lambda genome: genomes.to_params(graph, genome))(state.population)
    found = np.argmax(params[0]["function"].values, 1)
    places = np.array([FUNCTIONS.index(name) for name in NAMES])
    np.testing.assert_array_equal(found, places[np.asarray(state.population.function)])


def test_without_a_rate_no_function_of_an_output_changes():
    policy, graph = graph_of(node_functions=NAMES)
    settings = dataclasses.replace(GROWING, function_rate=0.0)
    genome = genomes.from_params(graph, policy.init(KEY))
    changed = jax.vmap(lambda key: neat._changed(settings, graph, key, genome))
    assert not bool(changed(jax.random.split(KEY, 50)).function.any())


def test_a_child_has_the_function_of_either_parent_where_both_have_the_node():
    """Node 7 is in slot 1 of one parent and in slot 2 of the other; outputs are in slot 0."""
    _, graph = graph_of(node_functions=NAMES)
    one = ONE._replace(function=jnp.array([1, 2, 1, 0], jnp.int8))
    other = OTHER._replace(function=jnp.array([2, 1, 0, 1], jnp.int8))
    keys = jax.random.split(jax.random.key(0), 500)
    found = np.asarray(jax.vmap(lambda key: genomes.crossed(graph, key, one, other))(keys).function)
    assert set(found[:, 0]) == {1, 2} and set(found[:, 1]) == {2, 0}
    assert (found[:, 2:] == [1, 0]).all()  # slots of nodes that the other has not
    assert abs((found[:, 0] == 2).mean() - 0.5) < 0.1


@pytest.mark.parametrize(
    ("weights", "update", "more"),
    [
        ("float", "recurrent", {}),
        ("ternary", "feed_forward", {}),
        ("ternary", "feed_forward", {"node_functions": NAMES}),
    ],
)
def test_params_are_a_genome_and_back(weights, update, more):
    """Also of a policy that was saved: what is off is 0 there."""
    graph, state, _ = evolved(weights, update, **more)
    back = jax.vmap(
        lambda genome: genomes.to_params(
            graph, genomes.from_params(graph, genomes.to_params(graph, genome))
        )
    )(state.population)
    there = jax.vmap(lambda genome: genomes.to_params(graph, genome))(state.population)
    jax.tree.map(np.testing.assert_array_equal, back, there)


def test_children_are_in_proportion_to_mean_scores():
    """Means 1 and 3 above the least score, then a species without progress."""
    alive, of = jnp.array([True, True, False]), jnp.array([0] * 4 + [1] * 4)
    score = jnp.array([0.0, 2, 1, 1, 3, 3, 3, 3])
    species = neat.Species((), alive, jnp.array([2.0, 3.0, 0]), jnp.array([0, 0, 0]))  # pyright: ignore
    count = functools.partial(neat.num_children, score, of, stagnation=15)
    np.testing.assert_array_equal(count(species), [2, 6, 0])
    np.testing.assert_array_equal(count(species._replace(stale=jnp.array([16, 0, 0]))), [0, 8, 0])
    best_is_stale = species._replace(stale=jnp.array([16, 16, 0]))
    np.testing.assert_array_equal(count(best_is_stale), [0, 8, 0])
    equal = neat.num_children(jnp.ones(8), of, species, 15)
    np.testing.assert_array_equal(equal, [4, 4, 0])


def test_species_are_told_apart_and_one_is_none():
    _, graph = graph_of("float")
    population = jax.tree.map(lambda a, b: jnp.stack([a, b, a, b]), ONE, OTHER)
    settings = NEAT(population_size=4, max_species=3)
    species = neat.Species(
        jax.tree.map(lambda x: jnp.stack([x] * 3), OTHER),
        jnp.array([False, True, False]),
        jnp.zeros(3),
        jnp.zeros(3, jnp.int32),
    )
    apart = neat.speciate(settings, graph, population, species, jnp.float32(2.0))
    np.testing.assert_array_equal(apart, [0, 1, 0, 1])
    near = neat.speciate(settings, graph, population, species, jnp.float32(3.0))
    np.testing.assert_array_equal(near, 1)
    only = neat.speciate(
        NEAT(population_size=4, max_species=1),
        graph,
        population,
        jax.tree.map(lambda x: x[1:2], species),
        jnp.float32(0.0),
    )
    np.testing.assert_array_equal(only, 0)


def test_a_network_of_layers_is_refused_with_what_to_use():
    policy = MLP((4,)).build(OBS, ACTION)
    with pytest.raises(ValueError, match="add --policy graph"):
        neat.search(NEAT(), policy, "ternary")


def test_without_history_genes_are_the_same_in_the_same_slot():
    """The ablation: node 7 and node 11 share a slot, and so do links 5 and 9."""
    _, graph = graph_of("float")
    found = genomes.aligned(graph._replace(by_history=False), ONE, OTHER)
    at = np.argwhere(found.has_link).tolist()
    assert at == [[0, 0], [1, 0], [4, 0]]  # of ONE and of OTHER
    assert float(found.weight[4, 0]) == 9.0  # that of another link
    np.testing.assert_array_equal(found.has_node, [True, True, False, False])


def as_genes(genome: Genome) -> dict[int, tuple[float, bool]]:
    """Return weight and whether it is on by innovation number, without slots."""
    at = np.argwhere(np.asarray(genome.innovation) > 0)
    return {
        int(genome.innovation[s, t]): (float(genome.weight[s, t]), bool(genome.is_on[s, t]))
        for s, t in at
    }


def test_distance_and_crossover_are_those_of_plain_lists_of_genes():
    """An oracle in a few lines of Python, on genomes that evolution made, slots and all."""
    graph, _, populations = evolved("float", "recurrent")
    last = jax.tree.map(lambda x: x[-1], populations)
    measure = quick_jit(
        jax.vmap(lambda a, b: genomes.distance(graph, a, b, of_gene=1.0, of_weight=0.4))
    )
    half = GROWING.population_size // 2
    one, other = (jax.tree.map(lambda x, part=part: x[part], last) for part in
                  (slice(0, half), slice(half, None)))  # fmt: skip
    apart = np.asarray(measure(one, other))
    cross = quick_jit(jax.vmap(lambda key, a, b: genomes.crossed(graph, key, a, b)))
    children = cross(jax.random.split(KEY, half), one, other)
    shares = []
    for i in range(half):
        a, b, child = (
            as_genes(jax.tree.map(lambda x, i=i: x[i], x)) for x in (one, other, children)
        )
        common = a.keys() & b.keys()
        weights = np.mean([abs(a[n][0] - b[n][0]) for n in common])
        np.testing.assert_allclose(apart[i], len(a.keys() ^ b.keys()) + 0.4 * weights, rtol=1e-5)
        assert child.keys() == a.keys()
        for number, (weight, is_on) in child.items():
            if number not in common:
                assert (weight, is_on) == a[number]
                continue
            mean = np.float32(a[number][0] + b[number][0]) / 2
            assert np.isclose(weight, [a[number][0], b[number][0], mean], rtol=1e-6).any()
            assert is_on or not (a[number][1] and b[number][1])
        shares.append(len(common) / len(a))
    assert min(shares) < 1 and max(shares) > 0.3  # disjoint genes and common ones
