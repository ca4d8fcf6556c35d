"""A policy that is learned as float latents: from them to what ships, and to what gradients see."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Float32

from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import (
    Mask,
    WeightKind,
    discretize_all,
    kind_of,
    latents_of,
    straight_through_all,
)
from ternevo.learners import sparsity
from ternevo.types import Inputs, Key, Memory, Params, Policy

Latents = list[Float32[Array, "..."]]
"""An array for each tensor of a policy, in the order of `ternary.tensors`."""


class LatentPolicy(NamedTuple):
    """A policy, the shapes of its params, and the kind of weights that its latents are cut into.

    If `is_sparse`, a weight whose latent is 0 is pruned, see `learners/sparsity.py`.
    """

    policy: Policy
    template: Params
    weights: WeightKind
    is_sparse: bool = False

    def init(self, key: Key) -> Latents:
        """Return latents that represent a policy from `policy.init`."""
        return self.drawn(*jax.random.split(key))

    def drawn(self, key_policy: Key, key_latents: Key) -> Latents:
        """Return the same from a key for the policy and one for the latents."""
        latents = latents_of(key_latents, self.policy.init(key_policy), self.weights)
        return sparsity.unpruned(latents) if self.is_sparse else latents

    def shipped(self, latents: Latents) -> Params:
        """Return the params as they would be shipped."""
        return discretize_all(self.template, latents, self.weights, self._masks(latents))

    def differentiable(self, latents: Latents) -> Params:
        """Return the same params in float32, with straight-through gradients."""
        return straight_through_all(self.template, latents, self.weights, self._masks(latents))

    def _masks(self, latents: Latents) -> list[Mask] | None:
        return sparsity.masks_of(latents) if self.is_sparse else None

    def apply(
        self, params: Any, memory: Memory, inputs: Inputs
    ) -> tuple[Memory, Float[Array, "batch action"]]:
        """Return the memories and outputs for inputs [batch]."""
        return jax.vmap(self.policy.apply, (None, 0, 0))(params, memory, inputs)

    def outputs(self, params: Any, inputs: Inputs) -> Float[Array, "batch action"]:
        """Return the outputs for inputs [batch] of a policy without memory."""
        return jax.vmap(lambda row: self.policy.apply(params, (), row)[1])(inputs)

    def first_memory(self) -> Memory:
        """Return the shapes of a memory."""
        return jax.eval_shape(self.policy.reset, self.template, jax.random.key(0))

    def check_memoryless(self, strategy: str) -> None:
        """Refuse a policy with memory.

        Raises:
          ValueError: it has one.
        """
        if self.has_memory:
            raise ValueError(
                f"--strategy {strategy} replays single steps, and this policy has a memory; use "
                "--strategy ppo, or another --policy"
            )

    @property
    def has_memory(self) -> bool:
        """Whether the policy has a memory, so that it learns from sequences."""
        return bool(jax.tree.leaves(self.first_memory()))


def latent_policy(policy: Policy, weights: WeightName, is_sparse: bool = False) -> LatentPolicy:
    """Return a policy as it is learned, for a kind of weights, of which some may be pruned.

    Raises:
      ValueError: weights are to be pruned to 0, which such weights cannot be.
    """
    kind = kind_of(weights)
    if is_sparse and not kind.has_zero:
        raise ValueError(
            f"--sparsity must be 0 with --weights {weights}, which have no 0 to be pruned to"
        )
    template = jax.eval_shape(policy.init, jax.random.key(0))
    return LatentPolicy(policy, template, kind, is_sparse)
