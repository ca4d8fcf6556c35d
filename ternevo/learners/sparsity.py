r"""Masks of pruned weights, and gradual magnitude pruning as a wrapper of a learner's optimiser.

A weight is pruned where its latent is exactly 0. So the masks need no state of their own: they come
through checkpoints, devices and seeds with the latents. A pruned latent stays 0 whatever the inner
optimiser wants, and so does that of an averaged copy (`as_pruned`). Biases are never pruned.
`topology.py` has the masks that are there from the start, and move.

References:
  Zhu and Gupta 2018, "To prune, or not to prune", equation 1: the cubic schedule.
  Ivanov et al. 2025, "Neural network compression for reinforcement learning tasks": from 20 % to
  80 % of the run.
  Evci et al. 2020, "Rigging the Lottery", section 3: the Erdos-Renyi-kernel allocation, in which
  small layers stay denser.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32

from ternevo.arithmetic.weights import Mask
from ternevo.types import Number

Latents = list[Float[Array, "..."]]
Learned = TypeVar("Learned", bound=Any)
"""What an optimiser moves: for `POLICY` a `NamedTuple` with a field `latents`."""

Allocation = Literal["layer", "global", "erk"]

ALMOST_ZERO = 1e-12
"""Replaces latents that are 0 at the start, which are not meant to be pruned."""


class Layers(NamedTuple):
    """Where the tensors of layers are in what an optimiser moves.

    Attributes:
      of: maps it to a list of arrays; those with more than one axis are weights.
      put: maps it and such a list to the same with these arrays.
    """

    of: Callable[[Any], Latents]
    put: Callable[[Any, Latents], Any]


def _with_critic(learned: Any, arrays: Latents) -> Any:
    return learned._replace(critic=jax.tree.structure(learned.critic).unflatten(arrays))


def _with_both(learned: Any, arrays: Latents) -> Any:
    count = len(learned.latents)
    return CRITIC.put(POLICY.put(learned, arrays[:count]), arrays[count:])


def _each(stacked: Any) -> Latents:
    return [x[i] for x in jax.tree.leaves(stacked) for i in range(x.shape[0])]


def _stacked(like: Any, arrays: Latents) -> Any:
    leaves, tree = jax.tree.flatten(like)
    found = iter(arrays)
    return tree.unflatten([jnp.stack([next(found) for _ in leaf]) for leaf in leaves])


POLICY = Layers(
    lambda learned: learned.latents, lambda learned, latents: learned._replace(latents=latents)
)
"""The layers of a policy: its latents. What is learned beside them has none."""

CRITIC = Layers(lambda learned: jax.tree.leaves(learned.critic), _with_critic)
"""The layers of the critic that one optimiser moves together with a policy, as that of PPO does."""

POLICY_AND_CRITIC = Layers(lambda learned: [*POLICY.of(learned), *CRITIC.of(learned)], _with_both)
"""The layers of both."""

STACKED = Layers(_each, _stacked)
"""The layers of several networks [networks, ...], such as twin critics: each has its own masks."""


class Plan(NamedTuple):
    """When and how much to prune.

    Attributes:
      sparsity: the share of weights that are 0 in the end.
      first: the number of updates before the first event.
      num_events: how many times weights are pruned.
      between: the number of updates from event to event.
      allocation: "layer" prunes the same share of each layer, "global" the smallest of all, "erk"
        shares that follow Erdos-Renyi-kernel.
    """

    sparsity: Number
    first: int
    num_events: int
    between: int
    allocation: Allocation


class PrunedState(NamedTuple):
    """The state of the inner optimiser, and the number of updates so far."""

    inner: optax.OptState
    count: Int32[Array, ""]


def is_prunable(latent: jax.Array) -> bool:
    """Return whether a latent tensor holds weights; biases have one axis."""
    return latent.ndim > 1


def masks_of(latents: Latents) -> list[Mask]:
    """Return which weights are not pruned, None for biases."""
    return [latent != 0 if is_prunable(latent) else None for latent in latents]


def unpruned(latents: Latents) -> Latents:
    """Return latents none of which counts as pruned."""
    return [
        jnp.where(latent == 0, ALMOST_ZERO, latent) if is_prunable(latent) else latent
        for latent in latents
    ]


def held(arrays: Latents, masks: list[Mask]) -> Latents:
    """Return arrays that are 0 where a mask is not."""
    pairs = zip(arrays, masks, strict=True)
    return [x if mask is None else jnp.where(mask, x, 0.0) for x, mask in pairs]


def as_pruned(copy: Learned, learned: Learned, layers: Layers = POLICY) -> Learned:
    """Return an averaged copy, pruned where, and only where, what it follows is pruned."""
    masks = masks_of(layers.of(learned))
    return layers.put(copy, held(unpruned(layers.of(copy)), masks))


def planned(plan: Plan, count: Int32[Array, ""]) -> Float[Array, ""]:
    r"""Return the sparsity after this number of updates, $s (1 - (1 - i / n)^3)$ after event i.

    Examples:
      >>> plan = Plan(0.8, 100, 10, 5, "layer")
      >>> [round(planned(plan, jnp.int32(n)).item(), 3) for n in (99, 104, 105, 125, 150, 999)]
      [0.0, 0.0, 0.217, 0.7, 0.8, 0.8]
    """
    events = jnp.clip((count - plan.first) // plan.between, 0, plan.num_events)
    return plan.sparsity * (1 - (1 - events / plan.num_events) ** 3)


def pruned(
    inner: optax.GradientTransformation, plan: Plan, layers: Layers = POLICY
) -> optax.GradientTransformation:
    """Return an optimiser that also prunes the weights of layers as planned."""

    def init(params: Any) -> PrunedState:
        return PrunedState(inner.init(params), jnp.zeros((), jnp.int32))

    def update(gradient: Any, state: PrunedState, params: Any = None) -> tuple[Any, PrunedState]:
        moves, inner_state = inner.update(gradient, state.inner, params)
        own, changes = layers.of(params), layers.of(moves)
        count = state.count + 1
        moved = [x + change for x, change in zip(own, changes, strict=True)]
        since = count - plan.first
        is_event = (since > 0) & (since % plan.between == 0)
        is_event &= since <= plan.num_events * plan.between
        before = masks_of(own)
        keep = jax.lax.cond(
            is_event,
            lambda: smallest_pruned(moved, before, planned(plan, count), plan.allocation),
            lambda: before,
        )
        changes = [
            change if mask is None else jnp.where(mask, change, -x)
            for change, x, mask in zip(changes, own, keep, strict=True)
        ]
        return layers.put(moves, changes), PrunedState(inner_state, count)

    return optax.GradientTransformation(init, update)  # pyright: ignore (optax types no NamedTuples)


def smallest_pruned(
    latents: Latents, masks: list[Mask], sparsity: Number, allocation: Allocation
) -> list[Mask]:
    """Return masks that also prune the smallest latents, so that a share of them is pruned."""
    known = {i: mask for i, mask in enumerate(masks) if mask is not None}
    sizes = [jnp.where(mask, jnp.abs(latents[i]), -1.0) for i, mask in known.items()]
    if allocation == "global":
        flat = jnp.concatenate([size.ravel() for size in sizes])
        cuts = [_cut(flat, sparsity)] * len(sizes)
    else:
        shares = [jnp.asarray(sparsity)] * len(sizes)
        if allocation == "erk":
            shares = erk([size.shape for size in sizes], sparsity)
        cuts = [_cut(size.ravel(), share) for size, share in zip(sizes, shares, strict=True)]
    found = list(masks)
    for (i, mask), size, cut in zip(known.items(), sizes, cuts, strict=True):
        found[i] = mask & (size > cut)
    return found


def _cut(sizes: Float[Array, " weights"], share: Number) -> Float[Array, ""]:
    """Return the largest size that is pruned for a share of the weights to be; -1 if none is."""
    count = jnp.round(share * sizes.size).astype(jnp.int32)
    ordered = jnp.sort(sizes)
    return jnp.where(count > 0, ordered[jnp.maximum(count - 1, 0)], -1.0)


def erk(shapes: list[tuple[int, ...]], sparsity: Number) -> list[Float[Array, ""]]:
    r"""Return the sparsity of each layer, such that all together have the one that is asked for.

    Densities are proportional to $(n_{in} + n_{out}) / (n_{in} n_{out})$ where that is below 1;
    other layers stay dense. A convolution counts by the size of its patch.

    Examples:
      >>> [round(x.item(), 4) for x in erk([(17, 256), (256, 256)], 0.9)]
      [0.4415, 0.9304]
    """
    sizes = np.array([np.prod(shape) for shape in shapes], float)
    raw = np.array([sum(shape) / np.prod(shape) for shape in shapes])
    budget = (1 - jnp.asarray(sparsity)) * sizes.sum()
    is_dense = jnp.zeros(len(shapes), bool)
    for _ in shapes:  # in each round those that would exceed 1 become dense
        rest = jnp.sum(jnp.where(is_dense, 0.0, raw * sizes))
        scale = (budget - jnp.sum(jnp.where(is_dense, sizes, 0.0))) / jnp.maximum(rest, 1e-9)
        is_dense |= scale * raw >= 1
    rest = jnp.sum(jnp.where(is_dense, 0.0, raw * sizes))
    scale = (budget - jnp.sum(jnp.where(is_dense, sizes, 0.0))) / jnp.maximum(rest, 1e-9)
    density = jnp.where(is_dense, 1.0, jnp.clip(scale * raw, 0.0, 1.0))
    return list(1 - density)
