"""`--policy resnet`: a residual network with integer arithmetic."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import option
from ternevo.settings.policies.layered import Seeing


@dataclasses.dataclass(frozen=True)
class ResNet(Seeing):
    """A residual network for images.

    Each stage is a convolution of 3 x 3, a max pool of 3 x 3 with stride 2, and two blocks of two
    convolutions of 3 x 3 whose inputs are added to their outputs. Dense layers follow.
    """

    built_by: ClassVar[str] = "ternevo.policies.resnet:build"
    codec: ClassVar[str | None] = "ternevo.policies.resnet_record"

    hidden_sizes: tuple[int, ...] = option((512,), costs_memory=True)
    """Width of each hidden dense layer after the stages."""
    channels: tuple[int, ...] = option((32, 64, 64), costs_memory=True)
    """Channels of each stage; a stage divides height and width by about two."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, bits, shifts, channels and activations."""
        super().__post_init__()
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels must be one or more positive numbers, got {self.channels}")
        if self.activation in ("sign", "ternary"):
            raise ValueError(
                "--policy resnet adds activations, which --activation "
                f"{self.activation} cannot hold; use int8, int4, tanh or relu"
            )
