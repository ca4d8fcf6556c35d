"""`--strategy trust_region`: signal-scaled trust region over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import POSITIVE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Sampling, Shaping, Tables


@dataclasses.dataclass(frozen=True)
class TrustRegion(Evolution):
    """Natural gradient with a signal-scaled KL bound; `--weights float` runs SNES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.trust_region:from_settings"

    sampling: Sampling = Sampling()
    shaping: Shaping = Shaping()
    tables: Tables = Tables()
    max_kl: float = option(0.02, POSITIVE)
    """Bound of KL(new || old) in nats a weight, scaled by the share of the batch that is signal."""

    def float_twin(self) -> Latent:
        """Return SNES: a natural gradient too, of a separable Gaussian; its steps have no bound.

        SNES climbs its own utilities, largest for the least fitness; it would flee from ours.
        It does not draw in pairs.
        """
        own = {"fitness_shaping": "own", "optimizer": "sgd", "antithetic": True}
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
