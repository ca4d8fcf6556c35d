"""`--strategy ternary_ga`: a genetic algorithm over ternary or binary weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import FRACTION, NOT_NEGATIVE, SHARE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin


@dataclasses.dataclass(frozen=True)
class TernaryGA(Evolution):
    """Genetic algorithm with flips as mutation; `--weights float` runs SimpleGA."""

    searched_by: ClassVar[str] = "ternevo.algorithms.ternary_ga:from_settings"

    elite_ratio: float = option(0.2, SHARE)
    """Share of the population that may become parents."""
    num_survivors: int = 2
    """How many of the best are kept and evaluated again."""
    crossover_rate: float = option(0.0, FRACTION)
    """Share of a child's weights that come from a second parent."""
    mutation: Literal["log_uniform", "self_adaptive"] = "log_uniform"
    """The mutation rate of a child: drawn afresh, or inherited and changed by a random factor."""
    min_flips: float = 1.0
    """Smallest expected number of redrawn weights of a child; the rate is log-uniform."""
    max_flips: float = 6.0
    """Largest expected number; where rates are inherited, both are of the first members."""
    rate_step: float = option(0.7, NOT_NEGATIVE)
    """Standard deviation of the logarithm of an inherited rate's random factor."""

    def __post_init__(self) -> None:
        """Refuse rates that mean nothing."""
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
