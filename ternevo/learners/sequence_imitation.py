"""Learn a policy with a memory from sequences of observations and of what is right there.

The loss goes through all steps of a sequence, and gradients through the memory. It is for actions
that are bits, such as those of memory/copy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ternevo.learners import descent
from ternevo.types import Inputs, Key, Memory, Metrics, Params, Policy


class Sequences(NamedTuple):
    """Episodes of the same number of steps.

    Attributes:
      obs: what the policy is shown, as the integers of `Inputs.obs`.
      target: what is right: -1 or 1 for each action.
      weight: how much a step counts, 0 where nothing is right or wrong.
    """

    obs: Float[Array, "sequences steps obs"]
    target: Float[Array, "sequences steps actions"]
    weight: Float[Array, "sequences steps"]


def outputs(
    policy: Policy, params: Params, obs: Float[Array, "sequences steps obs"]
) -> Float[Array, "sequences steps actions"]:
    """Return what the policy answers, each sequence from a fresh memory."""

    def live(rows: jax.Array) -> jax.Array:
        def step(memory: Memory, row: jax.Array) -> tuple[Memory, jax.Array]:
            return policy.apply(params, memory, Inputs(row, jnp.zeros(()), jnp.zeros((), bool)))

        return jax.lax.scan(step, policy.reset(params, jax.random.key(0)), rows)[1]

    return jax.vmap(live)(obs)


def loss(policy: Policy, params: Params, batch: Sequences) -> tuple[jax.Array, Metrics]:
    """Return the mean cross-entropy of a bit, in nats; the probability of 1 is sigmoid(2 output).

    So an output of 0, the middle of the range of an action, is a half.
    """
    found = outputs(policy, params, batch.obs)
    each = jnp.mean(jax.nn.softplus(-2 * batch.target * found), axis=-1)
    value = jnp.sum(each * batch.weight) / jnp.sum(batch.weight)
    return value, {"loss/imitation": value}


def errors(policy: Policy, params: Params, batch: Sequences) -> Float[Array, ""]:
    """Return the share of bits that are wrong."""
    wrong = outputs(policy, params, batch.obs) * batch.target <= 0
    return jnp.sum(jnp.mean(wrong, axis=-1) * batch.weight) / jnp.sum(batch.weight)


def step(
    policy: Policy,
    optimizer: optax.GradientTransformation,
    learned: tuple[Params, optax.OptState],
    batch: Sequences,
) -> tuple[tuple[Params, optax.OptState], Metrics]:
    """Take a gradient step of float weights; exponents stay 0.

    Args:
      policy: a policy with float weights.
      optimizer: the optimiser, of the values of all tensors by name.
      learned: params, and the optimiser's state.
      batch: the sequences.
    """
    params, state = learned
    values = {name: tensor.values for name, tensor in params.items()}

    def of(values: dict[str, jax.Array]) -> tuple[jax.Array, Metrics]:
        return loss(policy, with_values(params, values), batch)

    values, state, metrics = descent.descend(optimizer, of, values, state)
    return (with_values(params, values), state), metrics


def with_values(params: Params, values: dict[str, jax.Array]) -> Params:
    """Return params with other values."""
    return {name: tensor._replace(values=values[name]) for name, tensor in params.items()}


def begin(
    policy: Policy, optimizer: optax.GradientTransformation, key: Key
) -> tuple[Params, optax.OptState]:
    """Return random params, and the optimiser's state."""
    params = policy.init(key)
    return params, optimizer.init({name: tensor.values for name, tensor in params.items()})
