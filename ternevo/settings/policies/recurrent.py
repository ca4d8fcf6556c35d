"""`--policy recurrent`: a cell with a memory, with integer arithmetic."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, check, option
from ternevo.settings.policies.layered import Flattening


@dataclasses.dataclass(frozen=True)
class Recurrent(Flattening):
    """Dense layers, a cell that remembers, and a dense output layer."""

    built_by: ClassVar[str] = "ternevo.policies.recurrent:build"
    codec: ClassVar[str | None] = "ternevo.policies.recurrent_record"

    hidden_sizes: tuple[int, ...] = option((), costs_memory=True)
    """Width of each hidden dense layer before the cell."""
    cell: Literal["elman", "gated"] = "gated"
    """elman replaces its memory in each step; gated has a gate for each number of its memory."""
    memory_size: int = option(32, COUNT, costs_memory=True)
    """Numbers that the cell remembers."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, bits and shifts."""
        super().__post_init__()
        check("memory_size", self.memory_size, COUNT)
