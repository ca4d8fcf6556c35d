"""`--policy q_learner`: a graph of action values that learns within its life."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from ternevo.settings.meaning import (
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    at_least,
    check,
    option,
)
from ternevo.settings.policies.settings import PolicySettings

if TYPE_CHECKING:
    from ternevo.types import Tells


@dataclasses.dataclass(frozen=True)
class QLearner(PolicySettings):
    """A graph whose outputs are the values of actions, and which learns them by Q-learning.

    It learns in its memory: each life begins with the weights that evolution gave it. With
    `--strategy neat` and `--lifetime N` that is NEAT+Q (Whiteson, Stone 2006).
    """

    built_by: ClassVar[str] = "ternevo.policies.q_learner:build"
    learns_in_life: ClassVar[bool] = True

    max_hidden: int = option(8, COUNT, costs_memory=True)
    """Largest number of hidden nodes."""
    max_depth: int = option(3, at_least(2), costs_memory=True)
    """Largest number of links from an observation to an action."""
    learns: Literal["weights", "gains", "nothing"] = "gains"
    """What learning changes: weights of links; or gains and biases of nodes, which leaves trits as
    they are; or nothing, which is NEAT alone."""
    q_rate: float = option(0.1, NOT_NEGATIVE)
    """Learning rate of the first step of a life."""
    q_steps: int = option(0, NOT_NEGATIVE)
    """Steps of a life in which the rate falls to 0; 0 keeps it."""
    q_trace: float = option(0.0, FRACTION)
    """Decay of eligibility traces (lambda)."""
    q_discount: float = option(1.0, FRACTION)
    """Discount of later rewards."""
    q_scale: float = option(100.0, POSITIVE)
    """An output of 1 is a value of this much."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers, and trits that learning would make floats."""
        super().__post_init__()
        for name, limit in (
            ("max_hidden", COUNT),
            ("max_depth", at_least(2)),
            ("q_rate", NOT_NEGATIVE),
            ("q_steps", NOT_NEGATIVE),
            ("q_trace", FRACTION),
            ("q_discount", FRACTION),
            ("q_scale", POSITIVE),
        ):
            check(name, getattr(self, name), limit)
        self.check_has_zeros("q_learner")
        if self.weights == "ternary" and self.learns == "weights":
            raise ValueError(
                "--learns weights changes floats, and weights are ternary; use --learns gains, or "
                "--weights float"
            )

    @property
    def learns_of(self) -> "Tells | None":
        """Rewards, of which the values of actions are made; or nothing."""
        return None if self.learns == "nothing" else "rewards"
