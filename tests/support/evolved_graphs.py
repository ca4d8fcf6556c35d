"""Graphs that NEAT made of nothing by chance, for the tests of genomes."""

import functools
from typing import Any

import jax

from ternevo.algorithms import neat
from ternevo.algorithms.genomes import Graph
from ternevo.settings.policies import Graph as GraphPolicy
from ternevo.settings.strategies.neat import NEAT
from ternevo.types import ActionSpec, ObsSpec

OBS, ACTION = ObsSpec((2,)), ActionSpec("continuous", 1, (-1.0,), (1.0,))
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
GROWING = NEAT(
    population_size=40, add_node_rate=0.3, add_link_rate=0.6, circle_share=0.3, toggle_rate=0.2
)


def graph_of(weights: Any = "ternary", update: Any = "recurrent", max_hidden: int = 3, **more: Any):
    settings = GraphPolicy(max_hidden=max_hidden, update=update, weights=weights, **more)
    policy = settings.build(OBS, ACTION)
    assert policy.topology is not None
    return policy, Graph(policy.topology, weights == "float")


@functools.cache
def evolved(weights: Any, update: Any, generations: int = 12, **more: Any):
    """Return the graph and the last population of a search by chance, which grows fast."""
    policy, graph = graph_of(weights, update, 5, **more)
    search, _ = neat.search(GROWING, policy, weights)

    def one(state, key):
        population, state = search.ask(key, state)
        fitness = jax.random.normal(key, (GROWING.population_size,))
        return search.tell(key, population, fitness, state), population

    run = quick_jit(
        lambda key: jax.lax.scan(one, search.init(key), jax.random.split(key, generations))
    )
    state, populations = run(jax.random.key(3))
    return graph, state, populations
