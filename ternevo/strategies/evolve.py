"""Ask, evaluate, tell: one generation of any evosax algorithm on any environment.

Return is maximised here and fitness minimised there: the minus sign stands
once, in `_fitness`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from ternevo.algorithms.guards import finite_fitness, is_usable, keep_finite
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.observation import Quantiser
from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import discretize_all, kind_of, latents_of
from ternevo.rollouts.population import Evaluation, Plan, episode_keys, evaluate
from ternevo.strategies import step_count
from ternevo.strategies.search import is_spread, remembers_fitness, search_of
from ternevo.strategies.step_count import StepCount
from ternevo.types import (
    LEFT_OUT,
    Env,
    Key,
    Metrics,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    Strategy,
)


class EvolveState(NamedTuple):
    """The algorithm's state, the moments of all observations so far, and the generations done."""

    search: Any
    moments: ObservationMoments
    generation: Int32[Array, ""]


def evolve(
    algorithm: Any,
    algorithm_params: Any,
    policy: Policy,
    env: Env,
    plan: Plan,
    decode: Callable[[Any], Params] = lambda solution: solution,
    encode: Callable[[Key, Params], Any] = lambda key, params: params,
) -> Strategy:
    """Return the strategy that evaluates an evosax algorithm's population on episodes.

    Args:
      algorithm: an evosax algorithm over solutions that `decode` turns into params.
      algorithm_params: its evosax params.
      policy: the policy.
      env: the environment.
      plan: how many episodes, on which random numbers, in which chunks.
      decode: from one of the algorithm's solutions to a policy's params.
      encode: from a random policy's params to where the algorithm starts.

    Raises:
      ValueError: episodes grow, and the algorithm holds short ones against long ones.
    """
    if plan.horizon and remembers_fitness(algorithm, algorithm_params):
        raise ValueError(
            f"--init_horizon must be 1 with {type(algorithm).__name__}: it keeps the fitness of "
            "earlier generations, and returns of shorter episodes are not comparable"
        )

    def draw(key: Key) -> Any:
        key_policy, key_encode = jax.random.split(key)
        return encode(key_encode, policy.init(key_policy))

    search = search_of(algorithm, algorithm_params, draw)

    def init(key: Key) -> EvolveState:
        moments = observation.empty(env.obs_size)
        return EvolveState(search.init(key), moments, jnp.zeros((), jnp.int32))

    def step(key: Key, state: EvolveState) -> tuple[EvolveState, Metrics]:
        key_ask, key_eval, key_tell = jax.random.split(key, 3)
        population, asked = search.ask(key_ask, state.search)
        keys = episode_keys(
            key_eval,
            plan.num_episodes,
            algorithm.population_size,
            plan.common_random_numbers,
            pairs_are_adjacent=getattr(algorithm, "pairs_are_adjacent", False),
        )
        weights = jax.vmap(decode)(population)
        limit = plan.horizon(state.generation) if plan.horizon else env.episode_length

        def run(quantiser: Quantiser, yardstick: Quantiser, horizon: jax.Array) -> Evaluation:
            return evaluate(
                policy,
                env,
                weights,
                quantiser,
                keys,
                plan.num_lanes,
                plan.chunk_size,
                is_spread(algorithm),
                horizon,
                yardstick,
            )

        shape = algorithm.population_size, plan.num_episodes
        result, steps = _look_and_run(run, state.moments, shape, jnp.asarray(limit, jnp.int32))
        told = search.tell(key_tell, population, _fitness(result.returns), asked)
        told, is_left_out = keep_finite(state.search, told)
        moments = observation.merge(state.moments, result.moments)
        state = EvolveState(told, moments, state.generation + 1)
        metrics = _metrics(result) | step_count.metrics(steps)
        metrics |= {LEFT_OUT: is_left_out.astype(jnp.int32)}
        return state, metrics | search.metrics(told) | _weight_metrics(params(state))

    def params(state: EvolveState) -> PolicyParams:
        return PolicyParams(decode(search.solution(state.search)), state.moments)

    return Strategy(init, step, params)


