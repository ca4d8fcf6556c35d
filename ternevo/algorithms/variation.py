"""Variation of whole policies: flips, crossover and Gaussian noise, tensor by tensor.

Nothing is flattened, so a child is a pytree like its parent, whatever the layers are. Children keep
the exponents of their first parent.

References:
  Such et al., "Deep Neuroevolution", 2017, algorithm 1 (additive Gaussian mutation).
  Vassiliades and Mouret, "Discovering the Elite Hypervolume by Leveraging Interspecies
  Correlation", GECCO 2018 (iso+line).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ternevo.arithmetic import ternary
from ternevo.arithmetic.weights import WeightKind, flip
from ternevo.types import Key, Number, Params

Change = Callable[..., jax.Array]
"""Maps a key and the values of a tensor in each parent to the values of a child."""


def varied(key: Key, change: Change, *parents: Params) -> Params:
    """Return the child whose values `change(key, *values)` makes of those of its parents."""
    given = [ternary.tensors(params) for params in parents]
    keys = jax.random.split(key, len(given[0]))
    child = [
        tensors[0]._replace(values=change(own, *(tensor.values for tensor in tensors)))
        for own, *tensors in zip(keys, *given, strict=True)
    ]
    return ternary.replace_tensors(parents[0], child)


def flip_rate(key: Key, num_weights: int, min_flips: Number, max_flips: Number) -> jax.Array:
    """Draw a flip rate log-uniformly, for `min_flips` to `max_flips` redrawn weights a child."""
    low, high = jnp.log(min_flips), jnp.log(max_flips)
    drawn = jnp.exp(jax.random.uniform(key, minval=low, maxval=high))
    return jnp.minimum(drawn / num_weights, 1.0)


def flipped(key: Key, parent: Params, rate: Number, kind: WeightKind) -> Params:
    """Return a child with int8 weights redrawn at a rate, see `WeightKind.redraw`."""
    return varied(key, lambda own, x: flip(own, x, jnp.asarray(rate), kind), parent)


def crossed(key: Key, first: Params, second: Params, share: Number) -> Params:
    """Return a child that takes a share of its weights from the second parent, at random."""
    swap = lambda own, a, b: ternary.crossover(own, a, b, jnp.asarray(share))  # noqa: E731
    return varied(key, swap, first, second)


def noised(key: Key, parent: Params, sigma: Number) -> Params:
    """Return a child with normal noise of standard deviation `sigma` on its float weights."""
    return varied(key, lambda own, x: x + sigma * jax.random.normal(own, x.shape), parent)


def along_line(key: Key, first: Params, second: Params, iso: Number, line: Number) -> Params:
    """Return iso+line variation of float weights: noise, and a step towards the second parent.

    The child is `first + iso * N(0, I) + line * N(0, 1) * (second - first)`.
    """
    key_iso, key_line = jax.random.split(key)
    step = line * jax.random.normal(key_line)

    def change(own: Key, a: jax.Array, b: jax.Array) -> jax.Array:
        return a + iso * jax.random.normal(own, a.shape) + step * (b - a)

    return varied(key_iso, change, first, second)
