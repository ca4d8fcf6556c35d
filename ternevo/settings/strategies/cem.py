"""`--strategy cem`: the cross-entropy method, or UMDA, over ternary or binary weights."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import Learning, check_shares
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.tabular import Tabular


@dataclasses.dataclass(frozen=True)
class CEM(Tabular, Learning):
    """The cross-entropy method (UMDA with lr 1); `--weights float` runs SimpleES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.cem:from_settings"

    elite_ratio: float = 0.25
    """Share of the population that is the elite, to whose frequencies the probabilities go."""
    lr: float = 0.5
    """How far they go: above 0, and 1 is all the way."""
    lr_end: float = 0.05
    """Where a learning rate schedule ends."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        super().__post_init__()
        check_shares(self, "lr", "lr_end", "elite_ratio")

    def float_twin(self) -> Latent:
        """Return SimpleES, the cross-entropy method of a separable Gaussian.

        Its elite is always the better half, its mean goes all the way to theirs, and its
        standard deviations a tenth of the way to their spread (c_std); it does not draw in
        pairs. Where all are equal the mean still goes to that of the population, by chance.
        """
        own = {"optimizer": "sgd", "lr_schedule": "constant", "antithetic": True}
        return twin(self, "SimpleES", sigma=0.3, lr=1.0, **own)
