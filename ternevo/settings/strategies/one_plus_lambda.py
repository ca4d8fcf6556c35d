"""`--strategy one_plus_lambda`: one parent, its children, a mutation rate that adjusts itself."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ternevo.settings.strategies.evolution import Evolution, check_positive

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName
    from ternevo.settings.strategies.latent import Latent


@dataclasses.dataclass(frozen=True)
class OnePlusLambda(Evolution):
    """(1 + lambda) algorithm, two-rate flips; `--weights float` runs GradientlessDescent."""

    init_flips: float = 2.0
    """Expected number of redrawn weights at first, from 2 to a quarter of them (else the nearest);
    half of the children have half of it, half twice."""

    def __post_init__(self) -> None:
        """Refuse a population without a child at each rate."""
        super().__post_init__()
        if self.population_size < 3:
            raise ValueError(
                "one_plus_lambda has a parent and a child at each of two rates: population_size "
                f"must be at least 3, got {self.population_size}"
            )
        check_positive(self, "init_flips")

    def search_algorithm(
        self, solution: Any, weights: "WeightName", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        del num_generations  # the rate adjusts itself
        from ternevo.algorithms import one_plus_lambda

        algorithm = one_plus_lambda.OnePlusLambda(self.population_size, solution, weights)
        return algorithm, algorithm.default_params.replace(init_flips=self.init_flips)

    def float_twin(self) -> "Latent":
        """Return evosax's GradientlessDescent: one parent, children at several radii at once.

        Its radii halve every `radius_decay` children, here eight times over the population.
        """
        from ternevo.settings.strategies.latent import twin

        radii = {"radius_max": 1.0, "radius_decay": self.population_size / 8}
        return twin(self, "GradientlessDescent", algorithm_params=radii)
