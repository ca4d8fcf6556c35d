"""The settings of strategies that keep a table of probabilities for every weight."""

import dataclasses

from ternevo.settings.strategies.evolution import Sampled, check_shares


@dataclasses.dataclass(frozen=True)
class Tabular(Sampled):
    """Abstract: see ternevo/algorithms/categorical.py."""

    margin: float | None = 1e-3
    """The least probability of a value; 0 lets values die out."""
    init_confidence: float = 0.4
    """How far the first tables are from uniform, towards the first policy: above 0, at most 1."""

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        super().__post_init__()
        if self.margin is not None and not 0 <= self.margin < 1 / 3:
            raise ValueError(f"margin must be at least 0 and below 1/3, got {self.margin}")
        # Uniform tables have no mode: the first policy would not be the one to start from.
        check_shares(self, "init_confidence")
