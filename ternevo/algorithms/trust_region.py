r"""A natural-gradient step whose KL divergence is bounded in proportion to the estimated signal.

With g the natural gradient in the probabilities p, utilities u of mean square 1, d weights and n
free probabilities, the energy $E = \lVert F^{1/2} g \rVert^2 = \sum g^2 / p$ of independent members
would be n / N on average if fitness had nothing to do with the weights. What is beyond is signal:

$$\rho = \max(0, 1 - n / (N E)), \qquad
  p \leftarrow p + \sqrt{\rho\, \kappa\, d / E}\; g.$$

KL(new || old) is at most the chi-squared divergence, which for this step is
$\kappa \rho d$: so no step goes further than `max_kl` = kappa nats a weight, on
average over the weights (a small one about half as far), and none that is all
noise goes anywhere, but for the luck of the estimate. rho has a standard error of
about sqrt(2 / n) under noise, and signal explains at most the variance of the
utilities, so that rho is at most about N / n where weights are many.

Bounding the KL relative to an estimated signal energy is the idea of signal-adaptive trust regions
(SATR). That paper has no public program and its formulas were not at hand: the estimate of
the signal, the bound by chi-squared and the case of three values are this package's.

References:
  "Signal-Adaptive Trust Regions for Gradient-Free Optimization of Recurrent Spiking Neural
  Networks", arXiv:2601.21572, 2026 (Bernoulli weights).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ternevo import ternary
from ternevo.algorithms.categorical import (
    Categorical,
    State,
    Tables,
    energy,
    fisher_root,
    keep_margin,
)
from ternevo.algorithms.shaping import FITNESS_SHAPING, of_unit_energy


class TrustRegion(Categorical):
    """Natural gradient with a signal-scaled trust region, an evosax algorithm on int8."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        max_kl: float = 0.02,
        fitness_shaping_fn: Callable = FITNESS_SHAPING["centered_rank"],
        **kwargs: Any,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          max_kl: kappa, nats a weight.
          fitness_shaping_fn: evosax fitness shaping; utilities are scaled to mean square 1.
          **kwargs: those of `Categorical`.
        """
        super().__init__(
            population_size,
            solution,
            fitness_shaping_fn=of_unit_energy(fitness_shaping_fn),
            **kwargs,
        )
        num_weights = ternary.num_weights(solution)
        self.max_kl = max_kl * num_weights
        self.noise = num_weights * (self.num_values - 1) / population_size

    def _step(self, gradients: Tables, state: State) -> tuple[Tables, Any]:
        total = energy(map(fisher_root, state.tables, gradients))
        safe = jnp.where(total > 0, total, 1.0)
        budget = self.max_kl * jnp.maximum(total - self.noise, 0.0) / safe
        steps = tuple(
            keep_margin(table + jnp.sqrt(budget / safe) * gradient, self.margin, self.values)
            - table
            for table, gradient in zip(state.tables, gradients, strict=True)
        )
        # Keeping the margin shortens nearly every step, but may lengthen one by a percent.
        spent = energy(map(fisher_root, state.tables, steps))
        share = jnp.sqrt(jnp.minimum(1.0, budget / jnp.where(spent > 0, spent, 1.0)))
        return tuple(t + share * step for t, step in zip(state.tables, steps, strict=True)), ()
