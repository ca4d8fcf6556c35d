"""Random search over discrete weights: fresh members every generation, the leader evaluated again.

The leader sits in the first place and its fitness is the mean over all its
evaluations; it is replaced by whoever is better in the newest generation.

References:
  Such et al., "Deep Neuroevolution", 2017, the random search control.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import (
    Params as BaseParams,
    PopulationBasedAlgorithm,
    State as BaseState,
)
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct

from ternevo import ternary
from ternevo.algorithms.shaping import no_metrics
from ternevo.types import Key, Leaf


@struct.dataclass
class State(BaseState):
    """`evaluations` counts how often the leader, member 0, has been evaluated."""

    population: Leaf
    fitness: Leaf
    evaluations: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


@struct.dataclass
class Params(BaseParams):
    """No dynamic parameters."""


class RandomSearch(PopulationBasedAlgorithm):
    """Random search with int8 members, an evosax algorithm."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightKind = "ternary",
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = no_metrics,
    ):
        """Build the algorithm; `solution` gives shapes and exponents, `kind` the value set."""
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        self.kind: ternary.WeightKind = kind

    @property
    def _default_params(self) -> Params:
        return Params()

    def _init(self, key: Key, params: Params) -> State:
        del key, params
        return State(
            population=jnp.zeros((self.population_size, self.num_dims), jnp.int8),
            fitness=jnp.full((self.population_size,), jnp.inf),
            evaluations=jnp.ones((), jnp.int32),
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def _ask(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        del params
        leader = jnp.argmin(state.fitness)
        fresh = jax.vmap(self._draw)(jax.random.split(key, self.population_size - 1))
        population = jnp.concatenate([state.population[leader][None], fresh])
        state = state.replace(
            fitness=jnp.zeros_like(state.fitness).at[0].set(state.fitness[leader]),
            evaluations=jnp.where(leader == 0, state.evaluations, 1),
        )
        return population, state

    def _tell(
        self, key: Key, population: jax.Array, fitness: jax.Array, state: State, params: Params
    ) -> State:
        del key, params
        evaluations = state.evaluations + 1
        leader_fitness = state.fitness[0] + (fitness[0] - state.fitness[0]) / evaluations
        return state.replace(
            population=population,
            fitness=fitness.at[0].set(leader_fitness),
            evaluations=evaluations,
        )

    def _draw(self, key: Key) -> jax.Array:
        given = ternary.tensors(self.solution)
        keys = jax.random.split(key, len(given))
        drawn = [
            tensor._replace(values=ternary.draw(k, tensor.values.shape, self.kind))
            for k, tensor in zip(keys, given, strict=True)
        ]
        return self._ravel_solution(ternary.replace_tensors(self.solution, drawn))
