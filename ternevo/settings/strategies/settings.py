"""The base of all strategy settings: they build the strategy."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ternevo.settings.built import Built
from ternevo.settings.flat import flat, numbers_of
from ternevo.settings.policies.settings import LARGEST_LEVELS, WeightName

if TYPE_CHECKING:
    from ternevo.types import Env, Policy, Strategy


@dataclasses.dataclass(frozen=True)
class Settings(Built):
    """Abstract: each field is a command-line option, and its docstring is the help."""

    fixed_on_resume: ClassVar[tuple[str, ...]] = ()
    """Options that a resumed run may change with other strategies, but not with this one."""

    searches: ClassVar[tuple[WeightName, ...]] = ("ternary", "binary", "float")
    """The kinds of weights that it can search, for `--list_strategies`."""

    @property
    def numbers(self) -> dict[str, float]:
        """The options that are data of the compiled program, not constants of it."""
        return numbers_of(self)

    @property
    def is_stretched(self) -> bool:
        """Whether a schedule spans the whole run, which fixes its length."""
        return any(
            value != "constant" for name, value in flat(self).items() if name.endswith("_schedule")
        )

    def best_from(self, num_generations: int) -> int:
        """Return the generation from which a policy may be kept as the best one."""
        del num_generations
        return 0

    def build(
        self, env: "Env", policy: "Policy", weights: WeightName, num_generations: int
    ) -> "Strategy":
        """Return the strategy for this environment and policy.

        Args:
          env: the environment.
          policy: the policy.
          weights: the kind of weights of the policy.
          num_generations: the total of the run; schedules span it.

        Raises:
          ValueError: the settings do not fit the environment, the policy or the weights.
        """
        if weights not in self.searches and weights in LARGEST_LEVELS:
            raise ValueError(
                f"--weights {weights} is for gradient learners (--strategy ppo, dqn, td3, ddpg, "
                "sac) and --strategy latent; this strategy searches "
                f"{', '.join(self.searches)}"
            )
        return self.call(self.built_by, env, policy, weights, num_generations)
