"""Base of population-based algorithms: surviving members, and the mean of their evaluations.

Survivors come first in a population, unchanged, and are evaluated again with the
others. Their fitness is the mean over all their evaluations, so that one lucky
episode does not keep a member at the top.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm, State as BaseState
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct
from jaxtyping import Array, Int, Shaped

from ternevo.algorithms.guards import finite_fitness
from ternevo.algorithms.shaping import population_metrics
from ternevo.algorithms.traits import Described, Traits
from ternevo.arithmetic import ternary, weights
from ternevo.types import Key, Leaf, Tensor


@struct.dataclass
class State(BaseState):
    """The asked members, the number of evaluations of each, and the memory of a subclass."""

    population: Leaf
    fitness: Leaf
    evaluations: Leaf
    memory: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


class Elitist(Described, PopulationBasedAlgorithm):
    """Abstract: a subclass defines `propose`, and `init_memory` or `update` where those differ.

    Members are flat, as in evosax, with the exponents of their tensors in between. A subclass
    that compares only members of one generation sets `remembers_fitness = False`.
    """

    remembers_fitness: bool = True

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        num_survivors: int = 1,
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = population_metrics,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s; for float weights, a pytree of arrays.
          kind: the value set.
          num_survivors: number of members that are kept and evaluated again.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics; by default its scalar ones.

        Raises:
          ValueError: `num_survivors` is negative or not below the population size.
        """
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        if not 0 <= num_survivors < population_size:
            raise ValueError(
                f"num_survivors must be 0 to {population_size - 1}, got {num_survivors}"
            )
        self.kind = weights.kind_of(kind)
        self.num_survivors = num_survivors
        marks = jax.tree.map(_mark_weights, solution, is_leaf=ternary.is_tensor)
        self.is_weight = self.ravel(marks)
        self.num_weights = sum(
            map(_count_weights, jax.tree.leaves(solution, is_leaf=ternary.is_tensor))
        )

    @property
    def traits(self) -> Traits:
        """Return the capabilities that all subclasses have."""
        return Traits(remembers_fitness=self.remembers_fitness)

    @partial(jax.jit, static_argnames=("self",))
    def init(self, key: Key, population: Any, fitness: jax.Array, params: Any) -> State:
        """Start from an evaluated population; lower fitness is better."""
        return super().init(key, population, finite_fitness(fitness), params)

    @partial(jax.jit, static_argnames=("self",))
    def tell(
        self, key: Key, population: Any, fitness: jax.Array, state: State, params: Any
    ) -> tuple[State, dict]:
        """Update the members with the fitness [population]; lower is better.

        Unusable fitness counts as worse than any other, see `finite_fitness`.
        """
        return super().tell(key, population, finite_fitness(fitness), state, params)

    def _init(self, key: Key, params: Any) -> State:
        return State(
            population=jnp.zeros((self.population_size, self.num_dims), self.solution_flat.dtype),
            fitness=jnp.full((self.population_size,), jnp.inf),
            evaluations=jnp.ones((self.population_size,), jnp.int32),
            memory=self.init_memory(key, params),
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def _ask(self, key: Key, state: State, params: Any) -> tuple[jax.Array, State]:
        return self.propose(key, state, params)

    def _tell(
        self, key: Key, population: jax.Array, fitness: jax.Array, state: State, params: Any
    ) -> State:
        return self.update(key, population, fitness, state, params)

    def init_memory(self, key: Key, params: Any) -> Any:
        """Return the memory before the first generation, any pytree; `state.memory` keeps it."""
        del key, params
        return ()

    def propose(self, key: Key, state: State, params: Any) -> tuple[jax.Array, State]:
        """Return the members to evaluate, [population, dims], and the state.

        A subclass that keeps survivors puts them first and calls `keep`.
        """
        raise NotImplementedError

    def update(
        self, key: Key, population: jax.Array, fitness: jax.Array, state: State, params: Any
    ) -> State:
        """Return the state after the evaluation of what `propose` returned; lower is better.

        As it is, the fitness of survivors becomes the mean of all their evaluations.
        """
        del key, params
        evaluations = state.evaluations + 1
        fitness = state.fitness + (fitness - state.fitness) / evaluations
        return state.replace(population=population, fitness=fitness, evaluations=evaluations)

    def keep(self, state: State, survivors: Int[Array, " survivors"]) -> State:
        """Return the state in which only the first members, the survivors, have evaluations."""
        fresh = (0, self.population_size - self.num_survivors)
        return state.replace(
            fitness=jnp.pad(state.fitness[survivors], fresh),
            evaluations=jnp.pad(state.evaluations[survivors], fresh),
        )

    def flip(
        self, key: Key, members: Shaped[Array, "... dims"], rate: jax.Array
    ) -> Shaped[Array, "... dims"]:
        """Redraw trits or signs of flat members at a rate; exponents stay."""
        return jnp.where(self.is_weight, weights.flip(key, members, rate, self.kind), members)


def _count_weights(node: Any) -> int:
    return node.values.size if ternary.is_tensor(node) else node.size


def _mark_weights(node: Any) -> Any:
    if ternary.is_tensor(node):
        return Tensor(jnp.ones(node.values.shape, bool), jnp.zeros(node.exponent.shape, bool))
    return jnp.ones(node.shape, bool)
