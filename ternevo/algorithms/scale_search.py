r"""Trial: `TernaryNES` whose members also differ in the exponents of their tensors.

Each tensor has one more float latent s. Its members have the exponent that follows the
latents, plus round(s), plus X in {-1, 0, +1} of mean s - round(s), mixed with a uniform flip at
rate 0.3; s climbs the evidence for X with the optimiser of the weights.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ternevo import ternary
from ternevo.algorithms.ternary_nes import State, TernaryNES, mean
from ternevo.ternary import EXPONENT_RANGE, Statistics
from ternevo.types import Key, Tensor

FLIP_RATE = 0.3


class ScaleSearchNES(TernaryNES):
    """Natural evolution strategy over ternary weights and the exponents of their tensors."""

    def init(self, key: Key, mean: Any, params: Any) -> State:
        """Start from a distribution whose mode is `mean`."""
        state = super().init(key, mean, params)
        latents = (*state.latents, jnp.zeros(len(state.latents)))
        return state.replace(latents=latents, opt_state=self.optimizer.init(latents))

    def probabilities(self, state: State) -> list[jax.Array]:
        """Return those of the weights, and of the exponents' offsets."""
        *weights, offsets = state.latents
        tables = [self.distribution.probabilities(z, state.spread) for z in weights]
        return [*tables, mean().probabilities(offsets - jnp.round(offsets), jnp.float32(FLIP_RATE))]

    @partial(jax.jit, static_argnames=("self",))
    def ask(self, key: Key, state: Any, params: Any) -> tuple[Any, Any]:
        """Return a population, a pytree of int8 `Tensor`s with a leading population axis."""
        del params
        *trits, offsets = ternary.sample(
            key, self.probabilities(state), self.population_size, self.use_antithetic_sampling
        )
        tensors = [
            Tensor(values, jnp.clip(exponent + offsets[:, i], *EXPONENT_RANGE).astype(jnp.int8))
            for i, (values, exponent) in enumerate(zip(trits, self._exponents(state), strict=True))
        ]
        return ternary.replace_tensors(self.solution, tensors), state

    @partial(jax.jit, static_argnames=("self",))
    def tell(
        self, key: Key, population: Any, fitness: jax.Array, state: Any, params: Any
    ) -> tuple[Any, dict]:
        """Update the distribution with the fitness [population], less is better."""
        best = jnp.argmin(fitness)
        shaped = self.fitness_shaping_fn(population, fitness, state, params)
        tensors = ternary.tensors(population)
        pairs = zip(tensors, self._exponents(state), strict=True)
        offsets = jnp.stack([tensor.exponent - base for tensor, base in pairs], axis=1)
        values = [*[tensor.values for tensor in tensors], jnp.clip(offsets, -1, 1)]
        stats, _ = ternary.statistics(shaped, values, best, self.is_spread)
        state = self._update(stats, state)
        return state.replace(generation_counter=state.generation_counter + 1), {}

    def _update(self, stats: list[Statistics], state: State) -> State:
        *weights, offsets = state.latents
        descent = tuple(
            self.distribution.direction(z, state.spread, of_tensor)
            for z, of_tensor in zip(weights, stats, strict=False)
        )
        rest = offsets - jnp.round(offsets)
        descent = (*descent, mean().direction(rest, state.spread, stats[-1]))
        updates, opt_state = self.optimizer.update(descent, state.opt_state, state.latents)
        latents = optax.apply_updates(state.latents, updates)
        return state.replace(
            mean=self._mode(latents),
            latents=latents,
            spread=jnp.asarray(self.spread_schedule(state.generation_counter + 1), jnp.float32),
            opt_state=opt_state,
        )

    def _mode(self, latents: tuple[jax.Array, ...]) -> jax.Array:
        given = ternary.tensors(self.solution)
        shifts = jnp.round(latents[-1]) if len(latents) > len(given) else jnp.zeros(len(given))
        modes = [self.distribution.mode(z, t) for z, t in zip(latents, given, strict=False)]
        moved = [
            mode._replace(
                exponent=jnp.clip(mode.exponent + shift, *EXPONENT_RANGE).astype(jnp.int8)
            )
            for mode, shift in zip(modes, shifts, strict=True)
        ]
        return self._ravel_solution(ternary.replace_tensors(self.solution, moved))
