"""What a policy file holds of a policy that learns while it lives, besides its layers.

The layers are the start of a life; `Life` says how they change from step to step. How each kind
learns is in the module that `living.KINDS` names.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

LifeKind = Literal["hebbian", "hill_climber", "entm"]
LIFE_KINDS: tuple[LifeKind, ...] = ("hebbian", "hill_climber", "entm")
"""The code of a kind in a file is its place here."""


class Rules(NamedTuple):
    """A tensor that says how weights change: int8 trits or float32, [rows, columns]."""

    values: NDArray
    exponent: int


@dataclasses.dataclass(frozen=True)
class Life:
    """How a policy learns while it lives.

    Attributes:
      kind: by which algorithm.
      options: its settings as integers; the module of the kind says in which order.
      rules: its evolved tensors, in the order of the layers.
    """

    kind: LifeKind
    options: tuple[int, ...]
    rules: tuple[Rules, ...]

    def memory_size(self, layers: Sequence[Any]) -> int:
        """Return how many int32 numbers are carried from step to step."""
        if self.kind == "entm":
            return num_bits_of_tape(self.options) + self.options[2] + 1  # which cells, and the head
        weights = sum(layer.weights.size for layer in layers)
        if self.kind == "hebbian":
            return weights + 2  # the seed, and the number of steps
        biases = sum(0 if layer.bias is None else layer.bias.size for layer in layers)
        return 2 * (weights + biases) + 4  # two scores, the number of episodes, and the seed


def num_bits_of_tape(options: Sequence[int]) -> int:
    """Return the bits of a Turing machine's tape, of the options of `deploy.entm.Machine`."""
    return options[1] * options[2]
