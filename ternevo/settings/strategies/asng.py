"""`--strategy asng`: adaptive stochastic natural gradient over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import POSITIVE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Sampling, Tables


@dataclasses.dataclass(frozen=True)
class ASNG(Evolution):
    """Natural gradient with a step size adapted to the noise; `--weights float` runs SNES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.asng:from_settings"

    sampling: Sampling = Sampling()
    tables: Tables = part(
        Tables(margin=None),
        margin="Minimum probability of a value; None for the paper's: 1 / number of free "
        "probabilities.",
    )
    init_step: float = option(1.0, POSITIVE, shortens_steps=True, is_data=True)
    """Length of the first step, in the Fisher metric of all weights."""
    noise_threshold: float = option(1.5, POSITIVE, is_data=True)
    """The step grows while the squared path length exceeds noise_threshold times that of noise."""

    def float_twin(self) -> Latent:
        """Return SNES: also a natural gradient, of a separable Gaussian; its steps do not adapt."""
        own = {"optimizer": "sgd", "antithetic": True}  # it does not sample in pairs at all
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
