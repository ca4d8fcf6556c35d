"""`--policy hill_climber`: weights that are adapted by trial and error within a life."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, check, option
from ternevo.settings.policies.adapting import Adapting


@dataclasses.dataclass(frozen=True)
class HillClimber(Adapting):
    """Dense layers that change a few weights in each trial of a life, and keep what pays more.

    A trial is one episode or more. For use with `--lifetime`, which needs
    (1 + num_trials) * trial_episodes episodes, and at least one more in which the best weights act.
    """

    built_by: ClassVar[str] = "ternevo.policies.hill_climber:build"
    codec: ClassVar[str | None] = "ternevo.policies.hill_climber_record"

    num_trials: int = option(20, NOT_NEGATIVE)
    """Number of changes that are tried in a life, after one trial without any."""
    trial_episodes: int = option(1, COUNT)
    """Number of episodes of a trial; more average out noise of returns."""
    evolve_mask: bool = True
    """Whether it is evolved which weights may change: never, rarely or freely."""
    flip_rate: int = 0
    """A weight that may change freely is drawn again with probability 2**-flip_rate, 0 to 16; one
    that may rarely, 8 times less often. Changes of floats have this standard deviation."""
    start: Literal["evolved", "random"] = "evolved"
    """Weights at the start of a life: evolved, or random in each life."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers, and nothing to evolve."""
        super().__post_init__()
        self.check_range("flip_rate", 0, 16)
        check("num_trials", self.num_trials, NOT_NEGATIVE)
        check("trial_episodes", self.trial_episodes, COUNT)
        self.check_has_zeros("hill_climber")
        if self.start == "random" and not self.evolve_mask:
            raise ValueError(
                "--start random and --evolve_mask False leave nothing to evolve; use one of them"
            )

    @property
    def least_lifetime(self) -> int:
        """Number of episodes of a life in which all trials end, and one to show the best.

        It is 1 without trials, as nothing is learned then.
        """
        return (1 + self.num_trials) * self.trial_episodes + 1 if self.num_trials else 1
