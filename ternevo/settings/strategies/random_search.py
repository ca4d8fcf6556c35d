"""`--strategy random_search`: the control that every comparison needs."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ternevo.settings.strategies.evolution import OwnTwin

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName


@dataclasses.dataclass(frozen=True)
class RandomSearch(OwnTwin):
    """Random search; the leader is evaluated again and again. It is its own float twin."""

    def search_algorithm(
        self, solution: Any, weights: "WeightName", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        del num_generations  # nothing here follows a schedule
        from ternevo.algorithms import random_search

        algorithm = random_search.RandomSearch(self.population_size, solution, weights)
        return algorithm, algorithm.default_params
