"""How layers follow one another, in NumPy: of integers (`integer.py`) and of floats (`runtime.py`).

A `Step` says what a layer multiplies and what follows its sums; `walk` runs a list of them on a
batch. Values between layers are [n, *shape], with images [height, width, channels].
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.record import CELL_TYPES, LayerType, Shape, Window

ROWS_AT_ONCE = 4096
VALUES_AT_ONCE = 2**22
"""A batch runs in pieces of at most so many rows, and values of one layer."""

Follow = Callable[[NDArray, NDArray | None], NDArray]
"""Sums [n, *places, rows] to values.

The second argument is the memory of a cell, or what a skip adds, or None.
"""


class Step(NamedTuple):
    """A layer, ready to run.

    Attributes:
      type: what it multiplies.
      window: of a convolution or a pool.
      skip: how many layers back the input is added, or 0.
      memory_size: numbers that it carries from step to step.
      shape: of the values that it takes.
      matrix: [in, rows]; empty for a pool.
      follow: what comes after the product with the matrix.
    """

    type: LayerType
    window: Window | None
    skip: int
    memory_size: int
    shape: Shape
    matrix: NDArray
    follow: Follow


def walk(steps: Iterable[Step], memory: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
    """Return the memory [n, memory] after a step, and the last layer's values [n, out].

    Args:
      steps: the layers.
      memory: [n, memory] before the step.
      values: [n, in], what the first layer takes.
    """
    taken: list[NDArray] = []
    carried: list[NDArray] = []
    at = 0
    for step in steps:
        values = values.reshape(len(values), *step.shape)
        taken.append(values)
        if step.type == "max_pool":
            values = _pooled(step, values)
            continue
        own = memory[:, at : at + step.memory_size]
        at += step.memory_size
        added = taken[-step.skip] if step.skip else None
        is_cell = step.type in CELL_TYPES
        values = step.follow(_sums(step, values, own), own if is_cell else added)
        if is_cell:
            carried.append(values)
    return np.concatenate(carried, -1) if carried else memory, values


def in_pieces(
    sizes: Iterable[int], rows: int, run: Callable[[slice], NDArray], out: NDArray
) -> NDArray:
    """Fill `out` piece by piece, so that memory stays small; return it.

    Args:
      sizes: numbers of values between layers.
      rows: of the batch.
      run: computes the rows of a slice.
      out: [rows, ...].
    """
    at_once = min(max(VALUES_AT_ONCE // max(sizes), 1), ROWS_AT_ONCE)
    for start in range(0, rows, at_once):
        piece = slice(start, start + at_once)
        out[piece] = run(piece)
    return out


def _sums(step: Step, values: NDArray, memory: NDArray) -> NDArray:
    """Return the products with the matrix [n, *places, rows]."""
    if step.type == "convolution":
        return _convolved(step, values)
    flat = values.reshape(len(values), math.prod(step.shape))
    if step.type in CELL_TYPES:
        flat = np.concatenate([flat, memory.astype(flat.dtype)], -1)
    return flat.astype(step.matrix.dtype) @ step.matrix


def _convolved(step: Step, values: NDArray) -> NDArray:
    """Add up the products of one place of the window after another: no patches are stored."""
    window, channels = step.window, step.shape[2]
    assert window is not None
    padded = _padded(values.astype(step.matrix.dtype), window.padding, 0)
    total: Any = 0
    for place, part in enumerate(_parts(step, padded)):
        total = total + part @ step.matrix[place * channels : (place + 1) * channels]
    return total


def _pooled(step: Step, values: NDArray) -> NDArray:
    """Return the largest of each window; padding is below every value."""
    assert step.window is not None
    lowest = -np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).min
    parts = _parts(step, _padded(values, step.window.padding, lowest))
    largest = next(parts)
    for part in parts:
        largest = np.maximum(largest, part)
    return largest


def _padded(values: NDArray, padding: int, fill: int | float) -> NDArray:
    if padding == 0:
        return values
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return np.pad(values, sides, constant_values=fill)


def _parts(step: Step, padded: NDArray) -> Any:
    """Yield what each place (ky, kx) of the window sees, [n, height, width, channels]."""
    assert step.window is not None
    down, across = step.window.places(*step.shape[:2])
    stride = step.window.stride
    for ky in range(step.window.height):
        for kx in range(step.window.width):
            rows = slice(ky, ky + stride * (down - 1) + 1, stride)
            columns = slice(kx, kx + stride * (across - 1) + 1, stride)
            yield padded[:, rows, columns]
