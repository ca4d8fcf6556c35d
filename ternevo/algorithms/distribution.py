"""What the distributions over trits share: populations that stay pytrees, split over devices.

evosax flattens a population before `_ask` returns it and again in `tell`, which
takes as many bytes again for each copy. Here each tensor is drawn where its
members live and is summed up there; see `ternevo.ternary.sample` and `statistics`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.distribution_based.base import DistributionBasedAlgorithm
from jaxtyping import Array, Float

from ternevo import ternary
from ternevo.ternary import Statistics
from ternevo.types import Key, Tensor


class TritDistribution(DistributionBasedAlgorithm):
    """Abstract: evosax's ask and tell for independent weights, by their probabilities.

    A subclass has `use_antithetic_sampling`, `probabilities(state)`,
    `_exponents(state)` and `_update(stats, state)`, which gets the statistics of
    shaped fitness for each tensor. An antithetic pair is the members 2 i and 2 i + 1.
    """

    use_antithetic_sampling: bool
    pairs_are_adjacent = True

    @property
    def is_spread(self) -> bool:
        """Return whether each device holds its own members only."""
        return ternary.is_spread(self.population_size, self.use_antithetic_sampling)

    def probabilities(self, state: Any) -> list[Float[Array, "... 3"]]:
        """Return P(-1), P(0), P(+1) of every weight, one array for each tensor."""
        raise NotImplementedError

    def _exponents(self, state: Any) -> list[jax.Array]:
        """Return the exponent of each tensor."""
        raise NotImplementedError

    def _update(self, stats: list[Statistics], state: Any) -> Any:
        """Move the distribution; evosax minimises, so less shaped fitness is better."""
        raise NotImplementedError

    @partial(jax.jit, static_argnames=("self",))
    def ask(self, key: Key, state: Any, params: Any) -> tuple[Any, Any]:
        """Return a population, a pytree of int8 `Tensor`s with a leading population axis."""
        del params
        trits = ternary.sample(
            key, self.probabilities(state), self.population_size, self.use_antithetic_sampling
        )
        tensors = [
            Tensor(values, jnp.broadcast_to(exponent, self.population_size))
            for values, exponent in zip(trits, self._exponents(state), strict=True)
        ]
        return ternary.replace_tensors(self.solution, tensors), state

    @partial(jax.jit, static_argnames=("self",))
    def tell(
        self, key: Key, population: Any, fitness: jax.Array, state: Any, params: Any
    ) -> tuple[Any, dict]:
        """Update the distribution with the fitness [population], less is better."""
        best = jnp.argmin(jnp.where(jnp.isnan(fitness), jnp.inf, fitness))
        is_better = fitness[best] < state.best_fitness
        shaped = self.fitness_shaping_fn(population, fitness, state, params)
        tensors = ternary.tensors(population)
        stats, values = ternary.statistics(
            shaped, [tensor.values for tensor in tensors], best, self.is_spread
        )
        member = [Tensor(v, e) for v, e in zip(values, self._exponents(state), strict=True)]
        member = self._ravel_solution(ternary.replace_tensors(self.solution, member))
        state = state.replace(
            best_solution=jnp.where(is_better, member, state.best_solution),
            best_fitness=jnp.where(is_better, fitness[best], state.best_fitness),
        )
        metrics = self.metrics_fn(key, population, fitness, state, params)
        state = self._update(stats, state)
        return state.replace(generation_counter=state.generation_counter + 1), metrics
