"""Policies with a memory, small enough to be worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp

from ternevo.arithmetic.weights import kind_of
from ternevo.policies.mlp import ACTIVATIONS
from ternevo.settings.policies import PolicySettings
from ternevo.types import ActionSpec, ObsSpec, Policy, Tensor


def drawn(settings, shapes):
    """Return `init`, which draws tensors of these shapes."""

    def init(key):
        keys = jax.random.split(key, len(shapes))
        return {
            name: Tensor(kind_of(settings.weights).draw(key, shape), jnp.int8(0))
            for key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    return init


@dataclasses.dataclass(frozen=True)
class Recurrent(PolicySettings):
    """Hidden signs that see the observation and themselves; they start at a random sign."""

    num_units: int = 3

    def build(self, obs: ObsSpec, action: ActionSpec) -> Policy:
        shapes = {
            "input": (obs.size, self.num_units),
            "memory": (self.num_units, self.num_units),
            "output": (self.num_units, action.size),
        }

        def reset(params, key):
            return jax.random.rademacher(key, (self.num_units,), jnp.float32)

        def apply(params, memory, inputs):
            weights = {name: tensor.values.astype(jnp.float32) for name, tensor in params.items()}
            total = inputs.obs.ravel() @ weights["input"] + 127 * (memory @ weights["memory"])
            memory = jnp.where(total >= 0, 1.0, -1.0)
            return memory, memory @ weights["output"]

        return Policy(drawn(self, shapes), reset, apply)


@dataclasses.dataclass(frozen=True)
class Plastic(PolicySettings):
    """Fast weights, one for each action, begin as the evolved ones and move by what they earn.

    The weight of the action before moves by twice its reward less one. With evolved weights of zero
    it takes action 0 first, stays with it where that paid 1, and else takes another.
    """

    def build(self, obs: ObsSpec, action: ActionSpec) -> Policy:
        def reset(params, key):
            del key
            return params["bias"].values.astype(jnp.float32), jnp.zeros(action.size)

        def apply(params, memory, inputs):
            fast, last = memory
            fast = fast + last * (2 * inputs.feedback - 1)
            return (fast, jax.nn.one_hot(jnp.argmax(fast), action.size)), fast

        return Policy(drawn(self, {"bias": (action.size,)}), reset, apply)


@dataclasses.dataclass(frozen=True)
class Elman(PolicySettings):
    """Units on a grid see the observation and themselves; they begin at 0, or at a shipped bias.

    Its derivative is the straight-through one, so that gradients flow through the memory.
    """

    num_units: int = 8
    activation: str = "int8"
    starts_at_bias: bool = False

    def build(self, obs: ObsSpec, action: ActionSpec) -> Policy:
        grid = ACTIVATIONS[self.activation]
        shapes = {
            "first": (self.num_units,),
            "hidden": (obs.size + self.num_units, self.num_units),
            "output": (self.num_units, action.size),
        }
        shapes = shapes if self.starts_at_bias else {k: shapes[k] for k in ("hidden", "output")}

        def units(tensor, values):
            scale = jnp.ldexp(jnp.float32(1), -tensor.exponent.astype(jnp.int32) - grid.bits)
            return (values @ tensor.values.astype(jnp.float32)) * scale

        def reset(params, key):
            if not self.starts_at_bias:
                return jnp.zeros(self.num_units)
            return grid.full_scale * params["first"].values.astype(jnp.float32)

        def apply(params, memory, inputs):
            values = jnp.concatenate([inputs.obs.ravel(), memory])
            memory = grid.activate(units(params["hidden"], values))
            return memory, units(params["output"], memory)

        return Policy(drawn(self, shapes), reset, apply, memory_scale=grid.full_scale)
