"""What a search has to know of an ask/tell algorithm beside its functions, said by the algorithm.

Nothing is guessed from the names of attributes or of fields of a state. Algorithms of ternevo say
it by their `traits`; for those of evosax, which cannot, it stands in a table here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from evosax.algorithms import algorithms

from ternevo.types import Metrics


class Traits(NamedTuple):
    """Capabilities of an algorithm.

    Attributes:
      pairs_are_adjacent: whether an antithetic pair is the members 2 i and 2 i + 1, else
        i and i + population / 2.
      is_spread: whether each device of the mesh holds its own members only.
      remembers_fitness: whether fitness is compared over generations, as elites and archives do;
        what nobody has said anything of is taken to do so.
      metrics: from a state to metrics.
    """

    pairs_are_adjacent: bool = False
    is_spread: bool = False
    remembers_fitness: bool = True
    metrics: Callable[[Any], Metrics] = lambda state: {}


class Described:
    """Abstract: an algorithm that says what it can."""

    @property
    def traits(self) -> Traits:
        """Return the capabilities of this algorithm."""
        return Traits()


FORGETFUL = frozenset(
    {
        *("ARS", "ASEBO", "CMA_ES", "CR_FM_NES", "DES", "ESMC", "GuidedES", "LM_MA_ES", "MA_ES"),
        *("NoiseReuseES", "Open_ES", "PersistentES", "PGPE", "Sep_CMA_ES"),
        *("SimpleES", "SNES", "SV_CMA_ES", "SV_Open_ES", "xNES"),
    }
)
"""Names of evosax's algorithms whose state has no fitness but a record of the best so far."""


def traits_of(algorithm: Any) -> Traits:
    """Return what is known of an algorithm."""
    if isinstance(algorithm, Described):
        return algorithm.traits
    is_forgetful = type(algorithm) in {algorithms[name] for name in FORGETFUL}
    return Traits(remembers_fitness=not is_forgetful)
