r"""The cross-entropy method with a learning rate, or UMDA: tables move towards the elite's.

$$p \leftarrow (1 - \eta)\, p + \eta\, f, \qquad
  f = \frac{1}{\mu} \sum_{i\ \mathrm{elite}} \mathrm{onehot}(X_i)$$

This is PBIL with truncation utilities: N/mu for the elite, 0 for the rest.

References:
  Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization", 1999.
  Mühlenbein and Paaß, "From Recombination of Genes to the Estimation of Distributions", PPSN 1996
  (UMDA; there the rate is 1).
"""

from collections.abc import Callable
from typing import Any

import optax

from ternevo.algorithms import schedules
from ternevo.algorithms.categorical import tables_from_settings
from ternevo.algorithms.pbil import PBIL
from ternevo.algorithms.shaping import truncation
from ternevo.arithmetic import ternary
from ternevo.settings.strategies.cem import CEM as Settings


class CEM(PBIL):
    """The cross-entropy method, an evosax algorithm with int8 populations."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        elite_ratio: float = 0.25,
        lr_schedule: Callable | None = None,
        **kwargs: Any,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          elite_ratio: share of the population in the elite.
          lr_schedule: eta over the generations, 0 to 1.
          **kwargs: further arguments of `Categorical`.
        """
        super().__init__(
            population_size,
            solution,
            lr_schedule or optax.constant_schedule(0.5),
            fitness_shaping_fn=truncation(elite_ratio),
            **kwargs,
        )


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy cem` runs, and its params."""
    algorithm = CEM(
        settings.population_size,
        solution,
        settings.elite_ratio,
        schedules.learning_rate(settings.rate, num_generations),
        **tables_from_settings(settings.tables, settings.sampling, weights),
    )
    return algorithm, algorithm.default_params
