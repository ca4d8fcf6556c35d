"""`--strategy random_search`: the control that every comparison needs."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ternevo.strategies.evolution import Evolution

if TYPE_CHECKING:
    from ternevo.strategies.latent import Latent
    from ternevo.ternary import WeightKind


@dataclasses.dataclass(frozen=True)
class RandomSearch(Evolution):
    """Random search over ternary or binary weights; the leader is evaluated again and again."""

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        del num_generations  # nothing here follows a schedule
        from ternevo.algorithms import random_search

        algorithm = random_search.RandomSearch(self.population_size, solution, weights)
        return algorithm, algorithm.default_params

    def float_twin(self) -> "Latent":
        """Return evosax's random search; `sigma` is the size of its weights."""
        from ternevo.strategies.latent import twin

        return twin(self, "RandomSearch", sigma=0.3)
