r"""`TernaryNES` whose members also differ in the exponents of their tensors.

Each exponent has one more float latent s. A member's exponent is the one given by the weights'
latents, plus round(s), plus a trit X of mean s - round(s), mixed with a uniform flip at rate
`scale_sigma` (the distribution `mean` of `nes.py`). s climbs

$$\frac{1}{N} \sum_i u_i X_i - \bar u\,(s - \mathrm{round}(s))$$

with Adam. The same batch searches the scales, without further episodes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from ternevo.algorithms import schedules
from ternevo.algorithms.distribution import Params
from ternevo.algorithms.guards import bounded
from ternevo.algorithms.nes import DISTRIBUTIONS, State, TernaryNES, mean, threshold
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.algorithms.spread import Statistics
from ternevo.arithmetic import ternary
from ternevo.arithmetic.latents import EXPONENT_RANGE, has_outputs, within_spread
from ternevo.settings.strategies.evolution import check_weights
from ternevo.settings.strategies.ternary_nes import TernaryNES as Settings
from ternevo.types import Key, Number, Tensor


class ScaleSearchNES(TernaryNES):
    """A natural evolution strategy over trits and the exponents of their tensors."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        *arguments: Any,
        scale_lr: Number = 0.1,
        scale_sigma: Number = 0.2,
        **options: Any,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          *arguments: what `TernaryNES` takes next.
          scale_lr: the learning rate of Adam for the latents of exponents.
          scale_sigma: the flip rate of exponents.
          **options: what else `TernaryNES` takes.
        """
        super().__init__(population_size, solution, *arguments, **options)
        self.scale_optimizer = optax.adam(scale_lr, b1=0.9, b2=0.99)
        self.scale_sigma = scale_sigma

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from a distribution whose mode is `mean`."""
        state = super().init(key, mean, params)
        offsets = jnp.zeros(self._num_exponents)
        both = (state.opt_state, self.scale_optimizer.init(offsets))
        return self._begun(state.replace(offsets=offsets, opt_state=both))

    @property
    def _num_exponents(self) -> int:
        """Return the number of exponents of all tensors."""
        return sum(tensor.exponent.size for tensor in ternary.tensors(self.solution))

    def probabilities(self, state: State) -> list[jax.Array]:
        """Return P(-1), P(0), P(+1) of every weight, and of the offset of every exponent."""
        offsets = mean().probabilities(_remainder(state.offsets), jnp.asarray(self.scale_sigma))
        return [*super().probabilities(state), offsets]

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

    def move(self, utilities: jax.Array, stats: list[Statistics], state: State) -> State:
        """Move the latents of weights and of exponents, and spreads."""
        *of_weights, of_offsets = stats
        of_latents, of_scales = state.opt_state
        direction = mean().direction(_remainder(state.offsets), state.spread, of_offsets)
        update, of_scales = self.scale_optimizer.update(bounded(direction), of_scales)
        state = state.replace(opt_state=of_latents, offsets=state.offsets + update)
        moved = super().move(utilities, of_weights, state)
        return moved.replace(opt_state=(moved.opt_state, of_scales))

    def modes(self, state: State) -> list[Tensor]:
        """Return the most probable tensors, their exponents moved by whole scales."""
        is_begun = not isinstance(state.offsets, tuple)  # before `init` there are none
        shifts = jnp.round(state.offsets) if is_begun else jnp.zeros(self._num_exponents)
        return self._moved(super().modes(state), shifts)

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


def _remainder(offsets: jax.Array) -> jax.Array:
    return offsets - jnp.round(offsets)


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
    arguments = (
        settings.population_size,
        solution,
        distribution,
        optimizer(settings, solution, num_generations),
        schedules.spread(settings.noise, num_generations),
        settings.sampling.antithetic,
        FITNESS_SHAPING[settings.shaping.fitness_shaping],
    )
    options: dict[str, Any] = {
        "is_natural": settings.is_natural,
        "spreads": settings.adaptive_spreads,
        "eta": settings.eta,
        "averaging": settings.averaging,
    }
    if settings.has_scales:
        scales = {"scale_lr": settings.scale_lr, "scale_sigma": settings.scale_sigma}
        algorithm = ScaleSearchNES(*arguments, **scales, **options)
    else:
        algorithm = TernaryNES(*arguments, **options)
    return algorithm, algorithm.default_params


def optimizer(
    settings: Settings, solution: Any, num_generations: int
) -> optax.GradientTransformation:
    """Return the optimiser of the latents.

    Natural gradients shrink as weights become more, since each has a smaller share in the
    differences between members. Their learning rate is therefore relative to the fourth root of the
    number of weights.
    """
    found = schedules.scheduled_optimizer(
        settings.optimization, settings.shaping.fitness_shaping, num_generations
    )
    if not settings.is_natural:
        return found
    num_weights = sum(tensor.values.size for tensor in ternary.tensors(solution))
    return optax.chain(found, optax.scale(num_weights**0.25))
