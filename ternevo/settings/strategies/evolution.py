"""The settings that every evolutionary strategy has."""

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
    """Members of a generation."""
    num_episodes: int = option(1, COUNT, costs_memory=True)
    """Episodes of each member in a generation; its fitness is their mean."""
    common_random_numbers: Literal["all", "pairs", "none"] = "all"
    """Who meets the same episodes in a generation: all members, each antithetic pair, or nobody."""
    init_horizon: float = option(1.0, SHARE)
    """Share of the time limit after which the first episodes are cut off; it grows to 1. Must be 1
    for strategies that keep the fitness of members: populations, archives."""
    horizon_growth: float = option(0.5, SHARE)
    """Share of the run after which episodes have their full length; the last always have."""
    num_lanes: int = unseen(0, NOT_NEGATIVE, bounds_memory=True)
    """Episodes at once on a device, in whole tiles; 0 chooses one tile. It changes no result."""
    population_chunk: int = unseen(0, NOT_NEGATIVE, bounds_memory=True)
    """Members in the queue at once on a device; 0 as memory allows. It changes no result."""

    def __post_init__(self) -> None:
        """Refuse pairs of an odd population."""
        super().__post_init__()
        if self.common_random_numbers == "pairs":
            check_even("--common_random_numbers pairs", self.population_size)

    @property
    def is_stretched(self) -> bool:
        """Whether something moves over the whole run: a schedule, or the length of episodes."""
        return super().is_stretched or self.init_horizon != 1

    def search_algorithm(
        self, solution: Any, weights: WeightName, num_generations: int
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


def check_all(limit: Limit, settings: Any, *names: str) -> None:
    """Refuse numbers that are not what they must be.

    Raises:
      ValueError: one is not.
    """
    for name in names:
        check(name, getattr(settings, name), limit)


def check_weights(
    strategy: str, weights: WeightName, allowed: tuple[str, ...], instead: str
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
    taken = flat(found) | found.algorithm_params
    defaults = flat(type(settings)())
    ignored = [
        f"--{name}"
        for name, value in flat(settings).items()
        if value not in (defaults[name], taken.get(name))
    ]
    if ignored:
        raise ValueError(
            f"--weights float runs {found.algorithm} of evosax, which does not follow "
            f"{', '.join(ignored)}: what it has can be set by --strategy latent --algorithm "
            f"{found.algorithm}"
        )
