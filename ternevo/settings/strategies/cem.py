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
    """Cross-entropy method (UMDA if lr is 1); `--weights float` runs SimpleES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.cem:from_settings"

    rate: Rate = part(
        Rate(lr=0.5, lr_end=0.05), lr="How far probabilities move to the elite's: above 0, up to 1."
    )
    sampling: Sampling = Sampling()
    tables: Tables = Tables()
    elite_ratio: float = option(0.25, SHARE)
    """Share of the population in the elite; probabilities move towards its frequencies."""

    def __post_init__(self) -> None:
        """Refuse rates above one."""
        super().__post_init__()
        check_all(SHARE, self.rate, "lr", "lr_end")

    def float_twin(self) -> Latent:
        """Return SimpleES, the cross-entropy method of a separable Gaussian.

        Its elite is always the better half. Its mean moves all the way to theirs, its standard
        deviations a tenth of the way to their spread (c_std). It does not sample in pairs. If
        all members are equal, the mean still moves, by chance.
        """
        own = {"optimizer": "sgd", "lr_schedule": "constant", "antithetic": True}
        return twin(self, "SimpleES", sigma=0.3, lr=1.0, **own)
