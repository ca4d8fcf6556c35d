"""`--strategy binary_nes`: Bernoulli natural evolution strategy over {-1, +1}."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.settings.strategies.evolution import Optimised, Shaped, check_weights

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName


@dataclasses.dataclass(frozen=True)
class BinaryNES(Shaped, Optimised):
    """Bernoulli natural evolution strategy over binary weights; needs `--weights binary`."""

    lr: float = 0.06
    """Learning rate on the logits."""
    optimizer: Literal["adam", "sgd", "momentum"] = "sgd"
    """Optax optimiser on the natural gradient."""
    init_logit_std: float = 3.0
    """Standard deviation of the first logits."""
    fitness_shaping: Literal["centered_rank", "standardize", "baseline"] = "standardize"
    """From fitness to utility; `baseline` only subtracts the mean return."""

    def search_algorithm(
        self, solution: Any, weights: "WeightName", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo.algorithms import nes

        check_weights("binary_nes", weights, ("binary",), "add --weights binary")
        algorithm = nes.TernaryNES(
            self.population_size,
            solution,
            nes.bernoulli(self.init_logit_std),
            self.optax_optimizer(num_generations, self.fitness_shaping == "baseline"),
            use_antithetic_sampling=self.antithetic,
            fitness_shaping_fn=self.shaping(),
        )
        return algorithm, algorithm.default_params

    def float_twin(self) -> Any:
        """Refuse: `ternary_nes` has the float twin."""
        check_weights("binary_nes", "float", ("binary",), "add --weights binary")
