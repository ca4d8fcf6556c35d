"""`--strategy ternary_nes`: a natural evolution strategy over ternary weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.flat import part
from ternevo.settings.meaning import (
    BELOW_ONE,
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    at_least,
    option,
)
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Noise, Optimization, Rate, Sampling, Shaping


@dataclasses.dataclass(frozen=True)
class TernaryNES(Evolution):
    """Natural evolution strategy over ternary weights; `--weights float` runs SNES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.scale_search:from_settings"

    population_size: int = option(128, at_least(2), costs_memory=True)
    """Number of members per generation, at least 2."""
    num_episodes: int = option(4, COUNT, costs_memory=True)
    """Number of episodes per member and generation; fitness is their mean return."""
    noise: Noise = part(
        Noise(sigma=0.2),
        sigma="Standard deviation of the noise on latents, at first; with --distribution mean or "
        "sharp the flip rate.",
    )
    optimization: Optimization = part(
        Optimization(Rate(lr=1.2), optimizer="sgd"),
        lr="Learning rate of the latents. With natural gradients it is multiplied by the number of "
        "weights to the power of 1/4; with --optimizer adam, 0.1 is usual.",
        optimizer="Optax optimiser of the latents; sgd with natural gradients takes SNES's steps.",
    )
    sampling: Sampling = Sampling()
    shaping: Shaping = Shaping("nes")
    distribution: Literal["threshold", "logits", "mean", "sharp"] = "threshold"
    """How latents map to probabilities; see ternevo/algorithms/nes.py."""
    gradient: Literal["natural", "plain"] | None = None
    """Whether the directions of latents are multiplied by their squared spreads. Only threshold has
    natural gradients, and they are its default, except with --optimizer adam, which
    scales every direction by itself."""
    spreads: Literal["weight", "layer", "none"] | None = None
    """What has noise of its own size, which adapts: each weight, each tensor, or nothing. Only
    threshold has it, and its default is weight, or none with --fitness_shaping baseline."""
    eta: float = option(0.2, NOT_NEGATIVE, is_data=True)
    """Learning rate of the logarithm of spreads."""
    averaging: float = option(0.8, BELOW_ONE, is_data=True)
    """The shipped policy is the mode of an exponential average of the latents, which keeps this
    share of itself in each generation; 0 ships the current latents."""

    search_scales: bool | None = None
    """Also search the exponents of the layers. Only possible, and the default, with --distribution
    threshold."""
    scale_lr: float = option(0.1, POSITIVE, is_data=True)
    """Learning rate of the exponents, by Adam."""
    scale_sigma: float = option(0.2, SHARE, is_data=True)
    """Flip rate of the exponents; two thirds of it is how often a member's differs by one."""

    def __post_init__(self) -> None:
        """Refuse what a distribution does not have, and a flip rate above one."""
        super().__post_init__()
        first, last = self.noise.sigma, self.noise.sigma_end
        if self.distribution in ("mean", "sharp") and max(first, last) > 1:
            raise ValueError(f"sigma is a flip rate here: at most 1, got {first} to {last}")
        self._check_combinations()
        if self.distribution == "threshold":
            return
        for name, asked, what in (
            ("search_scales", self.search_scales, "movable scales"),
            ("gradient natural", self.gradient == "natural", "a Gaussian latent"),
            ("spreads", self.spreads not in (None, "none"), "a Gaussian latent"),
        ):
            if asked:
                raise ValueError(
                    f"--{name} needs --distribution threshold, which has {what}, "
                    f"not {self.distribution}"
                )

    def _check_combinations(self) -> None:
        """Refuse what makes no sense together."""
        if self.gradient == "natural" and self.optimization.optimizer == "adam":
            raise ValueError(
                "--gradient natural needs --optimizer sgd or momentum: adam scales every direction "
                "by itself, which undoes it"
            )
        if self.shaping.fitness_shaping == "baseline" and self.spreads not in (None, "none"):
            raise ValueError(
                f"--spreads {self.spreads} needs another --fitness_shaping than baseline, whose "
                "utilities are as large as returns"
            )

    @property
    def has_latents(self) -> bool:
        """Whether each weight is a Gaussian latent that is cut."""
        return self.distribution == "threshold"

    @property
    def is_natural(self) -> bool:
        """Whether directions are natural gradients."""
        default = "plain" if self.optimization.optimizer == "adam" else "natural"
        return self.has_latents and (self.gradient or default) == "natural"

    @property
    def adaptive_spreads(self) -> Literal["weight", "layer", "none"]:
        """What has a spread of its own."""
        is_bounded = self.shaping.fitness_shaping != "baseline"
        return self.spreads or ("weight" if self.has_latents and is_bounded else "none")

    @property
    def has_scales(self) -> bool:
        """Whether exponents are searched."""
        return self.has_latents and self.search_scales is not False

    def float_twin(self) -> Latent:
        """Return evosax's SNES, the same search of Gaussians that are not cut.

        SNES keeps its own utilities, which are these, and its own rates, and samples no pairs.
        """
        own = {"fitness_shaping": "own", "optimizer": "sgd", "antithetic": True}
        steady = {"lr_schedule": "constant", "sigma_schedule": "constant"}
        return twin(self, "SNES", lr=1.0, **own, **steady)
