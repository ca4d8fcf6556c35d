"""`--strategy erl`: a population and an off-policy learner that share one replay buffer."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.flat import flat, options_of, part
from ternevo.settings.meaning import (
    BELOW_ONE,
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    at_least,
    option,
)
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.off_policy import OffPolicy, Replayed, Worth
from ternevo.settings.strategies.parts import Flips, Rate
from ternevo.settings.strategies.sac import SAC
from ternevo.settings.strategies.settings import Settings
from ternevo.settings.strategies.td3 import DDPG, TD3

LEARNERS: dict[str, type[OffPolicy]] = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "dqn": DQN}


@dataclasses.dataclass(frozen=True)
class ERL(Settings):
    """Evolutionary reinforcement learning (Khadka and Tumer 2018).

    A generation is num_episodes times the time limit, in steps of each member and of the learner.
    The learner replays what all of them did, and its policy enters the population.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:erl"

    population_size: int = option(10, at_least(3), costs_memory=True)
    """Number of members per generation, at least 3; one place is the learner's."""
    num_episodes: int = option(1, COUNT)
    """Number of whole episodes of a member for which there is time in a generation."""
    elite_fraction: float = option(0.2, SHARE)
    """Share of members that are kept unchanged, at least one."""
    tournament_size: int = option(3, COUNT)
    """Number of members of which the best becomes a parent."""
    crossover_probability: float = option(0.5, FRACTION, is_data=True)
    """Probability that a child takes half of its weights from an elite."""
    mutation_probability: float = option(0.9, FRACTION, is_data=True)
    """Probability that a child is mutated."""
    flips: Flips = Flips()
    sync_every: int = option(1, COUNT)
    """Generations after which the learner's policy is copied into the population again."""
    learner: Literal["td3", "ddpg", "sac", "dqn"] = "td3"
    """What learns; dqn for discrete actions. What has no option here is at its default."""
    updates_per_step: float = option(1.0, POSITIVE)
    """Gradient steps per environment step of all members and the learner."""
    replayed: Replayed = Replayed()
    rate: Rate = part(Rate(lr=3e-4, lr_end=3e-5), lr="Learning rate of Adam for the policy.")
    worth: Worth = Worth()
    noise_correlation: float = option(0.0, BELOW_ONE, is_data=True)
    """Correlation of the learner's exploration noise from step to step, 0 to below 1."""
    exploration_noise: float = option(0.1, NOT_NEGATIVE, is_data=True)
    """Standard deviation of the noise of td3 and ddpg, as a share of half the range of actions."""
    epsilon: float = option(0.1, FRACTION, is_data=True)
    """Share of the learner's actions that are at random, with dqn."""
    max_grad_norm: float = option(0.0, NOT_NEGATIVE, shortens_steps=True)
    """Maximum gradient norm; longer gradients are scaled down to it. 0 for no limit."""
    critic_hidden_sizes: tuple[int, ...] = option((256, 256), costs_memory=True)
    """Width of each hidden layer of the critics, which are float and never shipped."""
    critic_activation: Literal["relu", "tanh", "swish"] = "relu"
    """Activation of the critics' hidden layers."""
    critic_lr: float = option(1e-3, POSITIVE, shortens_steps=True, is_data=True)
    """Learning rate of Adam for the critics, and of SAC's temperature."""
    tau: float = option(0.005, SHARE, is_data=True)
    """How far targets move towards what is learned, in each update: above 0, at most 1."""

    @property
    def num_elites(self) -> int:
        """Number of members that are kept; there is always a child besides the learner's place."""
        wanted = max(1, round(self.elite_fraction * self.population_size))
        return min(wanted, self.population_size - 2)

    def of_learner(self, episode_length: int) -> OffPolicy:
        """Return the settings of the learner, which steps the members' environments and its own.

        Raises:
          ValueError: the buffer holds less than a generation, or than one batch.
        """
        class_ = LEARNERS[self.learner]
        known = options_of(class_)
        shared = {name: value for name, value in flat(self).items() if name in known}
        num_envs, length = self.population_size + 1, self.num_episodes * episode_length
        steps = num_envs * length
        if self.replayed.buffer_size < steps:
            raise ValueError(
                f"buffer_size must be at least {steps}, the steps of a generation of erl, got "
                f"{self.replayed.buffer_size}: raise --buffer_size or lower --population_size"
            )
        updates = max(1, round(self.updates_per_step * steps))
        pace = {"num_envs": num_envs, "train_every": length, "steps_per_generation": steps}
        return class_.of(**{**shared, **pace, "updates_per_step": updates / steps})
