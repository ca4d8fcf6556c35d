r"""Natural evolution strategies over ternary and binary weights.

Every weight is an independent categorical over {-1, 0, +1}, given by float
latents. A population is sampled by inverse CDF, in antithetic pairs, and the
latents climb the estimated gradient of expected utility through an optax
optimiser. The distributions differ in how latents give
probabilities, and in the ascent direction that they derive from the batch's statistics

$$M_1 = \frac{1}{N} \sum_i u_i X_i, \qquad M_2 = \frac{1}{N} \sum_i u_i X_i^2.$$

The shipped policy is the mode, of the latents or of their exponential average (Polyak and Juditsky
1992): latents go on wandering about an optimum, by an amount that grows with the learning rate,
and their average does not.

The default is SNES (Wierstra et al. 2014, section 3.5) on trits: a Gaussian latent z with a spread
of its own behind each weight, of which only the trit is seen. With s = (latent draw - z) / spread,
SNES moves z by `lr * spread * sum u s` and log spread by `eta / 2 * sum u (s^2 - 1)`. Here s
and s^2 - 1 are replaced by their means given the trit, in closed form (Rao-Blackwell), which are
`spread` times the score of z, and the score of log spread.

References:
  Wierstra et al., "Natural Evolution Strategies", JMLR 2014.
  Ollivier et al., "Information-Geometric Optimization Algorithms", JMLR 2017.
  Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control
  Optim. 1992.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from evosax.algorithms.distribution_based.base import State as BaseState
from flax import struct
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from ternevo.algorithms import schedules
from ternevo.algorithms.distribution import (
    MARGIN,
    Params,
    TritDistribution,
    around,
    possible_values,
    with_margin,
)
from ternevo.algorithms.guards import bounded
from ternevo.algorithms.shaping import FITNESS_SHAPING, distribution_metrics
from ternevo.algorithms.spread import Statistics, utility_by_value
from ternevo.algorithms.traits import Traits
from ternevo.arithmetic import ternary, weights
from ternevo.arithmetic.latents import has_outputs
from ternevo.machine import devices
from ternevo.settings.strategies.binary_nes import BinaryNES as Settings
from ternevo.settings.strategies.evolution import check_weights
from ternevo.types import Key, Leaf, Metrics, Number, Tensor

FISHER_DAMPING = 0.1
"""Added to the Fisher information of a logit before dividing by it."""


class Distribution(NamedTuple):
    """A family of ternary distributions.

    Attributes:
      start: (key, tensor) to latents whose mode is that tensor.
      probabilities: (latents, scheduled noise `spread`, `per_output`) to P(-1), P(0), P(+1).
        `spread` is a sigma or a flip rate. `per_output` says whether each output has its own scale.
      direction: the same arguments, with statistics before `per_output`, to the ascent direction of
        the latents.
      mode: (latents, a tensor of the solution) to the most probable tensor.
      project: move latents back into their range.
      spread_direction: the arguments of `direction`, to the ascent direction of the logarithm of
        the spread of each weight; None where the noise of a weight is not one of a latent.
    """

    start: Callable[[Key, Tensor], jax.Array]
    probabilities: Callable[..., jax.Array]
    direction: Callable[..., jax.Array]
    mode: Callable[[jax.Array, Tensor], Tensor]
    project: Callable[[jax.Array], jax.Array] = lambda latent: latent
    spread_direction: Callable[..., jax.Array] | None = None


# -------------------------------------------------------------- the distributions


def logits() -> Distribution:
    """Softmax of three logits, plain score function: one-hot minus softmax.

    The natural gradient in the *probabilities* is the same vector (PBIL, IGO).
    """

    def start(key: Key, tensor: Tensor) -> jax.Array:
        del key
        return jax.nn.one_hot(tensor.values + 1, 3)

    def probabilities(latent: jax.Array, spread: jax.Array, per_output: bool = False) -> jax.Array:
        del spread, per_output
        return with_margin(jax.nn.softmax(latent))

    def direction(
        latent: jax.Array, spread: jax.Array, stats: Statistics, per_output: bool = False
    ) -> jax.Array:
        del per_output
        return utility_by_value(stats) - stats.utility * probabilities(latent, spread)

    def mode(latent: jax.Array, tensor: Tensor) -> Tensor:
        return tensor._replace(values=(jnp.argmax(latent, axis=-1) - 1).astype(jnp.int8))

    return Distribution(start, probabilities, direction, mode)


def mean() -> Distribution:
    """The ternary variable with mean m and least variance, mixed with a uniform flip at rate q."""

    def start(key: Key, tensor: Tensor) -> jax.Array:
        noise = jax.random.uniform(key, tensor.values.shape, minval=-0.45, maxval=0.45)
        return jnp.clip(
            tensor.values * (1.0 - jnp.abs(noise)) + (tensor.values == 0) * noise, -1, 1
        )

    def probabilities(latent: jax.Array, spread: jax.Array, per_output: bool = False) -> jax.Array:
        del per_output
        plus, minus = jnp.maximum(latent, 0.0), jnp.maximum(-latent, 0.0)
        certain = jnp.stack([minus, 1.0 - plus - minus, plus], axis=-1)
        return certain * (1.0 - spread) + spread / 3

    def direction(
        latent: jax.Array, spread: jax.Array, stats: Statistics, per_output: bool = False
    ) -> jax.Array:
        del spread, per_output
        return stats.first - stats.utility * latent

    return Distribution(start, probabilities, direction, _round, _clip(1.0))


def sharp() -> Distribution:
    """A centre round(z) with probability 1 - q, else a neighbour; z accumulates partial steps."""

    def probabilities(latent: jax.Array, spread: jax.Array, per_output: bool = False) -> jax.Array:
        del per_output
        return around(jnp.clip(jnp.round(latent), -1, 1), spread)

    def direction(
        latent: jax.Array, spread: jax.Array, stats: Statistics, per_output: bool = False
    ) -> jax.Array:
        del latent, spread, per_output
        return stats.first

    def start(key: Key, tensor: Tensor) -> jax.Array:
        noise = jax.random.uniform(key, tensor.values.shape, minval=-0.45, maxval=0.45)
        return jnp.clip(tensor.values + noise, -1.2, 1.2)

    return Distribution(start, probabilities, direction, _round, _clip(1.2))


def threshold(kind: ternary.WeightName = "ternary") -> Distribution:
    r"""A Gaussian latent cut at two thresholds: w = T(z + sigma noise), with the exact score of z.

    The thresholds are plus and minus half of gamma, the mean absolute latent
    of the tensor, or of each output; exponents follow gamma, so that levels grow with
    evidence. Given w, the noise is integrated out (Rao-Blackwell):
    $\nabla_z \log P(w) = P'(w) / P(w)$ with $P$ in closed form by the normal
    CDF; gamma is held fixed. `kind="binary"` cuts once, at zero. `spread` is a number, or
    an array of one for each latent.
    """
    of_weights = weights.kind_of(kind)
    values = possible_values(of_weights)

    def probabilities(latent: jax.Array, spread: jax.Array, per_output: bool = False) -> jax.Array:
        cut = of_weights.cut(latent, per_output)
        minus = norm.cdf((-cut - latent) / spread)
        plus = norm.cdf((latent - cut) / spread)
        zero = jnp.maximum(1.0 - minus - plus, 0.0)
        return with_margin(jnp.stack([minus, zero, plus], axis=-1), values)

    def direction(
        latent: jax.Array, spread: jax.Array, stats: Statistics, per_output: bool = False
    ) -> jax.Array:
        cut = of_weights.cut(latent, per_output)
        minus = -norm.pdf((-cut - latent) / spread) / spread
        plus = norm.pdf((latent - cut) / spread) / spread
        return ascent(minus, plus, probabilities(latent, spread, per_output), stats)

    def spread_direction(
        latent: jax.Array, spread: jax.Array, stats: Statistics, per_output: bool = False
    ) -> jax.Array:
        cut = of_weights.cut(latent, per_output)
        below, above = (-cut - latent) / spread, (latent - cut) / spread
        minus, plus = -below * norm.pdf(below), -above * norm.pdf(above)
        return ascent(minus, plus, probabilities(latent, spread, per_output), stats)

    def ascent(minus: jax.Array, plus: jax.Array, table: jax.Array, stats: Statistics) -> jax.Array:
        """Return the mean of u times the score, from the slopes of P(-1) and P(+1)."""
        slopes = jnp.stack([minus, -minus - plus, plus], axis=-1)
        slopes *= 1.0 - MARGIN * jnp.sum(values)
        scores = slopes / jnp.maximum(table, MARGIN)
        return jnp.sum(utility_by_value(stats) * scores * values, axis=-1)

    def start(key: Key, tensor: Tensor) -> jax.Array:
        return of_weights.latent(key, tensor)

    def mode(latent: jax.Array, tensor: Tensor) -> Tensor:
        return of_weights.discretize(latent, per_output=has_outputs(tensor))

    return Distribution(start, probabilities, direction, mode, spread_direction=spread_direction)


def bernoulli(init_logit_std: Number = 3.0) -> Distribution:
    r"""+1 with probability $p = \sigma(\theta)$, else -1; a damped natural gradient in the logit.

    The Fisher information of the logit is $p(1-p)$. With x in {0, 1} and utilities u, the step is

    $$\Delta\theta \propto \frac{1}{N} \sum_i u_i \frac{x_i - p}{p(1-p) + \epsilon}.$$

    The first logits are normal, with the signs of the given weights.

    References:
      Swope, "Lightweight Reinforcement Learning by Evolving Binary Networks", 2020
      (raw returns as u; here u has a baseline, without which the step is only
      drift once all returns are equal).
    """

    def start(key: Key, tensor: Tensor) -> jax.Array:
        return init_logit_std * jnp.abs(jax.random.normal(key, tensor.values.shape)) * tensor.values

    def probabilities(latent: jax.Array, spread: jax.Array, per_output: bool = False) -> jax.Array:
        del spread, per_output
        plus = jax.nn.sigmoid(latent)
        return jnp.stack([1.0 - plus, jnp.zeros_like(plus), plus], axis=-1)

    def direction(
        latent: jax.Array, spread: jax.Array, stats: Statistics, per_output: bool = False
    ) -> jax.Array:
        del spread, per_output
        plus = jax.nn.sigmoid(latent)
        score = (stats.first + stats.utility) / 2 - stats.utility * plus
        return score / (plus * (1.0 - plus) + FISHER_DAMPING)

    def mode(latent: jax.Array, tensor: Tensor) -> Tensor:
        return tensor._replace(values=jnp.where(latent > 0, 1, -1).astype(jnp.int8))

    return Distribution(start, probabilities, direction, mode)


DISTRIBUTIONS = {"threshold": threshold, "logits": logits, "mean": mean, "sharp": sharp}
"""The distributions of `--strategy ternary_nes`; `binary_nes` uses `bernoulli`."""


def _round(latent: jax.Array, tensor: Tensor) -> Tensor:
    return tensor._replace(values=jnp.clip(jnp.round(latent), -1, 1).astype(jnp.int8))


def _clip(limit: float) -> Callable[[jax.Array], jax.Array]:
    return lambda latent: jnp.clip(latent, -limit, limit)


# ------------------------------------------------------------------ the algorithm


LOG_SPREADS = (-3.0, 2.0)
"""How far the logarithm of a spread may move from that of sigma, down and up.

