"""`--strategy poet`: environments and policies that solve them, made together."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, at_least, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.ternary_ga import TernaryGA
from ternevo.settings.strategies.ternary_nes import TernaryNES

INNER: dict[str, type[Evolution]] = {"ternary_nes": TernaryNES, "ternary_ga": TernaryGA}


@dataclasses.dataclass(frozen=True)
class Poet(Evolution):
    """Paired open-ended trailblazer (Wang et al. 2019): niches, transfers, an archive.

    A niche is an environment and a policy with a search of its own. The environment must have a
    space of tasks, as control/hop_runner has. `--weights float` runs the search's float baseline.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:poet"

    population_size: int = option(64, at_least(2), costs_memory=True)
    """Number of members per generation in each niche, at least 2."""
    num_episodes: int = option(2, COUNT, costs_memory=True)
    """Number of episodes per member and generation; fitness is their mean return."""
    inner: Literal["ternary_nes", "ternary_ga"] = "ternary_nes"
    """What searches within a niche. What has no option here is at its default."""
    niches: int = option(8, at_least(2), costs_memory=True)
    """Largest number of niches, at least 2; a new one takes the place of the oldest."""
    retired: int = option(8, COUNT, costs_memory=True)
    """Number of niches in the archive, which are no longer searched; it forgets the oldest."""
    transfer_every: int = option(25, at_least(2))
    """Generations after which all policies are scored in all niches, and may move; at least 2."""
    reproduce_every: int = option(50, COUNT)
    """Generations after which niches have children, rounded up to a time of transfers."""
    children: int = option(8, COUNT, costs_memory=True)
    """Number of environments that are mutated each time; at most one is admitted."""
    score_episodes: int = option(16, COUNT)
    """Number of episodes of a policy's score in a niche."""
    reproduce_return: float = option(200.0, is_data=True)
    """Score at which a niche counts as solved, and may have children."""
    least_return: float = option(25.0, is_data=True)
    """Least score in a new environment, of its parent's policy and of the best; below, it is too
    hard."""
    largest_return: float = option(340.0, is_data=True)
    """Largest such score; above, it is too easy."""
    nearest: int = option(5, COUNT)
    """Number of nearest environments to which the distance is the novelty of a new one."""
    task_step: float = option(1.0, NOT_NEGATIVE, is_data=True)
    """Factor of the largest changes of a mutation of an environment."""

    @property
    def searching(self) -> Evolution:
        """Return the settings of the search within a niche."""
        return INNER[self.inner].of(
            population_size=self.population_size,
            num_episodes=self.num_episodes,
            common_random_numbers=self.common_random_numbers,
            num_lanes=self.num_lanes,
            population_chunk=self.population_chunk,
        )

    def __post_init__(self) -> None:
        """Refuse what the search within a niche refuses."""
        super().__post_init__()
        if not self.least_return < self.largest_return:
            raise ValueError(
                f"least_return must be below largest_return = {self.largest_return}, "
                f"got {self.least_return}"
            )
        _ = self.searching
