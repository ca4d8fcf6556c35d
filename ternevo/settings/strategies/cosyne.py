"""`--strategy cosyne`: weights that change places between the members of a population."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import FRACTION, NOT_NEGATIVE, option
from ternevo.settings.strategies.evolution import Evolution


@dataclasses.dataclass(frozen=True)
class CoSyNE(Evolution):
    """Cooperative synapse neuroevolution of ternary, binary or float weights: its own twin."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:own_twin"
    searched_by: ClassVar[str] = "ternevo.algorithms.cosyne:from_settings"

    elite_ratio: float = 0.25
    """Share of the population that has children, one each; they replace as many of the worst."""
    num_survivors: int = 2
    """How many of the best are kept whole and evaluated again."""
    permutation: Literal["fitness", "all"] = "fitness"
    """Which weights change places: the more the worse their member, or all."""
    crossover_rate: float = option(0.5, FRACTION)
    """Share of a child's weights that come from a second parent."""
    mutation_flips: float = option(2.0, NOT_NEGATIVE)
    """Expected number of weights of a child that are redrawn; float ones get normal noise."""
    mutation_sigma: float = option(0.3, NOT_NEGATIVE, shortens_steps=True)
    """Standard deviation of that noise; of float weights only."""

    def __post_init__(self) -> None:
        """Refuse what is no share, and negative numbers."""
        super().__post_init__()
        if not 0 < self.elite_ratio <= 0.5:
            raise ValueError(f"elite_ratio must be above 0 and at most 1/2, got {self.elite_ratio}")
        if not 0 <= self.num_survivors <= self.population_size // 2:
            raise ValueError(
                f"num_survivors must be 0 to {self.population_size // 2}, got {self.num_survivors}"
            )
