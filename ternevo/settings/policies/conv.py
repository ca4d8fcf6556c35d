"""`--policy conv`: convolutions and dense layers with integer arithmetic."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import option
from ternevo.settings.policies.layered import Seeing


@dataclasses.dataclass(frozen=True)
class Conv(Seeing):
    """Convolutions and then dense layers, for images; MinAtar's network is the default.

    The network of Mnih et al. 2015 for Atari is `--filters "((32,8,4),(64,4,2),(64,3,1))"
    --hidden_sizes 512`.
    """

    built_by: ClassVar[str] = "ternevo.policies.conv:build"
    codec: ClassVar[str | None] = "ternevo.policies.conv_record"

    hidden_sizes: tuple[int, ...] = option((128,), costs_memory=True)
    """Width of each hidden dense layer after the convolutions."""
    filters: tuple[tuple[int, int, int], ...] = option(((16, 3, 1),), costs_memory=True)
    """Convolutions: the outputs, kernel size and stride of each, such as ((32,8,4),(64,4,2))."""

    @property
    def windows(self) -> tuple[tuple[int, ...], ...]:
        """The filters: two may differ though their weights have equal shapes."""
        return self.filters

    def __post_init__(self) -> None:
        """Refuse invalid sizes, bits, shifts and filters."""
        super().__post_init__()
        if not self.filters:
            raise ValueError("filters must have at least one convolution; else use --policy mlp")
        for filter in self.filters:
            if len(filter) != 3 or min(filter) < 1 or max(filter[1:]) > 16:
                raise ValueError(
                    "each of filters must be three numbers: outputs of 1 or more, a kernel size of "
                    f"1 to 16 and a stride of 1 to 16; got {filter}"
                )
