"""The base of the settings of policies whose weights change between the episodes of a life."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from ternevo.settings.meaning import option
from ternevo.settings.policies.layered import Layered
from ternevo.settings.policies.settings import PolicySettings

if TYPE_CHECKING:
    from ternevo.types import Tells


@dataclasses.dataclass(frozen=True)
class Adapting(PolicySettings):
    """Abstract: dense layers of trits or floats, and a mask of which may change."""

    learns_in_life: ClassVar[bool] = True

    hidden_sizes: tuple[int, ...] = option((), costs_memory=True)
    """Width of each hidden layer."""
    activation: Literal["int8", "int4", "sign", "ternary", "tanh"] = "int8"
    """Hidden activation. int8 is a hard tanh on an 8-bit grid; tanh is float."""
    use_bias: bool = True
    """Whether layers have biases."""
    evolve_mask: bool = True
    """Whether it is evolved which weights may change: never, 8 times slower, or freely."""
    observation_shift: int = 2
    """Four standard deviations of an observation become 2**observation_shift units, 0 to 8."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes and shifts, and weights that cannot be trits or floats."""
        super().__post_init__()
        if any(size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        self.check_range("observation_shift", 0, 8)

    def check_range(self, name: str, least: int, most: int) -> None:
        """Refuse a number out of its range.

        Raises:
          ValueError: it is out of it.
        """
        if not least <= getattr(self, name) <= most:
            raise ValueError(f"{name} must be {least} to {most}, got {getattr(self, name)}")

    @property
    def learns_of(self) -> "Tells | None":
        """Rewards: they say which change was better."""
        return "rewards"

    @property
    def layered(self) -> Layered:
        """The settings of the layers that compute it."""
        return Layered(
            activation=self.activation,
            hidden_sizes=self.hidden_sizes,
            use_bias=self.use_bias,
            observation_shift=self.observation_shift,
            matmul="float32",
            weights=self.weights,
        )
