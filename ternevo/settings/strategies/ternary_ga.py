"""`--strategy ternary_ga`: a genetic algorithm over ternary or binary weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import FRACTION, NOT_NEGATIVE, SHARE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Density, Inheriting


@dataclasses.dataclass(frozen=True)
class TernaryGA(Evolution):
    """Genetic algorithm that mutates by flips; `--weights float` runs SimpleGA."""

    searched_by: ClassVar[str] = "ternevo.algorithms.ternary_ga:from_settings"

    elite_ratio: float = option(0.2, SHARE)
    """Share of the population that may become parents."""
    num_survivors: int = 2
    """Number of best members to keep and re-evaluate."""
    crossover_rate: float = option(0.0, FRACTION, is_data=True)
    """Share of a child's weights taken from a second parent, 0 to 1."""
    mutation: Literal["log_uniform", "self_adaptive"] = "log_uniform"
    """Mutation rate of a child: newly drawn, or inherited and changed by a random factor."""
    min_flips: float = option(1.0, is_data=True)
    """Minimum expected number of weights to redraw per child; the rate is log-uniform."""
    max_flips: float = option(6.0, is_data=True)
    """Maximum expected number; if rates are inherited, both apply to the first members only."""
    rate_step: float = option(0.7, NOT_NEGATIVE, is_data=True)
    """Standard deviation of the log of the factor that changes an inherited rate."""
    first: Density = Density()
    inheriting: Inheriting = Inheriting()

    def __post_init__(self) -> None:
        """Refuse an invalid range of flips."""
        super().__post_init__()
        if not 0 < self.min_flips <= self.max_flips:
            raise ValueError(
                "min_flips must be above 0 and at most max_flips, "
                f"got {self.min_flips} and {self.max_flips}"
            )

    def float_twin(self) -> Latent:
        """Return evosax's SimpleGA: parents are the better half, and mutation is Gaussian."""
        rates = {"crossover_rate": self.crossover_rate}
        return twin(self, "SimpleGA", algorithm_params=rates)
