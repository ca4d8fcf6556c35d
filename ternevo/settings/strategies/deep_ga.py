"""`--strategy deep_ga`: the genetic algorithm of Such et al. 2017."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, at_least, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.parts import Flips


@dataclasses.dataclass(frozen=True)
class DeepGA(Evolution):
    """Truncation and mutation, no crossover; the best are evaluated again (Such et al. 2017).

    The defaults are the paper's. `--truncation 0` is its random search.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:deep_ga"

    population_size: int = option(1000, at_least(2), costs_memory=True)
    """Number of members per generation, at least 2."""
    truncation: int = option(20, NOT_NEGATIVE)
    """Number of best members that are parents, at most all; 0 draws every member afresh, which is
    random search."""
    elite_candidates: int = option(10, at_least(2))
    """Number of members evaluated again, at most all, the elite among them; the best becomes
    the elite."""
    validation_episodes: int = option(30, COUNT)
    """Number of fresh episodes on which each of them is evaluated again."""
    mutation_power: float = option(0.002, NOT_NEGATIVE, shortens_steps=True, is_data=True)
    """Standard deviation of the noise that mutates float weights; others are redrawn."""
    flips: Flips = Flips()
    genomes: Literal["weights", "seeds"] = "weights"
    """What members are between generations: their weights, or the seeds of their first weights and
    of all mutations since, from which weights are made again. The search is the same; seeds are
    slower, and between generations take the same memory for any number of weights."""

    @property
    def is_stretched(self) -> bool:
        """Whether something spans the whole run; lists of seeds have room for its generations."""
        return super().is_stretched or self.genomes == "seeds"

    @property
    def num_parents(self) -> int:
        """Number of parents kept; at least one, though random search does not use it."""
        return max(1, min(self.truncation, self.population_size))

    @property
    def num_candidates(self) -> int:
        """Number of members evaluated again."""
        return min(self.elite_candidates, self.population_size)
