"""A genetic algorithm over ternary or binary weights: truncation, flips, re-evaluated elites.

Each child has a mutation rate. It is drawn log-uniformly between 1/n and 6/n for n
weights, or inherited from the first parent and changed by a log-normal factor,
so that good rates spread with the members they produce.

References:
  Such et al., "Deep Neuroevolution", 2017 (truncation selection, elites
  re-evaluated on fresh episodes; the Gaussian mutation there is a flip here).
  Bäck, "Self-adaptation in genetic algorithms", ECAL 1991 (rates in the genome).
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import Params as BaseParams
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct

from ternevo.algorithms.elites import Elitist, State
from ternevo.algorithms.shaping import population_metrics
from ternevo.arithmetic import ternary, weights
from ternevo.settings.strategies.ternary_ga import TernaryGA as Settings
from ternevo.types import Key, Leaf, Tensor

MAX_RATE = 0.5
"""The largest inherited mutation rate; the smallest redraws one weight on average."""


@struct.dataclass
class Params(BaseParams):
    """Rates of the operators; mutation is in expected flips per child."""

    crossover_rate: Leaf
    min_flips: Leaf
    max_flips: Leaf
    rate_step: Leaf


class TernaryGA(Elitist):
    """Genetic algorithm with int8 members; the memory holds the mutation rate of each."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        elite_ratio: float = 0.2,
        num_survivors: int = 2,
        mutation: Literal["log_uniform", "self_adaptive"] = "log_uniform",
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = population_metrics,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          kind: the value set, "ternary" or "binary".
          elite_ratio: share of the population that may become parents.
          num_survivors: number of the best members that are kept and evaluated again.
          mutation: whether each child's rate is drawn, or inherited and changed.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics; by default its scalar ones.

        Raises:
          ValueError: `num_survivors` is negative or not below the population size.
        """
        super().__init__(
            population_size, solution, kind, num_survivors, fitness_shaping_fn, metrics_fn
        )
        self.elite_ratio = elite_ratio
        self.mutation = mutation

    @property
    def _default_params(self) -> Params:
        return Params(crossover_rate=0.0, min_flips=1.0, max_flips=6.0, rate_step=0.7)

    def init_memory(self, key: Key, params: Params) -> jax.Array:
        """Return a flip rate for each member."""
        keys = jax.random.split(key, self.population_size)
        return jax.vmap(self._drawn_rate, (0, None))(keys, params)

    def propose(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        """Return the survivors and children of tournaments, and their flip rates as memory."""
        order = jnp.argsort(state.fitness)
        survivors = order[: self.num_survivors]
        key_first, key_second, key_cross, key_flip = jax.random.split(key, 4)
        num_children = self.population_size - self.num_survivors
        parents = order[self._tournament(key_first, num_children)]
        partners = order[self._tournament(key_second, num_children)]
        children, rates = jax.vmap(self._child, (0, 0, 0, 0, 0, None))(
            jax.random.split(key_cross, num_children),
            jax.random.split(key_flip, num_children),
            state.population[parents],
            state.population[partners],
            state.memory[parents],
            params,
        )
        rates = jnp.concatenate([state.memory[survivors], rates])
        population = jnp.concatenate([state.population[survivors], children])
        return population, self.keep(state, survivors).replace(memory=rates)

    def _tournament(self, key: Key, size: int) -> jax.Array:
        """Return ranks, each the better of two drawn from the elite."""
        return jnp.min(jax.random.randint(key, (2, size), 0, self.num_elites), axis=0)

    def _child(
        self,
        key_cross: Key,
        key_flip: Key,
        parent: jax.Array,
        partner: jax.Array,
        parent_rate: jax.Array,
        params: Params,
    ) -> tuple[jax.Array, jax.Array]:
        """Cross two flat members and mutate the result; exponents come from the first parent."""
        mother = ternary.tensors(self.unravel(parent))
        father = ternary.tensors(self.unravel(partner))
        key_rate, *keys_flip = jax.random.split(key_flip, len(mother) + 1)
        keys_cross = jax.random.split(key_cross, len(mother))
        if self.mutation == "self_adaptive":
            rate = self._inherited_rate(key_rate, parent_rate, params)
        else:
            rate = self._drawn_rate(key_rate, params)
        child = [
            Tensor(
                weights.flip(
                    k_flip,
                    ternary.crossover(k_cross, a.values, b.values, params.crossover_rate),
                    rate,
                    self.kind,
                ),
                a.exponent,
            )
            for k_flip, k_cross, a, b in zip(keys_flip, keys_cross, mother, father, strict=True)
        ]
        return self.ravel(ternary.replace_tensors(self.solution, child)), rate

    def _drawn_rate(self, key: Key, params: Params) -> jax.Array:
        """Draw a mutation rate log-uniformly."""
        low, high = jnp.log(params.min_flips), jnp.log(params.max_flips)
        return jnp.exp(jax.random.uniform(key, minval=low, maxval=high)) / self.num_weights

    def _inherited_rate(self, key: Key, rate: jax.Array, params: Params) -> jax.Array:
        """Change a parent's mutation rate by a log-normal factor."""
        changed = rate * jnp.exp(params.rate_step * jax.random.normal(key))
        return jnp.clip(changed, 1.0 / self.num_weights, MAX_RATE)


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy ternary_ga` runs, and its params."""
    del num_generations  # nothing here follows a schedule
    algorithm = TernaryGA(
        settings.population_size,
        solution,
        weights,
        settings.elite_ratio,
        settings.num_survivors,
        settings.mutation,
    )
    params = algorithm.default_params.replace(
        crossover_rate=settings.crossover_rate,
        min_flips=settings.min_flips,
        max_flips=settings.max_flips,
        rate_step=settings.rate_step,
    )
    return algorithm, params
