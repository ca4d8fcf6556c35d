"""Settings that all evolutionary strategies share."""

import dataclasses
from typing import Any, ClassVar, Literal

from ternevo.names import WrongObject
from ternevo.settings.flat import flat
from ternevo.settings.meaning import (
    COUNT,
    NOT_NEGATIVE,
    SHARE,
    Limit,
    at_least,
    check,
    option,
    unseen,
)
from ternevo.settings.policies.settings import WeightName
from ternevo.settings.strategies.parts import check_even
from ternevo.settings.strategies.settings import Settings


@dataclasses.dataclass(frozen=True)
class Evolution(Settings):
    """Abstract: an algorithm evaluated on whole episodes. A subclass supplies the algorithm."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:evolution"
    searched_by: ClassVar[str] = ""
    """What `search_algorithm` calls, as "package.module:function"."""

    population_size: int = option(256, at_least(2), costs_memory=True)
    """Number of members per generation, at least 2."""
    num_episodes: int = option(1, COUNT, costs_memory=True)
    """Number of episodes per member and generation; fitness is their mean return."""
    common_random_numbers: Literal["all", "pairs", "none"] = "all"
    """Which members share the same episodes: all, each antithetic pair, or none."""
    init_horizon: float = option(1.0, SHARE)
    """Share of the time limit at which the first episodes are cut off; it grows to 1. Must be 1 for
    strategies that keep the fitness of members: populations, archives."""
    horizon_growth: float = option(0.5, SHARE)
    """Share of the run after which episodes have full length; the last generation always does."""
    num_lanes: int = unseen(0, NOT_NEGATIVE, bounds_memory=True)
    """Parallel episodes per device, in whole tiles; 0 for one tile. Does not affect results."""
    population_chunk: int = unseen(0, NOT_NEGATIVE, bounds_memory=True)
    """Members queued at once per device; 0 for as many as fit. Does not affect results."""

    def __post_init__(self) -> None:
        """Refuse pairs in an odd population."""
        super().__post_init__()
        if self.common_random_numbers == "pairs":
            check_even("--common_random_numbers pairs", self.population_size)

    @property
    def is_stretched(self) -> bool:
        """Whether a schedule or the length of episodes spans the whole run."""
        return super().is_stretched or self.init_horizon != 1

    def search_algorithm(
        self, solution: Any, weights: WeightName, num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm that searches trees like `solution`, and its params.

        Raises:
          WrongObject: a subclass has neither this method nor `searched_by`.
        """
        if not self.searched_by:
            raise WrongObject(
                f"{type(self).__name__} has no search_algorithm(self, solution, weights, "
                "num_generations) that returns an evosax algorithm and its params"
            )
        return self.call(self.searched_by, solution, weights, num_generations)

    def float_twin(self) -> "Evolution":
        """Return the settings that `--weights float` uses: those of the nearest evosax algorithm.

        Raises:
          ValueError: there is none.
        """
        raise ValueError(f"{type(self).__name__} has no float baseline; it cannot search floats")


def check_all(limit: Limit, settings: Any, *names: str) -> None:
    """Refuse numbers that break a limit.

    Raises:
      ValueError: a number breaks it.
    """
    for name in names:
        check(name, getattr(settings, name), limit)


def check_weights(
    strategy: str, weights: WeightName, allowed: tuple[str, ...], instead: str
) -> None:
    """Refuse a kind of weights that a strategy cannot search.

    Raises:
      ValueError: naming what to use instead.
    """
    if weights not in allowed:
        raise ValueError(
            f"--strategy {strategy} searches {' or '.join(allowed)} weights, not {weights!r}; "
            f"{instead}"
        )


def check_heeded(settings: Evolution, found: Any) -> None:
    """Refuse changed settings that the float baseline does not use.

    Raises:
      ValueError: naming them.
    """
    taken = flat(found) | found.algorithm_params
    defaults = flat(type(settings)())
    ignored = [
        f"--{name}"
        for name, value in flat(settings).items()
        if value not in (defaults[name], taken.get(name))
    ]
    if ignored:
        raise ValueError(
            f"--weights float runs {found.algorithm} of evosax, which ignores "
            f"{', '.join(ignored)}: to set the options it has, use --strategy latent --algorithm "
            f"{found.algorithm}"
        )
