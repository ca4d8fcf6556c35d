"""What the settings of every strategy have in common: they build it."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ternevo.settings.built import Built
from ternevo.settings.flat import flat
from ternevo.settings.policies.settings import WeightName

if TYPE_CHECKING:
    from ternevo.types import Env, Policy, Strategy


@dataclasses.dataclass(frozen=True)
class Settings(Built):
    """Abstract: a field is an option of the command line, its docstring the help."""

    fixed_on_resume: ClassVar[tuple[str, ...]] = ()
    """Options of a run that a resumed one may change with other strategies, but not with this."""

    @property
    def is_stretched(self) -> bool:
        """Whether something moves over the whole run, so that its length is fixed: a schedule."""
        return any(
            value != "constant" for name, value in flat(self).items() if name.endswith("_schedule")
        )

    def build(
        self, env: "Env", policy: "Policy", weights: WeightName, num_generations: int
    ) -> "Strategy":
        """Return the strategy for this environment and policy.

        Args:
          env: the environment.
          policy: the policy.
          weights: what a weight of the policy may be.
          num_generations: the run's total, over which schedules are stretched.

        Raises:
          ValueError: the settings do not fit the environment, the policy or the weights.
        """
        return self.call(self.built_by, env, policy, weights, num_generations)
