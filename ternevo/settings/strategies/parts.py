"""Parts that several strategies are made of: each is declared, checked and explained here once."""

import dataclasses
from typing import Any, Literal

from ternevo.settings.flat import Part
from ternevo.settings.meaning import POSITIVE, SHARE, option

Schedule = Literal["constant", "linear", "cosine", "exponential"]


@dataclasses.dataclass(frozen=True)
class Rate(Part):
    """A learning rate that follows a schedule."""

    lr: float = option(0.1, POSITIVE, shortens_steps=True)
    """Learning rate."""
    lr_end: float = option(0.01, POSITIVE)
    """Where a learning rate schedule ends."""
    lr_schedule: Schedule = "constant"
    """How the learning rate moves over the run."""


@dataclasses.dataclass(frozen=True)
class Optimization(Part):
    """Steps by an optax optimiser."""

    rate: Rate = Rate()
    optimizer: Literal["adam", "sgd", "momentum"] = "adam"
    """Optax optimiser; adam has b2 = 0.99."""


@dataclasses.dataclass(frozen=True)
class Noise(Part):
    """Noise whose size follows a schedule."""

    sigma: float = option(0.1, POSITIVE, shortens_steps=True)
    """Standard deviation of the noise, or a flip rate; where the algorithm has one to set."""
    sigma_end: float = option(0.01, POSITIVE)
    """Where a sigma schedule ends."""
    sigma_schedule: Schedule = "constant"
    """How sigma moves over the run."""


@dataclasses.dataclass(frozen=True)
class Sampling(Part):
    """How members are sampled."""

    antithetic: bool = True
    """Sample in antithetic pairs; needs an even population_size."""

    def check_in(self, settings: Any) -> None:
        """Refuse pairs of an odd population."""
        if self.antithetic:
            check_even("antithetic sampling", settings.population_size)


@dataclasses.dataclass(frozen=True)
class Shaping(Part):
    """Utilities from fitness."""

    fitness_shaping: Literal["centered_rank", "standardize", "baseline"] = "centered_rank"
    """From fitness to utility; `baseline` only subtracts the mean return, and a gradient is
    shortened to ten times the length of those before it."""


@dataclasses.dataclass(frozen=True)
class Tables(Part):
    """Tables of the probabilities of every weight; see ternevo/algorithms/categorical.py."""

    margin: float | None = 1e-3
    """The least probability of a value; 0 lets values die out."""
    init_confidence: float = option(0.4, SHARE)
    """How far the first tables are from uniform, towards the first policy: above 0, at most 1."""
    # Uniform tables have no mode: the first policy would not be the one to start from.

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        super().__post_init__()
        if self.margin is not None and not 0 <= self.margin < 1 / 3:
            raise ValueError(f"margin must be at least 0 and below 1/3, got {self.margin}")


def check_even(what: str, population_size: int) -> None:
    """Refuse an odd population where members come in pairs.

    Raises:
      ValueError: it is odd.
    """
    if population_size % 2:
        raise ValueError(f"{what} needs an even population_size, got {population_size}")