A spread that went on falling would make the weight constant, and the search could not leave it.
"""

Spreads = Literal["weight", "layer", "none"]


AVERAGING_DELAY = 10
"""In generation t an average keeps at most the share t / (t + this): a young search moves fast."""


@struct.dataclass
class State(BaseState):
    """The state of `TernaryNES`.

    `mean` is what ships, the int8 mode of the distribution or of its average; `latents` has one
    array for each tensor, and so has `log_spreads` where spreads adapt; `offsets` are the latents
    of `ScaleSearchNES`; `averages` are of (latents, offsets), or () without averaging.
    """

    mean: Leaf
    latents: Leaf
    spread: Leaf
    log_spreads: Leaf
    offsets: Leaf
    averages: Leaf
    opt_state: Leaf
    best_solution: Leaf
    best_fitness: Leaf
    generation_counter: Leaf


class TernaryNES(TritDistribution):
    """Natural evolution strategy over ternary weights, an evosax class with int8 populations."""

    def __init__(
        self,
        population_size: int,
        solution: Any,
        distribution: Distribution | None = None,
        optimizer: optax.GradientTransformation | None = None,
        spread_schedule: Callable | None = None,
        use_antithetic_sampling: bool = True,
        fitness_shaping_fn: Callable = FITNESS_SHAPING["centered_rank"],
        metrics_fn: Callable = distribution_metrics,
        *,
        is_natural: bool = False,
        spreads: Spreads = "none",
        eta: Number = 0.2,
        averaging: Number | None = None,
    ):
        """Build the algorithm.

        Args:
          population_size: members.
          solution: a params pytree of int8 `Tensor`s.
          distribution: the family of distributions.
          optimizer: takes the steps of the latents.
          spread_schedule: generations to sigma, the spread that all weights begin with.
          use_antithetic_sampling: draw members 2 i and 2 i + 1 as a pair.
          fitness_shaping_fn: evosax fitness shaping.
          metrics_fn: evosax metrics; by default its scalar ones.
          is_natural: multiply directions by squared spreads, the inverse Fisher information of the
            mean of a Gaussian.
          spreads: what has a spread of its own that adapts: each weight, each tensor, or nothing.
          eta: the learning rate of the logarithm of spreads.
          averaging: the share of the former average that a generation keeps, once there were some
            (`AVERAGING_DELAY`); None ships the current latents.

        Raises:
          ValueError: spreads are to adapt, but this distribution has none.
        """
        super().__init__(population_size, solution, fitness_shaping_fn, metrics_fn)
        self.distribution = distribution or threshold()
        self.optimizer = optimizer or optax.adam(0.1, b2=0.99)
        self.spread_schedule = spread_schedule or optax.constant_schedule(0.1)
        self.use_antithetic_sampling = use_antithetic_sampling
        self.is_natural, self.spreads, self.eta = is_natural, spreads, eta
        self.averaging = averaging
        if self.distribution.spread_direction is None and (spreads != "none" or is_natural):
            raise ValueError("spreads and natural gradients need the threshold distribution")

    @property
    def traits(self) -> Traits:
        """Return its capabilities."""
        return super().traits._replace(metrics=self.metrics)

    def metrics(self, state: State) -> Metrics:
        """Return the mean entropy of a weight, and the mean logarithmic spread where they adapt."""
        found = {"search/entropy": self.entropy(state)}
        if self.spreads == "none":
            return found
        return found | {"search/log_spread": ternary.mean_over(list(state.log_spreads))}

    def init(self, key: Key, mean: Any, params: Params) -> State:
        """Start from a distribution whose mode is `mean`."""
        given = ternary.tensors(mean)
        keys = jax.random.split(key, len(given))
        latents = tuple(
            self.distribution.start(k, tensor) for k, tensor in zip(keys, given, strict=True)
        )
        state = self._init(key, params).replace(
            latents=latents,
            log_spreads=self._first_log_spreads(latents),
            opt_state=self.optimizer.init(latents),
        )
        return self._begun(state)

    def _begun(self, state: State) -> State:
        """Return a first state with its averages and its mode."""
        if self.averaging is not None:
            state = state.replace(averages=(state.latents, state.offsets))
        return state.replace(mean=self.mode(state))

    def _first_log_spreads(self, latents: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        if self.spreads == "none":
            return ()
        return tuple(jnp.zeros(z.shape if self.spreads == "weight" else ()) for z in latents)

    def _init(self, key: Key, params: Params) -> State:
        del key, params
        return State(
            mean=self.solution_flat,
            latents=(),
            spread=jnp.asarray(self.spread_schedule(0), jnp.float32),
            log_spreads=(),
            offsets=(),
            averages=(),
            opt_state=(),
            best_solution=self.solution_flat,
            best_fitness=jnp.asarray(jnp.inf),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def move(self, utilities: jax.Array, stats: list[Statistics], state: State) -> State:
        """Take a step of the optimiser along the directions of all latents, and move spreads."""
        del utilities
        # evosax minimises, and the optimiser descends: descending shaped fitness climbs utility.
        descent = bounded(self.directions(stats, state))
        updates, opt_state = self.optimizer.update(descent, state.opt_state, state.latents)
        latents = jax.tree.map(
            self.distribution.project, optax.apply_updates(state.latents, updates)
        )
        moved = state.replace(
            latents=latents,
            log_spreads=self._moved_log_spreads(stats, state),
            spread=jnp.asarray(self.spread_schedule(state.generation_counter + 1), jnp.float32),
            opt_state=opt_state,
        )
        moved = moved.replace(averages=self._averages(moved))
        return moved.replace(mean=self.mode(moved))

    def _averages(self, state: State) -> Any:
        """Return the averages after a step: a share of the former ones, the rest of the new."""
        if self.averaging is None:
            return ()
        generation = state.generation_counter.astype(jnp.float32)
        kept = jnp.minimum(self.averaging, generation / (generation + AVERAGING_DELAY))
        new = (state.latents, state.offsets)
        return jax.tree.map(lambda old, x: kept * old + (1 - kept) * x, state.averages, new)

    def directions(self, stats: list[Statistics], state: State) -> tuple[jax.Array, ...]:
        """Return the direction of each latent array."""
        found = self._of_each(self.distribution.direction, state, stats)
        if not self.is_natural:
            return found
        pairs = zip(found, self.all_spreads(state), strict=True)
        return tuple(direction * spread**2 for direction, spread in pairs)

    def _moved_log_spreads(self, stats: list[Statistics], state: State) -> tuple[jax.Array, ...]:
        """Return the logarithms of spreads after a step of SNES along their scores.

        The step of a tensor's spread is the mean of those of its weights.
        """
        if self.spreads == "none":
            return ()
        assert self.distribution.spread_direction is not None  # by __init__
        descent = bounded(self._of_each(self.distribution.spread_direction, state, stats))
        if self.spreads == "layer":
            descent = tuple(devices.sum_in_order(x.ravel()) / x.size for x in descent)
        return tuple(
            jnp.clip(old - self.eta / 2 * step, *LOG_SPREADS)
            for old, step in zip(state.log_spreads, descent, strict=True)
        )

    def all_spreads(self, state: State) -> tuple[jax.Array, ...]:
        """Return the spread of each tensor, or of each of its weights."""
        if self.spreads == "none":
            return (state.spread,) * len(state.latents)
        return tuple(state.spread * jnp.exp(x) for x in state.log_spreads)

    def _of_each(
        self, function: Callable[..., jax.Array], state: State, *more: Any
    ) -> tuple[jax.Array, ...]:
        """Return what a function of the distribution gives for each tensor."""
        return tuple(
            function(latent, spread, *rest, per_output)
            for latent, spread, per_output, *rest in zip(
                state.latents, self.all_spreads(state), self.per_output, *more, strict=True
            )
        )

    @property
    def per_output(self) -> list[bool]:
        """Return whether each tensor has an exponent for each output."""
        return [has_outputs(tensor) for tensor in ternary.tensors(self.solution)]

    def probabilities(self, state: State) -> list[Float[Array, "... 3"]]:
        """Return P(-1), P(0), P(+1) of every weight, one array for each tensor."""
        return list(self._of_each(self.distribution.probabilities, state))

    def modes(self, state: State) -> list[Tensor]:
        """Return the most probable tensors."""
        given = ternary.tensors(self.solution)
        return [self.distribution.mode(z, t) for z, t in zip(state.latents, given, strict=True)]

    def exponents(self, state: State) -> list[jax.Array]:
        """Return the exponent of each tensor of the mode, which all members share."""
        return [tensor.exponent for tensor in self.modes(state)]

    def mode(self, state: State) -> jax.Array:
        """Return the solution that ships, as a row of numbers."""
        if self.averaging is not None:
            latents, offsets = state.averages
            state = state.replace(latents=latents, offsets=offsets)
        return self.ravel(ternary.replace_tensors(self.solution, self.modes(state)))


def binary_from_settings(
    settings: Settings, solution: Any, weights: ternary.WeightName, num_generations: int
) -> tuple[Any, Any]:
    """Return the algorithm that `--strategy binary_nes` runs, and its params."""
    check_weights("binary_nes", weights, ("binary",), "add --weights binary")
    algorithm = TernaryNES(
        settings.population_size,
        solution,
        bernoulli(settings.init_logit_std),
        schedules.scheduled_optimizer(
            settings.optimization, settings.shaping.fitness_shaping, num_generations
        ),
        use_antithetic_sampling=settings.sampling.antithetic,
        fitness_shaping_fn=FITNESS_SHAPING[settings.shaping.fitness_shaping],
    )
    return algorithm, algorithm.default_params
