"""Random numbers of many kinds from one call of the generator.

On CPU a call costs a loop of its own, whatever it draws: for a hundred members, sixty calls took
most of the time of a generation of NEAT.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int8, Int32, Shaped

from ternevo.types import Key


def uniforms(key: Key, *shapes: tuple[int, ...]) -> tuple[Float32[Array, "..."], ...]:
    """Return independent uniform numbers from [0, 1) in each shape."""
    return split(jax.random.uniform(key, (sum(map(math.prod, shapes)),)), shapes)


def split(
    numbers: Shaped[Array, "*rows numbers"], shapes: Sequence[tuple[int, ...]]
) -> tuple[Shaped[Array, "..."], ...]:
    """Cut the last axis into parts with these shapes, in order."""
    sizes = [math.prod(shape) for shape in shapes]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    rows = numbers.shape[:-1]
    parts = zip(ends, sizes, shapes, strict=True)
    return tuple(
        numbers[..., end - size : end].reshape(*rows, *shape) for end, size, shape in parts
    )


def place(uniform: Float32[Array, ""], mask: Bool[Array, " places"]) -> Int32[Array, ""]:
    """Return a place where the mask holds, each as likely; 0 if there is none."""
    count = jnp.cumsum(mask)
    rank = jnp.minimum(jnp.floor(uniform * count[-1]), count[-1] - 1).astype(count.dtype)
    return jnp.argmax(count > rank)


def below(uniform: Float32[Array, "*shape"], count: int) -> Int32[Array, "*shape"]:
    """Return a whole number from 0 to count - 1, each as likely."""
    return jnp.minimum(jnp.floor(uniform * count), count - 1).astype(jnp.int32)


def sign(uniform: Float32[Array, "*shape"]) -> Int8[Array, "*shape"]:
    """Return -1 or +1, each as likely."""
    return jnp.where(uniform < 0.5, -1, 1).astype(jnp.int8)
