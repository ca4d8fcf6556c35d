"""`--strategy cem`: the cross-entropy method, or UMDA, over ternary or binary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ternevo.settings.strategies.evolution import Learning, check_shares
from ternevo.settings.strategies.tabular import Tabular

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName
    from ternevo.settings.strategies.latent import Latent


@dataclasses.dataclass(frozen=True)
class CEM(Tabular, Learning):
    """The cross-entropy method (UMDA with lr 1); `--weights float` runs SimpleES."""

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

    def search_algorithm(
        self, solution: Any, weights: "WeightName", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo.algorithms import cem

        algorithm = cem.CEM(
            self.population_size,
            solution,
            self.elite_ratio,
            self.learning_rate(num_generations),
            **self.tables(weights),
        )
        return algorithm, algorithm.default_params

    def float_twin(self) -> "Latent":
        """Return SimpleES, the cross-entropy method of a separable Gaussian.

        Its elite is always the better half, its mean goes all the way to theirs, and its
        standard deviations a tenth of the way to their spread (c_std); it does not draw in
        pairs. Where all are equal the mean still goes to that of the population, by chance.
        """
        from ternevo.settings.strategies.latent import twin

        own = {"optimizer": "sgd", "lr_schedule": "constant", "antithetic": True}
        return twin(self, "SimpleES", sigma=0.3, lr=1.0, **own)
