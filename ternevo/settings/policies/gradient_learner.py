"""`--policy gradient_learner`: weights that gradient descent adapts within a life."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from ternevo.settings.meaning import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, check, option
from ternevo.settings.policies.adapting import Adapting

if TYPE_CHECKING:
    from ternevo.types import Tells


@dataclasses.dataclass(frozen=True)
class GradientLearner(Adapting):
    """Dense layers that take gradient steps in a life; their starts and rates are evolved.

    A step follows every `step_episodes` episodes. For use with `--lifetime`, which needs
    num_gradient_steps * step_episodes episodes, and one more in which the result acts.
    """

    built_by: ClassVar[str] = "ternevo.policies.gradient_learner:build"

    learns_from: Literal["rewards", "examples"] = "rewards"
    """What the gradient is of: the return, by `inner`, or the squared error of a prediction. The
    right value is then told in place of the reward."""
    inner: Literal["reinforce", "a2c"] = "reinforce"
    """What estimates the gradient of the return: REINFORCE, whose baseline is a mean reward, or an
    advantage actor-critic (A2C), whose linear critic learns values of observations in the life."""
    num_gradient_steps: int = option(10, NOT_NEGATIVE)
    """Number of gradient steps in a life; with 0 nothing is learned."""
    step_episodes: int = option(1, COUNT)
    """Number of episodes that a gradient is the mean of."""
    rate: int = 2
    """Learning rate 2**-rate, -8 to 16, which evolution changes for each layer: by up to 2**4 times
    more or less with trits."""
    value_rate: int = 2
    """Learning rate 2**-value_rate of the critic of `a2c`, -8 to 16; it is not evolved."""
    action_noise: float = option(0.5, POSITIVE)
    """Standard deviation of continuous actions while it learns from rewards, in units of half their
    range. Discrete ones are drawn from the softmax of the outputs."""
    start: Literal["evolved", "random"] = "evolved"
    """Weights at the start of a life: evolved, or random in each life."""
    credit_decay: float = option(1.0, FRACTION)
    """How much of a reward counts for an action, for each step between them, 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers."""
        super().__post_init__()
        if self.inner == "a2c" and self.learns_from == "examples":
            raise ValueError(
                "--inner a2c learns values of rewards, and not from examples; use --inner "
                "reinforce, or --learns_from rewards"
            )
        self.check_range("rate", -8, 16)
        self.check_range("value_rate", -8, 16)
        check("num_gradient_steps", self.num_gradient_steps, NOT_NEGATIVE)
        check("step_episodes", self.step_episodes, COUNT)
        check("action_noise", self.action_noise, POSITIVE)
        check("credit_decay", self.credit_decay, FRACTION)
        self.check_has_zeros("gradient_learner")

    @property
    def learns_of(self) -> "Tells | None":
        """What `learns_from` needs: rewards, or labels of examples."""
        return "labels" if self.learns_from == "examples" else "rewards"

    @property
    def least_lifetime(self) -> int:
        """Number of episodes of a life in which it learns all it can, and one to show it."""
        return self.num_gradient_steps * self.step_episodes + 1
