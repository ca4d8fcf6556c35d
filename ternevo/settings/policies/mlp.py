"""`--policy mlp`: a multi-layer perceptron with integer arithmetic."""

import dataclasses
from typing import ClassVar

from ternevo.settings.meaning import option
from ternevo.settings.policies.layered import Flattening


@dataclasses.dataclass(frozen=True)
class MLP(Flattening):
    """A multi-layer perceptron with integer arithmetic."""

    built_by: ClassVar[str] = "ternevo.policies.mlp:build"
    codec: ClassVar[str | None] = "ternevo.policies.mlp_record"

    hidden_sizes: tuple[int, ...] = option((64, 64), costs_memory=True)
    """Width of each hidden layer."""
