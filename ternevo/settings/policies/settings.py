"""What the settings of every policy have in common: a kind of weights, and they build it."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from ternevo.settings.built import Built

if TYPE_CHECKING:
    from ternevo.types import ActionSpec, ObsSpec, Policy

WeightName = Literal["ternary", "binary", "float"]
"""A kind of weights by its name; the kinds are in `ternevo.arithmetic.weights`."""


@dataclasses.dataclass(frozen=True)
class PolicySettings(Built):
    """Abstract: a field is an option of the command line, its docstring the help.

    Fields are numbers, texts, truth values, None, and tuples of them, so that a file can hold them.
    """

    codec: ClassVar[str | None] = None
    """The module with `to_record`, `from_record` and `understands`, see `policy_file.Codec`: then
    the policy's file is a .tvp. None: it is a .npz, which only its own module can run."""

    weights: WeightName = dataclasses.field(default="ternary", kw_only=True)
    """What a weight may be: {-1, 0, +1}, {-1, +1}, or any float (the float twin)."""

    @classmethod
    def own_codec(cls) -> str | None:
        """Return the codec that this very class names: a subclass may compute something else."""
        return vars(cls).get("codec")

    def build(self, obs: "ObsSpec", action: "ActionSpec") -> "Policy":
        """Return the policy.

        Args:
          obs: what the environment shows.
          action: what the environment accepts; the policy's output has `action.size` components.
        """
        return self.call(self.built_by, obs, action)
