"""`--strategy ternary_nes`: natural evolution strategies over ternary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.settings.strategies.evolution import Noisy, Optimised, Shaped, check_weights

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName
    from ternevo.settings.strategies.latent import Latent


@dataclasses.dataclass(frozen=True)
class TernaryNES(Shaped, Optimised, Noisy):
    """Natural evolution strategy over ternary weights; `--weights float` runs OpenAI-ES."""

    distribution: Literal["threshold", "logits", "mean", "sharp"] = "threshold"
    """How latents give probabilities, see ternevo/algorithms/nes.py."""

    search_scales: bool | None = None
    """Search the exponents of the layers with the weights; only the threshold distribution can, and
    by default it does."""

    def __post_init__(self) -> None:
        """Refuse a flip rate above one."""
        super().__post_init__()
        if self.distribution in ("mean", "sharp") and max(self.sigma, self.sigma_end) > 1:
            raise ValueError(
                f"sigma is a flip rate here and at most 1, got {self.sigma} to {self.sigma_end}"
            )
        if self.search_scales and self.distribution != "threshold":
            raise ValueError(
                "--search_scales needs --distribution threshold, whose scales move, "
                f"not {self.distribution}"
            )

    def search_algorithm(
        self, solution: Any, weights: "WeightName", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        from ternevo.algorithms import nes
        from ternevo.algorithms.scale_search import ScaleSearchNES

        kinds = ("ternary", "binary") if self.distribution == "threshold" else ("ternary",)
        check_weights(
            f"ternary_nes --distribution {self.distribution}",
            weights,
            kinds,
            "--distribution threshold searches ternary, binary and float ones",
        )
        if self.distribution == "threshold":
            distribution = nes.threshold(weights)
        else:
            distribution = nes.DISTRIBUTIONS[self.distribution]()
        has_scales = self.distribution == "threshold" and self.search_scales is not False
        make = ScaleSearchNES if has_scales else nes.TernaryNES
        algorithm = make(
            self.population_size,
            solution,
            distribution,
            self.optax_optimizer(num_generations, self.fitness_shaping == "baseline"),
            self.noise(num_generations),
            self.antithetic,
            self.shaping(),
        )
        return algorithm, algorithm.default_params

    def float_twin(self) -> "Latent":
        """Return evosax's Open_ES at the same settings."""
        from ternevo.settings.strategies.latent import twin

        return twin(self, "Open_ES")
