"""Evolve ternary policies in JAX: weights in {-1, 0, +1}, searched without gradients.

This module imports nothing heavy; `ternevo.load` needs NumPy but not JAX.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ternevo.deploy.runtime import Policy

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `ternevo.gym` on first use."""
    if name == "gym":
        return importlib.import_module("ternevo.gym")
    raise AttributeError(f"module 'ternevo' has no attribute {name!r}")


def load(path: str | Path) -> "Policy":
    """Read a .tvp policy file, ready to act; see `ternevo.deploy.runtime`.

    Nothing in the file is executed. To read a .npz file of your own policy class, use
    `ternevo.policies.policy_file.load`.
    """
    from ternevo.deploy import runtime

    return runtime.load(path)
