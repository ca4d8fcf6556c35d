"""Base of the distributions over trits: populations stay pytrees, split over devices.

evosax flattens a population before `_ask` returns it and again in `tell`, and
each copy takes as many bytes again. Here members are drawn, and their
tensors summed, where they live; see `spread.py`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.distribution_based.base import (
    DistributionBasedAlgorithm,
    Params as BaseParams,
)
from flax import struct
from jaxtyping import Array, Float, Num

from ternevo.algorithms import spread
from ternevo.algorithms.guards import finite_fitness
from ternevo.algorithms.shaping import entropy_bits
from ternevo.algorithms.spread import Statistics
from ternevo.algorithms.traits import Described, Traits
from ternevo.arithmetic import ternary
from ternevo.arithmetic.weights import TERNARY, WeightKind
from ternevo.types import Key, Tensor

MARGIN = 1e-3
"""Smallest probability of a value of a weight, unless a class sets another."""


@struct.dataclass
class Params(BaseParams):
    """No dynamic parameters: rates are schedules."""


class TritDistribution(Described, DistributionBasedAlgorithm):
    """Abstract: evosax's ask and tell for independent weights, by their probabilities.

    A subclass defines `use_antithetic_sampling`, `probabilities(state)`, a `mean` in its state and
    `move(utilities, stats, state)`, which gets shaped fitness and the statistics of each
    tensor. An antithetic pair is the members 2 i and 2 i + 1.
    """

    use_antithetic_sampling: bool

    @property
    def _default_params(self) -> Params:
        return Params()

    @property
    def is_spread(self) -> bool:
        """Return whether each device holds only its own members."""
        return spread.is_spread(self.population_size, self.use_antithetic_sampling)

    @property
    def traits(self) -> Traits:
        """Return the capabilities that all subclasses have."""
        return Traits(
            pairs_are_adjacent=True,
            is_spread=lambda: self.is_spread,
            remembers_fitness=False,
            metrics=lambda state: {"search/entropy": self.entropy(state)},
        )

    def probabilities(self, state: Any) -> list[Float[Array, "... 3"]]:
        """Return P(-1), P(0), P(+1) of every weight, one array for each tensor."""
        raise NotImplementedError

    def exponents(self, state: Any) -> list[jax.Array]:
        """Return the exponent of each tensor of the mode, which all members share."""
        return [tensor.exponent for tensor in ternary.tensors(self.get_mean(state))]

    def to_tensors(self, trits: list[jax.Array], state: Any) -> list[Tensor]:
        """Return the values drawn for one member, or for a population, as tensors."""
        ranks = [tensor.values.ndim for tensor in ternary.tensors(self.solution)]
        return [
            Tensor(
                values,
                jnp.broadcast_to(exponent, values.shape[: values.ndim - rank] + exponent.shape),
            )
            for values, exponent, rank in zip(trits, self.exponents(state), ranks, strict=True)
        ]

    def to_trits(self, tensors: list[Tensor], state: Any) -> list[jax.Array]:
        """Return the values drawn for the tensors of a population."""
        del state
        return [tensor.values for tensor in tensors]

    def entropy(self, state: Any) -> Float[Array, ""]:
        """Return the mean entropy of a weight, in bits (at most log2(3) = 1.58)."""
        return ternary.mean_over([entropy_bits(p) for p in self.probabilities(state)])

    def move(self, utilities: jax.Array, stats: list[Statistics], state: Any) -> Any:
        """Move the distribution; evosax minimises, so lower shaped fitness is better."""
        raise NotImplementedError

    @partial(jax.jit, static_argnames=("self",))
    def ask(self, key: Key, state: Any, params: Any) -> tuple[Any, Any]:
        """Return a population: a pytree of int8 `Tensor`s with a leading population axis."""
        del params
        trits = spread.sample(
            key, self.probabilities(state), self.population_size, self.use_antithetic_sampling
        )
        tensors = self.to_tensors(trits, state)
        return ternary.replace_tensors(self.solution, tensors), state

    @partial(jax.jit, static_argnames=("self",))
    def tell(
        self, key: Key, population: Any, fitness: jax.Array, state: Any, params: Any
    ) -> tuple[Any, dict]:
        """Update the distribution with the fitness [population]; lower is better.

        Unusable fitness counts as worse than any other, see `finite_fitness`.
        """
        fitness = finite_fitness(fitness)
        best = jnp.argmin(fitness)
        is_better = fitness[best] < state.best_fitness
        shaped = self.fitness_shaping_fn(population, fitness, state, params)
        tensors = ternary.tensors(population)
        trits = self.to_trits(tensors, state)
        stats, drawn = spread.sum_up(shaped, trits, best, self.is_spread)
        member = ternary.replace_tensors(self.solution, self.to_tensors(drawn, state))
        member = self.ravel(member)
        state = state.replace(
            best_solution=jnp.where(is_better, member, state.best_solution),
            best_fitness=jnp.where(is_better, fitness[best], state.best_fitness),
        )
        # Metrics take flat members, as in evosax; XLA drops arrays that no metric reads.
        members = jax.vmap(self.ravel)(population)
        metrics = self.metrics_fn(key, members, fitness, state, params)
        state = self.move(shaped, stats, state)
        return state.replace(generation_counter=state.generation_counter + 1), metrics


def with_margin(
    probabilities: Float[Array, "... 3"], values: Float[Array, "3"] | None = None
) -> Float[Array, "... 3"]:
    """Keep the probability of every possible value (1 in `values`) at or above `MARGIN`."""
    values = jnp.ones(3) if values is None else values
    return MARGIN * values + (1.0 - MARGIN * jnp.sum(values)) * probabilities


def possible_values(kind: WeightKind) -> Float[Array, "3"]:
    """Return 1 for each of -1, 0, +1 that a weight of this kind may have, else 0."""
    return jnp.array([1.0, kind.has_zero, 1.0])


def around(
    centre: Num[Array, "..."], rate: Float[Array, ""], kind: WeightKind = TERNARY
) -> Float[Array, "... 3"]:
    """Return the probabilities of weights at a centre that flip to a neighbour at a rate.

    Examples:
      >>> around(jnp.array([0, 1], jnp.int8), jnp.float32(0.25)).tolist()
      [[0.125, 0.75, 0.125], [0.0, 0.25, 0.75]]
    """
    stay, none = 1.0 - rate, jnp.zeros_like(rate)
    at_zero = jnp.stack([rate / 2, stay, rate / 2])
    at_one = jnp.stack([none, rate, stay] if kind.has_zero else [rate, none, stay])
    signed = jnp.where((centre > 0)[..., None], at_one, at_one[::-1])
    return jnp.where((centre == 0)[..., None], at_zero, signed)
