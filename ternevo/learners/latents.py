"""A policy that is learned as float latents: from them to what ships, and to what gradients see."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from ternevo.arithmetic.ternary import WeightName, replace_tensors, tensors
from ternevo.arithmetic.weights import (
    Mask,
    WeightKind,
    discretize_all,
    kind_of,
    latents_of,
    straight_through_all,
)
from ternevo.learners import sparsity
from ternevo.learners.topology import Sparse
from ternevo.settings.policies.settings import Ternarizer
from ternevo.types import Inputs, Key, Memory, Params, Policy, Tensor

Latents = list[Float32[Array, "..."]]
"""An array for each tensor of a policy, in the order of `ternary.tensors`."""


class LatentPolicy(NamedTuple):
    """A policy, the shapes of its params, and the kind of weights that its latents are cut into.

    If it is `sparse`, a weight whose latent is 0 is pruned, see `learners/sparsity.py`. Before
    `quantise_from` updates, weights act and learn as they are, and what would ship is rounded all
    the same; then they act and learn rounded (quantisation-aware training). `updates` is how many
    there were, see `at`.
    """

    policy: Policy
    template: Params
    weights: WeightKind
    sparse: Sparse | None = None
    quantise_from: int = 0
    updates: Any = 0

    @property
    def is_sparse(self) -> bool:
        """Whether weights may be pruned."""
        return self.sparse is not None

    def at(self, updates: Any) -> "LatentPolicy":
        """Return the policy as it is after some updates."""
        return self._replace(updates=updates) if self.quantise_from else self

    def init(self, key: Key) -> Latents:
        """Return latents that represent a policy from `policy.init`."""
        return self.drawn(*jax.random.split(key))

    def drawn(self, key_policy: Key, key_latents: Key) -> Latents:
        """Return the same from a key for the policy and one for the latents."""
        latents = latents_of(key_latents, self.policy.init(key_policy), self.weights)
        return self.sparse.begin(latents) if self.sparse else latents

    def shipped(self, latents: Latents) -> Params:
        """Return the params as they would be shipped."""
        return discretize_all(self.template, latents, self.weights, self._masks(latents))

    def differentiable(self, latents: Latents) -> Params:
        """Return the same params in float32, with straight-through gradients."""
        masks = self._masks(latents)
        params = straight_through_all(self.template, latents, self.weights, masks)
        if self.sparse and self.sparse.grows_by_gradient:
            known = zip(tensors(params), latents, sparsity.masks_of(latents), strict=True)
            params = replace_tensors(params, [_felt(*triple) for triple in known])
        if not self.quantise_from:
            return params
        is_rounded = self.updates >= self.quantise_from
        given = zip(tensors(params), latents, strict=True)  # a pruned latent is 0 itself
        return replace_tensors(params, [_rounded_if(is_rounded, *pair) for pair in given])

    def acting(self, latents: Latents) -> Params:
        """Return the params that act in training: those that ship, or that are to be rounded."""
        if not self.quantise_from:
            return self.shipped(latents)
        return jax.lax.stop_gradient(self.differentiable(latents))

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


def _rounded_if(is_rounded: Any, tensor: Tensor, latent: jax.Array) -> Tensor:
    """Return a tensor, or what was rounded to it, in units of its exponent."""
    unrounded = latent * jnp.exp2(tensor.exponent.astype(jnp.float32))
    return Tensor(jnp.where(is_rounded, tensor.values, unrounded), tensor.exponent)


def _felt(tensor: Tensor, latent: jax.Array, mask: Mask) -> Tensor:
    """Return a tensor whose pruned weights have gradients, as if they were not pruned."""
    if mask is None:
        return tensor
    pruned = jnp.where(mask, 0.0, latent)  # all are 0, so this changes no value
    values = tensor.values + pruned * jnp.exp2(tensor.exponent.astype(jnp.float32))
    return Tensor(values, tensor.exponent)


def latent_policy(
    policy: Policy,
    weights: WeightName,
    sparse: Sparse | None = None,
    quantise_from: int = 0,
    ternarizer: Ternarizer = "absmean",
) -> LatentPolicy:
    """Return a policy as it is learned.

    Args:
      policy: the policy.
      weights: the kind of weights that ship.
      sparse: how some are pruned, None if none are.
      quantise_from: updates after which they act and learn as they ship; 0 for always.
      ternarizer: how latents are cut into trits.

    Raises:
      ValueError: weights are to be pruned to 0, which such weights cannot be.
    """
    kind = kind_of(weights, ternarizer)
    if sparse and not kind.has_zero:
        raise ValueError(
            f"--sparsity must be 0 with --weights {weights}, which have no 0 to be pruned to"
        )
    template = jax.eval_shape(policy.init, jax.random.key(0))
    return LatentPolicy(policy, template, kind, sparse, quantise_from)
