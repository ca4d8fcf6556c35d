"""Ternary policies, evolved: weights in {-1, 0, +1}, searched without gradients, in JAX.

Nothing heavy is imported here; `ternevo.load` needs NumPy and not JAX.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ternevo.deploy.runtime import Policy

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `ternevo.gym` when it is asked for."""
    if name == "gym":
        return importlib.import_module("ternevo.gym")
    raise AttributeError(f"module 'ternevo' has no attribute {name!r}")


def load(path: str | Path) -> "Policy":
    """Read a .tvp policy file, ready to act; see `ternevo.deploy.runtime`.

    Nothing in the file is executed. Policies of your own, which a .npz names, are read by
    `ternevo.policies.policy_file.load`.
    """
    from ternevo.deploy import runtime

    return runtime.load(path)
