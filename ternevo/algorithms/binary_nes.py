r"""Natural evolution strategy over binary weights {-1, +1}, with a closed-form natural gradient.

Each weight is +1 with probability $p = \sigma(\theta)$. The Fisher information
of the logit is $p(1-p)$, so with x in {0, 1} and utilities u

$$\theta \leftarrow \theta + \alpha \frac1N \sum_i u_i \frac{x_i - p}{p(1-p) + \epsilon}.$$

References:
  Swope, "Lightweight Reinforcement Learning by Evolving Binary Networks", 2020
  (raw returns as u; here u has a baseline, without which the step is pure
  drift once all returns are equal).
  Wierstra et al., "Natural Evolution Strategies", JMLR 2014.
"""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from evosax.algorithms.distribution_based.base import Params as BaseParams, State as BaseState
from flax import struct
from jaxtyping import Array, Float

from ternevo import ternary
from ternevo.algorithms.distribution import TritDistribution
from ternevo.algorithms.shaping import FITNESS_SHAPING, entropy_bits, no_metrics
from ternevo.ternary import Statistics
from ternevo.types import Key, Leaf

FISHER_DAMPING = 0.1


@struct.dataclass
class State(BaseState):
    """`mean` is the int8 mode; `logits` has one array for each tensor."""

    mean: Leaf
    logits: Leaf
    opt_state: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


@struct.dataclass
class Params(BaseParams):
    """No dynamic parameters."""


class BinaryNES(TritDistribution):
    """Bernoulli natural evolution strategy, an evosax algorithm with int8 populations."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        optimizer: optax.GradientTransformation | None = None,
        init_logit_std: float = 3.0,
        use_antithetic_sampling: bool = True,
        fitness_shaping_fn: Callable = FITNESS_SHAPING["standardize"],
        metrics_fn: Callable = no_metrics,
    ):
        """Build the algorithm; `solution` is a params pytree of int8 `Tensor`s with values +-1."""
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        self.optimizer = optimizer or optax.sgd(0.06)
        self.init_logit_std = init_logit_std
        self.use_antithetic_sampling = use_antithetic_sampling

    @property
    def _default_params(self) -> Params:
        return Params()

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from normal logits whose signs are those of `mean`."""
        given = ternary.tensors(mean)
        keys = jax.random.split(key, len(given))
        logits = tuple(
            self.init_logit_std * jnp.abs(jax.random.normal(k, t.values.shape)) * t.values
            for k, t in zip(keys, given, strict=True)
        )
        return self._init(key, params).replace(
            logits=logits, opt_state=self.optimizer.init(logits), mean=self._mode(logits)
        )

    def _init(self, key: Key, params: Params) -> State:
        del key, params
        return State(
            mean=self.solution_flat,
            logits=(),
            opt_state=(),
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def _update(self, stats: list[Statistics], state: State) -> State:
        # evosax minimises, and the optimiser descends: descending shaped fitness climbs utility.
        descent = tuple(
            natural_gradient(logits, of_tensor)
            for logits, of_tensor in zip(state.logits, stats, strict=True)
        )
        updates, opt_state = self.optimizer.update(descent, state.opt_state, state.logits)
        logits = cast(tuple[jax.Array, ...], optax.apply_updates(state.logits, updates))
        return state.replace(mean=self._mode(logits), logits=logits, opt_state=opt_state)

    def probabilities(self, state: State) -> list[Float[Array, "... 3"]]:
        """Return P(-1), P(0) = 0 and P(+1) of every weight, one array for each tensor."""
        plus = [jax.nn.sigmoid(logits) for logits in state.logits]
        return [jnp.stack([1.0 - p, jnp.zeros_like(p), p], axis=-1) for p in plus]

    def entropy(self, state: State) -> Float[Array, ""]:
        """Return the mean entropy of a weight, in bits (at most 1)."""
        return ternary.mean_over([entropy_bits(p) for p in self.probabilities(state)])

    def _exponents(self, state: State) -> list[jax.Array]:
        del state  # they are never changed
        return [tensor.exponent for tensor in ternary.tensors(self.solution)]

    def _mode(self, logits: tuple[jax.Array, ...]) -> jax.Array:
        modes = [
            tensor._replace(values=jnp.where(z > 0, 1, -1).astype(jnp.int8))
            for z, tensor in zip(logits, ternary.tensors(self.solution), strict=True)
        ]
        return self._ravel_solution(ternary.replace_tensors(self.solution, modes))


def natural_gradient(logits: Float[Array, "..."], stats: ternary.Statistics) -> Float[Array, "..."]:
    """Return the damped natural gradient in the logits from statistics of the weights 2x - 1."""
    plus = jax.nn.sigmoid(logits)
    score = (stats.first + stats.utility) / 2 - stats.utility * plus
    return score / (plus * (1.0 - plus) + FISHER_DAMPING)
