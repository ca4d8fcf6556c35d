"""`--policy graph`: nodes and links of any topology, with integer arithmetic."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, at_least, check, option
from ternevo.settings.policies.layered import Layered
from ternevo.settings.policies.settings import FunctionName, PolicySettings

OBSERVATION_BITS = {"int8": 8, "int4": 4, "ternary": 2}
"""Bits of an observation for each activation: a node adds up observations and other nodes."""
OBSERVATION_SHIFT = 2
"""Full scale of a number, an observation or a node, times a weight of 1 is 4 units."""


@dataclasses.dataclass(frozen=True)
class Graph(PolicySettings):
    """A network of any topology, for `--strategy neat`; it starts without hidden nodes.

    A node adds up its links, which are trits, and multiplies the sum by a gain of 2**k of its own.
    With float weights there are no gains.
    """

    built_by: ClassVar[str] = "ternevo.policies.graph:build"
    codec: ClassVar[str | None] = "ternevo.policies.graph_record"

    max_hidden: int = option(16, COUNT, costs_memory=True)
    """Largest number of hidden nodes."""
    update: Literal["recurrent", "feed_forward"] = "recurrent"
    """recurrent updates all nodes once a step, and they remember. feed_forward has no memory and
    updates all nodes max_depth times in each step, starting from 0."""
    max_depth: int = option(4, at_least(2), costs_memory=True)
    """Largest number of links from an observation to an action; only for feed_forward."""
    copies: Literal[1, 2, 4, 8] = 1
    """Number of consecutive observations that share their links. With more than 1, an environment
    may show a number in as many readings, shifted by fractions of a step: see staggered readings
    in the documentation."""
    activation: Literal["int8", "int4", "ternary"] = "int8"
    """Activation of all nodes, a hard tanh on a grid of 8 bits, 4 bits, or three numbers."""
    node_functions: tuple[FunctionName, ...] = ("tanh",)
    """What a node may make of its number x in [-1, 1] after that; each has a gene for its own.
    tanh leaves it; relu is max(x, 0), absolute |x|, sign -1, 0 or 1, and hat 1 - |x|. All nodes
    begin with the first of them."""
    matmul: Literal["auto", "planes", "float32", "bfloat16", "int8"] = "auto"
    """How to multiply; a policy returns the same. planes counts bits; auto chooses the fastest."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes, and weights without a zero, which stands for no link.

        Integers of 8 bits are for a trained graph of floats that is rounded.
        """
        super().__post_init__()
        check("max_hidden", self.max_hidden, COUNT)
        check("max_depth", self.max_depth, at_least(2))
        if self.copies not in (1, 2, 4, 8):
            raise ValueError(f"copies must be 1, 2, 4 or 8, got {self.copies}")
        if len(set(self.node_functions)) < max(1, len(self.node_functions)):
            raise ValueError(
                f"node_functions must be one or more, each once, got {self.node_functions}"
            )
        if self.weights != "int8":
            self.check_has_zeros("graph")

    @property
    def has_functions(self) -> bool:
        """Whether nodes have functions; without, all of them are a hard tanh."""
        return self.node_functions != ("tanh",)

    @property
    def layered(self) -> Layered:
        """The settings of the layers that compute it."""
        return Layered(
            activation=self.activation,
            scales="layer" if self.weights == "float" else "output",
            observation_bits=OBSERVATION_BITS[self.activation],
            observation_shift=OBSERVATION_SHIFT,
            matmul=self.matmul,
            weights=self.weights,
        )
