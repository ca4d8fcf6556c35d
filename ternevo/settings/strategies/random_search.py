"""`--strategy random_search`: the control that every comparison needs."""

import dataclasses
from typing import ClassVar

from ternevo.settings.strategies.evolution import OwnTwin


@dataclasses.dataclass(frozen=True)
class RandomSearch(OwnTwin):
    """Random search; the leader is evaluated again and again. It is its own float twin."""

    searched_by: ClassVar[str] = "ternevo.algorithms.random_search:from_settings"
