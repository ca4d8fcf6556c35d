r"""Adaptive stochastic natural gradient: normalised steps, with a length that adapts to noise.

With g the natural gradient of utilities +1 for the best quarter and -1 for the
worst, n free probabilities and F their Fisher information,

$$p \leftarrow p + \delta\, \frac{g}{\Vert F^{1/2} g \Vert}, \qquad
  \delta = \delta_0 / \Delta, \qquad \beta = \delta / \sqrt{n},$$

$$s \leftarrow (1 - \beta) s + \sqrt{\beta (2 - \beta)}\,
  \frac{F^{1/2} g}{\Vert F^{1/2} g \Vert}, \qquad
  \gamma \leftarrow (1 - \beta)^2 \gamma + \beta (2 - \beta),$$

$$\Delta \leftarrow \Delta \exp(\beta (\gamma - \Vert s \Vert^2 / \alpha)).$$

Under pure noise $\Vert s \Vert^2$ is about gamma, and delta shrinks; delta grows
when steps agree. If the gradient is zero, nothing changes, including the memory.

Differences from the authors' program (github.com/shirakawas/ASNG-NAS):
  * $F^{1/2} g$ is `categorical.fisher_root`, symmetric in the values; theirs leaves out the last
    value. The length is the same, and for two values the results are identical.
  * $\delta \leq \sqrt{n}$ keeps beta at or below 1. Beyond 1 the root would be of a negative
    number, and the recursion of s overshoots. A few weights with a clear signal can get there.
  * The margin 1 / (d (K - 1)) is capped at half of uniform, 1 / (2 K); this matters only for d < 4.

References:
  Akimoto et al., "Adaptive Stochastic Natural Gradient Method for One-Shot Neural Architecture
  Search", ICML 2019, arXiv:1905.08537.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ternevo.algorithms.categorical import (
    Categorical,
    State,
    Tables,
    energy,
    fisher_root,
    tables_from_settings,
)
from ternevo.algorithms.shaping import best_and_worst
from ternevo.arithmetic import ternary, weights
from ternevo.settings.strategies.asng import ASNG as Settings
from ternevo.types import Number

QUARTER = 0.25
"""The share of the population that counts as best, and the share that counts as worst."""


class Memory(NamedTuple):
    """The path s, its squared length under pure noise (gamma), and the divisor of delta."""

    path: Tables
    gamma: Float[Array, ""]
    divisor: Float[Array, ""]


class ASNG(Categorical):
    """Adaptive stochastic natural gradient, an evosax algorithm with int8 populations."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        init_step: Number = 1.0,
        noise_threshold: Number = 1.5,
        margin: float | None = None,
        **kwargs: Any,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          kind: the value set, "ternary" or "binary".
          init_step: delta_0, the length of the first step in the Fisher metric.
          noise_threshold: alpha.
          margin: the smallest probability of a value; by default the paper's.
          **kwargs: further arguments of `Categorical`.
        """
        num_values = len(weights.kind_of(kind).levels)
        self.dimension = ternary.num_weights(solution) * (num_values - 1)
        super().__init__(
            population_size,
            solution,
            kind,
            margin=min(1 / self.dimension, 0.5 / num_values) if margin is None else margin,
            fitness_shaping_fn=best_and_worst(QUARTER),
            **kwargs,
        )
        self.init_step = init_step
        self.noise_threshold = noise_threshold

    def init_memory(self, tables: Tables) -> Memory:
        """Return an empty path of updates, and a step size that has not adapted."""
        path = tuple(jnp.zeros_like(table) for table in tables)
        return Memory(path, gamma=jnp.zeros(()), divisor=jnp.ones(()))

    def step(self, gradients: Tables, utilities: jax.Array, state: State) -> tuple[Tables, Memory]:
        """Return the tables after a step whose size the signal along the path allows."""
        memory: Memory = state.memory
        root_n = self.dimension**0.5
        step = jnp.minimum(self.init_step / memory.divisor, root_n)
        beta = step / root_n
        roots = tuple(map(fisher_root, state.tables, gradients))
        length = jnp.sqrt(energy(roots))
        unit = 1.0 / jnp.where(length > 0, length, 1.0)

        push = jnp.sqrt(beta * (2.0 - beta)) * unit
        path = tuple(
            (1.0 - beta) * s + push * root for s, root in zip(memory.path, roots, strict=True)
        )
        gamma = (1.0 - beta) ** 2 * memory.gamma + beta * (2.0 - beta)
        growth = jnp.exp(beta * (gamma - energy(path) / self.noise_threshold))
        after = Memory(path, gamma, memory.divisor * growth)

        tables = tuple(
            table + step * unit * gradient
            for table, gradient in zip(state.tables, gradients, strict=True)
        )
        return tables, jax.tree.map(lambda new, old: jnp.where(length > 0, new, old), after, memory)


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy asng` runs, and its params."""
    del num_generations  # the step size follows the noise, not a schedule
    algorithm = ASNG(
        settings.population_size,
        solution,
        init_step=settings.init_step,
        noise_threshold=settings.noise_threshold,
        **tables_from_settings(settings.tables, settings.sampling, weights),
    )
    return algorithm, algorithm.default_params
