"""`--strategy compact_ga`: the compact genetic algorithm over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import at_least, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Sampling, Tables, check_even


@dataclasses.dataclass(frozen=True)
class CompactGA(Evolution):
    """Compact genetic algorithm: members compete in pairs; `--weights float` runs PGPE."""

    searched_by: ClassVar[str] = "ternevo.algorithms.compact_ga:from_settings"

    sampling: Sampling = Sampling()
    tables: Tables = part(
        Tables(margin=None),
        margin="Minimum probability of a value; None for 1 / virtual_population.",
    )
    virtual_population: int = option(200, at_least(4))
    """A pair moves a probability by 1 / virtual_population; larger is slower and more reliable."""

    def __post_init__(self) -> None:
        """Refuse a member without a partner."""
        super().__post_init__()
        check_even("compact_ga, where members compete in pairs,", self.population_size)

    def float_twin(self) -> Latent:
        """Return PGPE, the nearest: it also compares pairs, but always mirrored ones."""
        return twin(self, "PGPE", sigma=0.3, lr=0.1, antithetic=True)
