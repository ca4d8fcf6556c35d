r"""A table of probabilities for every weight, which PBIL, UMDA, compact GA, ASNG and others move.

With p the probabilities of -1, 0, +1 and utilities u, the natural gradient of
expected utility in p is

$$\tilde\nabla = \frac{1}{N} \sum_i u_i (\mathrm{onehot}(X_i) - p),$$

and it sums to zero over the values. A subclass turns it into a step. After the step
every possible value keeps a minimum probability, the margin. The shipped policy is the mode.

A prior on the density, the share of the weights that are not 0, takes the place of the uniform part
of the first tables. With a pull, each step also goes down the natural gradient of
$\mathrm{KL}(\rho \,\Vert\, q)$, where rho is the density and q the probability that a weight is
not 0: it moves q by $\rho - q$, and leaves the odds of the signs. Biases have neither.

References:
  Ollivier et al., "Information-Geometric Optimization Algorithms", JMLR 2017, section 5.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms.distribution_based.base import State as BaseState
from flax import struct
from jaxtyping import Array, Bool, Float

from ternevo.algorithms.distribution import MARGIN, Params, TritDistribution, possible_values
from ternevo.algorithms.shaping import FITNESS_SHAPING, distribution_metrics
from ternevo.algorithms.spread import Statistics, utility_by_value
from ternevo.arithmetic import ternary, weights
from ternevo.machine import devices
from ternevo.settings.strategies import parts
from ternevo.types import Key, Leaf, Tensor

Tables = tuple[Float[Array, "... 3"], ...]
"""P(-1), P(0), P(+1) of every weight, one array for each tensor."""

SMALLEST = float(jnp.finfo(jnp.float32).tiny)
"""Stands for a probability of 0 where one is divided by: with a margin of 0 there may be such."""


@struct.dataclass
class State(BaseState):
    """`mean` is the int8 mode; `memory` is what a subclass carries from step to step."""

    mean: Leaf
    tables: Leaf
    memory: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


class Categorical(TritDistribution):
    """Abstract: a subclass defines `step`, and `init_memory` if it keeps state."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        margin: float = MARGIN,
        init_confidence: float = 0.4,
        density: float | None = None,
        density_pull: float = 0.0,
        use_antithetic_sampling: bool = True,
        fitness_shaping_fn: Callable = FITNESS_SHAPING["centered_rank"],
        metrics_fn: Callable = distribution_metrics,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          kind: the value set, "ternary" or "binary".
          margin: the smallest probability of a value.
          init_confidence: how far the first tables move from uniform towards the first mode.
          density: with "ternary", the share of the weights that are not 0 in what stands for
            uniform; None for all values alike.
          density_pull: the share of the way to the density that each step goes back.
          use_antithetic_sampling: draw in pairs.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics; by default its scalar ones.

        Raises:
          ValueError: the margin does not allow the density.
        """
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        self.values = possible_values(weights.kind_of(kind))
        self.num_values = len(weights.kind_of(kind).levels)
        self.margin = margin
        self.init_confidence = init_confidence
        self.density, self.density_pull = density, density_pull
        if density is not None and not 2 * margin <= density <= 1 - margin:
            raise ValueError(
                f"--density must be from {2 * margin:g} to {1 - margin:g}, as every value keeps "
                f"the probability {margin:g} (--margin), got {density}"
            )
        self.use_antithetic_sampling = use_antithetic_sampling

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from tables whose mode is `mean`."""
        tables = tuple(self._start(tensor) for tensor in ternary.tensors(mean))
        return self._init(key, params).replace(
            mean=self._mode(tables, mean), tables=tables, memory=self.init_memory(tables)
        )

    def _init(self, key: Key, params: Params) -> State:
        del key, params
        return State(
            mean=self.solution_flat,
            tables=(),
            memory=(),
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def probabilities(self, state: State) -> list[Float[Array, "... 3"]]:
        """Return P(-1), P(0), P(+1) of every weight, one array for each tensor."""
        return list(state.tables)

    def init_memory(self, tables: Tables) -> Any:
        """Return the memory before the first step."""
        del tables
        return ()

    def step(
        self, gradients: Tables, utilities: Float[Array, " population"], state: State
    ) -> tuple[Tables, Any]:
        """Return the tables after a step along the natural gradients, and the new memory."""
        raise NotImplementedError

    def move(self, utilities: jax.Array, stats: list[Statistics], state: State) -> State:
        """Take a step along the natural gradients; every value keeps its margin."""
        # evosax minimises: the natural gradient of shaped fitness points downhill in utility.
        gradients = tuple(
            -natural_gradient(table, of_tensor)
            for table, of_tensor in zip(state.tables, stats, strict=True)
        )
        tables, memory = self.step(gradients, utilities, state)
        if self.density_pull:
            tables = tuple(map(self._pulled, tables, state.tables))
        tables = tuple(
            # Without a step nothing moves, not even by a rounding error.
            jnp.where(is_equal(before, after), before, keep_margin(after, self.margin, self.values))
            for before, after in zip(state.tables, tables, strict=True)
        )
        mode = self._mode(tables, self.get_mean(state))
        return state.replace(mean=mode, tables=tables, memory=memory)

    def _start(self, tensor: Tensor) -> jax.Array:
        certain = jax.nn.one_hot(tensor.values + 1, 3)
        prior = self.values / self.num_values
        if self.density is not None and tensor.values.ndim > 1:
            prior = jnp.array([self.density / 2, 1 - self.density, self.density / 2])
        table = prior + self.init_confidence * (certain - prior)
        return keep_margin(table, self.margin, self.values)

    def _pulled(self, after: jax.Array, before: jax.Array) -> jax.Array:
        """Return tables after a step that is also drawn to the density; biases are not."""
        if self.density is None or before.ndim == 2:
            return after
        return after + self.density_pull * towards_density(before, self.density)

    def _mode(self, tables: Tables, before: Any) -> jax.Array:
        """Return the mode of the tables, with the exponents of `before`."""
        modes = [
            tensor._replace(values=(jnp.argmax(table, axis=-1) - 1).astype(jnp.int8))
            for table, tensor in zip(tables, ternary.tensors(before), strict=True)
        ]
        return self.ravel(ternary.replace_tensors(self.solution, modes))


def tables_from_settings(
    tables: parts.Tables, sampling: parts.Sampling, weights: ternary.WeightName
) -> dict[str, Any]:
    """Return the arguments of `Categorical` from settings."""
    own = {} if tables.margin is None else {"margin": tables.margin}
    return {
        "kind": weights,
        "init_confidence": tables.init_confidence,
        "density": tables.density,
        "density_pull": tables.density_pull,
        "use_antithetic_sampling": sampling.antithetic,
        **own,
    }


def natural_gradient(table: Float[Array, "... 3"], stats: Statistics) -> Float[Array, "... 3"]:
    """Return the mean of u (onehot(X) - p) over the population."""
    return utility_by_value(stats) - stats.utility * table


def towards_density(table: Float[Array, "... 3"], density: float) -> Float[Array, "... 3"]:
    """Return the change that gives the values other than 0 this probability together.

    Examples:
      >>> towards_density(jnp.array([0.125, 0.5, 0.375]), 0.25).tolist()
      [-0.0625, 0.25, -0.1875]
    """
    zero = table[..., 1:2]
    now = jnp.concatenate([1.0 - zero, zero, 1.0 - zero], axis=-1)
    wanted = jnp.array([density, 1.0 - density, density])
    return table * (wanted / jnp.maximum(now, SMALLEST) - 1.0)


def keep_margin(
    table: Float[Array, "... 3"], margin: float, values: Float[Array, "3"]
) -> Float[Array, "... 3"]:
    """Return probabilities that sum to one and are at least `margin` for each possible value.

    Smaller ones are raised to the margin, and the excess of the others over the margin is
    scaled down (Shirakawa et al., AAAI 2018, "Dynamic optimization of neural network structures").

    Examples:
      >>> keep_margin(jnp.array([0.0, 0.0, 1.0]), 0.125, jnp.ones(3)).tolist()
      [0.125, 0.125, 0.75]
    """
    beyond = jnp.maximum(table - margin, 0.0) * values
    share = 1.0 - margin * jnp.sum(values)
    return margin * values + share * beyond / jnp.sum(beyond, axis=-1, keepdims=True)


def fisher_root(
    table: Float[Array, "... 3"], change: Float[Array, "... 3"]
) -> Float[Array, "... 3"]:
    """Multiply a change of the probabilities that sums to 0 by a root of the Fisher information.

    With K - 1 of the probabilities as parameters, the Fisher information is
    diag(1 / p) + 1 / p_K, so the square of its norm is the sum of change^2 / p over all K.
    """
    # XLA turns division by a root into a product with `rsqrt` in some programs but not in others.
    is_possible = table > 0
    return jnp.where(is_possible, change * jax.lax.rsqrt(jnp.where(is_possible, table, 1.0)), 0.0)


def energy(arrays: Iterable[Float[Array, "..."]]) -> Float[Array, ""]:
    """Return the sum of squares over all arrays, in an order independent of the device count."""
    return sum((devices.sum_in_order(jnp.square(x).ravel()) for x in arrays), jnp.zeros(()))


def is_equal(left: Float[Array, "... 3"], right: Float[Array, "... 3"]) -> Bool[Array, "... 1"]:
    """Return whether the probabilities of a weight are exactly the same."""
    return jnp.all(left == right, axis=-1, keepdims=True)
