"""`--strategy compact_ga`: the compact genetic algorithm over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import check_even
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.tabular import Tabular


@dataclasses.dataclass(frozen=True)
class CompactGA(Tabular):
    """The compact genetic algorithm: pairs of members meet; `--weights float` runs PGPE."""

    searched_by: ClassVar[str] = "ternevo.algorithms.compact_ga:from_settings"

    virtual_population: int = 200
    """Each pair moves a probability by one over this; more is slower and surer."""
    margin: float | None = None
    """The least probability of a value; None for one over virtual_population."""

    def __post_init__(self) -> None:
        """Refuse a member without a partner, and steps as large as the table."""
        super().__post_init__()
        check_even("compact_ga, in which members meet in pairs,", self.population_size)
        if self.virtual_population < 4:
            raise ValueError(
                f"virtual_population must be at least 4, got {self.virtual_population}"
            )

    def float_twin(self) -> Latent:
        """Return PGPE, the nearest: it too compares the two of a pair, but always mirrored ones."""
        return twin(self, "PGPE", sigma=0.3, lr=0.1, antithetic=True)
