"""`--strategy asng`: adaptive stochastic natural gradient over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import check_positive
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.tabular import Tabular


@dataclasses.dataclass(frozen=True)
class ASNG(Tabular):
    """Natural gradient with a step size that follows the noise; `--weights float` runs SNES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.asng:from_settings"

    init_step: float = 1.0
    """Length of the first step, in the Fisher metric of all weights together."""
    noise_threshold: float = 1.5
    """The step grows while its path is so many times as long, squared, as noise makes it."""
    margin: float | None = None
    """The least probability of a value; None for the paper's: one over the free probabilities."""

    def __post_init__(self) -> None:
        """Refuse steps that lead nowhere."""
        super().__post_init__()
        check_positive(self, "init_step", "noise_threshold")

    def float_twin(self) -> Latent:
        """Return SNES: a natural gradient too, of a separable Gaussian; its steps do not adapt."""
        own = {"optimizer": "sgd", "antithetic": True}  # it does not draw in pairs at all
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
