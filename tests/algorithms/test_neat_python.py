"""NEAT beside neat-python: the same genomes are the same networks, distances and alignments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evolved_graphs import evolved, graph_of, quick_jit
from marks import wide

from ternevo.algorithms import genomes
from ternevo.types import Inputs

neat = pytest.importorskip("neat")

GRID = 64
"""Weights are multiples of 1 / GRID, so that sums are exact in every order and precision."""
CONFIG = """
[NEAT]
pop_size = 2
fitness_criterion = max
fitness_threshold = 1
reset_on_extinction = False
no_fitness_termination = False
[DefaultGenome]
{genome}
[DefaultReproduction]
elitism = 0
survival_threshold = 0.2
min_species_size = 1
[DefaultSpeciesSet]
compatibility_threshold = 3.0
[DefaultStagnation]
species_fitness_func = max
max_stagnation = 15
species_elitism = 0
"""


def config_of(tmp_path, feed_forward: bool):
    """Return a configuration in which nothing is drawn."""
    floats = ("bias", "response", "weight", "time_constant")
    own = {
        **{"num_inputs": 3, "num_outputs": 1, "num_hidden": 0, "feed_forward": feed_forward},
        **{"compatibility_disjoint_coefficient": 1.0, "compatibility_weight_coefficient": 0.0},
        **dict.fromkeys(("conn_add_prob", "conn_delete_prob"), 0.0),
        **dict.fromkeys(("node_add_prob", "node_delete_prob"), 0.0),
        **{"single_structural_mutation": False, "structural_mutation_surer": "default"},
        **{"initial_connection": "unconnected"},
        **{"activation_default": "grid", "activation_options": "grid"},
        **{"aggregation_default": "sum", "aggregation_options": "sum"},
        **{f"{a}_mutate_rate": 0.0 for a in ("activation", "aggregation", "enabled")},
        **{f"enabled_rate_to_{a}_add": 0.0 for a in ("true", "false")},
        **{"enabled_default": True},
        **{
            f"{name}_{rest}": value
            for name in floats
            for rest, value in {
                **{"init_mean": 0.0, "init_stdev": 0.0, "init_type": "gaussian"},
                **{"replace_rate": 0.0, "mutate_rate": 0.0, "mutate_power": 0.0},
                **{"max_value": 100.0, "min_value": -100.0},
            }.items()
        },
    }
    path = tmp_path / "neat.ini"
    path.write_text(CONFIG.format(genome="\n".join(f"{k} = {v}" for k, v in own.items())))
    config = neat.Config(
        *(neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet),
        *(neat.DefaultStagnation, path),
    )
    config.genome_config.add_activation("grid", on_grid)
    return config


def on_grid(units: float) -> float:
    """Return the hard tanh of 8 bits, on Python's numbers."""
    return float(max(-127, min(127, round(128 * units))))


def theirs(genome: genomes.Genome):
    """Return neat-python's genome of ours. Numbers are those of our grid, 1 / 32 units each."""
    found = neat.DefaultGenome(0)
    ids = [0, *np.asarray(genome.node).tolist()]
    sources = [-1, -2, -3, *ids]
    for slot, node in enumerate(ids):
        if slot == 0 or node > 0:
            found.nodes[node] = gene = neat.genes.DefaultNodeGene(node)
            gene.bias, gene.response, gene.time_constant = 0.0, 1 / 32, 1.0
            gene.activation, gene.aggregation = "grid", "sum"
    for s, t in np.argwhere(np.asarray(genome.innovation) > 0):
        key, number = (sources[s], ids[t]), int(genome.innovation[s, t])
        found.connections[key] = gene = neat.genes.DefaultConnectionGene(key, innovation=number)
        gene.weight, gene.enabled = float(genome.weight[s, t]), bool(genome.is_on[s, t])
    return found


def members(update: str) -> list[genomes.Genome]:
    """Return 200 genomes that evolution by chance made, with small weights on a grid."""
    _, _, populations = evolved("float", update)
    last = jax.tree.map(lambda x: np.concatenate(x[-5:]), populations)
    last = last._replace(weight=np.round(last.weight / 4 * GRID).astype(np.float32) / GRID)
    return [jax.tree.map(lambda x, i=i: x[i], last) for i in range(len(last.node))]


OBSERVATIONS = np.random.default_rng(0).integers(-127, 128, (12, 2)).astype(np.float32)


