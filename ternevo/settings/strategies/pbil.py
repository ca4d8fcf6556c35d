"""`--strategy pbil`: population-based incremental learning over ternary or binary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any

from ternevo.settings.strategies.evolution import Learning, Shaped
from ternevo.settings.strategies.tabular import Tabular

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName
    from ternevo.settings.strategies.latent import Latent


@dataclasses.dataclass(frozen=True)
class PBIL(Tabular, Shaped, Learning):
    """Population-based incremental learning; `--weights float` runs SNES."""

    lr: float = 4.0
    """How far the probabilities go along their natural gradient."""
    lr_end: float = 0.4
    """Where a learning rate schedule ends."""

    def search_algorithm(
        self, solution: Any, weights: "WeightName", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo.algorithms import pbil

        algorithm = pbil.PBIL(
            self.population_size,
            solution,
            self.learning_rate(num_generations),
            fitness_shaping_fn=self.shaping(),
            **self.tables(weights),
        )
        return algorithm, algorithm.default_params

    def float_twin(self) -> "Latent":
        """Return SNES: the same natural gradient with ranks, of a separable Gaussian.

        SNES climbs its own utilities, largest for the least fitness; it would flee from ours.
        It does not draw in pairs.
        """
        from ternevo.settings.strategies.latent import twin

        own = {
            "fitness_shaping": "own",
            "optimizer": "sgd",
            "lr_schedule": "constant",
            "antithetic": True,
        }
        return twin(self, "SNES", sigma=0.3, lr=1.0, **own)
