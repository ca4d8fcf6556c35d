"""What the settings of every strategy have in common: they build it."""

import dataclasses
from typing import TYPE_CHECKING

from ternevo.settings.finite import check_finite

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightName
    from ternevo.types import Env, Policy, Strategy


@dataclasses.dataclass(frozen=True)
class Settings:
    """Abstract: a field is an option of the command line, its docstring the help."""

    def __post_init__(self) -> None:
        """Refuse numbers that are not finite."""
        check_finite(self)

    def build(
        self, env: "Env", policy: "Policy", weights: "WeightName", num_generations: int
    ) -> "Strategy":
        """Return the strategy for this environment and policy.

        Args:
          env: the environment.
          policy: the policy.
          weights: what a weight of the policy may be.
          num_generations: the run's total, over which schedules are stretched.
        """
        raise NotImplementedError
