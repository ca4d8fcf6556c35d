r"""`TernaryNES` whose members also differ in the exponents of their tensors.

Each exponent has one more float latent s. A member's exponent is the one given by the weights'
latents, plus round(s), plus a trit X of mean s - round(s), mixed with a uniform flip at rate sigma
(the distribution `mean` of `nes.py`). Its noise therefore follows the schedule of the
weights' noise. s climbs

$$\frac{1}{N} \sum_i u_i X_i - \bar u\,(s - \mathrm{round}(s))$$

with the optimiser of the weights. The same batch searches the scales, without further episodes.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ternevo.algorithms import schedules
from ternevo.algorithms.distribution import Params
from ternevo.algorithms.nes import DISTRIBUTIONS, State, TernaryNES, mean, threshold
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.algorithms.spread import Statistics
from ternevo.arithmetic import ternary
from ternevo.arithmetic.latents import EXPONENT_RANGE, has_outputs, within_spread
from ternevo.settings.strategies.evolution import check_weights
from ternevo.settings.strategies.ternary_nes import TernaryNES as Settings
from ternevo.types import Key, Tensor


class ScaleSearchNES(TernaryNES):
    """A natural evolution strategy over trits and the exponents of their tensors."""

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from a distribution whose mode is `mean`."""
        state = super().init(key, mean, params)
        latents = (*state.latents, jnp.zeros(self._num_exponents))
        return state.replace(latents=latents, opt_state=self.optimizer.init(latents))

    @property
    def _num_exponents(self) -> int:
        """Return the number of exponents of all tensors."""
        return sum(tensor.exponent.size for tensor in ternary.tensors(self.solution))

    def probabilities(self, state: State) -> list[jax.Array]:
        """Return P(-1), P(0), P(+1) of every weight, and of the offset of every exponent."""
        *weights, scales = state.latents
        tables = [
            self.distribution.probabilities(latent, state.spread, per_output)
            for latent, per_output in zip(weights, self.per_output, strict=True)
        ]
        flip_rate = jnp.minimum(state.spread, 1.0)
        return [*tables, mean().probabilities(_remainder(scales), flip_rate)]

    def to_tensors(self, trits: list[jax.Array], state: State) -> list[Tensor]:
        """Return drawn values as tensors whose exponents are moved by the drawn offsets."""
        *weights, offsets = trits
        return self._moved(super().to_tensors(weights, state), offsets)

    def to_trits(self, tensors: list[Tensor], state: State) -> list[jax.Array]:
        """Return the values of tensors, and the offsets of their exponents."""
        pairs = zip(tensors, self.exponents(state), strict=True)
        flat = [tensor.exponent - base for tensor, base in pairs]
        size = flat[0].shape[0]
        offsets = jnp.concatenate([x.reshape(size, -1) for x in flat], axis=-1)
        return [*super().to_trits(tensors, state), offsets]

    def directions(self, stats: list[Statistics], state: State) -> tuple[jax.Array, ...]:
        """Return the directions of the latents, and that of the exponents."""
        *weights, scales = state.latents
        *of_weights, of_scales = stats
        directions = [
            self.distribution.direction(latent, state.spread, of_tensor, per_output)
            for latent, of_tensor, per_output in zip(
                weights, of_weights, self.per_output, strict=True
            )
        ]
        return (*directions, mean().direction(_remainder(scales), state.spread, of_scales))

    def mode(self, latents: tuple[jax.Array, ...]) -> jax.Array:
        """Return the solution that ships, its exponents moved by whole scales."""
        given = ternary.tensors(self.solution)
        weights, scales = latents[: len(given)], latents[len(given) :]
        is_begun = bool(scales)  # before `init` there are none
        shifts = jnp.round(scales[0]) if is_begun else jnp.zeros(self._num_exponents)
        modes = [self.distribution.mode(z, t) for z, t in zip(weights, given, strict=True)]
        moved = self._moved(modes, shifts)
        return self.ravel(ternary.replace_tensors(self.solution, moved))

    def _moved(self, tensors: list[Tensor], offsets: jax.Array) -> list[Tensor]:
        """Add offsets to the exponents of the tensors of a member or a population."""
        moved, first = [], 0
        for tensor, given in zip(tensors, ternary.tensors(self.solution), strict=True):
            of_tensor = offsets[..., first : first + given.exponent.size]
            first += given.exponent.size
            exponent = tensor.exponent + of_tensor.reshape(tensor.exponent.shape)
            exponent = jnp.clip(exponent, *EXPONENT_RANGE).astype(jnp.int8)
            exponent = within_spread(exponent) if has_outputs(given) else exponent
            moved.append(tensor._replace(exponent=exponent))
        return moved


def _remainder(scales: jax.Array) -> jax.Array:
    return scales - jnp.round(scales)


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy ternary_nes` runs, and its params."""
    kinds = ("ternary", "binary") if settings.distribution == "threshold" else ("ternary",)
    check_weights(
        f"ternary_nes --distribution {settings.distribution}",
        weights,
        kinds,
        "--distribution threshold searches ternary, binary and float weights",
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
