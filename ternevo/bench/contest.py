"""Who takes part in a case: records, free of JAX, so that cases are listed quickly."""

from collections.abc import Callable
from typing import Any, NamedTuple

Record = dict[str, Any]
"""JSON values."""


class Contestant(NamedTuple):
    """Somebody who does the job of a case, compiled: `run` does it once and returns arrays.

    `env_steps` are those that count: for us the steps of living episodes, for
    evosax population x episodes x time limit. `bytes_read` is what cannot but be
    read from memory in one run, for a share of the bandwidth. `skipped` says why
    it cannot run here; it is shown and not timed. `evaluations` are those of one policy.
    """

    name: str
    run: Callable[[], Any]
    env_steps: int | None = None
    generations: int | None = None
    bytes_read: int | None = None
    compile_seconds: float | None = None
    peak_bytes: int | None = None
    skipped: str = ""
    evaluations: int | None = None


class Contest(NamedTuple):
    """The contestants of a case, ours first, and what else there is to know."""

    contestants: list[Contestant]
    notes: Record


class CaseError(RuntimeError):
    """A case cannot be what its name says."""
