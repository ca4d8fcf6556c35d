"""Gradient steps on minibatches, the same for every learner."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import optax

from ternevo.machine import devices
from ternevo.types import Metrics, Number

T = TypeVar("T")

LossOf = Callable[[Any], tuple[jax.Array, Metrics]]
"""Maps params to the loss, and to what is worth reporting."""

Loss = Callable[[Any, Any], tuple[jax.Array, Metrics]]
"""Maps params and a minibatch to the loss, and to what is worth reporting."""


def on_rows(
    loss: Loss, optimizer: optax.GradientTransformation, batch: Any
) -> Callable[[tuple, jax.Array], tuple[tuple, Metrics]]:
    """Return the body of a scan: a gradient step on some rows of the batch.

    Inside `devices.split` each device has its own batch, and gradients are averaged.

    Args:
      loss: the loss of a minibatch.
      optimizer: the optimiser.
      batch: a pytree with leaves [samples, ...].

    Returns:
      A function that maps (params, optimiser state) and rows [minibatch] to the same after the
      step, and the metrics with "loss/gradient_norm".
    """

    def one_minibatch(carry: tuple, rows: jax.Array) -> tuple[tuple, Metrics]:
        params, opt_state = carry
        minibatch = jax.tree.map(lambda x: x[rows], batch)
        gradient, metrics = jax.grad(loss, has_aux=True)(params, minibatch)
        gradient, metrics = devices.mean((gradient, metrics))
        metrics["loss/gradient_norm"] = optax.tree.norm(gradient)
        changes, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, changes), opt_state), metrics

    return one_minibatch


def descend(
    optimizer: optax.GradientTransformation, loss: LossOf, params: T, opt_state: optax.OptState
) -> tuple[T, optax.OptState, Metrics]:
    """Take one step against the gradient of `loss(params)`; return params, state and metrics."""
    gradient, metrics = jax.grad(loss, has_aux=True)(params)
    changes, opt_state = optimizer.update(gradient, opt_state, params)  # pyright: ignore
    moved: Any = optax.apply_updates(params, changes)  # pyright: ignore (optax types no NamedTuples)
    return moved, opt_state, metrics


def towards(new: T, old: T, rate: Number) -> T:
    """Return the old parameters moved towards the new ones by a rate, 0 to 1 (Polyak averaging)."""
    moved: Any = optax.incremental_update(new, old, rate)  # pyright: ignore (as above)
    return moved
