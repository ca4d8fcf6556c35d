"""`--strategy one_plus_lambda`: one parent, its children, and an adaptive mutation rate."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import POSITIVE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin


@dataclasses.dataclass(frozen=True)
class OnePlusLambda(Evolution):
    """(1 + lambda) algorithm with two flip rates; `--weights float` runs GradientlessDescent."""

    searched_by: ClassVar[str] = "ternevo.algorithms.one_plus_lambda:from_settings"

    init_flips: float = option(2.0, POSITIVE, is_data=True)
    """Initial expected number of weights to redraw, clipped to 2 up to a quarter of all weights.
    Half of the children use half of it, the others twice."""

    def __post_init__(self) -> None:
        """Refuse a population too small for a child at each rate."""
        super().__post_init__()
        if self.population_size < 3:
            raise ValueError(
                "one_plus_lambda needs a parent and a child at each of two rates: population_size "
                f"must be at least 3, got {self.population_size}"
            )

    def float_twin(self) -> Latent:
        """Return evosax's GradientlessDescent: one parent, children at several radii at once.

        Its radii halve every `radius_decay` children: here eight times over the population.
        """
        radii = {"radius_max": 1.0, "radius_decay": self.population_size / 8}
        return twin(self, "GradientlessDescent", algorithm_params=radii)
