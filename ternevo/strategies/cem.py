"""`--strategy cem`: the cross-entropy method, or UMDA, over ternary or binary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ternevo.strategies.evolution import Learning
from ternevo.strategies.tabular import Tabular

if TYPE_CHECKING:
    from ternevo.strategies.latent import Latent
    from ternevo.ternary import WeightKind


@dataclasses.dataclass(frozen=True)
class CEM(Tabular, Learning):
    """The cross-entropy method (UMDA with lr 1); `--weights float` runs SimpleES."""

    elite_ratio: float = 0.25
    """The share of the population that the probabilities move towards."""
    lr: float = 0.5
    """How far the probabilities go to those of the elite: above 0, and 1 is all the way."""
    lr_end: float = 0.05
    """Where a learning rate schedule ends."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        super().__post_init__()
        for name in ("lr", "elite_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
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
        standard deviations a tenth of the way to their spread (c_std).
        """
        from ternevo.strategies.latent import twin

        return twin(self, "SimpleES", sigma=0.3, optimizer="sgd", lr=1.0, lr_schedule="constant")
