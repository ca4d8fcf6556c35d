r"""Sparse training from scratch: masks that are there from the start, and move.

At the start the largest latents of each layer are kept, so that the whole has the sparsity that is
asked for; it never changes again. A static mask stays. In a topology step a share of the weights of
each layer, the smallest, is dropped, and as many others grow: at random (SET), or where the
gradient is largest (RigL). What grows begins at 0, and its moments in the optimiser too; so does
what was dropped, should it grow again later. The step replaces that of the optimiser.

A latent of exactly 0 is pruned (`sparsity.py`), so what grows begins at `ALMOST_ZERO`, and
a step of the optimiser that would end on exactly 0 is not taken.

References:
  Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse
  connectivity inspired by network science" (SET).
  Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners" (RigL), algorithm 1.
  Tan et al. 2023, "RLx2: Training a Sparse Deep Reinforcement Learning Model from Scratch",
  algorithm 1: the start, the clocks of actor and critic, and the share of dropped weights.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32, UInt32

from ternevo.arithmetic.weights import Mask
from ternevo.learners.sparsity import (
    ALMOST_ZERO,
    POLICY,
    Allocation,
    Latents,
    Layers,
    held,
    masks_of,
    smallest_pruned,
    unpruned,
)
from ternevo.types import Key, Number

if TYPE_CHECKING:
    from ternevo.settings.strategies.parts import Pruning

Growth = Literal["static", "set", "rigl"]
"""Where weights grow: nowhere, at random, or where the gradient is largest."""


class Sparse(NamedTuple):
    """How weights are pruned, for what holds them.

    Attributes:
      begin: maps fresh latents to those that training starts from.
      grows_by_gradient: whether the gradients of pruned weights are wanted.
    """

    begin: Callable[[Latents], Latents]
    grows_by_gradient: bool


def sparse(settings: "Pruning", sparsity: float) -> Sparse | None:
    """Return how weights are pruned to a sparsity; None if they are not."""
    if not sparsity:
        return None
    if settings.sparse_training == "gradual":
        return Sparse(unpruned, False)
    allocation = settings.sparsity_allocation
    return Sparse(
        lambda latents: started(latents, sparsity, allocation), settings.sparse_training == "rigl"
    )


def started(latents: Latents, sparsity: float, allocation: Allocation) -> Latents:
    """Return latents of which only the largest are kept."""
    latents = unpruned(latents)
    return held(latents, smallest_pruned(latents, masks_of(latents), sparsity, allocation))


class Rewiring(NamedTuple):
    """When the topology changes, and how much of it.

    Attributes:
      growth: where weights grow.
      fraction: the share of the weights of a layer that is dropped at first; it falls along half
        a cosine.
      between: the number of updates from topology step to topology step.
      last: the number of updates after which the topology rests.
    """

    growth: Growth
    fraction: Number
    between: int
    last: int


class RewiredState(NamedTuple):
    """The state of the inner optimiser, the number of updates so far, and a seed for SET."""

    inner: optax.OptState
    count: Int32[Array, ""]
    seed: UInt32[Array, ""]


def rewired(
    inner: optax.GradientTransformation, plan: Rewiring, layers: Layers = POLICY
) -> optax.GradientTransformation:
    """Return an optimiser that keeps pruned weights at 0, and moves the masks as planned."""

    def init(params: Any) -> RewiredState:
        zero = jnp.zeros((), jnp.int32)
        return RewiredState(inner.init(params), zero, _seed_of(layers.of(params)))

    def update(gradient: Any, state: RewiredState, params: Any = None) -> tuple[Any, RewiredState]:
        own = layers.of(params)
        masks, count = masks_of(own), state.count + 1

        def learn() -> tuple[Any, optax.OptState]:
            kept = layers.put(gradient, held(layers.of(gradient), masks))
            moves, after = inner.update(kept, state.inner, params)
            return layers.put(moves, _within(own, layers.of(moves), masks)), after

        def rewire() -> tuple[Any, optax.OptState]:
            share = falling(plan, count)
            key = jax.random.fold_in(jax.random.key(state.seed), count)
            keep = moved_masks(key, plan.growth, share, own, masks, layers.of(gradient))
            old = [None if m is None else m & k for m, k in zip(masks, keep, strict=True)]  # pyright: ignore
            nothing = jax.tree.map(jnp.zeros_like, gradient)
            after = _without_moments(inner, layers, old, state.inner, params)
            return layers.put(nothing, _switched(own, masks, keep)), after

        if plan.growth == "static":
            changes, after = learn()
        else:
            is_due = (count % plan.between == 0) & (count <= plan.last)
            changes, after = jax.lax.cond(is_due, rewire, learn)
        return changes, RewiredState(after, count, state.seed)

    return optax.GradientTransformation(init, update)  # pyright: ignore (optax types no NamedTuples)


def falling(plan: Rewiring, count: Int32[Array, ""]) -> Float[Array, ""]:
    r"""Return the share that is dropped after some updates, $\zeta (1 + \cos(\pi t / T)) / 2$.

    Examples:
      >>> plan = Rewiring("set", 0.5, 10, 100)
      >>> [round(falling(plan, jnp.int32(n)).item(), 3) for n in (0, 50, 100)]
      [0.5, 0.25, 0.0]
    """
    return plan.fraction / 2 * (1 + jnp.cos(jnp.pi * count / plan.last))


def moved_masks(
    key: Key,
    growth: Growth,
    share: Number,
    latents: Latents,
    masks: list[Mask],
    gradients: Latents,
) -> list[Mask]:
    """Return the masks after a topology step, each with as many weights as before."""
    found = list(masks)
    for i, mask in enumerate(masks):
        if mask is not None:
            size = jnp.abs(latents[i])
            draw = jax.random.uniform(jax.random.fold_in(key, i), mask.shape)
            rating = draw if growth == "set" else jnp.abs(gradients[i])
            found[i] = moved_mask(mask, size, rating, share)
    return found


def moved_mask(
    mask: Bool[Array, "..."], size: Float[Array, "..."], rating: Float[Array, "..."], share: Number
) -> Bool[Array, "..."]:
    """Return the mask without the smallest weights, and with the best rated of all others.

    What is dropped may grow again at once, and then stays as it is (RLx2).

    Args:
      mask: which weights are there.
      size: their sizes.
      rating: how much each is wanted, 0 or more.
      share: the share of the weights that are there to drop.
    """
    count = jnp.sum(mask)
    dropped = jnp.floor(share * count).astype(jnp.int32)
    kept = _best(jnp.where(mask, size, -1.0), count - dropped)
    return kept | _best(jnp.where(kept, -1.0, rating), dropped)


def _best(rating: Float[Array, "..."], count: Int32[Array, ""]) -> Bool[Array, "..."]:
    """Return where the largest numbers are, so many of them; of equal ones the first."""
    order = jnp.argsort(-rating.ravel(), stable=True)
    ranks = jnp.argsort(order, stable=True)
    return (ranks < count).reshape(rating.shape)


def _within(own: Latents, changes: Latents, masks: list[Mask]) -> Latents:
    """Return the changes of weights that are there, none of which may end on exactly 0."""
    triples = zip(own, changes, masks, strict=True)
    return [
        change if mask is None else jnp.where(mask & (x + change != 0), change, 0.0)
        for x, change, mask in triples
    ]


def _switched(own: Latents, masks: list[Mask], keep: list[Mask]) -> Latents:
    """Return the changes that drop weights and let others grow."""
    changes = []
    for x, mask, new in zip(own, masks, keep, strict=True):
        if mask is None or new is None:
            changes.append(jnp.zeros_like(x))
        else:
            grown = jnp.where(new & ~mask, ALMOST_ZERO, 0.0)
            changes.append(jnp.where(mask & ~new, -x, grown))
    return changes


def _without_moments(
    inner: optax.GradientTransformation,
    layers: Layers,
    old: list[Mask],
    state: optax.OptState,
    params: Any,
) -> optax.OptState:
    """Return the state of the inner optimiser, 0 for all weights that were not there before."""
    ones = jax.tree.map(jnp.ones_like, params)
    factors = layers.put(ones, held(layers.of(ones), old))
    return optax.tree.map_params(inner, lambda x, factor: x * factor, state, factors)


def _seed_of(latents: Latents) -> UInt32[Array, ""]:
    """Return a seed from the bits of latents, which were drawn with a key; optimisers get none."""
    seed = jnp.zeros((), jnp.uint32)
    for latent in latents:
        bits = jax.lax.bitcast_convert_type(latent.astype(jnp.float32), jnp.uint32)
        seed ^= jax.lax.reduce(bits, jnp.uint32(0), jax.lax.bitwise_xor, tuple(range(bits.ndim)))
    return seed
