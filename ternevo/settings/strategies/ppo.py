"""`--strategy ppo`: proximal policy optimisation of the very policy that evolution searches."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, option
from ternevo.settings.strategies.parts import Schedule
from ternevo.settings.strategies.settings import Settings


@dataclasses.dataclass(frozen=True)
class PPO(Settings):
    """Proximal policy optimisation; ternary and binary weights by straight-through gradients.

    A generation is one update: num_envs * num_steps transitions, num_epochs times over them.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:ppo"

    fixed_on_resume: ClassVar[tuple[str, ...]] = ("num_devices", "distributed")  # draw their own

    num_envs: int = option(64, COUNT, costs_memory=True)
    """Environments side by side."""
    num_steps: int = option(128, COUNT, costs_memory=True)
    """Steps of each environment in a generation."""
    num_epochs: int = option(4, COUNT)
    """Passes over the transitions of a generation."""
    num_minibatches: int = option(8, COUNT)
    """Gradient steps in a pass."""
    lr: float = option(3e-4, POSITIVE, shortens_steps=True)
    """Learning rate of Adam."""
    lr_end: float = option(0.0, NOT_NEGATIVE)
    """Where a learning rate schedule ends."""
    lr_schedule: Schedule = "constant"
    """How the learning rate moves over the run."""
    gamma: float = option(0.99, FRACTION)
    """Discount of a step."""
    gae_lambda: float = option(0.95, FRACTION)
    """Lambda of generalised advantage estimation."""
    clip_epsilon: float = option(0.2, POSITIVE)
    """How far the probability ratio may go from 1 and still be rewarded."""
    value_clip_epsilon: float = option(0.0, NOT_NEGATIVE)
    """How far a value may go from its old one and still be rewarded; 0 for no limit."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""
    max_grad_norm: float = option(0.5, NOT_NEGATIVE, shortens_steps=True)
    """Longest gradient; a longer one is shortened to it. 0 for no limit."""
    normalize_advantages: bool = True
    """Give the advantages of a generation mean 0 and standard deviation 1."""
    reward_scale: float = option(1.0, POSITIVE)
    """Factor of rewards in learning; reported returns are unscaled."""
    normalize_rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return as well."""
    action_distribution: Literal["auto", "categorical", "clipped_normal", "tanh_normal"] = "auto"
    """Auto: categorical for discrete actions, clipped_normal for continuous ones."""
    init_log_std: float = 0.0
    """Where the log standard deviation of continuous actions starts."""
    critic_hidden_sizes: tuple[int, ...] = (64, 64)
    """Width of each hidden layer of the critic, which is float and never shipped."""
    critic_activation: Literal["tanh", "relu", "swish"] = "tanh"
    """Activation of the critic."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        super().__post_init__()
        if self.batch_size % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_envs * num_steps = {self.num_envs} * "
                f"{self.num_steps} = {self.batch_size}, got {self.num_minibatches}"
            )

    @property
    def batch_size(self) -> int:
        """Transitions of a generation."""
        return self.num_envs * self.num_steps
