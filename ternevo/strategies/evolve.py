"""Ask, score, tell: one generation of any search on any problem.

Returns are maximised, but searches minimise fitness: the only sign change is in `fitness_of`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from ternevo.algorithms.guards import finite_fitness, is_usable, keep_finite
from ternevo.arithmetic import observation, ternary
from ternevo.rollouts import step_count
from ternevo.types import (
    LEFT_OUT,
    Key,
    Metrics,
    ObservationMoments,
    Params,
    PolicyParams,
    Population,
    Problem,
    Scores,
    Search,
    Strategy,
)


class EvolveState(NamedTuple):
    """The search's state, the moments of all observations so far, and the generations done."""

    search: Any
    moments: ObservationMoments
    generation: Int32[Array, ""]


def evolve(
    search: Search,
    problem: Problem,
    decode: Callable[[Any], Params] = lambda solution: solution,
    write: Callable[[Any, jax.Array], Any] | None = None,
) -> Strategy:
    """Return the strategy in which a search proposes populations and a problem scores them.

    Args:
      search: the search, over solutions that `decode` turns into params.
      problem: the problem on which members are scored.
      decode: maps a solution of the search to a policy's params.
      write: maps a solution and what its member learned to the solution that the search is told in
        its place; None for the same. The problem's scores must then have `learned`.

    Raises:
      ValueError: the search compares scores of different generations, but the problem's scores
        are not comparable across generations.
    """
    if search.remembers_fitness and not problem.is_steady:
        raise ValueError(
            f"--init_horizon must be 1 with {search.name}: it keeps the fitness of earlier "
            "generations, and returns of shorter episodes are not comparable"
        )

    def init(key: Key) -> EvolveState:
        moments = observation.empty(problem.obs.size)
        return EvolveState(search.init(key), moments, jnp.zeros((), jnp.int32))

    def step(key: Key, state: EvolveState) -> tuple[EvolveState, Metrics]:
        key_ask, key_eval, key_tell = jax.random.split(key, 3)
        solutions, asked = search.ask(key_ask, state.search)
        population = Population(
            jax.vmap(decode)(solutions), search.pairs_are_adjacent, search.is_spread()
        )
        scores = problem.evaluate(key_eval, population, state.moments, state.generation)
        if write is not None:
            assert scores.learned is not None
            solutions = jax.vmap(write)(solutions, scores.learned)
        told = search.tell(key_tell, solutions, fitness_of(scores.returns), asked)
        told, is_left_out = keep_finite(state.search, told)
        moments = observation.update(state.moments, scores.moments)
        state = EvolveState(told, moments, state.generation + 1)
        metrics = metrics_of(scores) | step_count.metrics(scores.steps)
        metrics |= {LEFT_OUT: is_left_out.astype(jnp.int32)}
        return state, metrics | search.metrics(told) | weight_metrics_of(params(state))

    def params(state: EvolveState) -> PolicyParams:
        return PolicyParams(decode(search.solution(state.search)), state.moments)

    return Strategy(init, step, params)


def fitness_of(returns: Float[Array, "population episodes"]) -> Float[Array, " population"]:
    """Return the negative mean return; a member with unusable returns gets the worst fitness.

    If no member has usable returns, all get a fitness worse than any that is likely to follow.
    """
    usable = jnp.all(is_usable(returns), axis=1)
    return finite_fitness(jnp.where(usable, -jnp.mean(returns, axis=1), jnp.inf))


def metrics_of(scores: Scores) -> Metrics:
    """Return statistics of the returns and lengths of a population's episodes."""
    usable = jnp.all(is_usable(scores.returns), axis=1)
    finite = jnp.all(jnp.isfinite(scores.returns), axis=1)
    returns = jnp.where(usable, jnp.mean(scores.returns, axis=1), 0.0)
    return {
        "return/mean": jnp.mean(returns, where=usable),
        "return/max": jnp.max(returns, where=usable, initial=-jnp.inf),
        "return/min": jnp.min(returns, where=usable, initial=jnp.inf),
        "return/std": jnp.std(returns, where=usable),
        "return/nonfinite": jnp.sum(~finite),
        "return/out_of_range": jnp.sum(finite & ~usable),
        "episode/length": jnp.mean(scores.lengths),
    }


def weight_metrics_of(params: PolicyParams) -> Metrics:
    """Return statistics of the weights that would ship."""
    return {"weights/zeros": ternary.zero_fraction(params.weights)}
