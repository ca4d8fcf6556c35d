"""`--strategy td3` and `--strategy ddpg`: deterministic actors that climb the values of critics."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, option
from ternevo.settings.strategies.off_policy import ActorCritic


@dataclasses.dataclass(frozen=True)
class TD3(ActorCritic):
    """Twin delayed deep deterministic policy gradient, for continuous actions.

    Straight-through gradients for ternary and binary weights. A generation is steps_per_generation
    environment steps.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:continuous"
    word: ClassVar[str] = "td3"

    exploration_noise: float = option(0.1, NOT_NEGATIVE, is_data=True)
    """Standard deviation of the exploration noise, as a share of half the range of actions."""
    policy_delay: int = option(2, COUNT)
    """The policy and the targets learn in every n-th gradient step of the critics."""
    target_noise: float = option(0.2, NOT_NEGATIVE, is_data=True)
    """Standard deviation of the noise that smooths targets, as a share of half the range."""
    target_noise_clip: float = option(0.5, NOT_NEGATIVE, is_data=True)
    """Largest size of that noise."""

    def num_policy_updates(self, num_generations: int) -> int:
        """Return the number of gradient steps of the policy, of which some are left out."""
        return max(1, self.num_updates(num_generations) // self.policy_delay)


@dataclasses.dataclass(frozen=True)
class DDPG(TD3):
    """Deep deterministic policy gradient: td3 with one critic, no delay and no smoothing."""

    word: ClassVar[str] = "ddpg"
    num_critics: ClassVar[int] = 1

    policy_delay: int = option(1, COUNT)
    """The policy and the targets learn in every n-th gradient step of the critic."""
    target_noise: float = option(0.0, NOT_NEGATIVE, is_data=True)
    """Standard deviation of the noise that smooths targets, as a share of half the range."""
