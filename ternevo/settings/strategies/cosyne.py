"""`--strategy cosyne`: members of a population exchange weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import FRACTION, NOT_NEGATIVE, option
from ternevo.settings.strategies.evolution import Evolution


@dataclasses.dataclass(frozen=True)
class CoSyNE(Evolution):
    """Cooperative synapse neuroevolution of ternary, binary or float weights."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:own_twin"
    searched_by: ClassVar[str] = "ternevo.algorithms.cosyne:from_settings"

    elite_ratio: float = 0.25
    """Share of the population that has one child each, up to 1/2; children replace the worst."""
    num_survivors: int = 2
    """Number of best members to keep unchanged and re-evaluate; up to half the population."""
    permutation: Literal["fitness", "all"] = "fitness"
    """Which weights change places: more of them in worse members, or all."""
    crossover_rate: float = option(0.5, FRACTION, is_data=True)
    """Share of a child's weights taken from a second parent, 0 to 1."""
    mutation_flips: float = option(2.0, NOT_NEGATIVE, is_data=True)
    """Expected number of a child's weights to redraw; float weights get normal noise instead."""
    mutation_sigma: float = option(0.3, NOT_NEGATIVE, shortens_steps=True, is_data=True)
    """Standard deviation of the mutation noise; float weights only."""

    def __post_init__(self) -> None:
        """Refuse invalid shares and numbers of survivors."""
        super().__post_init__()
        if not 0 < self.elite_ratio <= 0.5:
            raise ValueError(f"elite_ratio must be above 0 and at most 1/2, got {self.elite_ratio}")
        if not 0 <= self.num_survivors <= self.population_size // 2:
            raise ValueError(
                f"num_survivors must be 0 to {self.population_size // 2}, got {self.num_survivors}"
            )
