"""Every algorithm of `ternevo.algorithms`, found by looking through its modules."""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
from evosax.algorithms.base import EvolutionaryAlgorithm
from evosax.algorithms.distribution_based.base import DistributionBasedAlgorithm

from ternevo import algorithms
from ternevo.arithmetic import ternary
from ternevo.arithmetic.weights import kind_of
from ternevo.types import Tensor

ABSTRACT = {"TritDistribution", "Categorical", "Elitist"}
"""Classes that algorithms are made of; a new one that is not abstract is tested by itself."""


def all_of_them() -> dict[str, type]:
    """Return the classes by name."""
    modules = [
        importlib.import_module(f"{algorithms.__name__}.{found.name}")
        for found in pkgutil.iter_modules(algorithms.__path__)
    ]
    return {
        name: kind
        for module in modules
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, EvolutionaryAlgorithm) and kind.__module__ == module.__name__
        if name not in ABSTRACT
    }


ALGORITHMS = all_of_them()
SOLUTION = {
    "in": Tensor(jnp.array([[0, 1, -1], [1, 0, 0]], jnp.int8), jnp.int8(0)),
    "out": Tensor(jnp.array([1, -1], jnp.int8), jnp.int8(1)),
}


def is_distribution(algorithm) -> bool:
    return isinstance(algorithm, DistributionBasedAlgorithm)


def population_of(key, size: int):
    """Return random members as an initial population."""
    tensors = ternary.tensors(SOLUTION)
    keys = jax.random.split(key, len(tensors))
    drawn = [
        Tensor(kind_of("ternary").draw(k, (size, *t.values.shape)), jnp.repeat(t.exponent, size))
        for k, t in zip(keys, tensors, strict=True)
    ]
    return ternary.replace_tensors(SOLUTION, drawn)


def start(algorithm, key, fitness_of):
    """Return the first state, as evosax's own tests make it for the two families."""
    params = algorithm.default_params
    if is_distribution(algorithm):
        return algorithm.init(key, SOLUTION, params)
    population = population_of(key, algorithm.population_size)
    return algorithm.init(key, population, fitness_of(population), params)
