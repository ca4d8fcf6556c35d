"""`--policy ntm`: a neural Turing machine with soft attention, the differentiable baseline."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import COUNT, check, option
from ternevo.settings.policies.settings import PolicySettings, WeightName


@dataclasses.dataclass(frozen=True)
class NTM(PolicySettings):
    """An LSTM with one head that reads and one that writes, by soft attention; all of it is floats.

    It sees the signs of observations, so bits as they are. It is what gradients through time can
    learn where `--policy entm` is evolved. It does not ship to devices.
    """

    built_by: ClassVar[str] = "ternevo.policies.ntm:build"
    learns_in_life: ClassVar[bool] = True

    weights: WeightName = dataclasses.field(default="float", kw_only=True)
    """Must be float."""
    lstm_size: int = option(32, COUNT, costs_memory=True)
    """Number of units of the controller."""
    num_slots: int = option(32, COUNT, costs_memory=True)
    """Number of places in the memory."""
    slot_size: int = option(8, COUNT, costs_memory=True)
    """Number of floats in a place."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, and weights that are not floats."""
        super().__post_init__()
        for name in ("lstm_size", "num_slots", "slot_size"):
            check(name, getattr(self, name), COUNT)
        if self.weights != "float":
            raise ValueError(
                f"--policy ntm needs --weights float, got {self.weights}: its attention is made of "
                "floats; --policy entm has hard attention and takes trits"
            )
