r"""Population-based incremental learning: the plain natural gradient in the probabilities.

$$p \leftarrow p + s\, \frac{1}{N} \sum_i u_i (\mathrm{onehot}(X_i) - p)$$

References:
  Baluja, "Population-Based Incremental Learning", 1994.
  Ollivier et al., "Information-Geometric Optimization Algorithms", JMLR 2017, section 5.1
  (PBIL is the IGO flow of the Bernoulli family).
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from ternevo.algorithms import schedules
from ternevo.algorithms.categorical import Categorical, State, Tables, tables_from_settings
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.arithmetic import ternary
from ternevo.settings.strategies.pbil import PBIL as Settings


class PBIL(Categorical):
    """PBIL with ranks as utilities, an evosax algorithm with int8 populations."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        lr_schedule: Callable | None = None,
        **kwargs: Any,
    ):
        """Build the algorithm; `lr_schedule` gives s, and `Categorical` takes the rest."""
        super().__init__(population_size, solution, **kwargs)
        self.lr_schedule = lr_schedule or optax.constant_schedule(1.0)

    def step(self, gradients: Tables, utilities: jax.Array, state: State) -> tuple[Tables, Any]:
        """Return the tables moved by the learning rate along the natural gradients."""
        rate = self.lr_schedule(state.generation_counter)
        pairs = zip(state.tables, gradients, strict=True)
        return tuple(table + rate * gradient for table, gradient in pairs), ()


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy pbil` runs, and its params."""
    algorithm = PBIL(
        settings.population_size,
        solution,
        schedules.learning_rate(settings.rate, num_generations),
        fitness_shaping_fn=FITNESS_SHAPING[settings.shaping.fitness_shaping],
        **tables_from_settings(settings.tables, settings.sampling, weights),
    )
    return algorithm, algorithm.default_params
