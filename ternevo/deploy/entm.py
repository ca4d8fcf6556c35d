"""An evolved neural Turing machine in NumPy: a controller with one head on a tape of bits.

All numbers are bits: sums of links are switched on above 0, so with trits everything is integer.
`policies/entm.py` computes the same in JAX, and tests compare the two with `==` over whole lives.

In a file the only layer holds the links from observations to actions, and `Life.rules` all others,
each [inputs, outputs]: those of the hidden units, if there are any; those from what was read, the
constant and the hidden units to actions; and those of everything to the orders of the head.

References:
  Greve, Jacobsen and Risi, "Evolving Neural Turing Machines for Reward-based Learning", GECCO 2016.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.life import Life, Rules, num_bits_of_tape
from ternevo.deploy.record import PolicyRecord

SWITCHES = 5
"""Orders besides the key: write, jump, and the shifts left, stay and right."""
OBSERVATION_SHIFT = 2
"""What a file says of the units of observations, which are on or off here."""
MAX_BITS = 2**24
"""Largest number of bits of a tape, and of any option."""


class Machine(NamedTuple):
    """The sizes of a machine; see the settings of `--policy entm`.

    Attributes:
      hidden_size: hidden units of the controller.
      cell_size: bits of a cell.
      num_cells: largest number of cells.
      expand: whether the tape always ends in a blank cell.
    """

    hidden_size: int
    cell_size: int
    num_cells: int
    expand: bool

    def to_options(self) -> tuple[int, ...]:
        """Return it as integers."""
        return *self[:3], int(self.expand)

    @property
    def seen(self) -> int:
        """What the controller sees besides the observation: what was read, and the constant."""
        return self.cell_size + 1


def from_options(options: Sequence[int]) -> Machine:
    """Return what `Machine.to_options` made integers of.

    Raises:
      ValueError: an integer is out of its range.
    """
    limits = {"hidden_size": range(MAX_BITS), "cell_size": range(1, MAX_BITS)}
    limits |= {"num_cells": range(1, MAX_BITS), "expand": range(2)}
    if len(options) != len(limits):
        raise ValueError(f"{len(options)} options of a Turing machine; must be {len(limits)}")
    for (name, allowed), code in zip(limits.items(), options, strict=True):
        if code not in allowed:
            raise ValueError(f"{name} {code}; must be {allowed[0]} to {allowed[-1]}")
    hidden, size, count, expand = options
    machine = Machine(hidden, size, count, bool(expand))
    if num_bits_of_tape(options) > MAX_BITS:
        raise ValueError(f"a tape of {machine.num_cells} cells of {machine.cell_size} bits")
    return machine


class Links(NamedTuple):
    """The links of a controller, [inputs, outputs]; inputs are as in the module's docstring.

    Attributes:
      hidden: to hidden units, [seen, 0] without any.
      actions: to actions.
      orders: to the key, write, jump, left, stay and right.
    """

    hidden: NDArray
    actions: NDArray
    orders: NDArray


def check(record: PolicyRecord) -> None:
    """Refuse a record whose links do not fit its sizes.

    Raises:
      ValueError: they do not.
    """
    assert record.life is not None
    machine = from_options(record.life.options)
    if len(record.layers) != 1 or record.layers[0].kind not in ("ternary", "float"):
        raise ValueError("a Turing machine has one layer of ternary or float weights")
    layer = record.layers[0]
    if layer.type != "dense" or layer.skip or layer.bias is not None or layer.has_outputs:
        raise ValueError("a Turing machine has a dense layer without a bias and skips")
    if record.input_kind == "bits" or record.observation_bits != 8 or record.obs_shape:
        raise ValueError("a Turing machine takes a vector of observations of 8 bits")
    if record.observation_shift != OBSERVATION_SHIFT:
        raise ValueError(
            f"observation shift {record.observation_shift} of a Turing machine; must be "
            f"{OBSERVATION_SHIFT}"
        )
    if record.output_shift:
        raise ValueError("a Turing machine has no output shift")
    wanted = _shapes(machine, record.obs_size, record.num_outputs)
    found = [tuple(rules.values.shape) for rules in record.life.rules]
    if found != wanted:
        raise ValueError(f"links of shapes {found}; must be {wanted}")
    dtype = np.int8 if layer.kind == "ternary" else np.float32
    if any(rules.values.dtype != dtype for rules in record.life.rules):
        raise ValueError(f"links must be {np.dtype(dtype)}")
    if any(rules.exponent != layer.exponent for rules in record.life.rules[-2:]):
        raise ValueError("all links to outputs have one exponent")


def _shapes(machine: Machine, obs_size: int, num_actions: int) -> list[tuple[int, int]]:
    """Return the shapes of the links that are rules."""
    seen, hidden = machine.seen, machine.hidden_size
    first = [(obs_size + seen, hidden)] if hidden else []
    orders = obs_size + seen + hidden, machine.cell_size + SWITCHES
    return [*first, (seen + hidden, num_actions), orders]


def links_of(record: PolicyRecord) -> Links:
    """Return all links of a checked record."""
    assert record.life is not None
    *first, actions, orders = (rules.values for rules in record.life.rules)
    seen = record.obs_size + from_options(record.life.options).seen
    hidden = first[0] if first else np.zeros((seen, 0), actions.dtype)
    return Links(hidden, np.concatenate([record.layers[0].weights.T, actions]), orders)


def life_of(machine: Machine, rules: Sequence[Rules]) -> Life:
    """Return what a file holds of a machine, besides its layer."""
    return Life("entm", machine.to_options(), tuple(rules))


class Tapes(NamedTuple):
    """The memories of lives, in the order in which they are stored.

    Attributes:
      cells: bits [n, cells, bits].
      exists: which cells are there [n, cells].
      head: where the head is [n]; what it read is its cell.
    """

    cells: NDArray[np.int32]
    exists: NDArray[np.int32]
    head: NDArray[np.int32]


class Runner:
    """A machine, ready to step; memories are int32 [n, memory], see `Tapes`."""

    is_float = False
    output_exponent = 0

    def __init__(self, record: PolicyRecord):
        """Prepare a checked record."""
        assert record.life is not None
        self.machine, found = from_options(record.life.options), links_of(record)
        dtype = np.float32 if record.layers[0].kind == "float" else np.int64
        self.links = Links(*(links.astype(dtype) for links in found))

    def begin(self, seeds: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the memories [n, memory] at the start of lives: one blank cell."""
        count, size = self.machine.num_cells, self.machine.cell_size
        exists = np.zeros((len(seeds), count), np.int32)
        exists[:, 0] = 1
        blank = np.zeros((len(seeds), count, size), np.int32)
        return _stored(Tapes(blank, exists, np.zeros(len(seeds), np.int32)))

    def step(
        self, memories: NDArray[np.int32], q: NDArray[np.int8], told: Any = None
    ) -> tuple[NDArray[np.int32], NDArray]:
        """Return the memories [n, memory] after a step and the logits int32 [n, out], -1 or 1.

        Args:
          memories: before the step.
          q: quantised observations int8 [n, in]; those above 0 are on.
          told: not used: a machine sees rewards only in observations.
        """
        del told
        tapes, dtype = self._read(memories), self.links.orders.dtype
        read = tapes.cells[np.arange(len(q)), tapes.head]
        values = np.concatenate([q > 0, read, np.ones((len(q), 1))], 1).astype(dtype)
        values = np.concatenate([values, values @ self.links.hidden > 0], 1).astype(dtype)
        action, orders = values @ self.links.actions > 0, values @ self.links.orders
        return _stored(self._moved(tapes, orders)), 2 * action.astype(np.int32) - 1

    def _read(self, memories: NDArray[np.int32]) -> Tapes:
        count, size = self.machine.num_cells, self.machine.cell_size
        cells, exists = memories[:, : count * size], memories[:, count * size : -1]
        return Tapes(cells.reshape(len(cells), count, size).copy(), exists.copy(), memories[:, -1])

    def _moved(self, tapes: Tapes, orders: NDArray) -> Tapes:
        """Write, jump and shift; of equal cells a jump takes the first."""
        on = (orders > 0).astype(np.int32)
        key, write, jump = on[:, :-SWITCHES], on[:, -SWITCHES], on[:, 1 - SWITCHES]
        shift = np.argmax(on[:, -3:], 1) - 1
        cells, exists, head = tapes
        row, count = np.arange(len(head)), self.machine.num_cells
        before = cells[row, head]
        cells[row, head] = np.where(write[:, None], key, before)
        if self.machine.expand:
            last = count - 1 - np.argmax(exists[:, ::-1], 1)
            appends = (head == last) & np.any(cells[row, head] != before, 1)
            exists[row, (last + 1) % count] |= appends
        unlike = np.abs(cells - key[:, None]).sum(2) + MAX_BITS * (1 - exists)
        head = (np.where(jump, np.argmin(unlike, 1), head) + shift) % count
        exists[row, head] = 1
        return Tapes(cells, exists, head.astype(np.int32))


def _stored(tapes: Tapes) -> NDArray[np.int32]:
    rows = tapes.cells.reshape(len(tapes.head), -1), tapes.exists, tapes.head[:, None]
    return np.concatenate(rows, 1).astype(np.int32)
