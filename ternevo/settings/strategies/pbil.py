"""`--strategy pbil`: population-based incremental learning over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Rate, Sampling, Shaping, Tables


@dataclasses.dataclass(frozen=True)
class PBIL(Evolution):
    """Population-based incremental learning; `--weights float` runs SNES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.pbil:from_settings"

    rate: Rate = part(
        Rate(lr=4.0, lr_end=0.4),
        lr="Step size of the probabilities along their natural gradient.",
    )
    sampling: Sampling = Sampling()
    shaping: Shaping = Shaping()
    tables: Tables = Tables()

    def float_twin(self) -> Latent:
        """Return SNES: the same rank-based natural gradient, of a separable Gaussian.

        SNES keeps its own utilities, which are largest for the lowest fitness; with ours it
        would move away from good members. It does not sample in pairs.
        """
        own = {
            "fitness_shaping": "own",
            "optimizer": "sgd",
            "lr_schedule": "constant",
            "antithetic": True,
        }
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
