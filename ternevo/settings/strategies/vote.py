"""`--strategy vote`: an int8 centre that takes only steps that pass a test."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import NOT_NEGATIVE, SHARE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.latent import Latent, twin
from ternevo.settings.strategies.parts import Noise, Sampling, Shaping


@dataclasses.dataclass(frozen=True)
class Vote(Evolution):
    """Ternary vote: one lattice step where a z-test passes; `--weights float` runs OpenAI-ES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.vote:from_settings"

    noise: Noise = part(
        Noise(),
        sigma="Flip rate, 0 to 1: how likely a member's weight is at a neighbour of the centre.",
    )
    sampling: Sampling = Sampling()
    shaping: Shaping = Shaping()
    move_share: float = option(0.2, SHARE, is_data=True)
    """Share of weights whose vote passes by chance alone, in the first generation."""
    move_share_decay: float = option(0.05, NOT_NEGATIVE, is_data=True)
    """After t generations, --move_share is divided by 1 + t * move_share_decay; 0 for no decay."""

    def __post_init__(self) -> None:
        """Refuse a flip rate above one."""
        super().__post_init__()
        for name in ("sigma", "sigma_end"):
            if not getattr(self.noise, name) <= 1:
                raise ValueError(
                    f"{name} is a flip rate here and must be at most 1, "
                    f"got {getattr(self.noise, name)}"
                )

    def float_twin(self) -> Latent:
        """Return evosax's Open_ES, which takes steps of any size."""
        return twin(self, "Open_ES")
