"""Archives of behaviours: cells on a grid or around centroids, and what enters them.

Members are never flattened. A batch enters by gathers, without a scatter of members: so the result
is the same on every device, and of equal members of a cell the first in the batch stays.

References:
  Mouret and Clune, "Illuminating search spaces by mapping elites", 2015.
  Vassiliades, Chatzilygeroudis and Mouret, "Using Centroidal Voronoi Tessellations to Scale Up the
  Multidimensional Archive of Phenotypic Elites Algorithm", 2018 (CVT-MAP-Elites).
  Pugh, Soros and Stanley, "Quality Diversity", 2016 (QD score).
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32

from ternevo.types import Archive, Descriptor, Key, Number, Params

EMPTY = -1e30
"""The fitness of an empty cell; not infinite, as a state must stay finite."""
SAMPLES_PER_CENTROID, ROUNDS = 20, 25
"""Points from which centroids are made, for each of them, and the rounds of k-means."""


class Cells(NamedTuple):
    """The cells of a space of behaviours.

    Attributes:
      centres: the middle of each, in units of the descriptor [cells, size].
      of: maps a descriptor [size] to the number of its cell.
      space: the descriptor whose range they fill.
    """

    centres: Float32[Array, "cells size"]
    of: Callable[[jax.Array], jax.Array]
    space: Descriptor

    @property
    def count(self) -> int:
        """Number of cells."""
        return self.centres.shape[0]


def grid(descriptor: Descriptor, shape: tuple[int, ...]) -> Cells:
    """Return cells on a grid over the range of a descriptor; what is outside is in an outer cell.

    Raises:
      ValueError: the shape has not one number, at least 1, for each number of the descriptor.
    """
    if len(shape) != descriptor.size or min(shape, default=0) < 1:
        raise ValueError(
            f"grid must be {descriptor.size} numbers, each at least 1, as behaviour is "
            f"{', '.join(descriptor.names)}; got {shape}: change --grid"
        )
    low, high = (np.asarray(x, np.float32) for x in (descriptor.low, descriptor.high))
    middles = [(np.arange(n) + 0.5) / n for n in shape]
    shares = np.array(list(itertools.product(*middles)), np.float32)
    strides = np.array([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int32)

    def of(found: jax.Array) -> jax.Array:
        share = (found - low) / (high - low)
        index = jnp.clip(jnp.floor(share * np.array(shape)), 0, np.array(shape) - 1)
        return jnp.sum(index.astype(jnp.int32) * strides)

    return Cells(jnp.asarray(low + shares * (high - low)), of, descriptor)


def voronoi(descriptor: Descriptor, count: int) -> Cells:
    """Return cells around centroids that are spread evenly over the range of a descriptor.

    They are k-means of points drawn from a fixed key, and so the same in every run.
    """
    low, high = (np.asarray(x, np.float32) for x in (descriptor.low, descriptor.high))
    numbers = np.random.default_rng(0)
    points = numbers.random((SAMPLES_PER_CENTROID * count, descriptor.size)).astype(np.float32)
    centres = points[:count]
    for _ in range(ROUNDS):
        nearest = _nearest(points, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        own = np.bincount(nearest, minlength=count)[:, None]
        centres = np.where(own > 0, sums / np.maximum(own, 1), centres).astype(np.float32)
    fixed = jnp.asarray(centres)

    def of(found: jax.Array) -> jax.Array:
        share = jnp.clip((found - low) / (high - low), 0.0, 1.0)
        return jnp.argmin(jnp.sum((fixed - share) ** 2, axis=1)).astype(jnp.int32)

    return Cells(jnp.asarray(low + centres * (high - low)), of, descriptor)


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the number of the nearest centre of each point."""
    squares = (centres**2).sum(1) - 2 * points @ centres.T  # without those of the point itself
    return squares.argmin(1)


# ------------------------------------------------------------------------- what is in them


def empty(cells: Cells, member: Params) -> Archive:
    """Return an archive without members; its cells hold copies of one, which mean nothing."""
    members = jax.tree.map(lambda x: jnp.broadcast_to(x, (cells.count, *x.shape)), member)
    return Archive(
        members,
        jnp.full(cells.count, EMPTY),
        jnp.zeros_like(cells.centres),
        jnp.zeros(cells.count, bool),
        cells.centres,
    )


class Entered(NamedTuple):
    """The archive after a batch, and how many cells it filled and improved."""

    archive: Archive
    num_new: Int32[Array, ""]
    num_better: Int32[Array, ""]


def entered(
    archive: Archive,
    cells: Cells,
    members: Params,
    fitness: Float[Array, " batch"],
    descriptors: Float[Array, "batch size"],
    is_valid: Bool[Array, " batch"],
) -> Entered:
    """Return the archive after a batch: in each cell the best, of equals who was there first.

    Args:
      archive: the archive.
      cells: its cells.
      members: params [batch, ...].
      fitness: higher is better.
      descriptors: the behaviour of each.
      is_valid: whether a member may enter.
    """
    batch, count = fitness.shape[0], cells.count
    finite = is_valid & jnp.all(jnp.isfinite(descriptors), axis=1)
    safe = jnp.where(finite[:, None], descriptors, 0.0)
    cell = jnp.where(finite, jax.vmap(cells.of)(safe), count)  # of nobody, and dropped
    value = jnp.where(finite, fitness, EMPTY)
    best = jax.ops.segment_max(value, cell, count + 1)
    numbers = jnp.where(value == best[cell], jnp.arange(batch), batch)
    first = jax.ops.segment_min(numbers, cell, count + 1)[:count]
    wins = (first < batch) & (best[:count] > archive.fitness)
    index = jnp.minimum(first, batch - 1)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(wins.reshape(-1, *[1] * (old.ndim - 1)), new[index], old)

    after = Archive(
        jax.tree.map(choose, members, archive.members),
        choose(value, archive.fitness),
        choose(safe, archive.descriptors),
        archive.is_occupied | wins,
        archive.centres,
    )
    num_new = jnp.sum(wins & ~archive.is_occupied)
    return Entered(after, num_new, jnp.sum(wins) - num_new)


def drawn(key: Key, archive: Archive, count: int) -> Params:
    """Draw members of occupied cells, each cell equally often; there must be one."""
    numbers = jnp.cumsum(archive.is_occupied)
    rank = jax.random.randint(key, (count,), 0, jnp.maximum(numbers[-1], 1)) + 1
    cell = jnp.searchsorted(numbers, rank)
    return jax.tree.map(lambda x: x[cell], archive.members)


def leader(archive: Archive) -> Params:
    """Return the best member."""
    return jax.tree.map(lambda x: x[jnp.argmax(archive.fitness)], archive.members)


def coverage(archive: Archive) -> Float[Array, ""]:
    """Return the share of cells that have a member."""
    return jnp.mean(archive.is_occupied.astype(jnp.float32))


def qd_score(archive: Archive, least: Number) -> Float[Array, ""]:
    """Return the sum of the fitness of all members, above a least fitness that counts as 0."""
    above = jnp.maximum(archive.fitness - least, 0.0)
    return jnp.sum(jnp.where(archive.is_occupied, above, 0.0))
