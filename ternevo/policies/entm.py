"""An evolved neural Turing machine: a controller with one head on a tape of bits.

Each step, in this order: the controller sees the observation and what was read, and the head writes
the key into its cell, jumps to the cell that is most like the key, shifts by one, and reads. A sum
above 0 switches an output on.

References:
  Greve, Jacobsen and Risi, "Evolving Neural Turing Machines for Reward-based Learning", GECCO 2016.
  Lueders et al., "Continual and One-Shot Learning through Neural Networks with Dynamic External
  Memory", EvoApplications 2017 (the blank last cell).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from ternevo.arithmetic.weights import kind_of
from ternevo.policies import entm_shaping
from ternevo.policies.entm_shaping import Doing
from ternevo.settings.policies.entm import ENTM
from ternevo.types import ActionSpec, Inputs, Key, Memory, ObsSpec, Params, Policy, Tensor


class Tape(NamedTuple):
    """The memory: the tape, which of its cells are there, the head, and what it read."""

    cells: Float32[Array, "cells bits"]
    exists: Bool[Array, " cells"]
    head: Int32[Array, ""]
    read: Float32[Array, " bits"]


class Noted(NamedTuple):
    """The memory under reward shaping: the tape, and notes on the episode."""

    tape: Tape
    notes: Any


class Orders(NamedTuple):
    """What the controller does with the head in a step, and how it acts."""

    action: Float32[Array, " actions"]
    key: Float32[Array, " bits"]
    write: Bool[Array, ""]
    jump: Bool[Array, ""]
    shift: Int32[Array, ""]


def build(settings: ENTM, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`."""
    seen = obs.size + settings.cell_size + 1
    num_outputs = action.size + settings.cell_size + 2 + 3
    kind = kind_of(settings.weights)

    def init(key: Key) -> Params:
        key_hidden, key_output = jax.random.split(key)
        shape = seen + settings.hidden_size, num_outputs
        params = {"output": Tensor(kind.draw(key_output, shape), jnp.zeros((), jnp.int8))}
        if settings.hidden_size:
            hidden = kind.draw(key_hidden, (seen, settings.hidden_size))
            params["hidden"] = Tensor(hidden, jnp.zeros((), jnp.int8))
        return params

    def reset(params: Params, key: Key) -> Memory:
        del params, key
        cells = jnp.zeros((settings.num_cells, settings.cell_size))
        exists = jnp.arange(settings.num_cells) == 0
        return Tape(cells, exists, jnp.zeros((), jnp.int32), jnp.zeros(settings.cell_size))

    def step(params: Params, tape: Tape, bits: jax.Array) -> tuple[Tape, Orders]:
        orders = _controlled(params, jnp.concatenate([bits, tape.read]), action.size)
        return _moved(settings.expand, tape, orders), orders

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        tape, orders = step(params, memory, _bits(inputs))
        return tape, 2 * orders.action - 1

    if settings.reward_shaping == "none":
        return Policy(init, reset, apply)

    shape = settings.num_cells, settings.cell_size
    shaping = entm_shaping.build(settings.reward_shaping, obs, action, shape)

    def reset_noted(params: Params, key: Key) -> Memory:
        return Noted(reset(params, key), shaping.start)

    def apply_noted(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        bits = _bits(inputs)
        tape, orders = step(params, memory.tape, bits)
        before = memory.tape
        doing = Doing(bits, before.cells, before.head, orders.write, tape.head)
        return Noted(tape, shaping.note(memory.notes, doing)), 2 * orders.action - 1

    return Policy(init, reset_noted, apply_noted, credit=lambda m: shaping.credit(m.notes))


def _bits(inputs: Inputs) -> jax.Array:
    return (inputs.obs.ravel() > 0).astype(jnp.float32)


def _controlled(params: Params, seen: jax.Array, num_actions: int) -> Orders:
    """Return what the controller does, of the bits that it sees; the last input is always on."""
    values = jnp.append(seen, 1.0)
    if "hidden" in params:
        values = jnp.concatenate([values, _steps(values, params["hidden"])])
    outputs = _steps(values, params["output"])
    action, key = outputs[:num_actions], outputs[num_actions:-5]
    write, jump = outputs[-5] > 0, outputs[-4] > 0
    return Orders(action, key, write, jump, jnp.argmax(outputs[-3:]).astype(jnp.int32) - 1)


def _steps(values: jax.Array, weights: Tensor) -> jax.Array:
    """Return 1 where a sum is above 0, else 0; no scale changes that."""
    return (values @ weights.values.astype(jnp.float32) > 0).astype(jnp.float32)


def _moved(expand: bool, tape: Tape, orders: Orders) -> Tape:
    """Write, jump, shift and read; of equal cells a jump takes the first, and no shift is left."""
    count = len(tape.exists)
    before = tape.cells[tape.head]
    written = jnp.where(orders.write, orders.key, before)
    cells, exists = tape.cells.at[tape.head].set(written), tape.exists
    if expand:
        last = count - 1 - jnp.argmax(exists[::-1])
        appends = (tape.head == last) & jnp.any(written != before)
        exists = exists.at[(last + 1) % count].set(exists[(last + 1) % count] | appends)
    likeness = jnp.where(exists, -jnp.mean(jnp.abs(cells - orders.key), axis=1), -jnp.inf)
    head = jnp.where(orders.jump, jnp.argmax(likeness), tape.head).astype(jnp.int32)
    head = (head + orders.shift) % count
    return Tape(cells, exists.at[head].set(True), head, cells[head])
