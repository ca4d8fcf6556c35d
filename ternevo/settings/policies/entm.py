"""`--policy entm`: an evolved neural Turing machine, a controller with a tape."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, check, option
from ternevo.settings.policies.settings import PolicySettings


@dataclasses.dataclass(frozen=True)
class ENTM(PolicySettings):
    """A network of steps that writes to a tape of bits, jumps to what resembles its key, and reads.

    All its numbers are bits: an observation is 1 above 0. It has hard attention, so it needs no
    derivatives.
    """

    built_by: ClassVar[str] = "ternevo.policies.entm:build"
    codec: ClassVar[str | None] = "ternevo.policies.entm_record"
    learns_in_life: ClassVar[bool] = True

    hidden_size: int = option(0, NOT_NEGATIVE, costs_memory=True)
    """Number of hidden units of the controller; outputs also see the inputs."""
    cell_size: int = option(4, COUNT, costs_memory=True)
    """Number of bits of a cell of the tape."""
    num_cells: int = option(64, COUNT, costs_memory=True)
    """Largest number of cells of the tape; the head then comes back at its other end."""
    expand: bool = False
    """Whether the tape always ends in a blank cell, for a jump to find what is new: writing to it
    appends another. Otherwise a cell is appended as the head moves to it."""
    reward_shaping: Literal["none", "copy", "season"] = "none"
    """The task of memory/ whose partial solutions are also paid, with at most 1 an episode, where a
    search scores its members; tests and files are without. See ternevo/policies/entm_shaping.py."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, and weights without a zero, which stands for no link."""
        super().__post_init__()
        check("hidden_size", self.hidden_size, NOT_NEGATIVE)
        check("cell_size", self.cell_size, COUNT)
        check("num_cells", self.num_cells, COUNT)
        self.check_has_zeros("entm")

    @property
    def shaped_for(self) -> str | None:
        """The environment in which members are also paid for what their memory holds, if any."""
        return None if self.reward_shaping == "none" else f"memory/{self.reward_shaping}"
