"""`--strategy latent` (or `evosax`): any evosax algorithm by its name.

The algorithm searches float32 latents and knows nothing of ternary weights;
`--weights` says what a policy makes of them: ternary or binary latents are cut
into trits or signs before each evaluation, float ones are used as they are,
which is the float twin.
"""

import dataclasses
from typing import Any, ClassVar, Literal

from ternevo.settings.strategies.evolution import Evolution, Noisy, Optimised


@dataclasses.dataclass(frozen=True)
class Latent(Optimised, Noisy):
    """Any evosax algorithm over ternarised latents; with `--weights float`, over the float twin."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:latents"
    searched_by: ClassVar[str] = "ternevo.algorithms.evosax_by_name:from_settings"

    algorithm: str = "Open_ES"
    """Name of an evosax algorithm, as in `evosax.algorithms`."""
    algorithm_params: dict[str, float] = dataclasses.field(default_factory=dict)
    """Fields of the algorithm's evosax params to change, such as "{'c_std': 0.2}"."""
    lr: float = 0.05
    """Learning rate, where the algorithm takes an optimiser."""
    antithetic: bool = True
    """Sample in antithetic pairs, where the algorithm can."""
    fitness_shaping: Literal["own", "centered_rank", "standardize", "baseline"] = "own"
    """From fitness to utility; `own` is what evosax's algorithm does."""


def twin(settings: Evolution, algorithm: str, **changes: Any) -> Latent:
    """Return the settings of an evosax algorithm with all that they have in common with others.

    What `changes` has, or the algorithm has not, is not taken over: see `check_heeded`.
    """
    names = {field.name for field in dataclasses.fields(Latent)}
    common = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name in names
    }
    return Latent(**{**common, "algorithm": algorithm, **changes})
