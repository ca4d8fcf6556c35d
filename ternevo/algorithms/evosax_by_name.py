"""Any evosax algorithm by name, over float latents."""

import dataclasses
import inspect
from typing import Any

import jax
from evosax.algorithms import algorithms
from evosax.core.fitness_shaping import weights_fitness_shaping_fn

from ternevo.algorithms import schedules
from ternevo.algorithms.shaping import FITNESS_SHAPING, no_metrics, shared_weights
from ternevo.arithmetic.ternary import WeightName
from ternevo.names import check
from ternevo.settings.strategies.latent import Latent
from ternevo.types import Key, Number

NO_SINGLE_MEAN = ("SV_CMA_ES", "SV_Open_ES")
"""Stein variational algorithms search several distributions: there is no single policy to ship."""


def from_settings(
    settings: Latent, solution: Any, weights: WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy latent` runs over latents, and its params.

    Raises:
      UnknownName: evosax has no such algorithm, or the algorithm has no such parameter.
      ValueError: the algorithm does not fit the other settings.
    """
    del weights  # latents are float for every kind of weights
    algorithm = _algorithm(settings, solution, num_generations)
    return algorithm, _params(settings, algorithm)


def _algorithm(settings: Latent, solution: Any, num_generations: int) -> Any:
    if settings.algorithm in NO_SINGLE_MEAN:
        raise ValueError(
            f"{settings.algorithm} searches several means, so there is no single policy to ship"
        )
    check(
        "evosax algorithm", settings.algorithm, [a for a in algorithms if a not in NO_SINGLE_MEAN]
    )
    constructor: Any = algorithms[settings.algorithm]
    offered = {
        "optimizer": schedules.scheduled_optimizer(
            settings.optimization, settings.fitness_shaping, num_generations
        ),
        "std_schedule": schedules.spread(settings.noise, num_generations),
        "use_antithetic_sampling": settings.antithetic,
        "num_generations": num_generations,
        "sampling_fn": lambda key: _around(key, solution, settings.noise.sigma),
    }
    taken = inspect.signature(constructor).parameters
    if settings.optimization.weight_decay and "optimizer" not in taken:
        raise ValueError(
            f"--weight_decay must be 0 with --algorithm {settings.algorithm}, which has no "
            f"optimiser, got {settings.optimization.weight_decay}"
        )
    weighs_ranks = taken["fitness_shaping_fn"].default is weights_fitness_shaping_fn
    if settings.fitness_shaping != "own":
        if weighs_ranks:  # evosax's weights are positive for the best, ours negative
            raise ValueError(
                f"--algorithm {settings.algorithm} weights ranks in its own way: it needs "
                f"--fitness_shaping own, not {settings.fitness_shaping}"
            )
        offered["fitness_shaping_fn"] = FITNESS_SHAPING[settings.fitness_shaping]
    elif weighs_ranks:
        offered["fitness_shaping_fn"] = shared_weights
    given = {name: value for name, value in offered.items() if name in taken}
    try:
        return constructor(
            population_size=settings.population_size,
            solution=solution,
            metrics_fn=no_metrics,
            **given,
        )
    except AssertionError as error:  # how evosax refuses a population size
        raise ValueError(f"--algorithm {settings.algorithm}: {error}") from error


def _params(settings: Latent, algorithm: Any) -> Any:
    params = algorithm.default_params
    fields = [field.name for field in dataclasses.fields(params)]
    changes = dict(settings.algorithm_params)
    if "std_init" in fields:
        changes.setdefault("std_init", settings.noise.sigma)
    for name in changes:
        check(f"parameter of {settings.algorithm}", name, fields)
    return params.replace(**changes)


def _around(key: Key, solution: Any, sigma: Number) -> Any:
    """Draw a solution of independent normals, for algorithms that sample on their own."""
    leaves, treedef = jax.tree.flatten(solution)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(
        [sigma * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )
