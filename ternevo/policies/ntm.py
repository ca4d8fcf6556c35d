"""A neural Turing machine: an LSTM that reads and writes a memory by soft attention.

Each step the controller sees the observation and what was read. The write head and then the read
head move by content and by location, the write head erases and adds, and the read head reads.

References:
  Graves, Wayne and Danihelka, "Neural Turing Machines", 2014 (sections 3.1 to 3.3).
  Collier and Beel, "Implementing Neural Turing Machines", ICANN 2018 (the constant first memory).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ternevo.settings.policies.ntm import NTM
from ternevo.types import ActionSpec, Inputs, Key, Memory, ObsSpec, Params, Policy, Tensor

BLANK = 1e-6
"""What the memory holds at first."""
MIN_NORM = 1e-6
"""Added to products of lengths, so that the similarity to a key of zeros is 0."""


class Soft(NamedTuple):
    """The memory of the policy: that of the machine, its heads, and the state of its controller."""

    slots: Float[Array, "slots size"]
    reading: Float[Array, " slots"]
    writing: Float[Array, " slots"]
    read: Float[Array, " size"]
    hidden: Float[Array, " units"]
    cell: Float[Array, " units"]


class Head(NamedTuple):
    """How a head moves: a key, how sharply it counts, how far it moves, and how sharply it is."""

    key: Float[Array, " size"]
    strength: Float[Array, ""]
    gate: Float[Array, ""]
    shift: Float[Array, " 3"]
    sharpness: Float[Array, ""]


def build(settings: NTM, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`."""
    units, size, count = settings.lstm_size, settings.slot_size, settings.num_slots
    seen = obs.size + size + units + 1
    of_head = size + 6
    shapes = {
        "lstm": (seen, 4 * units),
        "heads": (units + 1, 2 * of_head + 2 * size),
        "output": (units + size + 1, action.size),
    }

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(shapes))
        drawn = zip(keys, shapes.items(), strict=True)
        return {
            name: Tensor(jax.random.normal(k, shape) / shape[0] ** 0.5, jnp.zeros((), jnp.int8))
            for k, (name, shape) in drawn
        }

    def reset(params: Params, key: Key) -> Memory:
        del params, key
        first = jnp.zeros(count).at[0].set(1.0)
        none = jnp.zeros(units)
        return Soft(jnp.full((count, size), BLANK), first, first, jnp.zeros(size), none, none)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        bits = jnp.clip(inputs.obs.ravel(), -1.0, 1.0)
        hidden, cell = _controlled(params["lstm"], memory, bits)
        orders = _linear(params["heads"], hidden)
        write, read, erase, add = jnp.split(orders, [of_head, 2 * of_head, 2 * of_head + size])
        writing = moved(_head(write), memory.slots, memory.writing)
        slots = written(memory.slots, writing, jax.nn.sigmoid(erase), jnp.tanh(add))
        reading = moved(_head(read), slots, memory.reading)
        found = reading @ slots
        output = _linear(params["output"], jnp.concatenate([hidden, found]))
        return Soft(slots, reading, writing, found, hidden, cell), output

    return Policy(init, reset, apply)


def _linear(weights: Tensor, values: jax.Array) -> jax.Array:
    """Return the sums; the last input is 1."""
    return jnp.append(values, 1.0) @ weights.values


def _controlled(weights: Tensor, memory: Soft, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the hidden state and the cell of the LSTM after a step."""
    sums = _linear(weights, jnp.concatenate([obs, memory.read, memory.hidden]))
    enter, forget, leave, candidate = jnp.split(sums, 4)
    kept = jax.nn.sigmoid(forget + 1.0) * memory.cell
    cell = kept + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


def _head(orders: jax.Array) -> Head:
    """Return how a head moves, of the numbers that the controller gives."""
    key, strength, gate, shift, sharpness = jnp.split(
        orders, [len(orders) - back for back in (6, 5, 4, 1)]
    )
    return Head(
        jnp.tanh(key),
        jax.nn.softplus(strength[0]),
        jax.nn.sigmoid(gate[0]),
        jax.nn.softmax(shift),
        1.0 + jax.nn.softplus(sharpness[0]),
    )


def moved(
    head: Head, slots: Float[Array, "slots size"], before: Float[Array, " slots"]
) -> Float[Array, " slots"]:
    """Return where a head is: by content, then between that and where it was, shifted, sharpened.

    `w = softmax(beta cos(k, M_i))`, `w = g w + (1 - g) w_before`, a circular convolution with the
    shift, and `w^gamma / sum w^gamma` (equations 5 to 9 of Graves et al.).
    """
    lengths = jnp.sqrt(jnp.sum(slots**2, 1) + MIN_NORM**2) * jnp.sqrt(jnp.sum(head.key**2) + BLANK)
    content = jax.nn.softmax(head.strength * (slots @ head.key) / lengths)
    gated = head.gate * content + (1 - head.gate) * before
    left, stay, right = head.shift
    shifted = left * jnp.roll(gated, -1) + stay * gated + right * jnp.roll(gated, 1)
    sharp = (shifted + MIN_NORM) ** head.sharpness
    return sharp / jnp.sum(sharp)


def written(
    slots: Float[Array, "slots size"],
    where: Float[Array, " slots"],
    erase: Float[Array, " size"],
    add: Float[Array, " size"],
) -> Float[Array, "slots size"]:
    """Return the memory after `M_i (1 - w_i e) + w_i a` (equations 3 and 4)."""
    return slots * (1 - where[:, None] * erase) + where[:, None] * add
