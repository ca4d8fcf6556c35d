"""`--strategy trust_region`: signal-scaled trust region over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import Shaped, check_positive
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.tabular import Tabular


@dataclasses.dataclass(frozen=True)
class TrustRegion(Tabular, Shaped):
    """Natural gradient with a signal-scaled KL bound; `--weights float` runs SNES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.trust_region:from_settings"

    max_kl: float = 0.02
    """Bound of KL(new || old) in nats a weight, scaled by the share of the batch that is signal."""

    def __post_init__(self) -> None:
        """Refuse a region without extent."""
        super().__post_init__()
        check_positive(self, "max_kl")

    def float_twin(self) -> Latent:
        """Return SNES: a natural gradient too, of a separable Gaussian; its steps have no bound.

        SNES climbs its own utilities, largest for the least fitness; it would flee from ours.
        It does not draw in pairs.
        """
        own = {"fitness_shaping": "own", "optimizer": "sgd", "antithetic": True}
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
