"""`--strategy dqn`: deep Q-learning of the same policy that evolution searches."""

import dataclasses
from typing import ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import COUNT, FRACTION, NOT_NEGATIVE, SHARE, option
from ternevo.settings.strategies.off_policy import OffPolicy, Pace, Replayed
from ternevo.settings.strategies.parts import Rate


@dataclasses.dataclass(frozen=True)
class DQN(OffPolicy):
    """Deep Q-learning for discrete actions; the policy's outputs rate the actions.

    Straight-through gradients for ternary and binary weights. A generation is steps_per_generation
    environment steps.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:dqn"
    word: ClassVar[str] = "dqn"

    pace: Pace = Pace(train_every=4, updates_per_step=0.5)
    replayed: Replayed = Replayed(batch_size=64, n_step=3)
    rate: Rate = part(Rate(lr=1e-3, lr_end=1e-4), lr="Learning rate of Adam.")
    max_grad_norm: float = option(10.0, NOT_NEGATIVE, shortens_steps=True)
    """Maximum gradient norm; longer gradients are scaled down to it. 0 for no limit."""
    critic_hidden_sizes: tuple[int, ...] = option((64, 64), costs_memory=True)
    """Width of each hidden layer of the state's value, which is float and never shipped."""
    double: bool = True
    """Choose the next action by the learned values and rate it by the target's (double DQN)."""
    dueling: bool = True
    """Learn the value of the state in a float network of its own, which does not ship; the policy
    then only tells actions apart."""
    target_period: int = option(1, COUNT)
    """Number of gradient steps after which the target moves."""
    tau: float = option(0.01, SHARE, is_data=True)
    """How far the target then moves towards what is learned; 1 copies it. The target's policy
    ships: with a small tau it is an average over the last 1 / tau updates."""
    epsilon_start: float = option(1.0, FRACTION, is_data=True)
    """Share of random actions at first."""
    epsilon_end: float = option(0.05, FRACTION, is_data=True)
    """Share of random actions at last."""
    exploration_fraction: float = option(0.3, SHARE, is_data=True)
    """Share of the run in which that share falls linearly."""

    @property
    def is_stretched(self) -> bool:
        """Whether the exploration or a schedule spans the whole run."""
        return super().is_stretched or self.epsilon_start != self.epsilon_end
