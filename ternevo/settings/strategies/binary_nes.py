"""`--strategy binary_nes`: a Bernoulli natural evolution strategy over {-1, +1}."""

import dataclasses
from typing import Any, ClassVar

from ternevo.settings.flat import part
from ternevo.settings.meaning import option
from ternevo.settings.policies.settings import WeightName
from ternevo.settings.strategies.evolution import Evolution, check_weights
from ternevo.settings.strategies.parts import Optimization, Rate, Sampling, Shaping


@dataclasses.dataclass(frozen=True)
class BinaryNES(Evolution):
    """Bernoulli natural evolution strategy over binary weights; requires `--weights binary`."""

    searched_by: ClassVar[str] = "ternevo.algorithms.nes:binary_from_settings"
    searches: ClassVar[tuple[WeightName, ...]] = ("binary",)

    optimization: Optimization = part(
        Optimization(Rate(lr=0.06), optimizer="sgd"),
        lr="Learning rate for the logits.",
        optimizer="Optax optimiser for the natural gradient.",
    )
    sampling: Sampling = Sampling()
    shaping: Shaping = part(
        Shaping("standardize"),
        fitness_shaping="How fitness becomes utility; `baseline` only subtracts the mean return.",
    )
    init_logit_std: float = option(3.0, is_data=True)
    """Standard deviation of the initial logits."""

    def float_twin(self) -> Any:
        """Refuse: only `ternary_nes` has a float baseline."""
        check_weights("binary_nes", "float", ("binary",), "add --weights binary")