@pytest.mark.parametrize("update", wide(["recurrent", "feed_forward"], keep=["feed_forward"]))
def test_a_genome_is_the_same_network(tmp_path, update):
    """Every output of 12 steps; weights on a grid are summed exactly."""
    config = config_of(tmp_path, update == "feed_forward")
    policy, graph = graph_of("float", update, 5)

    def outputs(genome):
        params = genomes.to_params(graph, genome)

        def step(memory, obs):
            inputs = Inputs(obs, jnp.zeros(()), jnp.asarray(False))
            return policy.apply(params, memory, inputs)

        return jax.lax.scan(step, policy.reset(params, jax.random.key(0)), OBSERVATIONS)[1][:, 0]

    ours = quick_jit(outputs)
    networks = {"recurrent": neat.nn.RecurrentNetwork, "feed_forward": neat.nn.FeedForwardNetwork}
    num_hidden, seen = 0, set()
    for genome in members(update):
        network = networks[update].create(theirs(genome), config)
        found = [network.activate(scaled(obs))[0] for obs in OBSERVATIONS]
        np.testing.assert_array_equal(np.asarray(ours(genome)) * 128, found)
        num_hidden += int((genome.node > 0).sum())
        seen.update(found)
    assert num_hidden > 200 and len(seen) > 100


def scaled(obs) -> list[float]:
    """Return what neat-python's network sees: the bias is a quarter of the full scale."""
    return [*(float(x) for x in obs), 127 / 4]


def by_number(genome):
    """Return neat-python's genome with links told by their numbers alone, and without nodes."""
    genome.connections = {(gene.innovation, 0): gene for gene in genome.connections.values()}
    for gene in genome.connections.values():
        gene.enabled = True
    genome.nodes = {}
    return genome


def test_genes_apart_and_weights_apart_are_the_same_numbers(tmp_path):
    """Of 100 pairs. neat-python tells genes by their ends and divides by the size of genomes."""
    config = config_of(tmp_path, False)
    _, graph = graph_of("float", "recurrent", 5)
    measure = quick_jit(lambda a, b, gene, weight: genomes.distance(graph, a, b, gene, weight))
    numbers, found = set(), members("recurrent")
    for a, b in zip(found[::2], found[1::2], strict=True):
        one, other = (by_number(theirs(x)) for x in (a, b))
        size = max(len(one.connections), len(other.connections))
        num_common = len(one.connections.keys() & other.connections.keys())
        config.genome_config.compatibility_disjoint_coefficient = 1.0
        config.genome_config.compatibility_weight_coefficient = 0.0
        apart = one.distance(other, config.genome_config) * size
        config.genome_config.compatibility_disjoint_coefficient = 0.0
        config.genome_config.compatibility_weight_coefficient = 1.0
        weights = one.distance(other, config.genome_config) * size
        assert float(measure(a, b, 1.0, 0.0)) == pytest.approx(apart)
        assert float(measure(a, b, 0.0, 1.0)) * num_common == pytest.approx(weights, rel=1e-5)
        numbers.add(round(apart))
    assert len(numbers) > 3


def test_a_child_has_the_same_genes_of_either_parent(tmp_path):
    """All weights that 40 children of theirs and 80 of ours have, by the number of the link."""
    config = config_of(tmp_path, False)
    _, graph = graph_of("float", "recurrent", 5)
    keys = jax.random.split(jax.random.key(0), 80)
    cross = quick_jit(lambda a, b: jax.vmap(lambda key: genomes.crossed(graph, key, a, b))(keys))
    found, num_common = members("recurrent")[:12], 0
    for a, b in zip(found[::2], found[1::2], strict=True):
        one, other = theirs(a), theirs(b)
        one.fitness, other.fitness = 1.0, 0.0
        drawn: dict[int, set] = {}
        for _ in range(40):
            child = neat.DefaultGenome(1)
            child.configure_crossover(one, other, config.genome_config)
            for gene in child.connections.values():
                drawn.setdefault(gene.innovation, set()).add(gene.weight)
        children = cross(a, b)
        at = np.argwhere(np.asarray(a.innovation) > 0)
        ours = {int(a.innovation[s, t]): set(np.asarray(children.weight[:, s, t])) for s, t in at}
        assert ours.keys() == drawn.keys()
        for number, weights in ours.items():
            mean = {sum(drawn[number]) / 2} if len(drawn[number]) == 2 else set()
            assert weights == drawn[number] | mean
            num_common += bool(mean)
    assert num_common > 10
