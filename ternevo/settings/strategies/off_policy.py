"""Settings that all off-policy learners share: how experience is collected, kept and replayed."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.flat import Part, part
from ternevo.settings.meaning import (
    BELOW_ONE,
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    option,
)
from ternevo.settings.policies.settings import LATENT_KINDS, WeightName
from ternevo.settings.strategies.parts import Pruning, Quantizing, Rate
from ternevo.settings.strategies.settings import Settings


@dataclasses.dataclass(frozen=True)
class Pace(Part):
    """How many steps and updates follow each other."""

    num_envs: int = option(1, COUNT)
    """Number of parallel environments."""
    train_every: int = option(1, COUNT)
    """Number of steps in each environment between updates."""
    updates_per_step: float = option(1.0, POSITIVE)
    """Gradient steps per environment step; times num_envs and train_every it must be a whole
    number, which is the number of gradient steps in a row."""
    steps_per_generation: int = option(1000, COUNT)
    """Environment steps of a generation; must be a multiple of num_envs * train_every."""

    def __post_init__(self) -> None:
        """Refuse fractions of updates and of rounds."""
        super().__post_init__()
        steps = self.num_envs * self.train_every
        updates = self.updates_per_step * steps
        if updates < 1 or abs(updates - round(updates)) > 1e-6:
            nearest = max(1, round(updates)) / steps
            raise ValueError(
                f"updates_per_step times num_envs * train_every = {steps} must be a whole number "
                f"of gradient steps, got {self.updates_per_step}; the nearest is {nearest:g}"
            )
        if self.steps_per_generation % steps:
            nearest = max(1, round(self.steps_per_generation / steps)) * steps
            raise ValueError(
                f"steps_per_generation must be a multiple of num_envs * train_every = {steps}, got "
                f"{self.steps_per_generation}; the nearest is {nearest}"
            )

    @property
    def num_rounds(self) -> int:
        """Number of times that steps and then updates follow each other in a generation."""
        return self.steps_per_generation // (self.num_envs * self.train_every)

    @property
    def num_updates(self) -> int:
        """Number of gradient steps in a row."""
        return round(self.updates_per_step * self.num_envs * self.train_every)


@dataclasses.dataclass(frozen=True)
class Replayed(Part):
    """What is kept of the experience, and what of it is learned from at once."""

    buffer_size: int = option(100_000, COUNT, costs_memory=True)
    """Number of environment steps that are kept, the newest; a buffer is on the device."""
    batch_size: int = option(128, COUNT, costs_memory=True)
    """Number of samples of a gradient step."""
    learning_starts: int = option(1000, COUNT)
    """Number of environment steps at random before learning starts, with the next generation. At
    least batch_size."""
    n_step: int = option(1, COUNT)
    """Number of rewards in a row that a target adds up before it trusts a value."""


@dataclasses.dataclass(frozen=True)
class Worth(Part):
    """What rewards are worth."""

    gamma: float = option(0.99, FRACTION, is_data=True)
    """Discount factor per step, 0 to 1."""
    reward_scale: float = option(1.0, POSITIVE, is_data=True)
    """Factor applied to rewards in learning; reported returns are unscaled."""


@dataclasses.dataclass(frozen=True)
class OffPolicy(Settings):
    """Abstract: a learner that replays experience. A generation is steps_per_generation steps."""

    word: ClassVar[str] = ""
    """Its name on the command line."""
    searches: ClassVar[tuple[WeightName, ...]] = LATENT_KINDS

    pace: Pace = Pace()
    replayed: Replayed = Replayed()
    rate: Rate = part(Rate(lr=3e-4, lr_end=3e-5), lr="Learning rate of Adam for the policy.")
    worth: Worth = Worth()
    pruning: Pruning = Pruning()
    quantizing: Quantizing = Quantizing()
    n_step_start: float = option(0.0, FRACTION)
    """Share of the environment steps of the run in which a target adds up one reward only; then it
    adds up n_step. 0 for n_step from the start."""
    noise_correlation: float = option(0.0, BELOW_ONE, is_data=True)
    """Correlation of the exploration noise from step to step, 0 to below 1. White noise (0) hardly
    moves a heavy body; its distribution in each step stays the same."""
    max_grad_norm: float = option(0.0, NOT_NEGATIVE, shortens_steps=True)
    """Maximum gradient norm; longer gradients are scaled down to it. 0 for no limit."""
    critic_hidden_sizes: tuple[int, ...] = option((256, 256), costs_memory=True)
    """Width of each hidden layer of the critics, which are float and never shipped."""
    critic_activation: Literal["relu", "tanh", "swish"] = "relu"
    """Activation of the critics' hidden layers."""

    def __post_init__(self) -> None:
        """Refuse a buffer that holds too little, and a delay of what never comes."""
        super().__post_init__()
        pace, kept = self.pace, self.replayed
        if kept.batch_size > kept.learning_starts:
            raise ValueError(
                f"batch_size must be at most learning_starts = {kept.learning_starts}, got "
                f"{kept.batch_size}: lower --batch_size or raise --learning_starts"
            )
        length = kept.buffer_size // pace.num_envs
        if kept.n_step > min(length, kept.learning_starts // pace.num_envs):
            raise ValueError(
                f"n_step must be at most the steps of an environment in the buffer ({length}) and "
                f"before learning starts ({kept.learning_starts // pace.num_envs}), got "
                f"{kept.n_step}: lower --n_step, or raise --buffer_size and --learning_starts"
            )
        if self.n_step_start > 0 and kept.n_step == 1:
            raise ValueError(
                f"--n_step_start {self.n_step_start} does nothing with --n_step 1: raise --n_step"
            )
        if kept.buffer_size < kept.learning_starts or length < pace.train_every:
            least = max(kept.learning_starts, pace.num_envs * pace.train_every)
            raise ValueError(
                f"buffer_size must be at least learning_starts and num_envs * train_every, here "
                f"{least}, got {kept.buffer_size}: raise --buffer_size"
            )

    def best_from(self, num_generations: int) -> int:
        """Return the first generation whose policy is as sparse as it is to be."""
        return self.pruning.best_from(num_generations)

    @property
    def is_stretched(self) -> bool:
        """Whether a schedule spans the whole run; that of pruning does."""
        return super().is_stretched or self.n_step_start > 0 or self.pruning.is_on

    @property
    def forgets(self) -> bool:
        """Whether the buffer forgets what an old policy did."""
        return False

    def num_updates(self, num_generations: int) -> int:
        """Return the number of gradient steps of a run."""
        waiting = -(-self.replayed.learning_starts // self.pace.steps_per_generation)
        per_generation = self.pace.num_rounds * self.pace.num_updates
        return max(1, (num_generations - max(1, waiting)) * per_generation)

    def num_policy_updates(self, num_generations: int) -> int:
        """Return the number of gradient steps of the policy, which its schedules span."""
        return self.num_updates(num_generations)


@dataclasses.dataclass(frozen=True)
class ActorCritic(OffPolicy):
    """Abstract: continuous actions that climb the values of float critics."""

    num_critics: ClassVar[int] = 2

    critic_lr: float = option(1e-3, POSITIVE, shortens_steps=True, is_data=True)
    """Learning rate of Adam for the critics, and of SAC's temperature."""
    tau: float = option(0.005, SHARE, is_data=True)
    """How far targets move towards what is learned, in each update: above 0, at most 1."""
    critic_sparsity: float = option(0.0, BELOW_ONE)
    """Share of the critics' weights that are 0, as --sparsity is the policy's; the other options of
    pruning hold for both."""
    buffer_distance: float = option(0.0, NOT_NEGATIVE)
    """Half the mean squared distance of actions, in shares of half the range, above which the
    oldest tenth of the buffer is forgotten after a generation, down to a tenth of buffer_size: that
    of what the policy does now in the oldest steps, and did then. 0 forgets nothing."""

    @property
    def is_stretched(self) -> bool:
        """Whether a schedule spans the whole run."""
        return super().is_stretched or self.critic_sparsity > 0

    @property
    def forgets(self) -> bool:
        """Whether the buffer forgets what an old policy did."""
        return self.buffer_distance > 0
