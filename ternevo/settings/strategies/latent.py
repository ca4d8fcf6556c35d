"""`--strategy latent` (or `evosax`): any evosax algorithm, by name.

The algorithm searches float32 latents and does not know about ternary weights.
`--weights` sets how a policy uses them: ternary or binary weights are trits or
signs of the latents, cut before each evaluation. Float weights are the latents
themselves, which is the float baseline.
"""

import dataclasses
from typing import Any, ClassVar, Literal

from ternevo.settings.flat import flat, options_of, part
from ternevo.settings.policies.settings import LATENT_KINDS, Ternarizer, WeightName
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.parts import Noise, Optimization, Rate

COMPUTED_IN_PYTHON = ("CMAAnchoredLES", "LM_MA_ES")
"""Algorithms of evosax that turn arrays into Python numbers when they are built."""


@dataclasses.dataclass(frozen=True)
class Latent(Evolution):
    """Any evosax algorithm over ternarised latents; over floats with `--weights float`."""

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:latents"
    searched_by: ClassVar[str] = "ternevo.algorithms.evosax_by_name:from_settings"
    searches: ClassVar[tuple[WeightName, ...]] = LATENT_KINDS

    noise: Noise = Noise()
    optimization: Optimization = part(
        Optimization(Rate(lr=0.05)),
        lr="Learning rate, if the algorithm has an optimiser.",
    )
    algorithm: str = "Open_ES"
    """Name of the evosax algorithm, as in `evosax.algorithms`."""
    algorithm_params: dict[str, float] = dataclasses.field(default_factory=dict)
    """Changes to the algorithm's evosax params, such as "{'c_std': 0.2}"."""
    antithetic: bool = True
    """Sample in antithetic pairs, if the algorithm can."""
    fitness_shaping: Literal["own", "nes", "centered_rank", "standardize", "baseline"] = "own"
    """How fitness becomes utility; `own` keeps what the evosax algorithm does."""
    ternarizer: Ternarizer = "absmean"
    """Only for --weights ternary: how latents are cut into trits: at half their mean size, at 0.7
    times it (twn), or at a twentieth of the largest (ttq)."""

    @property
    def numbers(self) -> dict[str, float]:
        """The options that are data; none with an algorithm that computes on them in Python."""
        return {} if self.algorithm in COMPUTED_IN_PYTHON else super().numbers

    @property
    def is_stretched(self) -> bool:
        """Whether something spans the whole run; DiffusionEvolution plans all of its steps."""
        return super().is_stretched or self.algorithm == "DiffusionEvolution"


def twin(settings: Evolution, algorithm: str, **changes: Any) -> Latent:
    """Return settings of an evosax algorithm that copy all options shared with `settings`.

    `changes` override the copies. An option that the algorithm lacks is lost: see `check_heeded`.
    """
    names = options_of(Latent)
    common = {name: value for name, value in flat(settings).items() if name in names}
    return Latent.of(**{**common, "algorithm": algorithm, **changes})
