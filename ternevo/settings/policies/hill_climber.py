"""`--policy hill_climber`: weights that are adapted by trial and error within a life."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, check, option
from ternevo.settings.policies.layered import Layered
from ternevo.settings.policies.settings import PolicySettings


@dataclasses.dataclass(frozen=True)
class HillClimber(PolicySettings):
    """Dense layers that change a few weights in each trial of a life, and keep what pays more.

    A trial is one episode or more. For use with `--lifetime`, which needs
    (1 + num_trials) * trial_episodes episodes, and at least one more in which the best weights act.
    """

    built_by: ClassVar[str] = "ternevo.policies.hill_climber:build"
    codec: ClassVar[str | None] = "ternevo.policies.hill_climber_record"
    learns_in_life: ClassVar[bool] = True

    hidden_sizes: tuple[int, ...] = option((), costs_memory=True)
    """Width of each hidden layer."""
    activation: Literal["int8", "int4", "sign", "ternary", "tanh"] = "int8"
    """Hidden activation. int8 is a hard tanh on an 8-bit grid; tanh is float."""
    use_bias: bool = True
    """Whether layers have biases."""
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
    observation_shift: int = 2
    """Four standard deviations of an observation become 2**observation_shift units, 0 to 8."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes and shifts, and weights that cannot be frozen."""
        super().__post_init__()
        if any(size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        for name, most in (("flip_rate", 16), ("observation_shift", 8)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 0 to {most}, got {getattr(self, name)}")
        check("num_trials", self.num_trials, NOT_NEGATIVE)
        check("trial_episodes", self.trial_episodes, COUNT)
        self.check_has_zeros("hill_climber")
        if self.start == "random" and not self.evolve_mask:
            raise ValueError(
                "--start random and --evolve_mask False leave nothing to evolve; use one of them"
            )

    @property
    def layered(self) -> Layered:
        """The settings of the layers that compute it."""
        return Layered(
            activation=self.activation,
            use_bias=self.use_bias,
            observation_shift=self.observation_shift,
            matmul="float32",
            weights=self.weights,
        )
