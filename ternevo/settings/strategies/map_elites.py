"""`--strategy map_elites`: an archive of the best policy for each behaviour."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import COUNT, FRACTION, NOT_NEGATIVE, option
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.parts import Flips


@dataclasses.dataclass(frozen=True)
class MAPElites(Evolution):
    """MAP-Elites (Mouret and Clune 2015): parents are drawn evenly from all cells of the archive.

    The environment must say what behaviour is, as control/maze and meta/ant_gaits do.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:map_elites"

    grid: tuple[int, ...] = option((32, 32), costs_memory=True)
    """Number of cells along each number of the behaviour."""
    centroids: int = option(0, NOT_NEGATIVE, costs_memory=True)
    """Number of cells around evenly spread centroids, in place of a grid (CVT); 0 for the grid."""
    crossover_rate: float = option(0.3, FRACTION, is_data=True)
    """Share of a child's weights from a second parent; ternary and binary weights only."""
    flips: Flips = Flips()
    iso_sigma: float = option(0.05, NOT_NEGATIVE, is_data=True)
    """Standard deviation of the noise on a child's weights; float weights only."""
    line_sigma: float = option(0.1, NOT_NEGATIVE, is_data=True)
    """Standard deviation of its step towards a second parent, as a share of the way; float weights
    only."""
    least_return: float = option(0.0, is_data=True)
    """Return that counts as 0 in the metric search/qd_score, the sum over all cells."""

    def __post_init__(self) -> None:
        """Refuse a grid without cells."""
        super().__post_init__()
        if not self.grid or not all(COUNT.holds(n) for n in self.grid):
            raise ValueError(f"grid must be numbers that are at least 1, got {self.grid}")
