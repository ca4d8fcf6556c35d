"""`--strategy ternary_nes`: natural evolution strategies over ternary weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.strategies.evolution import Noisy, Optimised, Shaped
from ternevo.settings.strategies.latent import Latent, twin


@dataclasses.dataclass(frozen=True)
class TernaryNES(Shaped, Optimised, Noisy):
    """Natural evolution strategy over ternary weights; `--weights float` runs OpenAI-ES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.scale_search:from_settings"

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

    def float_twin(self) -> Latent:
        """Return evosax's Open_ES at the same settings."""
        return twin(self, "Open_ES")
