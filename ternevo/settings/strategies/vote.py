"""`--strategy vote`: an int8 centre that takes the steps which pass a test."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import Noisy, Shaped, check_shares
from ternevo.settings.strategies.latent import Latent, twin


@dataclasses.dataclass(frozen=True)
class Vote(Shaped, Noisy):
    """Ternary vote, one lattice step where a z-test passes; `--weights float` runs OpenAI-ES."""

    searched_by: ClassVar[str] = "ternevo.algorithms.vote:from_settings"

    sigma: float = 0.1
    """Flip rate: how probably a weight of a member is at a neighbour of the centre."""
    move_share: float = 0.2
    """Share of weights that chance alone would pass a vote for, in the first generation."""
    move_share_decay: float = 0.05
    """After t generations --move_share is divided by 1 + t times this."""

    def __post_init__(self) -> None:
        """Refuse what is no rate or share."""
        super().__post_init__()
        for name in ("sigma", "sigma_end"):
            if not getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is a flip rate here and at most 1, got {getattr(self, name)}"
                )
        check_shares(self, "move_share")
        if not self.move_share_decay >= 0:
            raise ValueError(f"move_share_decay must be 0 or more, got {self.move_share_decay}")

    def float_twin(self) -> Latent:
        """Return evosax's Open_ES, whose votes are steps of any size."""
        return twin(self, "Open_ES")
