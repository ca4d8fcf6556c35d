"""`--strategy sac`: soft actor-critic with a learned temperature."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import NOT_NEGATIVE, option
from ternevo.settings.strategies.off_policy import ActorCritic


@dataclasses.dataclass(frozen=True)
class SAC(ActorCritic):
    """Soft actor-critic for continuous actions, with a learned temperature.

    The policy's clipped output is the median of a tanh-normal, and ships. Straight-through
    gradients for ternary and binary weights. A generation is steps_per_generation environment
    steps.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:continuous"
    word: ClassVar[str] = "sac"

    init_log_std: float = -0.5
    """Initial log standard deviation of actions before the tanh, -5 to 2."""
    init_log_temperature: float = 0.0
    """Initial log temperature, the worth of entropy in units of scaled rewards."""
    target_entropy_scale: float = option(1.0, NOT_NEGATIVE, is_data=True)
    """The entropy that the temperature aims at is minus this, for each number of an action."""
