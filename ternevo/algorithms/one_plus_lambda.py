r"""The (1 + lambda) evolutionary algorithm with a self-adjusting mutation rate.

The parent is evaluated again with its children, and the best
child replaces it if it is not worse in this generation; ties between children are
broken at random. The first half of the children redraws each of n weights at the rate r/(2n), the
second half at 2r/n; if that changes nothing, one weight takes another value.
Then r becomes r/2 or 2r, as in the best child's half, with probability 3/4, else as in
the other half. r always stays within $[2, n/4]$. The parent is the shipped policy.

References:
  Doerr, Gießen, Witt, Yang, "The (1+λ) evolutionary algorithm with
  self-adjusting mutation rate", GECCO 2017 (on bits that flip; here they are redrawn).
  Carvalho Pinto, Doerr, "Towards a more practice-aware runtime analysis of evolutionary
  algorithms", 2018 (a child that is its parent's copy is a wasted evaluation).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import Params as BaseParams
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from ternevo.algorithms.elites import Elitist, State
from ternevo.algorithms.shaping import population_metrics
from ternevo.arithmetic import ternary
from ternevo.settings.strategies.one_plus_lambda import OnePlusLambda as Settings
from ternevo.types import Key, Leaf

MIN_FLIPS = 2.0
"""The smallest r: the slower half of the children then redraws one weight each, on average."""

FOLLOWING = 0.75
"""Probability that r follows the best child; the remainder protects r from chance winners."""


@struct.dataclass
class Params(BaseParams):
    """The initial r, in expected redrawn weights; clipped to the range of r."""

    init_flips: Leaf


class OnePlusLambda(Elitist):
    """One int8 parent and its children, an evosax algorithm; the memory is r.

    The parent comes first in the state.
    """

    remembers_fitness = False  # the parent is evaluated again with its children

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = population_metrics,
    ):
        """Build the algorithm; all but one of the `population_size` members are children."""
        super().__init__(population_size, solution, kind, 1, fitness_shaping_fn, metrics_fn)

    @property
    def _default_params(self) -> Params:
        return Params(init_flips=2.0)

    @property
    def is_fast(self) -> Bool[Array, " children"]:
        """Return whether each child is in the half with more flips."""
        num_children = self.population_size - 1
        return jnp.arange(num_children) >= num_children / 2

    def init(self, key: Key, population: Any, fitness: jax.Array, params: Params) -> State:
        """Start from the best of an evaluated population."""
        state = super().init(key, population, fitness, params)
        return put_first(state, jnp.argmin(state.fitness))

    def get_best_solution(self, state: State) -> Any:
        """Return the parent."""
        return self.unravel(state.population[0])

    def init_memory(self, key: Key, params: Params) -> jax.Array:
        """Return the expected number of flips, within its bounds."""
        del key
        return self._bounded(jnp.asarray(params.init_flips, jnp.float32))

    def propose(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        """Return the parent and its children, at twice and at half the rate."""
        del params
        parent = state.population[0]
        keys = jax.random.split(key, self.population_size - 1)
        rates = jnp.where(self.is_fast, 2.0, 0.5) * state.memory / self.num_weights
        children = jax.vmap(self._child, (0, None, 0))(keys, parent, rates)
        return jnp.concatenate([parent[None], children]), state

    def _child(self, key: Key, parent: jax.Array, rate: jax.Array) -> jax.Array:
        """Redraw weights of the parent at a rate; if none changed, change one."""
        key_flip, key_place, key_value = jax.random.split(key, 3)
        child = self.flip(key_flip, parent, rate)
        lots = jnp.where(self.is_weight, jax.random.uniform(key_place, parent.shape), -1.0)
        place = jnp.argmax(lots)
        other = self.kind.other(key_value, parent[place])
        return jnp.where(jnp.any(child != parent), child, parent.at[place].set(other))

    def update(
        self, key: Key, population: jax.Array, fitness: jax.Array, state: State, params: Params
    ) -> State:
        """Follow the rate of the best child, and put the better of it and the parent first."""
        del params
        key_winner, key_follow = jax.random.split(key)
        winner = winner_of(key_winner, fitness[1:])
        is_faster = self.is_fast[winner] == jax.random.bernoulli(key_follow, FOLLOWING)
        flips = self._bounded(jnp.where(is_faster, 2.0, 0.5) * state.memory)
        told = state.replace(population=population, fitness=fitness, memory=flips)
        return put_first(told, jnp.where(fitness[1 + winner] <= fitness[0], 1 + winner, 0))

    def _bounded(self, flips: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.clip(flips, MIN_FLIPS, max(MIN_FLIPS, self.num_weights / 4))


def put_first(state: State, leader: Int[Array, ""]) -> State:
    """Swap a member with the first one."""
    order = jnp.arange(state.fitness.shape[0]).at[0].set(leader).at[leader].set(0)
    return state.replace(population=state.population[order], fitness=state.fitness[order])


def winner_of(key: Key, fitness: Float[Array, " children"]) -> Int[Array, ""]:
    """Return a random one of the best children: the first would always be in the slower half."""
    lots = jax.random.uniform(key, fitness.shape)
    return jnp.argmax(jnp.where(fitness == jnp.min(fitness), lots, -1.0))


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy one_plus_lambda` runs, and its params."""
    del num_generations  # the rate adjusts itself
    algorithm = OnePlusLambda(settings.population_size, solution, weights)
    return algorithm, algorithm.default_params.replace(init_flips=settings.init_flips)
