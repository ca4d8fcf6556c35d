"""One signature for both families of evosax algorithms.

A distribution-based algorithm starts from a mean; a population-based one from
an *evaluated* population. So that this costs no second compiled rollout,
generation 0 of a population-based algorithm is its initial population.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from evosax.algorithms.distribution_based.base import DistributionBasedAlgorithm

from ternevo.machine import devices
from ternevo.types import Key, Metrics


class Search(NamedTuple):
    """Init, ask, tell of one algorithm, the solution it would ship, and its own metrics."""

    init: Callable[[Key], Any]
    ask: Callable[[Key, Any], tuple[Any, Any]]
    tell: Callable[[Key, Any, jax.Array, Any], Any]
    solution: Callable[[Any], Any]
    metrics: Callable[[Any], Metrics]


class PopulationState(NamedTuple):
    """The algorithm's state, and whether its initial population is still to be evaluated."""

    algorithm: Any
    is_first: jax.Array


def is_spread(algorithm: Any) -> bool:
    """Return whether each device holds its own members only; evosax's classes do not say."""
    return getattr(algorithm, "is_spread", False)


def remembers_fitness(algorithm: Any, params: Any) -> bool:
    """Return whether an algorithm keeps fitness over generations, as elites and archives do.

    Its state then has a field for it beside `best_fitness`, which evosax only records. A class
    that uses such a field within a generation only says `remembers_fitness = False`.
    """
    if not getattr(algorithm, "remembers_fitness", True):
        return False
    state = jax.eval_shape(algorithm._init, jax.random.key(0), params)
    names = {field.name for field in dataclasses.fields(state)} - {"best_fitness"}
    return any("fitness" in name for name in names)


def search_of(algorithm: Any, params: Any, draw: Callable[[Key], Any]) -> Search:
    """Return the search of an evosax algorithm; `draw` gives a random solution to start from."""
    if isinstance(algorithm, DistributionBasedAlgorithm):
        return _distribution_search(algorithm, params, draw)
    return _population_search(algorithm, params, draw)


def _distribution_search(algorithm: Any, params: Any, draw: Callable[[Key], Any]) -> Search:
    def init(key: Key) -> Any:
        key_draw, key_init = jax.random.split(key)
        return algorithm.init(key_init, draw(key_draw), params)

    def tell(key: Key, population: Any, fitness: jax.Array, state: Any) -> Any:
        return algorithm.tell(key, population, fitness, state, params)[0]

    def metrics(state: Any) -> Metrics:
        entropy = getattr(algorithm, "entropy", None)  # evosax's own classes have none
        return {"search/entropy": entropy(state)} if entropy else {}

    def ask(key: Key, state: Any) -> tuple[Any, Any]:
        population, state = algorithm.ask(key, state, params)
        # evosax's own algorithms draw and sum up a population as a whole, so every device does.
        return population if is_spread(algorithm) else devices.replicated(population), state

    return Search(
        init,
        ask,
        tell,
        algorithm.get_mean,
        metrics,
    )


def _population_search(algorithm: Any, params: Any, draw: Callable[[Key], Any]) -> Search:
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

    return Search(init, ask, tell, solution, lambda state: {})
