"""`--strategy vote`: an int8 centre that takes the steps which pass a test."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import NOT_NEGATIVE, SHARE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Noise, Sampling, Shaping


@dataclasses.dataclass(frozen=True)
class Vote(Evolution):
    """Ternary vote, one lattice step where a z-test passes; `--weights float` runs OpenAI-ES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.vote:from_settings"

    noise: Noise = part(
        Noise(),
        sigma="Flip rate: how probably a weight of a member is at a neighbour of the centre.",
    )
    sampling: Sampling = Sampling()
    shaping: Shaping = Shaping()
    move_share: float = option(0.2, SHARE)
    """Share of weights that chance alone would pass a vote for, in the first generation."""
    move_share_decay: float = option(0.05, NOT_NEGATIVE)
    """After t generations --move_share is divided by 1 + t times this."""

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        super().__post_init__()
        for name in ("sigma", "sigma_end"):
            if not getattr(self.noise, name) <= 1:
                raise ValueError(
                    f"{name} is a flip rate here and at most 1, got {getattr(self.noise, name)}"
                )

    def float_twin(self) -> Latent:
        """Return evosax's Open_ES, whose votes are steps of any size."""
        return twin(self, "Open_ES")
