"""`--strategy ternary_nes`: natural evolution strategies over ternary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.strategies.evolution import Noisy, Optimised, Paired, check_weights

if TYPE_CHECKING:
    from ternevo.strategies.latent import Latent
    from ternevo.ternary import WeightKind


@dataclasses.dataclass(frozen=True)
class TernaryNES(Paired, Optimised, Noisy):
    """Natural evolution strategy over ternary weights; `--weights float` runs OpenAI-ES."""

    distribution: Literal["threshold", "logits", "mean", "sharp"] = "threshold"
    """How latents give probabilities, see ternevo/algorithms/ternary_nes.py."""

    threshold_ratio: float = 0.5
    """Trial: thresholds in units of the mean absolute latent."""
    scale: Literal["follow", "fixed", "searched"] = "follow"
    """Trial: whether exponents follow the mean absolute latent, stay, or are searched."""
    noise_scale: Literal["absolute", "relative"] = "absolute"
    """Trial: whether sigma is in units of the mean absolute latent."""

    def __post_init__(self) -> None:
        """Refuse a flip rate above one."""
        super().__post_init__()
        if self.distribution in ("mean", "sharp") and self.sigma > 1:
            raise ValueError(f"sigma is a flip rate here and at most 1, got {self.sigma}")

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo import ternary
        from ternevo.algorithms import ternary_nes

        per_neuron = any(tensor.exponent.ndim for tensor in ternary.tensors(solution))
        if per_neuron and (self.distribution != "threshold" or self.scale == "searched"):
            raise ValueError("--exponents neuron needs --distribution threshold, not searched")
        kinds = ("ternary", "binary") if self.distribution == "threshold" else ("ternary",)
        check_weights(
            f"ternary_nes --distribution {self.distribution}",
            weights,
            kinds,
            "--distribution threshold searches ternary, binary and float ones",
        )
        if self.distribution == "threshold":
            distribution = ternary_nes.threshold(
                weights, self.threshold_ratio, self.scale, self.noise_scale, per_neuron
            )
        else:
            distribution = ternary_nes.DISTRIBUTIONS[self.distribution]()
        from ternevo.algorithms.scale_search import ScaleSearchNES

        make = ScaleSearchNES if self.scale == "searched" else ternary_nes.TernaryNES
        algorithm = make(
            self.population_size,
            solution,
            distribution,
            self.optax_optimizer(num_generations),
            self.noise(num_generations),
            self.antithetic,
            self.shaping(),
        )
        return algorithm, algorithm.default_params

    def float_twin(self) -> "Latent":
        """Return evosax's Open_ES at the same settings."""
        from ternevo.strategies.latent import twin

        return twin(self, "Open_ES")
