"""`--strategy latent` (or `evosax`): any evosax algorithm by its name.

The algorithm searches float32 latents and knows nothing of ternary weights;
`--weights` says what a policy makes of them: ternary or binary latents are cut
into trits or signs before each evaluation, float ones are used as they are,
which is the float twin.
"""

import dataclasses
from typing import Any, ClassVar, Literal

from ternevo.settings.flat import flat, options_of, part
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.parts import Noise, Optimization, Rate


@dataclasses.dataclass(frozen=True)
class Latent(Evolution):
    """Any evosax algorithm over ternarised latents; with `--weights float`, over the float twin."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:latents"
    searched_by: ClassVar[str] = "ternevo.algorithms.evosax_by_name:from_settings"

    noise: Noise = Noise()
    optimization: Optimization = part(
        Optimization(Rate(lr=0.05)),
        lr="Learning rate, where the algorithm takes an optimiser.",
    )
    algorithm: str = "Open_ES"
    """Name of an evosax algorithm, as in `evosax.algorithms`."""
    algorithm_params: dict[str, float] = dataclasses.field(default_factory=dict)
    """Fields of the algorithm's evosax params to change, such as "{'c_std': 0.2}"."""
    antithetic: bool = True
    """Sample in antithetic pairs, where the algorithm can."""
    fitness_shaping: Literal["own", "centered_rank", "standardize", "baseline"] = "own"
    """From fitness to utility; `own` is what evosax's algorithm does."""

    @property
    def is_stretched(self) -> bool:
        """Whether something moves over the whole run; one algorithm plans all of its steps."""
        return super().is_stretched or self.algorithm == "DiffusionEvolution"


def twin(settings: Evolution, algorithm: str, **changes: Any) -> Latent:
    """Return the settings of an evosax algorithm with all that they have in common with others.

    What `changes` has, or the algorithm has not, is not taken over: see `check_heeded`.
    """
    names = options_of(Latent)
    common = {name: value for name, value in flat(settings).items() if name in names}
    return Latent.of(**{**common, "algorithm": algorithm, **changes})
