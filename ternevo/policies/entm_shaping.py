"""Reward shaping for `--policy entm`: credit for what is stored, before any answer is right.

A machine must write, find and answer before an answer pays more than a guess. Shaping pays for the
first two, at most 1 in an episode, while members are scored; tests pay for answers alone. Credit is
a number of the notes that are kept of an episode, and what it gains in a step is paid with the
reward. So an episode gets its last value, which the potentials of Ng et al. (1999) would take back:
what is best may change.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from ternevo.names import lookup
from ternevo.types import ActionSpec, ObsSpec


class Doing(NamedTuple):
    """What a machine saw and did in a step.

    `cells` is the tape before it, `cell` where the head was, and `arrives` where it then was.
    """

    seen: Float32[Array, " obs"]
    cells: Float32[Array, "cells bits"]
    cell: Int32[Array, ""]
    wrote: Bool[Array, ""]
    arrives: Int32[Array, ""]


class Shaping(NamedTuple):
    """Notes on an episode: at its start, after a step, and what they are worth."""

    start: Any
    note: Callable[[Any, Doing], Any]
    credit: Callable[[Any], Float32[Array, ""]]


def build(name: str, obs: ObsSpec, action: ActionSpec, tape: tuple[int, int]) -> Shaping:
    """Return the shaping for a task of `ternevo.envs.memory`, and a tape of [cells, bits].

    Raises:
      UnknownName: there is no such shaping.
      ValueError: observations or cells are not as that task needs them.
    """
    return lookup("reward shaping", name, SHAPINGS)(obs, action, tape)


# ----------------------------------------------------------------------------------------- copy


class Stored(NamedTuple):
    """Which vector was last written to each cell, if one was, and how many were shown."""

    items: Float32[Array, "cells items"]
    is_item: Bool[Array, " cells"]
    shown: Int32[Array, ""]
    credit: Float32[Array, ""]


def copy(obs: ObsSpec, action: ActionSpec, tape: tuple[int, int]) -> Shaping:
    """Pay for the share of vectors that are still in their cells when the delimiter comes.

    A cell holds a vector if it begins with it, so that its other bits can mark it.

    Raises:
      ValueError: observations are not a start bit, a delimiter bit and the vector to answer with,
        or vectors are longer than cells.
    """
    (count, width), size = tape, action.size
    if obs.size != size + 2:
        raise ValueError(
            f"reward_shaping 'copy' is for memory/copy, whose observations have 2 numbers more "
            f"than its actions; got {obs.size} and {size}"
        )
    if width < size:
        raise ValueError(f"reward_shaping 'copy' needs cells of {size} bits, got cell_size {width}")
    nothing = jnp.zeros(())
    start = Stored(
        jnp.zeros((count, size)), jnp.zeros(count, bool), nothing.astype(jnp.int32), nothing
    )

    def note(notes: Stored, doing: Doing) -> Stored:
        is_start, is_delimiter, vector = doing.seen[0] > 0, doing.seen[1] > 0, doing.seen[2:]
        is_open = (notes.shown >= 0) & ~is_start & ~is_delimiter
        is_intact = notes.is_item & jnp.all(doing.cells[:, :size] == notes.items, axis=1)
        share = jnp.sum(is_intact) / jnp.maximum(notes.shown, 1)
        writes = is_open & doing.wrote
        return Stored(
            notes.items.at[doing.cell].set(jnp.where(writes, vector, notes.items[doing.cell])),
            notes.is_item.at[doing.cell].set(notes.is_item[doing.cell] | writes),
            # After the delimiter no more vectors come.
            jnp.where(is_delimiter, -1, notes.shown + is_open),
            jnp.where(is_delimiter, share.astype(jnp.float32), notes.credit),
        )

    return Shaping(start, note, lambda notes: notes.credit)


# --------------------------------------------------------------------------------------- season


class Found(NamedTuple):
    """The food of which each cell was told last, the foods with feedback so far, and counts.

    Attributes:
      foods: per cell, the number of a food from 1; 0 for none.
      is_known: whether there was feedback on a food.
      found: steps that end at the cell of the food that is shown, of those with a known food.
      written: steps with feedback that write, and steps without that do not.
    """

    foods: Int32[Array, " cells"]
    is_known: Bool[Array, " foods"]
    found: Int32[Array, " 2"]
    written: Int32[Array, "2 2"]


def season(obs: ObsSpec, action: ActionSpec, tape: tuple[int, int]) -> Shaping:
    """Pay for foods that are found in the cells to which they were written, and for when it writes.

    Half of the credit is the share of steps, of those without feedback that show a known food, that
    end at a cell to which it was written with feedback, and nothing since. The other half is for
    writing in all steps with feedback and in no other, each kind of step half of it.

    Raises:
      ValueError: observations are not foods and two bits of feedback, or there is another action.
    """
    if action.size != 1 or obs.size < 3:
        raise ValueError(
            "reward_shaping 'season' is for memory/season, with one action and observations of "
            f"foods and 2 bits of feedback; got {action.size} and {obs.size} numbers"
        )
    foods = obs.size - 2
    counts = jnp.zeros((2, 2), jnp.int32)
    start = Found(jnp.zeros(tape[0], jnp.int32), jnp.zeros(foods, bool), counts[0], counts)

    def note(notes: Found, doing: Doing) -> Found:
        food, is_told = jnp.argmax(doing.seen[:foods]), jnp.any(doing.seen[foods:] > 0)
        number = food.astype(jnp.int32) + 1
        # What is written without feedback is not about the food, and spoils what was there.
        written = jnp.where(is_told, number, 0)
        owner = jnp.where(doing.wrote, written, notes.foods[doing.cell])
        owners = notes.foods.at[doing.cell].set(owner)
        is_asked = notes.is_known[food] & ~is_told
        is_found = is_asked & (owners[doing.arrives] == number)
        told, other = is_told.astype(jnp.int32), (~is_told).astype(jnp.int32)
        return Found(
            owners,
            notes.is_known.at[food].set(notes.is_known[food] | is_told),
            notes.found + jnp.stack([is_found, is_asked]),
            notes.written
            + jnp.stack(
                [
                    jnp.stack([told * doing.wrote, told]),
                    jnp.stack([other * ~doing.wrote, other]),
                ]
            ),
        )

    def credit(notes: Found) -> jax.Array:
        written = jnp.mean(_share(notes.written))
        return (_share(notes.found) + written) / 2

    return Shaping(start, note, credit)


def _share(counts: Int32[Array, "*batch 2"]) -> Float32[Array, "*batch"]:
    """Return the share of counts (of those that count, of all), 0 of none."""
    return (counts[..., 0] / jnp.maximum(counts[..., 1], 1)).astype(jnp.float32)


SHAPINGS = {"copy": copy, "season": season}
