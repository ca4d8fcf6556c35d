"""Exact step counts on a device, which has only 32-bit integers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from ternevo.machine import devices
from ternevo.types import Metrics, StepCount


def of_number(number: int) -> StepCount:
    """Return the count for a nonnegative Python number."""
    high, low = divmod(number, 2**32)
    return StepCount(jnp.uint32(low), jnp.uint32(high))


def of_lengths(lengths: Int32[Array, "*batch"]) -> StepCount:
    """Return the sum of lengths, each 0 or more.

    Examples:
      >>> of_lengths(jnp.full(5, 2**31 - 1)) == of_number(5 * (2**31 - 1))
      True
    """
    low = lengths.ravel().astype(jnp.uint32)
    return devices.combine_in_order(add, StepCount(low, jnp.zeros_like(low)))


def add(a: StepCount, b: StepCount) -> StepCount:
    """Return the sum of two counts, with the carry of the low words."""
    low = a.low + b.low
    return StepCount(low, a.high + b.high + (low < a.low).astype(jnp.uint32))


def metrics(count: StepCount) -> Metrics:
    """Return the metrics of a count; `sinks.steps_of` combines them on the host."""
    return {"episode/steps": count.low, "episode/steps_high": count.high}


def times(count: int, factor: Int32[Array, ""], most: int) -> StepCount:
    """Return a count times a factor on the device, 1 to `most`."""
    products = [of_number(count * (i + 1)) for i in range(most)]
    table: StepCount = jax.tree.map(lambda *x: jnp.stack(x), *products)
    return jax.tree.map(lambda x: x[factor - 1], table)
