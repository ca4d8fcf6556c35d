"""`--strategy trust_region`: a signal-scaled trust region over ternary or binary weights."""

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
    max_kl: float = option(0.02, POSITIVE, is_data=True)
    """Bound on KL(new || old), in nats per weight, scaled by the share of signal in the batch."""

    def float_twin(self) -> Latent:
        """Return SNES: also a natural gradient, of a separable Gaussian, with unbounded steps.

        SNES keeps its own utilities, which are largest for the lowest fitness; with ours it
        would move away from good members. It does not sample in pairs.
        """
        own = {"fitness_shaping": "own", "optimizer": "sgd", "antithetic": True}
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
