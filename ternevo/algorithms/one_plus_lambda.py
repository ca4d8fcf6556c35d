r"""The (1 + lambda) evolutionary algorithm with a self-adjusting mutation rate.

The parent is evaluated again with its children, and the best child replaces it
if it is not worse than the mean of the parent's evaluations. Of n weights the
first half of the children redraws each at the rate r/(2n), the second at 2r/n.
Then r becomes that of the half of the best child with probability 3/4, else
that of the other, and stays within $[2, n/4]$.

References:
  Doerr, Gießen, Witt, Yang, "The (1+λ) evolutionary algorithm with
  self-adjusting mutation rate", GECCO 2017 (on bits that flip; here they are redrawn).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import Params as BaseParams
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from ternevo import ternary
from ternevo.algorithms.elites import Elitist, State
from ternevo.algorithms.shaping import no_metrics
from ternevo.types import Key, Leaf

MIN_FLIPS = 2.0
"""The least r: the slower half of the children then redraws one weight each."""

FOLLOWING = 0.75
"""How probably r goes where the best child is; the rest keeps it from being led by chance alone."""


@struct.dataclass
class Params(BaseParams):
    """Where r starts, in expected flips per child."""

    init_flips: Leaf


class OnePlusLambda(Elitist):
    """One int8 parent and its children, an evosax algorithm; the memory is r."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightKind = "ternary",
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = no_metrics,
    ):
        """Build the algorithm; of `population_size` members all but one are children."""
        super().__init__(population_size, solution, kind, 1, fitness_shaping_fn, metrics_fn)

    @property
    def _default_params(self) -> Params:
        return Params(init_flips=2.0)

    @property
    def is_fast(self) -> Bool[Array, " children"]:
        """Return whether each child is of the half with more flips."""
        num_children = self.population_size - 1
        return jnp.arange(num_children) >= num_children / 2

    def _memory(self, key: Key, params: Params) -> jax.Array:
        del key
        return self._bounded(jnp.asarray(params.init_flips, jnp.float32))

    def _ask(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        del params
        leader = parent_of(state.fitness)
        parent = state.population[leader]
        keys = jax.random.split(key, self.population_size - 1)
        rates = jnp.where(self.is_fast, 2.0, 0.5) * state.memory / self.num_weights
        children = jax.vmap(self._flip, (0, None, 0))(keys, parent, rates)
        return jnp.concatenate([parent[None], children]), self._keep(state, leader[None])

    def _tell(
        self, key: Key, population: jax.Array, fitness: jax.Array, state: State, params: Params
    ) -> State:
        key_winner, key_follow = jax.random.split(key)
        is_fast = self.is_fast[winner_of(key_winner, fitness[1:])]
        is_faster = is_fast == jax.random.bernoulli(key_follow, FOLLOWING)
        flips = self._bounded(jnp.where(is_faster, 2.0, 0.5) * state.memory)
        return super()._tell(key, population, fitness, state, params).replace(memory=flips)

    def _bounded(self, flips: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.clip(flips, MIN_FLIPS, max(MIN_FLIPS, self.num_weights / 4))


def parent_of(fitness: Float[Array, " population"]) -> Int[Array, ""]:
    """Return the best child if it is not worse than its parent, member 0."""
    child = 1 + jnp.argmin(fitness[1:])
    return jnp.where(fitness[child] <= fitness[0], child, 0)


def winner_of(key: Key, fitness: Float[Array, " children"]) -> Int[Array, ""]:
    """Return one of the best at random: the first would always be of the slower half."""
    lots = jax.random.uniform(key, fitness.shape)
    return jnp.argmax(jnp.where(fitness == jnp.min(fitness), lots, -1.0))
