r"""The ternary vote: an int8 centre whose weights take one lattice step if a test says so.

Members are the centre with each weight moved to a neighbour at a flip rate q. With
utilities u, the evidence for larger values of a weight is its covariance with them,

$$e = \frac{1}{N} \sum_i u_i (X_i - \mathbb{E} X).$$

If fitness were independent of this weight, e would have mean zero and a known
variance. The weight takes one step of sign(e) if
$|e| > \Phi^{-1}(1 - a/2) \sqrt{\mathrm{Var}\, e}$. Here a is the share of weights
that get votes by chance alone, and it shrinks over the run; at -1 and +1 half of such votes
have no effect. There are no latents, no
optimiser and no learning rate; the shipped policy is the centre.

References:
  Sarkar et al., "Evolution Strategies at the Hyperscale", 2025 (EGGROLL: the
  test and the share 1/(0.015 t + 1), there on int8 weights of 255 levels).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from evosax.algorithms.distribution_based.base import State as BaseState
from flax import struct
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int8

from ternevo.algorithms import schedules
from ternevo.algorithms.distribution import Params, TritDistribution, around
from ternevo.algorithms.shaping import FITNESS_SHAPING, distribution_metrics
from ternevo.algorithms.spread import Statistics
from ternevo.arithmetic import ternary, weights
from ternevo.arithmetic.weights import WeightKind
from ternevo.machine import devices
from ternevo.settings.strategies.vote import Vote as Settings
from ternevo.types import Key, Leaf, Number


@struct.dataclass
class State(BaseState):
    """`mean` is the int8 centre."""

    mean: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


class Vote(TritDistribution):
    """The ternary vote, an evosax algorithm with int8 populations and an int8 state."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        kind: ternary.WeightName = "ternary",
        flip_rate_schedule: Callable | None = None,
        move_share_schedule: Callable | None = None,
        use_antithetic_sampling: bool = True,
        fitness_shaping_fn: Callable = FITNESS_SHAPING["centered_rank"],
        metrics_fn: Callable = distribution_metrics,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          kind: the value set, "ternary" or "binary".
          flip_rate_schedule: gives q.
          move_share_schedule: gives a.
          use_antithetic_sampling: draw in pairs.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics; by default its scalar ones.
        """
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        self.kind = weights.kind_of(kind)
        self.flip_rate_schedule = flip_rate_schedule or optax.constant_schedule(0.1)
        self.move_share_schedule = move_share_schedule or annealed(0.2, 0.05)
        self.use_antithetic_sampling = use_antithetic_sampling

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from the centre `mean`."""
        return self._init(key, params).replace(mean=self.ravel(mean))

    def _init(self, key: Key, params: Params) -> State:
        del key, params
        return State(
            mean=self.solution_flat,
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def probabilities(self, state: State) -> list[Float[Array, "... 3"]]:
        """Return P(-1), P(0), P(+1) of every weight, one array for each tensor."""
        rate = jnp.asarray(self.flip_rate_schedule(state.generation_counter), jnp.float32)
        centres = ternary.tensors(self.unravel(state.mean))
        return [around(centre.values, rate, self.kind) for centre in centres]

    def move(self, utilities: jax.Array, stats: list[Statistics], state: State) -> State:
        """Move each weight of the centre by one where the vote on it is clear."""
        share = jnp.asarray(self.move_share_schedule(state.generation_counter), jnp.float32)
        centres = ternary.tensors(self.unravel(state.mean))
        moved = []
        for centre, table, of_tensor in zip(centres, self.probabilities(state), stats, strict=True):
            spread = jnp.sqrt(variance_of_evidence(utilities, table, self.use_antithetic_sampling))
            # evosax minimises: evidence for higher shaped fitness counts against a step.
            votes = -cast_votes(evidence(table, of_tensor), spread, share)
            moved.append(centre._replace(values=step(centre.values, votes, self.kind)))
        return state.replace(mean=self.ravel(ternary.replace_tensors(self.solution, moved)))


def evidence(table: Float[Array, "... 3"], stats: Statistics) -> Float[Array, "..."]:
    """Return the covariance of utilities and weights over the population."""
    return stats.first - stats.utility * (table[..., 2] - table[..., 0])


def variance_of_evidence(
    utilities: Float[Array, " population"], table: Float[Array, "... 3"], antithetic: bool
) -> Float[Array, "..."]:
    """Return the variance of the evidence if utilities are independent of the weight.

    The members of a pair are not independent: the inverse CDF at U and 1 - U gives opposite signs
    with probability 2 min(P(-1), P(+1)), and can give equal ones if a sign exceeds one half.
    """
    minus, plus = table[..., 0], table[..., 2]
    squared_mean = (plus - minus) ** 2
    variance = devices.sum_in_order(utilities**2) * (plus + minus - squared_mean)
    if antithetic:
        equal = jnp.maximum(2 * minus - 1, 0.0) + jnp.maximum(2 * plus - 1, 0.0)
        covariance = equal - 2 * jnp.minimum(minus, plus) - squared_mean
        variance += 2 * devices.sum_in_order(utilities[::2] * utilities[1::2]) * covariance
    return jnp.maximum(variance, 0.0) / utilities.size**2


def cast_votes(
    evidence: Float[Array, "..."], spread: Float[Array, "..."], share: Float[Array, ""]
) -> Int8[Array, "..."]:
    """Return the sign of the evidence where its chance probability is below `share`, else 0."""
    # If nothing varies, as at a flip rate of 0, all evidence is a rounding error.
    is_heard = (jnp.abs(evidence) > -norm.ppf(share / 2) * spread) & (spread > 0)
    return (jnp.sign(evidence) * is_heard).astype(jnp.int8)


def step(
    centre: Int8[Array, "..."], votes: Int8[Array, "..."], kind: WeightKind
) -> Int8[Array, "..."]:
    """Move each weight to the next value of its kind, within -1 and +1.

    Examples:
      >>> step(jnp.array([-1, 0, 1], jnp.int8), jnp.int8([1, 1, 1]), weights.TERNARY).tolist()
      [0, 1, 1]
      >>> step(jnp.array([-1, 1], jnp.int8), jnp.int8([1, -1]), weights.BINARY).tolist()
      [1, -1]
    """
    return jnp.clip(centre + votes * kind.spacing, -1, 1).astype(jnp.int8)


def annealed(share: Number, decay: Number) -> Callable:
    """Return the schedule share / (decay t + 1)."""
    return lambda generation: share / (decay * generation + 1.0)


def from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy vote` runs, and its params."""
    algorithm = Vote(
        settings.population_size,
        solution,
        weights,
        schedules.spread(settings.noise, num_generations),
        annealed(settings.move_share, settings.move_share_decay),
        settings.sampling.antithetic,
        FITNESS_SHAPING[settings.shaping.fitness_shaping],
    )
    return algorithm, algorithm.default_params
