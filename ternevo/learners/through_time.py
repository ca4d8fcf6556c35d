"""Sequences of steps for policies with memory, and their outputs, differentiably through time.

A sequence is some steps in a row of one environment. It begins with the memory that the policy had
there (truncated back-propagation through time: Williams and Peng 1990, "An Efficient Gradient-Based
Algorithm for On-Line Training of Recurrent Network Trajectories"). Where an episode begins within
it, so does the memory.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from ternevo.rollouts.transitions import Taken
from ternevo.types import Key, Memory, Params, Policy, layout


class Sequences(NamedTuple):
    """The inputs of a policy in sequences, leaves [sequences, steps, ...].

    Attributes:
      taken: the inputs, and the memories that the policy acted with.
      begins: whether an episode begins with the step, and with it a memory.
      keys: the key of that memory, see `transitions.restart_keys`.
    """

    taken: Taken
    begins: Bool[Array, "*batch"]
    keys: Shaped[Array, "*batch"]


def sequences(
    taken: Taken, is_done: Bool[Array, "steps envs"], keys: Key, length: int
) -> Sequences:
    """Return the collected steps [steps, envs, ...] as sequences of a length that divides them.

    Args:
      taken: the inputs of the policy.
      is_done: whether an episode ended in the step.
      keys: the keys [steps, envs] of the memories that begin after the step.
      length: the number of steps in a sequence.
    """
    # The first memories of all are data: they come from an earlier batch.
    begins = jnp.concatenate([jnp.zeros_like(is_done[:1]), is_done[:-1]])
    return cut(Sequences(taken, begins, jnp.roll(keys, 1, axis=0)), length)


def cut(tree: Any, length: int) -> Any:
    """Cut arrays [steps, envs, ...] into [sequences, length, ...]; environments stay together."""

    def of_array(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x, 0, 1).reshape(-1, length, *x.shape[2:])

    return jax.tree.map(of_array, tree)


def outputs(
    policy: Policy, params: Params, found: Sequences
) -> Float[Array, "sequences steps action"]:
    """Return the policy's outputs for recorded inputs; only the first memories are data.

    Gradients flow through the memories, back to the first step of a sequence or of an episode. With
    the params that acted, the memories and outputs are those of the collection.
    """

    def one_step(memory: Memory, row: Sequences) -> tuple[Memory, jax.Array]:
        fresh = policy.reset(params, row.keys)
        memory = jax.tree.map(lambda x, y: jnp.where(row.begins, x, y), fresh, memory)
        return policy.apply(params, memory, row.taken.inputs())

    def one_sequence(rows: Sequences) -> jax.Array:
        first = jax.tree.map(lambda x: x[0], rows.taken.memory)
        return jax.lax.scan(one_step, first, rows)[1]

    return jax.vmap(one_sequence)(found)


def check_memory(policy: Policy, template: Params, differentiable: Params) -> None:
    """Refuse a memory whose types change if weights are float32, as they are in the loss.

    Args:
      policy: the policy.
      template: the params with which it acts, or their shapes.
      differentiable: the shapes of the params of the loss.

    Raises:
      ValueError: they change.
    """
    acts, learns = (
        layout(jax.eval_shape(policy.reset, params, jax.random.key(0)))
        for params in (template, differentiable)
    )
    if acts != learns:
        raise ValueError(
            f"the policy's reset returns a memory of {acts} with the weights that ship, but of "
            f"{learns} with the float32 weights that --strategy ppo differentiates: make it the "
            "same for both, such as by .astype(jnp.float32)"
        )
