"""What a search must know about an ask/tell algorithm besides its functions.

Nothing is guessed from the names of attributes or of fields of a state. ternevo's algorithms
declare their `traits`; a table here covers evosax's algorithms, which cannot.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from evosax.algorithms import algorithms

from ternevo.types import Metrics


class Traits(NamedTuple):
    """Capabilities of an algorithm.

    Attributes:
      pairs_are_adjacent: whether an antithetic pair is the members 2 i and 2 i + 1, rather than
        i and i + population / 2.
      is_spread: returns whether each device of the mesh holds only its own members. It is a
        function because an algorithm is built before a mesh is set.
      remembers_fitness: whether fitness is compared across generations, as by elites and archives;
        True for unknown algorithms.
      metrics: a state to metrics.
    """

    pairs_are_adjacent: bool = False
    is_spread: Callable[[], bool] = lambda: False
    remembers_fitness: bool = True
    metrics: Callable[[Any], Metrics] = lambda state: {}


class Described:
    """Abstract: an algorithm of ternevo, an evosax class that declares its traits."""

    @property
    def traits(self) -> Traits:
        """Return the capabilities of this algorithm."""
        return Traits()

    def ravel(self, solution: Any) -> Any:
        """Return a solution as one row of numbers, exponents included."""
        return self._ravel_solution(solution)  # pyright: ignore (evosax sets it)

    def unravel(self, row: Any) -> Any:
        """Return the solution of a row of numbers."""
        return self._unravel_solution(row)  # pyright: ignore (evosax sets it)


FORGETFUL = frozenset(
    {
        *("ARS", "ASEBO", "CMA_ES", "CR_FM_NES", "DES", "ESMC", "GuidedES", "LM_MA_ES", "MA_ES"),
        *("NoiseReuseES", "Open_ES", "PersistentES", "PGPE", "Sep_CMA_ES"),
        *("SimpleES", "SNES", "SV_CMA_ES", "SV_Open_ES", "xNES"),
    }
)
"""Names of evosax's algorithms whose state holds no fitness except the best so far."""


def traits_of(algorithm: Any) -> Traits:
    """Return the traits of an algorithm."""
    if isinstance(algorithm, Described):
        return algorithm.traits
    is_forgetful = type(algorithm) in {algorithms[name] for name in FORGETFUL}
    return Traits(remembers_fitness=not is_forgetful)
