r"""Cooperative synapse neuroevolution: members exchange the values of each weight.

The best members have children by crossover and mutation, which replace the
worst. Then every weight becomes its own subpopulation: its marked
values are permuted at random. With relative fitness 1 for
the best member and 0 for the worst, a value of member i is marked with probability

$$1 - \left(\frac{f_i - f_{\min}}{f_{\max} - f_{\min}}\right)^{1/n}$$

for n weights. A member then has about $-\log$ of its relative fitness
marked values, for any size of the policy. A child has the fitness of the member it replaces.

References:
  Gomez, Schmidhuber, Miikkulainen, "Accelerated Neural Evolution through
  Cooperatively Coevolved Synapses", JMLR 2008 (Cauchy noise; here float weights
  get normal noise and discrete ones are redrawn).
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import Params as BaseParams
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct
from jaxtyping import Array, Bool, Float, Num

from ternevo.algorithms.elites import Elitist, State
from ternevo.algorithms.shaping import population_metrics
from ternevo.arithmetic import ternary
from ternevo.settings.strategies.cosyne import CoSyNE as Settings
from ternevo.types import Key, Leaf


@struct.dataclass
class Params(BaseParams):
    """Rates of the operators; `mutation_sigma` applies to float weights."""

    crossover_rate: Leaf
    mutation_flips: Leaf
    mutation_sigma: Leaf


class CoSyNE(Elitist):
    """CoSyNE over ternary, binary or float weights, an evosax algorithm."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        elite_ratio: float = 0.25,
        num_survivors: int = 2,
        permutation: Literal["fitness", "all"] = "fitness",
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = population_metrics,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s; for `kind` "float", a pytree of arrays.
          kind: the value set.
          elite_ratio: share of the population that has children; as many children as elites.
          num_survivors: number of the best members that are kept unchanged and evaluated again.
          permutation: mark values by their member's fitness, or mark all.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics; by default its scalar ones.

        Raises:
          ValueError: children would replace survivors.
        """
        super().__init__(
            population_size, solution, kind, num_survivors, fitness_shaping_fn, metrics_fn
        )
        self.elite_ratio = elite_ratio
        self.permutation = permutation
        if num_survivors + self.num_elites > population_size:
            raise ValueError(
                f"num_survivors must be 0 to {population_size - self.num_elites} with "
                f"{self.num_elites} children, got {num_survivors}"
            )

    @property
    def _default_params(self) -> Params:
        return Params(crossover_rate=0.5, mutation_flips=2.0, mutation_sigma=0.3)

    def propose(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        """Return the members, sorted, with children for the worst and marked weights permuted."""
        order = jnp.argsort(state.fitness)
        survivors = order[: self.num_survivors]
        key_children, key_mark, key_permute = jax.random.split(key, 3)
        children = self._children(key_children, state.population[order[: self.num_elites]], params)
        members = jnp.concatenate([state.population[order[: -self.num_elites]], children])
        marked = self._marked(key_mark, state.fitness[order])
        return permute_marked(key_permute, members, marked), self.keep(state, survivors)

    def _children(self, key: Key, elites: jax.Array, params: Params) -> jax.Array:
        """Return one child for each elite, with the exponents of its first parent."""
        key_parents, key_cross, key_mutate = jax.random.split(key, 3)
        picks = jax.random.randint(key_parents, (2, self.num_elites), 0, self.num_elites)
        parents, partners = elites[picks[0]], elites[picks[1]]
        crossed = ternary.crossover(key_cross, parents, partners, params.crossover_rate)
        crossed = jnp.where(self.is_weight, crossed, parents)
        rate = params.mutation_flips / self.num_weights
        if not self.kind.is_float:
            return self.flip(key_mutate, crossed, rate)
        key_where, key_noise = jax.random.split(key_mutate)
        noise = params.mutation_sigma * jax.random.normal(key_noise, crossed.shape)
        return crossed + noise * (jax.random.uniform(key_where, crossed.shape) < rate)

    def _marked(self, key: Key, fitness: jax.Array) -> jax.Array:
        """Return which values of members, sorted by fitness, are permuted."""
        chances = permutation_chances(fitness, self.num_weights)
        if self.permutation == "all":
            chances = jnp.ones_like(chances)
        chances = chances.at[: self.num_survivors].set(0.0)
        shape = (self.population_size, self.num_dims)
        return (jax.random.uniform(key, shape) < chances[:, None]) & self.is_weight


def permutation_chances(
    fitness: Float[Array, " population"], num_weights: int
) -> Float[Array, " population"]:
    """Return the probability of marking a value of each member: 0 for the best, 1 for the worst.

    It is 1 for all members if all are equal. The best member has the lowest fitness.
    """
    span = jnp.max(fitness) - jnp.min(fitness)
    relative = (jnp.max(fitness) - fitness) / jnp.where(span > 0, span, 1.0)
    return -jnp.expm1(jnp.log(relative) / num_weights)


def permute_marked(
    key: Key, members: Num[Array, "population dims"], marked: Bool[Array, "population dims"]
) -> Num[Array, "population dims"]:
    """Permute the marked values within each column."""
    lots = jnp.where(marked, jax.random.uniform(key, members.shape), 1.0)
    _, shuffled = jax.lax.sort((lots, members), dimension=0, num_keys=1)  # marked ones first
    place = jnp.maximum(jnp.cumsum(marked, axis=0) - 1, 0)
    return jnp.where(marked, jnp.take_along_axis(shuffled, place, axis=0), members)


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy cosyne` runs, and its params."""
    del num_generations  # nothing here follows a schedule
    algorithm = CoSyNE(
        settings.population_size,
        solution,
        weights,
        settings.elite_ratio,
        settings.num_survivors,
        settings.permutation,
    )
    params = algorithm.default_params.replace(
        crossover_rate=settings.crossover_rate,
        mutation_flips=settings.mutation_flips,
        mutation_sigma=settings.mutation_sigma,
    )
    return algorithm, params
