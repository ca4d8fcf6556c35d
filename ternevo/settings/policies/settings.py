"""The base of all policy settings: they have a kind of weights and build the policy."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from ternevo.settings.built import Built

if TYPE_CHECKING:
    from ternevo.types import ActionSpec, ObsSpec, Policy

WeightName = Literal["ternary", "binary", "float"]
"""Name of a kind of weights; the kinds are in `ternevo.arithmetic.weights`."""


@dataclasses.dataclass(frozen=True)
class PolicySettings(Built):
    """Abstract: each field is a command-line option, and its docstring is the help.

    Fields must be numbers, strings, booleans, None or tuples of them, so that a file can hold them.
    """

    codec: ClassVar[str | None] = None
    """The module with `to_record`, `from_record` and `understands`, see `policy_file.Codec`; the
    policy's file is then a .tvp. With None it is a .npz, which only the policy's module can run."""

    fits_any_size: ClassVar[bool] = False
    """Whether the same params make a policy for pictures of any size."""
    learns_in_life: ClassVar[bool] = False
    """Whether the policy learns while it lives; it then does not act in simulators outside JAX."""

    weights: WeightName = dataclasses.field(default="ternary", kw_only=True)
    """Values of a weight: {-1, 0, +1}, {-1, +1}, or any float (the float baseline)."""

    @classmethod
    def own_codec(cls) -> str | None:
        """Return the codec of this class, not a parent's: a subclass may compute something else."""
        return vars(cls).get("codec")

    def sees(self, obs: "ObsSpec") -> "ObsSpec":
        """Return an environment's observations as this policy wants them; by default as they are.

        Only the kind may change, such as from "bits" to "planes", which have no moments.
        """
        return obs

    @property
    def windows(self) -> tuple[tuple[int, ...], ...]:
        """The windows of convolutions, which the shapes of the weights do not tell."""
        return ()

    def build(self, obs: "ObsSpec", action: "ActionSpec") -> "Policy":
        """Return the policy.

        Args:
          obs: the observations of the environment.
          action: the actions it accepts; the policy's output has `action.size` components.
        """
        return self.call(self.built_by, obs, action)
