"""`--policy hyperneat`: a small network that draws the weights of a large one."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, at_least, check, option
from ternevo.settings.policies.layered import Layered
from ternevo.settings.policies.settings import PolicySettings


@dataclasses.dataclass(frozen=True)
class HyperNEAT(PolicySettings):
    """A ternary network whose weights are drawn by a small graph, for `--strategy neat`.

    The graph (CPPN) sees where two nodes are and gives the weight between them, so the same graph
    draws networks for pictures of any size. What ships is the ternary network.
    """

    built_by: ClassVar[str] = "ternevo.policies.hyperneat:build"
    codec: ClassVar[str | None] = "ternevo.policies.hyperneat_record"
    fits_any_size: ClassVar[bool] = True

    hidden_sizes: tuple[int, ...] = option((), costs_memory=True)
    """Width of each hidden layer of the network that is drawn."""
    max_hidden: int = option(6, COUNT, costs_memory=True)
    """Largest number of hidden nodes of the graph that draws."""
    max_depth: int = option(3, at_least(2), costs_memory=True)
    """Largest number of links from a coordinate to an output of the graph that draws."""
    expression_threshold: float = option(0.2, NOT_NEGATIVE)
    """A weight is 0 if the graph gives at most this, else its sign."""
    activation: Literal["int8", "int4", "sign", "ternary"] = "int8"
    """Activation of the hidden layers of the network that is drawn."""
    matmul: Literal["auto", "planes", "float32", "bfloat16", "int8"] = "auto"
    """How to multiply; a policy returns the same. planes counts bits; auto chooses the fastest."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, and weights without a zero, which stands for no link."""
        super().__post_init__()
        check("max_hidden", self.max_hidden, COUNT)
        check("max_depth", self.max_depth, at_least(2))
        check("expression_threshold", self.expression_threshold, NOT_NEGATIVE)
        if any(size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        self.check_has_zeros("hyperneat")

    @property
    def layered(self) -> Layered:
        """The settings of the layers that are drawn: ternary, whatever the graph's weights are."""
        return Layered(
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            use_bias=False,
            matmul=self.matmul,
            weights="ternary",
        )
