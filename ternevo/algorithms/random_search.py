"""Random search over any weights: new members every generation, and the leader evaluated again.

The leader comes first, and its fitness is the mean over all its
evaluations; a better member of the newest generation replaces it.

References:
  Such et al., "Deep Neuroevolution", 2017, the random search control.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.population_based.base import Params as BaseParams
from evosax.core.fitness_shaping import identity_fitness_shaping_fn
from flax import struct

from ternevo.algorithms.elites import Elitist, State
from ternevo.algorithms.shaping import population_metrics
from ternevo.arithmetic import ternary
from ternevo.settings.strategies.random_search import RandomSearch as Settings
from ternevo.types import Key


@struct.dataclass
class Params(BaseParams):
    """No dynamic parameters."""


class RandomSearch(Elitist):
    """Random search over ternary, binary or float weights, an evosax algorithm."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        fitness_shaping_fn: Callable = identity_fitness_shaping_fn,
        metrics_fn: Callable = population_metrics,
    ):
        """Build the algorithm; `solution` gives shapes and exponents, `kind` the value set.

        For `kind` "float", `solution` is a pytree of arrays.
        """
        super().__init__(population_size, solution, kind, 1, fitness_shaping_fn, metrics_fn)

    @property
    def _default_params(self) -> Params:
        return Params()

    def propose(self, key: Key, state: State, params: Params) -> tuple[jax.Array, State]:
        """Return the leader and fresh members."""
        del params
        leader = jnp.argmin(state.fitness)[None]
        fresh = jax.vmap(self._draw)(jax.random.split(key, self.population_size - 1))
        return jnp.concatenate([state.population[leader], fresh]), self.keep(state, leader)

    def _draw(self, key: Key) -> jax.Array:
        given, structure = jax.tree.flatten(self.solution, is_leaf=ternary.is_tensor)
        keys = jax.random.split(key, len(given))
        drawn = [self._redraw(k, tensor) for k, tensor in zip(keys, given, strict=True)]
        return self.ravel(structure.unflatten(drawn))

    def _redraw(self, key: Key, tensor: Any) -> Any:
        if self.kind.is_float:  # the size of the usual N(0, 1/fan_in) start
            return self.kind.draw(key, tensor.shape) / tensor.shape[0] ** 0.5
        return tensor._replace(values=self.kind.draw(key, tensor.values.shape))


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy random_search` runs, and its params."""
    del num_generations  # nothing here follows a schedule
    algorithm = RandomSearch(settings.population_size, solution, weights)
    return algorithm, algorithm.default_params
