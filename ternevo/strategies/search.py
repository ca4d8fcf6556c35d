"""Turn an evosax algorithm into a `Search`: one interface for both evosax families.

A distribution-based algorithm starts from a mean; a population-based one starts
from an *evaluated* population. To avoid a second compiled rollout, generation 0 of
a population-based algorithm is its initial population.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from evosax.algorithms.distribution_based.base import DistributionBasedAlgorithm

from ternevo.algorithms.traits import Traits, traits_of
from ternevo.machine import devices
from ternevo.types import Key, Search


class PopulationState(NamedTuple):
    """The algorithm's state, and whether its initial population is still to be evaluated."""

    algorithm: Any
    is_first: jax.Array


def search_of(algorithm: Any, params: Any, draw: Callable[[Key], Any]) -> Search:
    """Return the search of an evosax algorithm.

    Args:
      algorithm: an algorithm of either family.
      params: its evosax params.
      draw: maps a key to a random solution to start from.
    """
    is_distribution = isinstance(algorithm, DistributionBasedAlgorithm)
    make = _distribution_search if is_distribution else _population_search
    return make(algorithm, params, draw, traits_of(algorithm))


def _distribution_search(
    algorithm: Any, params: Any, draw: Callable[[Key], Any], traits: Traits
) -> Search:
    def init(key: Key) -> Any:
        key_draw, key_init = jax.random.split(key)
        return algorithm.init(key_init, draw(key_draw), params)

    def tell(key: Key, population: Any, fitness: jax.Array, state: Any) -> Any:
        told = algorithm.tell(key, population, fitness, state, params)[0]
        if traits.remembers_fitness:
            return told
        # The mean is what ships. Evosax also keeps the best member so far, which nothing reads. The
        # state keeps its initial value, so that XLA does not compute it.
        return told.replace(best_solution=state.best_solution, best_fitness=state.best_fitness)

    def ask(key: Key, state: Any) -> tuple[Any, Any]:
        population, state = algorithm.ask(key, state, params)
        # Algorithms that draw and sum up whole populations do so on every device.
        return population if traits.is_spread() else devices.replicated(population), state

    return _search(algorithm, traits, init, ask, tell, algorithm.get_mean, traits.metrics)


def _population_search(
    algorithm: Any, params: Any, draw: Callable[[Key], Any], traits: Traits
) -> Search:
    def init(key: Key) -> PopulationState:
        key_draw, key_init = jax.random.split(key)
        population = jax.vmap(draw)(jax.random.split(key_draw, algorithm.population_size))
        unknown = jnp.zeros(algorithm.population_size)
        state = algorithm.init(key_init, population, unknown, params)
        return PopulationState(state, jnp.asarray(True))

    def ask(key: Key, state: PopulationState) -> tuple[Any, PopulationState]:
        population, asked = jax.lax.cond(
            state.is_first,
            lambda: (algorithm.get_population(state.algorithm), state.algorithm),
            lambda: algorithm.ask(key, state.algorithm, params),
        )
        return devices.replicated(population), PopulationState(asked, state.is_first)

    def tell(key: Key, population: Any, fitness: jax.Array, state: PopulationState) -> Any:
        told = jax.lax.cond(
            state.is_first,
            lambda: algorithm.init(key, population, fitness, params),
            lambda: algorithm.tell(key, population, fitness, state.algorithm, params)[0],
        )
        return PopulationState(told, jnp.asarray(False))

    def solution(state: PopulationState) -> Any:
        return algorithm.get_best_solution(state.algorithm)

    def metrics(state: PopulationState) -> Any:
        return traits.metrics(state.algorithm)

    return _search(algorithm, traits, init, ask, tell, solution, metrics)


def _search(algorithm: Any, traits: Traits, *functions: Callable[..., Any]) -> Search:
    return Search(
        *functions,
        population_size=algorithm.population_size,
        name=type(algorithm).__name__,
        pairs_are_adjacent=traits.pairs_are_adjacent,
        is_spread=traits.is_spread,
        remembers_fitness=traits.remembers_fitness,
    )
