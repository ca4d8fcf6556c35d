"""`--strategy binary_nes`: Bernoulli natural evolution strategy over {-1, +1}."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.strategies.evolution import Evolution, check_even, check_weights, optimizer, schedule

if TYPE_CHECKING:
    from ternevo.ternary import WeightKind


@dataclasses.dataclass(frozen=True)
class BinaryNES(Evolution):
    """Bernoulli natural evolution strategy over binary weights; needs `--weights binary`."""

    lr: float = 0.06
    """Learning rate on the logits."""
    lr_end: float = 0.01
    """Where a learning rate schedule ends."""
    lr_schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """How the learning rate moves over the run."""
    optimizer: Literal["sgd", "adam", "momentum"] = "sgd"
    """Optax optimiser on the natural gradient."""
    init_logit_std: float = 3.0
    """Standard deviation of the first logits."""
    antithetic: bool = True
    """Sample in antithetic pairs; needs an even population_size."""
    fitness_shaping: Literal["standardize", "centered_rank", "baseline"] = "standardize"
    """From fitness to utility; `baseline` only subtracts the mean return."""

    def __post_init__(self) -> None:
        """Refuse rates that mean nothing."""
        super().__post_init__()
        if self.antithetic:
            check_even("antithetic sampling", self.population_size)
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo.algorithms import binary_nes
        from ternevo.algorithms.shaping import FITNESS_SHAPING

        check_weights("binary_nes", weights, ("binary",), "add --weights binary")
        learning_rate = schedule(self.lr_schedule, self.lr, self.lr_end, num_generations)
        algorithm = binary_nes.BinaryNES(
            self.population_size,
            solution,
            optimizer(self.optimizer, learning_rate),
            self.init_logit_std,
            self.antithetic,
            FITNESS_SHAPING[self.fitness_shaping],
        )
        return algorithm, algorithm.default_params
