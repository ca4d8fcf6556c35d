r"""`TernaryNES` whose members also differ in the exponents of their tensors.

Each tensor has one more float latent s. A member has the exponent that follows the weights'
latents, plus round(s), plus a trit X of mean s - round(s), mixed with a uniform flip at rate sigma
(the distribution `mean` of `ternary_nes.py`), so that its noise follows the schedule of the
weights'. s climbs

$$\frac{1}{N} \sum_i u_i X_i - \bar u\,(s - \mathrm{round}(s))$$

with the optimiser of the weights: scales are searched by the same batch, at no further episode.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ternevo.algorithms import schedules
from ternevo.algorithms.distribution import Params
from ternevo.algorithms.nes import DISTRIBUTIONS, State, TernaryNES, mean, threshold
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.arithmetic import ternary
from ternevo.arithmetic.ternary import EXPONENT_RANGE, Statistics
from ternevo.settings.strategies.evolution import check_weights
from ternevo.settings.strategies.ternary_nes import TernaryNES as Settings
from ternevo.types import Key, Tensor


class ScaleSearchNES(TernaryNES):
    """Natural evolution strategy over trits and the exponents of their tensors."""

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from a distribution whose mode is `mean`."""
        state = super().init(key, mean, params)
        latents = (*state.latents, jnp.zeros(len(state.latents)))
        return state.replace(latents=latents, opt_state=self.optimizer.init(latents))

    def probabilities(self, state: State) -> list[jax.Array]:
        """Return P(-1), P(0), P(+1) of every weight, and of the offset of every exponent."""
        *weights, scales = state.latents
        tables = [self.distribution.probabilities(z, state.spread) for z in weights]
        flip_rate = jnp.minimum(state.spread, 1.0)
        return [*tables, mean().probabilities(_remainder(scales), flip_rate)]

    def _to_tensors(self, trits: list[jax.Array], state: State) -> list[Tensor]:
        *weights, offsets = trits
        return [
            tensor._replace(exponent=_moved(tensor.exponent, offsets[..., i]))
            for i, tensor in enumerate(super()._to_tensors(weights, state))
        ]

    def _to_trits(self, tensors: list[Tensor], state: State) -> list[jax.Array]:
        pairs = zip(tensors, self._exponents(state), strict=True)
        offsets = jnp.stack([tensor.exponent - base for tensor, base in pairs], axis=-1)
        return [*super()._to_trits(tensors, state), offsets]

    def _directions(self, stats: list[Statistics], state: State) -> tuple[jax.Array, ...]:
        *weights, scales = state.latents
        *of_weights, of_scales = stats
        directions = [
            self.distribution.direction(latent, state.spread, of_tensor)
            for latent, of_tensor in zip(weights, of_weights, strict=True)
        ]
        return (*directions, mean().direction(_remainder(scales), state.spread, of_scales))

    def _mode(self, latents: tuple[jax.Array, ...]) -> jax.Array:
        given = ternary.tensors(self.solution)
        weights, scales = latents[: len(given)], latents[len(given) :]
        shifts = jnp.round(scales[0]) if scales else jnp.zeros(len(given))  # none before `init`
        modes = [self.distribution.mode(z, t) for z, t in zip(weights, given, strict=True)]
        moved = [
            mode._replace(exponent=_moved(mode.exponent, shift))
            for mode, shift in zip(modes, shifts, strict=True)
        ]
        return self._ravel_solution(ternary.replace_tensors(self.solution, moved))


def _remainder(scales: jax.Array) -> jax.Array:
    return scales - jnp.round(scales)


def _moved(exponent: jax.Array, by: jax.Array) -> jax.Array:
    return jnp.clip(exponent + by, *EXPONENT_RANGE).astype(jnp.int8)


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightKind, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy ternary_nes` runs, and its params."""
    kinds = ("ternary", "binary") if settings.distribution == "threshold" else ("ternary",)
    check_weights(
        f"ternary_nes --distribution {settings.distribution}",
        weights,
        kinds,
        "--distribution threshold searches ternary, binary and float ones",
    )
    if settings.distribution == "threshold":
        distribution = threshold(weights)
    else:
        distribution = DISTRIBUTIONS[settings.distribution]()
    has_scales = settings.distribution == "threshold" and settings.search_scales is not False
    make = ScaleSearchNES if has_scales else TernaryNES
    algorithm = make(
        settings.population_size,
        solution,
        distribution,
        schedules.scheduled_optimizer(
            settings.optimization, settings.shaping.fitness_shaping, num_generations
        ),
        schedules.spread(settings.noise, num_generations),
        settings.sampling.antithetic,
        FITNESS_SHAPING[settings.shaping.fitness_shaping],
    )
    return algorithm, algorithm.default_params
