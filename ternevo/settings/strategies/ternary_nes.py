"""`--strategy ternary_nes`: a natural evolution strategy over ternary weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Noise, Optimization, Sampling, Shaping


@dataclasses.dataclass(frozen=True)
class TernaryNES(Evolution):
    """Natural evolution strategy over ternary weights; `--weights float` runs OpenAI-ES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.scale_search:from_settings"

    noise: Noise = Noise()
    optimization: Optimization = Optimization()
    sampling: Sampling = Sampling()
    shaping: Shaping = Shaping()
    distribution: Literal["threshold", "logits", "mean", "sharp"] = "threshold"
    """How latents map to probabilities; see ternevo/algorithms/nes.py."""

    search_scales: bool | None = None
    """Also search the exponents of the layers. Only possible, and the default, with --distribution
    threshold."""

    def __post_init__(self) -> None:
        """Refuse a flip rate above one."""
        super().__post_init__()
        first, last = self.noise.sigma, self.noise.sigma_end
        if self.distribution in ("mean", "sharp") and max(first, last) > 1:
            raise ValueError(f"sigma is a flip rate here: at most 1, got {first} to {last}")
        if self.search_scales and self.distribution != "threshold":
            raise ValueError(
                "--search_scales needs --distribution threshold, which has movable scales, "
                f"not {self.distribution}"
            )

    def float_twin(self) -> Latent:
        """Return evosax's Open_ES with the same settings."""
        return twin(self, "Open_ES")
