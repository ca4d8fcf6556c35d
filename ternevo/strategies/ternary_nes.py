"""`--strategy ternary_nes`: natural evolution strategies over ternary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.strategies.evolution import Evolution, check_even, check_weights, optimizer, schedule

if TYPE_CHECKING:
    from ternevo.ternary import WeightKind
    from ternevo.types import Env, Policy, Strategy


@dataclasses.dataclass(frozen=True)
class TernaryNES(Evolution):
    """Natural evolution strategy over ternary weights; `--weights float` runs OpenAI-ES."""

    distribution: Literal["threshold", "logits", "mean", "sharp"] = "threshold"
    """How latents give probabilities, see ternevo/algorithms/ternary_nes.py."""
    sigma: float = 0.1
    """Noise: standard deviation on the latents (threshold), or flip rate (mean, sharp)."""
    sigma_end: float = 0.01
    """Where a sigma schedule ends."""
    sigma_schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """How sigma moves over the run."""
    lr: float = 0.1
    """Learning rate."""
    lr_end: float = 0.01
    """Where a learning rate schedule ends."""
    lr_schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """How the learning rate moves over the run."""
    optimizer: Literal["adam", "sgd", "momentum"] = "adam"
    """Optax optimiser on the latents; adam has b2 = 0.99."""
    antithetic: bool = True
    """Sample in antithetic pairs; needs an even population_size."""
    fitness_shaping: Literal["centered_rank", "standardize", "baseline"] = "centered_rank"
    """From fitness to utility."""

    def __post_init__(self) -> None:
        """Refuse rates that mean nothing."""
        super().__post_init__()
        if self.antithetic:
            check_even("antithetic sampling", self.population_size)
        if self.sigma <= 0 or self.lr <= 0:
            raise ValueError(f"sigma and lr must be positive, got {self.sigma} and {self.lr}")
        if self.distribution in ("mean", "sharp") and self.sigma > 1:
            raise ValueError(f"sigma is a flip rate here and at most 1, got {self.sigma}")

    def build(
        self, env: "Env", policy: "Policy", weights: "WeightKind", num_generations: int
    ) -> "Strategy":
        """Return the strategy; with float weights it is evosax's Open_ES at the same settings."""
        if weights != "float":
            return super().build(env, policy, weights, num_generations)
        from ternevo.strategies.latent import evolve_latents

        return evolve_latents(
            lambda solution: self._float_twin(solution, num_generations),
            env,
            policy,
            weights,
            self.plan(),
        )

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo.algorithms import ternary_nes

        kinds = ("ternary", "binary") if self.distribution == "threshold" else ("ternary",)
        check_weights(
            f"ternary_nes --distribution {self.distribution}",
            weights,
            kinds,
            "--distribution threshold searches ternary, binary and float ones",
        )
        if self.distribution == "threshold":
            distribution = ternary_nes.threshold(weights)
        else:
            distribution = ternary_nes.DISTRIBUTIONS[self.distribution]()
        algorithm = ternary_nes.TernaryNES(
            self.population_size,
            solution,
            distribution,
            optimizer(self.optimizer, self._lr(num_generations)),
            self._sigma(num_generations),
            self.antithetic,
            self._shaping(),
        )
        return algorithm, algorithm.default_params

    def _float_twin(self, solution: Any, num_generations: int) -> tuple[Any, Any]:
        from evosax.algorithms import Open_ES

        from ternevo.algorithms.shaping import no_metrics

        algorithm = Open_ES(
            self.population_size,
            solution,
            use_antithetic_sampling=self.antithetic,
            optimizer=optimizer(self.optimizer, self._lr(num_generations)),
            std_schedule=self._sigma(num_generations),
            fitness_shaping_fn=self._shaping(),
            metrics_fn=no_metrics,
        )
        return algorithm, algorithm.default_params

    def _lr(self, num_generations: int) -> Any:
        return schedule(self.lr_schedule, self.lr, self.lr_end, num_generations)

    def _sigma(self, num_generations: int) -> Any:
        return schedule(self.sigma_schedule, self.sigma, self.sigma_end, num_generations)

    def _shaping(self) -> Any:
        from ternevo.algorithms.shaping import FITNESS_SHAPING

        return FITNESS_SHAPING[self.fitness_shaping]
