r"""A natural-gradient step whose KL divergence is bounded in proportion to the estimated signal.

With g the natural gradient in the probabilities p, utilities u, d weights and
$E = \Vert F^{1/2} g \Vert^2 = \sum g^2 / p$, let B be the mean of E if fitness were
independent of the weights. The excess over B is signal:

$$\rho = \max(0, 1 - B / E), \qquad
  p \leftarrow p + \sqrt{\rho\, \kappa\, d / E}\; g.$$

B is exact for the utilities at hand. A weight with K possible values contributes

$$\frac{1}{N^2} \left( (K - 1) \sum_i u_i^2 + 2 r \sum_{\mathrm{pairs}} u_i u_j \right), \qquad
  r = \sum_v \frac{P(X_i = X_j = v)}{p_v} - 1,$$

where the second sum is over the antithetic pairs, if members are drawn in pairs. The members of a
pair are seldom equal, so r is mostly negative. For independent members and utilities of mean
square 1, B is n / N, with n free probabilities.

KL(new || old) is at most the chi-squared divergence, which is
$\kappa \rho d$ for this step. So no step moves further than `max_kl` = kappa nats per weight, on
average over the weights (a small step moves about half as far), and a step of pure
noise goes nowhere, apart from errors of the estimate. Under noise, rho has a standard error of
about sqrt(2 / n) for independent members. Signal explains at most the variance of the
utilities, so with many weights rho is at most about N / n.

Bounding the KL relative to an estimated signal energy is the idea of signal-adaptive trust regions
(SATR). That paper has no public program, and its formulas were not available: the estimate of
the signal, the chi-squared bound and the case of three values are this package's.

References:
  "Signal-Adaptive Trust Regions for Gradient-Free Optimization of Recurrent Spiking Neural
  Networks", arXiv:2601.21572, 2026 (Bernoulli weights).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ternevo.algorithms.categorical import (
    Categorical,
    State,
    Tables,
    energy,
    fisher_root,
    keep_margin,
    tables_from_settings,
)
from ternevo.algorithms.shaping import FITNESS_SHAPING, of_unit_energy
from ternevo.arithmetic import ternary
from ternevo.machine import devices
from ternevo.settings.strategies.trust_region import TrustRegion as Settings
from ternevo.types import Number


class TrustRegion(Categorical):
    """Natural gradient with a signal-scaled trust region, an evosax algorithm on int8."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        max_kl: Number = 0.02,
        fitness_shaping_fn: Callable = FITNESS_SHAPING["centered_rank"],
        **kwargs: Any,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          max_kl: kappa, in nats per weight.
          fitness_shaping_fn: evosax fitness shaping; utilities are scaled to mean square 1.
          **kwargs: further arguments of `Categorical`.
        """
        super().__init__(
            population_size,
            solution,
            fitness_shaping_fn=of_unit_energy(fitness_shaping_fn),
            **kwargs,
        )
        self.max_kl = max_kl * ternary.num_weights(solution)

    def step(self, gradients: Tables, utilities: jax.Array, state: State) -> tuple[Tables, Any]:
        """Return the tables after a step as long as the estimated signal allows."""
        total = energy(map(fisher_root, state.tables, gradients))
        noise = sum(
            devices.sum_in_order(
                noise_energy(utilities, table, self.use_antithetic_sampling).ravel()
            )
            for table in state.tables
        )
        safe = jnp.where(total > 0, total, 1.0)
        budget = self.max_kl * jnp.maximum(total - noise, 0.0) / safe
        steps = tuple(
            keep_margin(table + jnp.sqrt(budget / safe) * gradient, self.margin, self.values)
            - table
            for table, gradient in zip(state.tables, gradients, strict=True)
        )
        # Keeping the margin shortens nearly every step, but can lengthen one by a percent.
        spent = energy(map(fisher_root, state.tables, steps))
        share = jnp.sqrt(jnp.minimum(1.0, budget / jnp.where(spent > 0, spent, 1.0)))
        return tuple(t + share * step for t, step in zip(state.tables, steps, strict=True)), ()


def noise_energy(
    utilities: Float[Array, " population"], table: Float[Array, "... 3"], antithetic: bool
) -> Float[Array, "..."]:
    """Return the mean of sum g^2 / p of each weight if fitness is independent of the weight.

    The members of a pair are the inverse CDF at U and 1 - U. Both can be -1, or +1, if its
    probability exceeds one half. Both are 0 if U and 1 - U exceed the larger of the other two
    probabilities.
    """
    is_possible = table > 0
    total = devices.sum_in_order(utilities**2) * (jnp.sum(is_possible, axis=-1) - 1)
    if antithetic:
        minus, zero, plus = jnp.moveaxis(table, -1, 0)
        both_zero = jnp.where(zero > 0, 1 - 2 * jnp.maximum(minus, plus), 0.0)
        both = jnp.maximum(jnp.stack([2 * minus - 1, both_zero, 2 * plus - 1], axis=-1), 0.0)
        agreement = jnp.sum(both / jnp.where(is_possible, table, 1.0), axis=-1) - 1
        total += 2 * devices.sum_in_order(utilities[::2] * utilities[1::2]) * agreement
    return total / utilities.size**2


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy trust_region` runs, and its params."""
    del num_generations  # nothing here follows a schedule
    algorithm = TrustRegion(
        settings.population_size,
        solution,
        settings.max_kl,
        fitness_shaping_fn=FITNESS_SHAPING[settings.shaping.fitness_shaping],
        **tables_from_settings(settings.tables, settings.sampling, weights),
    )
    return algorithm, algorithm.default_params
