"""Policies that learn while they act, in NumPy: which module runs which kind."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import entm, hebbian, hill_climber
from ternevo.deploy.life import LifeKind
from ternevo.deploy.record import PolicyRecord


class Told(NamedTuple):
    """What a policy is told besides observations, for each row.

    Attributes:
      feedback: float32 [n], the reward of the step before.
      is_first: bool [n], whether an episode begins.
    """

    feedback: NDArray[np.float32]
    is_first: NDArray[np.bool_]


@runtime_checkable
class Runner(Protocol):
    """A policy that learns, ready to step.

    Attributes:
      is_float: whether logits are float32 in units of 1, not int32.
      output_exponent: integer logits are in units of 2**-output_exponent.
    """

    is_float: bool
    output_exponent: int

    def begin(self, seeds: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the memories [n, memory] at the start of lives with these seeds [n]."""
        ...

    def step(
        self, memories: NDArray[np.int32], q: NDArray[np.int8], told: Told
    ) -> tuple[NDArray[np.int32], NDArray]:
        """Return the memories after a step, and the logits [n, out]."""
        ...


KINDS: dict[LifeKind, Any] = {
    "hebbian": hebbian,
    "hill_climber": hill_climber,
    "entm": entm,
}
"""The module of each kind, with `check(record)` and `Runner(record)`."""


def check(record: PolicyRecord) -> None:
    """Refuse a record whose rules do not fit its layers.

    Raises:
      ValueError: they do not.
    """
    assert record.life is not None
    if any(layer.functions is not None for layer in record.layers):
        raise ValueError("a policy that learns while it acts has no functions of outputs")
    KINDS[record.life.kind].check(record)


def runner(record: PolicyRecord) -> Runner:
    """Return what runs a record that `check` accepts."""
    assert record.life is not None
    return KINDS[record.life.kind].Runner(record)
