"""`--strategy binary_nes`: Bernoulli natural evolution strategy over {-1, +1}."""

import dataclasses
from typing import Any, ClassVar, Literal

from ternevo.settings.strategies.evolution import Optimised, Shaped, check_weights


@dataclasses.dataclass(frozen=True)
class BinaryNES(Shaped, Optimised):
    """Bernoulli natural evolution strategy over binary weights; needs `--weights binary`."""

    searched_by: ClassVar[str] = "ternevo.algorithms.nes:binary_from_settings"

    lr: float = 0.06
    """Learning rate on the logits."""
    optimizer: Literal["adam", "sgd", "momentum"] = "sgd"
    """Optax optimiser on the natural gradient."""
    init_logit_std: float = 3.0
    """Standard deviation of the first logits."""
    fitness_shaping: Literal["centered_rank", "standardize", "baseline"] = "standardize"
    """From fitness to utility; `baseline` only subtracts the mean return."""

    def float_twin(self) -> Any:
        """Refuse: `ternary_nes` has the float twin."""
        check_weights("binary_nes", "float", ("binary",), "add --weights binary")
