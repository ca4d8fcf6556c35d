"""A genetic algorithm over ternary or binary weights: truncation, flips, re-evaluated elites.

Elites are copied unchanged and evaluated again with everybody else; their
fitness is the mean over all their evaluations, so one lucky episode does not
keep a member at the top.

References:
  Such et al., "Deep Neuroevolution", 2017 (truncation selection, elites
  re-evaluated on fresh episodes). The Gaussian mutation there is a flip here:
  each child draws a rate log-uniformly between 1/n and 6/n for n weights.
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
from ternevo.types import Key, Leaf, Tensor


@struct.dataclass
class State(BaseState):
    """Members sorted as they were asked; `evaluations` counts how often each has been evaluated."""

    population: Leaf
    fitness: Leaf
    evaluations: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


@struct.dataclass
class Params(BaseParams):
    """Rates of the operators; mutation is in expected flips per child."""

    crossover_rate: Leaf
    min_flips: Leaf
    max_flips: Leaf


class TernaryGA(PopulationBasedAlgorithm):
    """Genetic algorithm with int8 members, an evosax algorithm."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightKind = "ternary",
        elite_ratio: float = 0.2,
        num_survivors: int = 2,
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = no_metrics,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          kind: the value set, "ternary" or "binary".
          elite_ratio: share of the population that may become parents.
          num_survivors: how many of the best are kept and evaluated again.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics.

        Raises:
          ValueError: `num_survivors` is not between 0 and the population size.
        """
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        if not 0 <= num_survivors < population_size:
            raise ValueError(
                f"num_survivors must be 0 to {population_size - 1}, got {num_survivors}"
            )
        self.kind: ternary.WeightKind = kind
        self.elite_ratio = elite_ratio
        self.num_survivors = num_survivors

    @property
    def _default_params(self) -> Params:
        return Params(crossover_rate=0.0, min_flips=1.0, max_flips=6.0)

    def _init(self, key: Key, params: Params) -> State:
        del key, params
        return State(
            population=jnp.zeros((self.population_size, self.num_dims), jnp.int8),
            fitness=jnp.full((self.population_size,), jnp.inf),
            evaluations=jnp.ones((self.population_size,), jnp.int32),
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def _ask(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        order = jnp.argsort(state.fitness)
        ranked = state.population[order]
        key_first, key_second, key_cross, key_flip = jax.random.split(key, 4)
        num_children = self.population_size - self.num_survivors
        parents = ranked[self._tournament(key_first, num_children)]
        partners = ranked[self._tournament(key_second, num_children)]
        children = jax.vmap(self._child, (0, 0, 0, 0, None))(
            jax.random.split(key_cross, num_children),
            jax.random.split(key_flip, num_children),
            parents,
            partners,
            params,
        )
        survivors = order[: self.num_survivors]
        state = state.replace(
            fitness=self._survivors_first(state.fitness[survivors], 0.0),
            evaluations=self._survivors_first(state.evaluations[survivors], 0),
        )
        return jnp.concatenate([ranked[: self.num_survivors], children]), state

    def _tell(
        self, key: Key, population: jax.Array, fitness: jax.Array, state: State, params: Params
    ) -> State:
        del key, params
        evaluations = state.evaluations + 1
        fitness = state.fitness + (fitness - state.fitness) / evaluations
        return state.replace(population=population, fitness=fitness, evaluations=evaluations)

    def _tournament(self, key: Key, size: int) -> jax.Array:
        """Return ranks: the better of two drawn from the elite."""
        return jnp.min(jax.random.randint(key, (2, size), 0, self.num_elites), axis=0)

    def _child(
        self, key_cross: Key, key_flip: Key, parent: jax.Array, partner: jax.Array, params: Params
    ) -> jax.Array:
        """Cross two flat members and flip the result; exponents are the first parent's."""
        mother = ternary.tensors(self._unravel_solution(parent))
        father = ternary.tensors(self._unravel_solution(partner))
        key_rate, *keys_flip = jax.random.split(key_flip, len(mother) + 1)
        keys_cross = jax.random.split(key_cross, len(mother))
        rate = self._flips(key_rate, params) / ternary.num_weights(mother)
        child = [
            Tensor(
                ternary.flip(
                    k_flip,
                    ternary.crossover(k_cross, a.values, b.values, params.crossover_rate),
                    rate,
                    self.kind,
                ),
                a.exponent,
            )
            for k_flip, k_cross, a, b in zip(keys_flip, keys_cross, mother, father, strict=True)
        ]
        return self._ravel_solution(ternary.replace_tensors(self.solution, child))

    def _flips(self, key: Key, params: Params) -> jax.Array:
        """Draw the expected number of redrawn weights of one child, log-uniformly."""
        low, high = jnp.log(params.min_flips), jnp.log(params.max_flips)
        return jnp.exp(jax.random.uniform(key, minval=low, maxval=high))

    def _survivors_first(self, values: jax.Array, rest: float | int) -> jax.Array:
        filler = jnp.full((self.population_size - self.num_survivors,), rest, values.dtype)
        return jnp.concatenate([values, filler])
