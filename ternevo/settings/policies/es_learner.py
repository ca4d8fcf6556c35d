"""`--policy es_learner`: weights that an evolution strategy adapts within a life."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, POSITIVE, at_least, check, option
from ternevo.settings.policies.adapting import Adapting


@dataclasses.dataclass(frozen=True)
class ESLearner(Adapting):
    """Dense layers that try random directions in the episodes of a life, and move along them.

    Each direction is tried with both signs. For use with `--lifetime`, which needs
    num_es_steps * queries * trial_episodes episodes, and one more in which the result acts.
    """

    built_by: ClassVar[str] = "ternevo.policies.es_learner:build"

    num_es_steps: int = option(1, NOT_NEGATIVE)
    """Number of steps in a life; with 0 nothing is learned."""
    queries: int = option(20, at_least(2))
    """Number of trials that a step is estimated from; even, as directions are tried in pairs."""
    trial_episodes: int = option(1, COUNT)
    """Number of episodes of a trial; more average out noise of returns."""
    trial_noise: float = option(0.5, POSITIVE)
    """Standard deviation of the change of a weight that may change freely. Trits are cut at 0.5."""
    step_size: float = option(1.0, POSITIVE)
    """Step along the mean of the directions, weighted by their normalised returns."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers."""
        super().__post_init__()
        check("num_es_steps", self.num_es_steps, NOT_NEGATIVE)
        check("queries", self.queries, at_least(2))
        if self.queries % 2:
            raise ValueError(f"queries must be even, as directions go in pairs, got {self.queries}")
        check("trial_episodes", self.trial_episodes, COUNT)
        check("trial_noise", self.trial_noise, POSITIVE)
        check("step_size", self.step_size, POSITIVE)
        self.check_has_zeros("es_learner")

    @property
    def least_lifetime(self) -> int:
        """Number of episodes of a life in which it learns all it can, and one to show it."""
        return self.num_es_steps * self.queries * self.trial_episodes + 1