def evolve_latents(
    make_algorithm: Callable[[Any], tuple[Any, Any]],
    env: Env,
    policy: Policy,
    weights: WeightName,
    plan: Plan,
) -> Strategy:
    """Return the strategy in which an algorithm over float latents drives any kind of policy.

    Args:
      make_algorithm: from latents, one float array for each tensor, to an evosax algorithm over
        solutions like them and its evosax params.
      env: the environment.
      policy: the policy.
      weights: what the latents are cut into before each evaluation.
      plan: how many episodes, on which random numbers, in which chunks.
    """
    template, kind = policy.init(jax.random.key(0)), kind_of(weights)

    def decode(latents: list[jax.Array]) -> Params:
        return discretize_all(template, latents, kind)

    def encode(key: Key, params: Params) -> list[jax.Array]:
        return latents_of(key, params, kind)

    algorithm, algorithm_params = make_algorithm(encode(jax.random.key(0), template))
    return evolve(algorithm, algorithm_params, policy, env, plan, decode, encode)


def _look_and_run(
    run: Callable[[Quantiser, Quantiser, jax.Array], Evaluation],
    moments: ObservationMoments,
    shape: tuple[int, int],
    horizon: jax.Array,
) -> tuple[Evaluation, StepCount]:
    """Evaluate; where no observation was seen before, look at the first steps of it beforehand.

    See `observation.NUM_LOOKS`. Looks and evaluation are rounds of one loop with a traced trip
    count, so that the program holds one rollout.

    Args:
      run: from what policies are shown, the units to measure in and a horizon to an evaluation.
      moments: of what was seen before.
      shape: of the returns.
      horizon: of the evaluation.

    Returns:
      The evaluation, of which no look is part, and the steps of all rounds.
    """
    num_looks = jnp.where(observation.have_seen(moments), 0, observation.NUM_LOOKS)

    def one_round(i: jax.Array, carry: tuple) -> tuple:
        expected, steps, _ = carry
        is_look = i < num_looks
        yardstick = observation.freeze(expected)
        shown = observation.shown(yardstick, is_look)
        short = jnp.minimum(horizon, observation.LOOK_STEPS)
        result = run(shown, yardstick, jnp.where(is_look, short, horizon))
        expected = observation.choose(is_look, result.moments, expected)
        return expected, step_count.add(steps, step_count.of_lengths(result.lengths)), result

    nothing = Evaluation(jnp.zeros(shape), jnp.zeros(shape, jnp.int32), moments)
    carry = moments, step_count.of_number(0), nothing
    _, steps, result = jax.lax.fori_loop(0, num_looks + 1, one_round, carry)
    return result, steps


def _fitness(returns: Float[Array, "population episodes"]) -> Float[Array, " population"]:
    """Return minus the mean return; a member whose returns are unusable gets the worst fitness.

    If nobody's are usable, all get one that no other generation is likely to be worse than.
    """
    usable = jnp.all(is_usable(returns), axis=1)
    return finite_fitness(jnp.where(usable, -jnp.mean(returns, axis=1), jnp.inf))


def _metrics(result: Evaluation) -> Metrics:
    usable = jnp.all(is_usable(result.returns), axis=1)
    finite = jnp.all(jnp.isfinite(result.returns), axis=1)
    returns = jnp.where(usable, jnp.mean(result.returns, axis=1), 0.0)
    return {
        "return/mean": jnp.mean(returns, where=usable),
        "return/max": jnp.max(returns, where=usable, initial=-jnp.inf),
        "return/min": jnp.min(returns, where=usable, initial=jnp.inf),
        "return/std": jnp.std(returns, where=usable),
        "return/nonfinite": jnp.sum(~finite),
        "return/out_of_range": jnp.sum(finite & ~usable),
        "episode/length": jnp.mean(result.lengths),
    }


def _weight_metrics(params: PolicyParams) -> Metrics:
    return {"weights/zeros": ternary.zero_fraction(params.weights)}
