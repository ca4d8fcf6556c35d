"""The settings that every evolutionary strategy has."""

import dataclasses
from typing import Any, ClassVar, Literal

from ternevo.names import WrongObject
from ternevo.settings.policies.settings import WeightKind
from ternevo.settings.strategies.settings import Settings


@dataclasses.dataclass(frozen=True)
class Evolution(Settings):
    """Abstract: an algorithm evaluated on whole episodes. A subclass supplies the algorithm."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:evolution"
    searched_by: ClassVar[str] = ""
    """What `search_algorithm` calls, as "package.module:function"."""

    population_size: int = 256
    """Members of a generation."""
    num_episodes: int = 1
    """Episodes of each member in a generation; its fitness is their mean."""
    common_random_numbers: Literal["all", "pairs", "none"] = "all"
    """Who meets the same episodes in a generation: all members, each antithetic pair, or nobody."""
    init_horizon: float = 1.0
    """Share of the time limit after which the first episodes are cut off; it grows to 1. Must be 1
    for strategies that keep the fitness of members: populations, archives."""
    horizon_growth: float = 0.5
    """Share of the run after which episodes have their full length; the last always have."""
    num_lanes: int = 0
    """Episodes at once on a device, in whole tiles; 0 chooses one tile. It changes no result."""
    population_chunk: int = 0
    """Members in the queue at once on a device; 0 as memory allows. It changes no result."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        super().__post_init__()
        if self.population_size < 2:
            raise ValueError(f"population_size must be at least 2, got {self.population_size}")
        if self.num_episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {self.num_episodes}")
        if self.common_random_numbers == "pairs":
            check_even("--common_random_numbers pairs", self.population_size)
        check_shares(self, "init_horizon", "horizon_growth")
        for name in ("num_lanes", "population_chunk"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def search_algorithm(
        self, solution: Any, weights: WeightKind, num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm that searches params like `solution`, and its params.

        Raises:
          WrongObject: a subclass has neither such a method nor `searched_by`.
        """
        if not self.searched_by:
            raise WrongObject(
                f"{type(self).__name__} has no search_algorithm(self, solution, weights, "
                "num_generations) that returns an evosax algorithm and its params"
            )
        return self.call(self.searched_by, solution, weights, num_generations)

    def float_twin(self) -> "Evolution":
        """Return what `--weights float` runs instead: the nearest algorithm of evosax.

        Raises:
          ValueError: there is none.
        """
        raise ValueError(f"{type(self).__name__} has no twin that searches float weights")


@dataclasses.dataclass(frozen=True)
class OwnTwin(Evolution):
    """Abstract: an algorithm that searches float weights too, as a list of arrays."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:own_twin"


Schedule = Literal["constant", "linear", "cosine", "exponential"]


@dataclasses.dataclass(frozen=True)
class Sampled(Evolution):
    """Abstract: members that are sampled."""

    antithetic: bool = True
    """Sample in antithetic pairs; needs an even population_size."""

    def __post_init__(self) -> None:
        """Refuse pairs of an odd population."""
        super().__post_init__()
        if self.antithetic:
            check_even("antithetic sampling", self.population_size)


@dataclasses.dataclass(frozen=True)
class Shaped(Sampled):
    """Abstract: members that are sampled, and utilities from their ranks."""

    fitness_shaping: Literal["centered_rank", "standardize", "baseline"] = "centered_rank"
    """From fitness to utility; `baseline` only subtracts the mean return, and a gradient is
    shortened to ten times the length of those before it."""


@dataclasses.dataclass(frozen=True)
class Learning(Evolution):
    """Abstract: a learning rate that follows a schedule."""

    lr: float = 0.1
    """Learning rate."""
    lr_end: float = 0.01
    """Where a learning rate schedule ends."""
    lr_schedule: Schedule = "constant"
    """How the learning rate moves over the run."""

    def __post_init__(self) -> None:
        """Refuse a rate that means nothing."""
        super().__post_init__()
        check_positive(self, "lr", "lr_end")


@dataclasses.dataclass(frozen=True)
class Optimised(Learning):
    """Abstract: steps by an optax optimiser."""

    optimizer: Literal["adam", "sgd", "momentum"] = "adam"
    """Optax optimiser; adam has b2 = 0.99."""


@dataclasses.dataclass(frozen=True)
class Noisy(Evolution):
    """Abstract: noise whose size follows a schedule."""

    sigma: float = 0.1
    """Standard deviation of the noise, or a flip rate; where the algorithm has one to set."""
    sigma_end: float = 0.01
    """Where a sigma schedule ends."""
    sigma_schedule: Schedule = "constant"
    """How sigma moves over the run."""

    def __post_init__(self) -> None:
        """Refuse noise that means nothing."""
        super().__post_init__()
        check_positive(self, "sigma", "sigma_end")


def check_positive(settings: Settings, *names: str) -> None:
    """Refuse numbers that are zero or less.

    Raises:
      ValueError: one is.
    """
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(settings, name)}")


def check_shares(settings: Settings, *names: str) -> None:
    """Refuse numbers that are not above 0 and at most 1.

    Raises:
      ValueError: one is not.
    """
    for name in names:
        if not 0 < getattr(settings, name) <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(settings, name)}")


def check_even(what: str, population_size: int) -> None:
    """Refuse an odd population where members come in pairs.

    Raises:
      ValueError: it is odd.
    """
    if population_size % 2:
        raise ValueError(f"{what} needs an even population_size, got {population_size}")


def check_weights(
    strategy: str, weights: WeightKind, allowed: tuple[str, ...], instead: str
) -> None:
    """Refuse a kind of weights that a strategy cannot search.

    Raises:
      ValueError: with what to use instead.
    """
    if weights not in allowed:
        raise ValueError(
            f"--strategy {strategy} searches {' or '.join(allowed)} weights, not {weights!r}; "
            f"{instead}"
        )


def check_heeded(settings: Evolution, found: Any) -> None:
    """Refuse settings that are not the default and that the twin does not have as they are.

    Raises:
      ValueError: with their names.
    """
    taken = vars(found) | found.algorithm_params
    ignored = [
        f"--{field.name}"
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) not in (field.default, taken.get(field.name))
    ]
    if ignored:
        raise ValueError(
            f"--weights float runs {found.algorithm} of evosax, which does not follow "
            f"{', '.join(ignored)}: what it has can be set by --strategy latent --algorithm "
            f"{found.algorithm}"
        )
