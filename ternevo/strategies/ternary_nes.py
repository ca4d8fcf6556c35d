"""`--strategy ternary_nes`: natural evolution strategies over ternary weights."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.strategies.evolution import Noisy, Optimised, Shaped, check_weights

if TYPE_CHECKING:
    from ternevo.strategies.latent import Latent
    from ternevo.ternary import WeightKind
    from ternevo.types import Env, Policy, Strategy


@dataclasses.dataclass(frozen=True)
class TernaryNES(Shaped, Optimised, Noisy):
    """Natural evolution strategy over ternary weights; `--weights float` runs OpenAI-ES."""

    distribution: Literal["threshold", "logits", "mean", "sharp"] = "threshold"
    """How latents give probabilities, see ternevo/algorithms/ternary_nes.py."""

    search_scales: bool | None = None
    """Search the exponents of the layers with the weights; only the threshold distribution can, and
    by default it does."""

    threshold_share: float = 0.5
    """Where latents are cut, in mean absolute latents: a prior of density, larger is sparser."""

    layer_rates: tuple[float, ...] = ()
    """Factors of the learning rate, one for each layer; none for 1. Layers must have biases."""

    ship: Literal["mode", "elite"] = "mode"
    """What is shipped: the mode of the distribution, or the best member ever sampled."""

    restart_after: int = 0
    """Start anew after so many generations without a better mean return; 0 for never. What is
    shipped is then the mode of the best generation."""

    def __post_init__(self) -> None:
        """Refuse a flip rate above one."""
        super().__post_init__()
        if self.distribution in ("mean", "sharp") and max(self.sigma, self.sigma_end) > 1:
            raise ValueError(
                f"sigma is a flip rate here and at most 1, got {self.sigma} to {self.sigma_end}"
            )
        if self.search_scales and self.distribution != "threshold":
            raise ValueError(
                "--search_scales needs --distribution threshold, whose scales move, "
                f"not {self.distribution}"
            )

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm and its params."""
        import optax

        from ternevo.algorithms import ternary_nes
        from ternevo.algorithms.scale_search import ScaleSearchNES

        kinds = ("ternary", "binary") if self.distribution == "threshold" else ("ternary",)
        check_weights(
            f"ternary_nes --distribution {self.distribution}",
            weights,
            kinds,
            "--distribution threshold searches ternary, binary and float ones",
        )
        if self.distribution == "threshold":
            distribution = ternary_nes.threshold(weights, self.threshold_share)
        else:
            distribution = ternary_nes.DISTRIBUTIONS[self.distribution]()
        has_scales = self.distribution == "threshold" and self.search_scales is not False
        make = ScaleSearchNES if has_scales else ternary_nes.TernaryNES
        algorithm = make(
            self.population_size,
            solution,
            distribution,
            optax.chain(self.optax_optimizer(num_generations), self._layer_factors()),
            self.noise(num_generations),
            self.antithetic,
            self.shaping(),
        )
        if self.ship == "elite":
            algorithm.get_mean = lambda state: algorithm._unravel_solution(state.best_solution)
        return algorithm, algorithm.default_params

    def _layer_factors(self) -> Any:
        """Return what scales the updates of a layer's bias and weights; scales have a factor 1."""
        import optax

        def scaled(updates: tuple, params: Any) -> tuple:
            del params
            factors = [rate for rate in self.layer_rates for _ in ("bias", "weight")]
            factors += [1.0] * (len(updates) - len(factors))
            return tuple(u * factor for u, factor in zip(updates, factors, strict=True))

        return optax.stateless(scaled)

    def build(
        self, env: "Env", policy: "Policy", weights: "WeightKind", num_generations: int
    ) -> "Strategy":
        """Return the strategy, with restarts if there are to be any."""
        from ternevo.strategies.restarts import with_restarts

        strategy = super().build(env, policy, weights, num_generations)
        return with_restarts(strategy, self.restart_after) if self.restart_after else strategy

    def float_twin(self) -> "Latent":
        """Return evosax's Open_ES at the same settings."""
        from ternevo.strategies.latent import twin

        return twin(self, "Open_ES")
