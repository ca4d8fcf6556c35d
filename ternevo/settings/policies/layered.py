"""The base of the settings of all policies made of the layers of `ternevo.policies.layers`."""

import dataclasses
from typing import TYPE_CHECKING, Literal

from ternevo.settings.meaning import option
from ternevo.settings.policies.settings import PolicySettings

if TYPE_CHECKING:
    from ternevo.types import ObsSpec


@dataclasses.dataclass(frozen=True)
class Layered(PolicySettings):
    """Abstract: layers of integers, all with the same activation and kind of scales."""

    hidden_sizes: tuple[int, ...] = option((), costs_memory=True)
    """Width of each hidden layer."""
    activation: Literal["int8", "int4", "sign", "ternary", "tanh", "relu"] = "int8"
    """Hidden activation. int8 is a hard tanh on an 8-bit grid; tanh and relu are float."""
    use_bias: bool = True
    """Whether layers have biases."""
    scales: Literal["layer", "output"] = "layer"
    """Which weights share a power-of-two scale: a whole layer, or each output of a layer."""
    observation_bits: int = 8
    """Number of bits of a quantised observation, 1 to 8."""
    observation_shift: int = 2
    """Four standard deviations of an observation become 2**observation_shift units, 0 to 8."""
    output_shift: int = 0
    """Multiply outputs by 2**-output_shift, 0 to 8; larger shifts make first actions smaller."""

    matmul: Literal["auto", "planes", "float32", "bfloat16", "int8"] = "auto"
    """How to multiply; a policy returns the same. planes counts bits; auto chooses the fastest."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, bits and shifts."""
        super().__post_init__()
        if any(size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        if not 1 <= self.observation_bits <= 8:
            raise ValueError(f"observation_bits must be 1 to 8, got {self.observation_bits}")
        if self.scales == "output" and self.weights == "float":
            raise ValueError(
                "--scales output needs ternary or binary weights; float weights have no scale"
            )
        for name in ("observation_shift", "output_shift"):
            if not 0 <= getattr(self, name) <= 8:
                raise ValueError(f"{name} must be 0 to 8, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Flattening(Layered):
    """Abstract: layers that take rows of numbers, and bits by their moments unless told not to."""

    observation_moments: bool = True
    """Whether bits are scaled by their moments, by which a rare one tells more. False, for bits
    only, leaves them 0 and 1, as --policy conv sees them; full scale is then one bit."""

    def sees(self, obs: "ObsSpec") -> "ObsSpec":
        """Return the observations as this policy sees them: without moments, bits as planes.

        Raises:
          ValueError: they are to have no moments, and are not bits.
        """
        if self.observation_moments:
            return obs
        if obs.kind not in ("bits", "planes"):
            raise ValueError(
                f"--observation_moments False is for bits, and these observations are {obs.kind}: "
                "only moments tell the unit of floats, and integers and pixels have none; use True"
            )
        return obs._replace(kind="planes")


@dataclasses.dataclass(frozen=True)
class Seeing(Layered):
    """Abstract: layers that see images. Bits stay bits and pixels pixels, without moments."""

    observation_bits: int = 8
    """Number of bits of a pixel, 1 to 8; the bits of MinAtar have one."""
    observation_shift: int = 2
    """Full scale of an observation, such as a bit, is 2**observation_shift units, 0 to 8."""

    def sees(self, obs: "ObsSpec") -> "ObsSpec":
        """Return the observations as this policy sees them: bits as planes."""
        return obs._replace(kind="planes") if obs.kind == "bits" else obs
