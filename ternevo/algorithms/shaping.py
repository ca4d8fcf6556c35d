"""From fitness to utility, and the metrics every algorithm reports."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from evosax.core.fitness_shaping import standardize_fitness_shaping_fn
from jaxtyping import Array, Float


def baseline_fitness_shaping_fn(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return fitness minus its mean over the population."""
    del population, state, params  # the shaping function's signature is evosax's
    return fitness - jnp.mean(fitness)


def centered_rank_fitness_shaping_fn(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return ranks spread evenly over [-1/2, 1/2], the least fitness first, means for equal ones.

    evosax's function in other words: one quotient of integers, rounded once, so
    that no compiler has a choice (`ternevo.devices`).
    """
    del population, state, params
    last = fitness.shape[0] - 1
    ranks = jax.scipy.stats.rankdata(fitness) - 1.0  # halves where fitnesses are equal
    return (2.0 * ranks - last) / (2 * last)


def exactly_zero_if_equal(shape: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return the shaping function that gives 0, and no rounding error, where fitnesses are equal.

    Adam would blow the error up to full steps.
    """

    def shaped(population: Any, fitness: jax.Array, state: Any, params: Any) -> jax.Array:
        is_equal = jnp.all(fitness == fitness[0])
        return jnp.where(is_equal, 0.0, shape(population, fitness, state, params))

    return shaped


FITNESS_SHAPING: dict[str, Callable[..., jax.Array]] = {
    "centered_rank": exactly_zero_if_equal(centered_rank_fitness_shaping_fn),
    "standardize": exactly_zero_if_equal(standardize_fitness_shaping_fn),
    "baseline": exactly_zero_if_equal(baseline_fitness_shaping_fn),
}


def no_metrics(*args: Any) -> dict[str, jax.Array]:
    """Report nothing: evosax's default metrics are vectors as long as the solution."""
    del args
    return {}


def entropy_bits(probabilities: Float[Array, "... values"]) -> Float[Array, "..."]:
    """Return the entropy of each categorical, in bits."""
    return -jnp.sum(jax.scipy.special.xlogy(probabilities, probabilities), axis=-1) / jnp.log(2.0)
