"""`--strategy ppo`: proximal policy optimisation of the same policy that evolution searches."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import (
    BELOW_ONE,
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    option,
)
from ternevo.settings.policies.settings import LATENT_KINDS, WeightName
from ternevo.settings.strategies.parts import Pruning, Quantizing, Schedule
from ternevo.settings.strategies.settings import Settings


@dataclasses.dataclass(frozen=True)
class PPO(Settings):
    """Proximal policy optimisation; straight-through gradients for ternary and binary weights.

    A generation is one update: num_epochs passes over num_envs * num_steps transitions.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:ppo"

    fixed_on_resume: ClassVar[tuple[str, ...]] = ("num_devices", "distributed")  # draw their own
    searches: ClassVar[tuple[WeightName, ...]] = LATENT_KINDS

    num_envs: int = option(64, COUNT, costs_memory=True)
    """Number of parallel environments."""
    num_steps: int = option(128, COUNT, costs_memory=True)
    """Number of steps per environment and generation."""
    num_epochs: int = option(4, COUNT)
    """Number of passes over the transitions of a generation."""
    num_minibatches: int = option(8, COUNT)
    """Number of gradient steps per pass; must divide num_envs * num_steps, and for a policy with
    memory the number of its sequences: num_envs, or with bptt_length more."""
    bptt_length: int = option(0, NOT_NEGATIVE)
    """Only for policies with memory: number of steps through which gradients flow back; must divide
    num_steps. 0 for all num_steps."""
    lr: float = option(3e-4, POSITIVE, shortens_steps=True, is_data=True)
    """Learning rate of Adam."""
    lr_end: float = option(0.0, NOT_NEGATIVE, is_data=True)
    """Learning rate at the end of the run; ignored by a constant schedule."""
    lr_schedule: Schedule = "constant"
    """How the learning rate changes over the run."""
    gamma: float = option(0.99, FRACTION, is_data=True)
    """Discount factor per step, 0 to 1."""
    gae_lambda: float = option(0.95, FRACTION, is_data=True)
    """Lambda of generalised advantage estimation, 0 to 1."""
    clip_epsilon: float = option(0.2, POSITIVE, is_data=True)
    """How far the probability ratio may move from 1 before the objective is clipped."""
    value_clip_epsilon: float = option(0.0, NOT_NEGATIVE)
    """How far a value may move from its old one before its loss is clipped; 0 for no clipping."""
    value_coefficient: float = option(0.5, is_data=True)
    """Weight of the value loss."""
    entropy_coefficient: float = option(0.01, is_data=True)
    """Weight of the entropy bonus."""
    max_grad_norm: float = option(0.5, NOT_NEGATIVE, shortens_steps=True)
    """Maximum gradient norm; longer gradients are scaled down to it. 0 for no limit."""
    normalize_advantages: bool = True
    """Normalise the advantages of a generation to mean 0 and standard deviation 1."""
    reward_scale: float = option(1.0, POSITIVE, is_data=True)
    """Factor applied to rewards in learning; reported returns are unscaled."""
    normalize_rewards: bool = True
    """Also divide rewards by the running standard deviation of the discounted return."""
    action_distribution: Literal["auto", "categorical", "clipped_normal", "tanh_normal"] = "auto"
    """Distribution of actions; auto: categorical if discrete, clipped_normal if continuous."""
    init_log_std: float = 0.0
    """Initial log standard deviation of continuous actions."""
    critic_hidden_sizes: tuple[int, ...] = (64, 64)
    """Width of each hidden layer of the critic, which is float and never shipped."""
    critic_activation: Literal["tanh", "relu", "swish"] = "tanh"
    """Activation of the critic's hidden layers."""
    critic_sparsity: float = option(0.0, BELOW_ONE)
    """Share of the critic's weights that are 0, as --sparsity is the policy's; the other options of
    pruning hold for both."""
    pruning: Pruning = Pruning()
    quantizing: Quantizing = Quantizing()

    def __post_init__(self) -> None:
        """Refuse minibatches of unequal size, and a decay to 0 that would be there at once."""
        super().__post_init__()
        if self.lr_schedule == "exponential" and not self.lr_end:
            raise ValueError("--lr_schedule exponential needs --lr_end above 0, got 0")
        if self.batch_size % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_envs * num_steps = {self.num_envs} * "
                f"{self.num_steps} = {self.batch_size}, got {self.num_minibatches}"
            )
        if self.num_steps % self.sequence_length:
            raise ValueError(
                f"bptt_length must divide num_steps = {self.num_steps}, or be 0 for all of them; "
                f"got {self.bptt_length}"
            )

    def best_from(self, num_generations: int) -> int:
        """Return the first generation whose policy is as sparse as it is to be."""
        return self.pruning.best_from(num_generations)

    @property
    def is_stretched(self) -> bool:
        """Whether a schedule spans the whole run; that of pruning does."""
        return super().is_stretched or self.pruning.is_on or self.critic_sparsity > 0

    @property
    def batch_size(self) -> int:
        """Number of transitions per generation."""
        return self.num_envs * self.num_steps

    @property
    def sequence_length(self) -> int:
        """Number of steps in a row that a policy with memory learns from."""
        return self.bptt_length or self.num_steps

    @property
    def num_sequences(self) -> int:
        """Number of such sequences per generation."""
        return self.batch_size // self.sequence_length
