"""`--strategy cem`: the cross-entropy method, or UMDA, over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import SHARE, option
from ternevo.settings.strategies.evolution import Evolution, check_all
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Rate, Sampling, Tables


@dataclasses.dataclass(frozen=True)
class CEM(Evolution):
    """The cross-entropy method (UMDA with lr 1); `--weights float` runs SimpleES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.cem:from_settings"

    rate: Rate = part(
        Rate(lr=0.5, lr_end=0.05), lr="How far they go: above 0, and 1 is all the way."
    )
    sampling: Sampling = Sampling()
    tables: Tables = Tables()
    elite_ratio: float = option(0.25, SHARE)
    """Share of the population that is the elite, to whose frequencies the probabilities go."""

    def __post_init__(self) -> None:
        """Refuse rates that go beyond."""
        super().__post_init__()
        check_all(SHARE, self.rate, "lr", "lr_end")

    def float_twin(self) -> Latent:
        """Return SimpleES, the cross-entropy method of a separable Gaussian.

        Its elite is always the better half, its mean goes all the way to theirs, and its
        standard deviations a tenth of the way to their spread (c_std); it does not draw in
        pairs. Where all are equal the mean still goes to that of the population, by chance.
        """
        own = {"optimizer": "sgd", "lr_schedule": "constant", "antithetic": True}
        return twin(self, "SimpleES", sigma=0.3, lr=1.0, **own)
