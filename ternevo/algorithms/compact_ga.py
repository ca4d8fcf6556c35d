r"""The compact genetic algorithm: a table that represents a population of lambda members.

Members 2 i and 2 i + 1 compete. For every weight, with the values of winner and loser,

$$p[\mathrm{winner}] \leftarrow p[\mathrm{winner}] + 1 / \lambda, \qquad
  p[\mathrm{loser}] \leftarrow p[\mathrm{loser}] - 1 / \lambda,$$

and no probability falls below 1/lambda, one member. All pairs of a generation compete at
once; equally fit pairs change nothing. This is PBIL with utilities +1 and
-1, whose mean is zero, and the rate N / lambda.

References:
  Harik, Lobo and Goldberg, "The Compact Genetic Algorithm", IEEE Transactions on
  Evolutionary Computation 3(4), 1999 (one pair in a generation).
"""

from typing import Any

import optax

from ternevo.algorithms.categorical import tables_from_settings
from ternevo.algorithms.pbil import PBIL
from ternevo.algorithms.shaping import duels
from ternevo.arithmetic import ternary
from ternevo.settings.strategies.compact_ga import CompactGA as Settings


class CompactGA(PBIL):
    """The compact genetic algorithm, an evosax algorithm with int8 populations."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        virtual_population: int = 200,
        margin: float | None = None,
        **kwargs: Any,
    ):
        """Build the algorithm.

        Args:
          population_size: number of members, must be even.
          solution: a params pytree of int8 `Tensor`s.
          virtual_population: lambda, at least 4, so that 1/lambda is below 1/3.
          margin: the smallest probability of a value; by default 1/lambda.
          **kwargs: further arguments of `Categorical`.

        Raises:
          ValueError: the population size is odd, or lambda is too small.
        """
        if population_size % 2:
            raise ValueError(
                f"population_size must be even, as members compete in pairs; got {population_size}"
            )
        if virtual_population < 4:
            raise ValueError(f"virtual_population must be at least 4, got {virtual_population}")
        super().__init__(
            population_size,
            solution,
            optax.constant_schedule(population_size / virtual_population),
            margin=1 / virtual_population if margin is None else margin,
            fitness_shaping_fn=duels,
            **kwargs,
        )


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy compact_ga` runs, and its params."""
    del num_generations  # nothing here follows a schedule
    algorithm = CompactGA(
        settings.population_size,
        solution,
        settings.virtual_population,
        **tables_from_settings(settings.tables, settings.sampling, weights),
    )
    return algorithm, algorithm.default_params
