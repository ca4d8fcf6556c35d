"""`--strategy random_search`: the control that every comparison needs."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import Evolution


@dataclasses.dataclass(frozen=True)
class RandomSearch(Evolution):
    """Random search; the leader is re-evaluated every generation. Searches float weights too."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:own_twin"
    searched_by: ClassVar[str] = "ternevo.algorithms.random_search:from_settings"
