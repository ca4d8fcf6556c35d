"""The contestants of a case: records without JAX, so that listing cases is quick."""

from collections.abc import Callable
from typing import Any, NamedTuple

Record = dict[str, Any]
"""JSON values."""


class Contestant(NamedTuple):
    """A compiled implementation of the job of a case: `run` does it once and returns arrays.

    `env_steps` are the steps that count: ours are the steps of unfinished episodes,
    evosax's are population x episodes x time limit. `bytes_read` is the minimum that one run
    must read from memory, for a share of the bandwidth. `skipped` says why the contestant
    cannot run here; it is shown but not timed. `evaluations` counts evaluations of one policy.
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
    """The contestants of a case, ours first, and notes about it."""

    contestants: list[Contestant]
    notes: Record


class CaseError(RuntimeError):
    """A case cannot run as described."""


Act = Callable[[Any], Any]
"""Maps an observation to an action of the environment."""


class Runner(NamedTuple):
    """An implementation of a learner.

    `init(key)` returns a state, and `advance(state, n)`, which is jitted, the state after n
    generations of equally many steps. It may use up the given state. `actor(state)` returns the
    final policy, without exploration.
    """

    name: str
    init: Callable[[Any], Any]
    advance: Any
    actor: Callable[[Any], Act]


class Illuminator(NamedTuple):
    """An implementation of MAP-Elites.

    Attributes:
      name: who it is.
      init: maps a key to a state.
      begun: number of generations that the first state has seen.
      advance: maps a state and a number of generations to the state after them; jitted.
      found: maps a state to the coverage of the archive and its QD score.
    """

    name: str
    init: Callable[[Any], Any]
    begun: int
    advance: Any
    found: Callable[[Any], tuple[float, float]]
