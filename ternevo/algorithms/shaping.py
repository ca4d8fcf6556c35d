"""Turn fitness into utility; the metrics that every algorithm reports."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms.distribution_based.base import metrics_fn as of_distributions
from evosax.algorithms.population_based.base import metrics_fn as of_populations
from jaxtyping import Array, Float

from ternevo.machine import devices

ROUNDING = 1e-6
"""Sums of evosax's weights below this size count as zero; all weights together are about one."""


def baseline_fitness_shaping_fn(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return fitness minus its mean over the population."""
    del population, state, params  # the shaping function's signature is evosax's
    return fitness - jnp.mean(fitness)


def standardize_fitness_shaping_fn(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return fitness with mean 0 and standard deviation 1.

    evosax's function takes the difference of two mean squares. If the mean is much larger than the
    deviation, that difference is only a rounding error, and its utilities reach thousands.
    """
    del population, state, params
    centred = fitness - jnp.mean(fitness)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred)) + 1e-8)


def centered_rank_fitness_shaping_fn(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return ranks spread evenly over [-1/2, 1/2], lowest fitness first; ties get their mean.

    This computes evosax's function as one quotient of integers, rounded once, which
    leaves the compiler no choice (`ternevo.machine.devices`).

    Examples:
      >>> centered_rank_fitness_shaping_fn(None, jnp.array([7.0, -3.0, 0.0]), None, None).tolist()
      [0.5, -0.5, 0.0]
    """
    del population, state, params
    last = fitness.shape[0] - 1
    ranks = jax.scipy.stats.rankdata(fitness) - 1.0  # multiples of 1/2 for ties
    return (2.0 * ranks - last) / (2 * last)


def nes_fitness_shaping_fn(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return minus the utilities of natural evolution strategies, times the population size.

    The utility of rank k of N, 1 the best, is max(0, log(N/2 + 1) - log k), divided by the sum of
    all of these, minus 1/N (Wierstra et al. 2014, section 3.1). So only the better half
    is told apart. Tied members share their utilities. Times N, the mean of u x over the population
    is the sum in the paper.

    Examples:
      >>> shaped = nes_fitness_shaping_fn(None, jnp.array([7.0, -3.0, 0.0, 9.0]), None, None)
      >>> [round(x, 2) for x in shaped.tolist()]
      [1.0, -1.92, -0.08, 1.0]
    """
    del population, state, params
    size = fitness.shape[0]
    raw = np.maximum(0.0, np.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
    upto = np.concatenate([[0.0], np.cumsum(size * raw / raw.sum() - 1.0)]).astype(np.float32)
    before = jax.scipy.stats.rankdata(fitness, method="min").astype(jnp.int32) - 1
    after = jax.scipy.stats.rankdata(fitness, method="max").astype(jnp.int32)
    return (jnp.take(upto, before) - jnp.take(upto, after)) / (after - before)


def exactly_zero_if_equal(shape: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return a shaping function that gives exactly 0 if all fitness values are equal.

    Adam would amplify a rounding error to full steps.
    """

    def shaped(population: Any, fitness: jax.Array, state: Any, params: Any) -> jax.Array:
        is_equal = jnp.all(fitness == fitness[0])
        return jnp.where(is_equal, 0.0, shape(population, fitness, state, params))

    return shaped


FITNESS_SHAPING: dict[str, Callable[..., jax.Array]] = {
    "nes": exactly_zero_if_equal(nes_fitness_shaping_fn),
    "centered_rank": exactly_zero_if_equal(centered_rank_fitness_shaping_fn),
    "standardize": exactly_zero_if_equal(standardize_fitness_shaping_fn),
    "baseline": exactly_zero_if_equal(baseline_fitness_shaping_fn),
}


def truncation(elite_ratio: float) -> Callable[..., jax.Array]:
    """Return the shaping function of utilities N/mu for the best mu members, 0 for the rest.

    It returns minus the utilities, as evosax minimises. Tied members share the remaining utility.

    Examples:
      >>> truncation(0.5)(None, jnp.array([7.0, -3.0, 0.0, 9.0]), None, None).tolist()
      [-0.0, -2.0, -2.0, -0.0]
    """

    def shape(population: Any, fitness: jax.Array, state: Any, params: Any) -> jax.Array:
        del population, state, params
        size = fitness.shape[0]
        num_elites = _count(elite_ratio, size)
        return -_share_of_best(fitness, num_elites) * (size / num_elites)

    return exactly_zero_if_equal(shape)


def best_and_worst(ratio: float) -> Callable[..., jax.Array]:
    """Return the shaping function of utility +1 for the best, -1 for the worst, 0 between.

    It returns minus the utilities, as evosax minimises. Tied members share the remaining utility.
    """

    def shape(population: Any, fitness: jax.Array, state: Any, params: Any) -> jax.Array:
        del population, state, params
        number = _count(ratio, fitness.shape[0])
        return _share_of_best(-fitness, number) - _share_of_best(fitness, number)

    return exactly_zero_if_equal(shape)


def duels(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return -1 for the fitter of members 2 i and 2 i + 1 and +1 for the other; ties get 0.

    Examples:
      >>> duels(None, jnp.array([7.0, -3.0, 2.0, 5.0]), None, None).tolist()
      [1.0, -1.0, -1.0, 1.0]
    """
    del population, state, params
    first, second = fitness.reshape(-1, 2).T
    lost = (first > second).astype(jnp.float32) - (first < second)
    return jnp.stack([lost, -lost], axis=-1).ravel()


def shared_weights(
    population: Any, fitness: Float[Array, " population"], state: Any, params: Any
) -> Float[Array, " population"]:
    """Return evosax's `params.weights` by rank; tied members get the mean of their weights.

    evosax gives tied members the weight at their mean rank. The weights of a generation then do
    not have the right sum, and if all members are equal, the distribution grows or drifts.
    """
    del population, state
    before = jax.scipy.stats.rankdata(fitness, method="min").astype(jnp.int32) - 1
    upto = jax.scipy.stats.rankdata(fitness, method="max").astype(jnp.int32)
    sums = jnp.concatenate([jnp.zeros(1), jnp.cumsum(params.weights)])
    total = sums[upto] - sums[before]
    # Adam would amplify a rounding error to full steps.
    total = jnp.where(jnp.abs(total) > ROUNDING, total, 0.0)
    return jnp.where(upto - before == 1, params.weights[before], total / (upto - before))


def of_unit_energy(shaping: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Scale a shaping function so that the mean square is 1; all zeros stay zero."""

    def shape(population: Any, fitness: jax.Array, state: Any, params: Any) -> jax.Array:
        utilities = shaping(population, fitness, state, params)
        mean_square = devices.sum_in_order(jnp.square(utilities)) / fitness.shape[0]
        return utilities * jax.lax.rsqrt(jnp.where(mean_square > 0, mean_square, 1.0))

    return shape


def _count(ratio: float, size: int) -> int:
    """Return `ratio` of `size` members, rounded up, at least one."""
    return max(1, math.ceil(ratio * size - 1e-6))


def _share_of_best(
    fitness: Float[Array, " population"], number: int
) -> Float[Array, " population"]:
    """Return 1 for the members of lowest fitness, 0 for others, and fractions for ties."""
    before = jax.scipy.stats.rankdata(fitness, method="min") - 1.0
    equal = jax.scipy.stats.rankdata(fitness, method="max") - before
    return jnp.clip((number - before) / equal, 0.0, 1.0)


def no_metrics(*args: Any) -> dict[str, jax.Array]:
    """Report nothing: a compiled training loop has its own metrics."""
    del args
    return {}


def scalars_of(metrics_fn: Callable[..., dict[str, jax.Array]]) -> Callable[..., Any]:
    """Return evosax metrics without those as long as a solution."""

    def scalars(*args: Any) -> dict[str, jax.Array]:
        return {name: value for name, value in metrics_fn(*args).items() if jnp.ndim(value) == 0}

    return scalars


distribution_metrics = scalars_of(of_distributions)
"""evosax's scalar metrics of distributions, under evosax's names, such as `best_fitness`."""

population_metrics = scalars_of(of_populations)
"""evosax's scalar metrics of populations."""


def entropy_bits(probabilities: Float[Array, "... values"]) -> Float[Array, "..."]:
    """Return the entropy of each categorical, in bits."""
    return -jnp.sum(jax.scipy.special.xlogy(probabilities, probabilities), axis=-1) / jnp.log(2.0)
