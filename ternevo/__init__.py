"""Ternary policies, evolved: weights in {-1, 0, +1}, searched without gradients, in JAX.

Nothing heavy is imported here; `ternevo.load` imports JAX when it is called.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ternevo.policy_file import SavedPolicy

__version__ = "0.1.0"


def load(path: str | Path) -> "SavedPolicy":
    """Read a policy file; see `ternevo.policy_file.load`."""
    from ternevo import policy_file

    return policy_file.load(path)
