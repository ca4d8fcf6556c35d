"""What the nodes of a graph make of their numbers: a function for each output of a layer, by code.

A sum is first rounded and clipped to a number x from -L to L, as for a hard tanh, where L is the
largest number of the grid. The functions keep to the grid, so all of them are exact in integers: in
NumPy and JAX here, and in C in native/kernels.c and c/layers.h.
"""

from types import ModuleType
from typing import Any

from ternevo.settings.policies.settings import FUNCTIONS

GRIDS = ("int8", "int4", "ternary")
"""Activations whose grid has functions: that of signs has no 0, and floats have no grid."""


def shaped(xp: ModuleType, codes: Any, values: Any, limit: int) -> Any:
    """Return what the functions of outputs make of their numbers.

    Args:
      xp: jax.numpy or NumPy.
      codes: int8 [out], places in `FUNCTIONS`.
      values: [..., out], from -limit to limit.
      limit: the largest number of the grid.

    Examples:
      >>> import numpy as np
      >>> [shaped(np, np.array([code]), np.array([-3]), 7).item() for code in range(len(FUNCTIONS))]
      [-3, 0, 3, -7, 4]
    """
    size = xp.abs(values)
    others = {
        "relu": xp.maximum(values, 0),
        "absolute": size,
        "sign": limit * xp.sign(values),
        "hat": limit - size,
    }
    for name, found in others.items():
        values = xp.where(codes == FUNCTIONS.index(name), found, values)
    return values
