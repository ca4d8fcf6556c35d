"""Ternary policies, evolved: weights in {-1, 0, +1}, searched without gradients, in JAX.

Nothing heavy is imported here; `ternevo.load` needs NumPy and not JAX.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ternevo.deploy.runtime import Policy

__version__ = "0.1.0"


def load(path: str | Path) -> "Policy":
    """Read a policy file, ready to act; see `ternevo.deploy.runtime`."""
    from ternevo.deploy import runtime

    return runtime.load(path)
