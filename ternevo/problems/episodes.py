"""Members are scored by the returns of whole episodes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.rollouts import step_count
from ternevo.rollouts.lanes import nothing_learned
from ternevo.rollouts.population import (
    CommonRandomNumbers,
    Rollout,
    episode_keys,
    evaluate,
    evaluate_policy,
    size_of,
)
from ternevo.types import (
    Env,
    Inheritance,
    Key,
    ObservationMoments,
    Params,
    Policy,
    Population,
    Problem,
    Scores,
)


class Plan(NamedTuple):
    """How to score a population; lanes and chunks do not change the result.

    Attributes:
      num_episodes: the number of episodes per member in a generation.
      common_random_numbers: which members share the same episodes.
      num_lanes: episodes at once on a device, rounded up to whole tiles; 0 for one tile.
      chunk_size: members in the queue at once on a device; 0 for as many as fit in memory.
      horizon: maps the number of completed generations to the steps after which episodes are cut
        off; None for the time limit of the environment.
      inheritance: that of the policy, so that scores have what members learned; None without.
    """

    num_episodes: int
    common_random_numbers: CommonRandomNumbers = "all"
    num_lanes: int = 0
    chunk_size: int = 0
    horizon: Callable[[jax.Array], jax.Array] | None = None
    inheritance: Inheritance | None = None


def episodes(policy: Policy, env: Env, plan: Plan) -> Problem:
    """Return the problem whose returns are episode returns in an environment."""
    rollout = Rollout(policy, env, plan.num_lanes, plan.chunk_size, plan.inheritance)

    def score(
        key: Key, population: Population, moments: ObservationMoments, generation: jax.Array
    ) -> Scores:
        keys = keys_of(key, population, plan)
        limit = plan.horizon(generation) if plan.horizon else env.episode_length

        def run(quantiser: Quantiser, yardstick: Quantiser, horizon: jax.Array) -> Scores:
            params, is_spread = population.params, population.is_spread
            return evaluate(rollout, params, keys, quantiser, yardstick, horizon, is_spread)

        size, limit = size_of(population.params), jnp.asarray(limit, jnp.int32)
        kept = plan.inheritance
        learned = nothing_learned((size,), policy, kept) if kept else None
        return look_and_run(env, run, moments, (size, plan.num_episodes), limit, learned)

    def test(
        key: Key,
        params: Params,
        quantiser: Quantiser,
        num_episodes: int,
        count: jax.Array | None = None,
    ) -> Scores:
        keys = episode_keys(key, num_episodes, 1)[0]
        return evaluate_policy(Rollout(policy, env), params, keys, quantiser, count)

    return Problem(env.obs, score, test, is_steady=plan.horizon is None)


def keys_of(key: Key, population: Population, plan: Plan) -> Key:
    """Return the keys [1 or population, episodes] of a generation's episodes."""
    return episode_keys(
        key,
        plan.num_episodes,
        size_of(population.params),
        plan.common_random_numbers,
        population.pairs_are_adjacent,
    )


def look_and_run(
    env: Env,
    run: Callable[[Quantiser, Quantiser, jax.Array], Scores],
    moments: ObservationMoments,
    shape: tuple[int, int],
    horizon: jax.Array,
    learned: jax.Array | None = None,
) -> Scores:
    """Evaluate; if no observation has been seen yet, first look at the first steps.

    See `observation.NUM_LOOKS`. Looks and evaluation are rounds of one loop with a traced trip
    count, so that the program holds one rollout.

    Args:
      env: the environment.
      run: maps the quantiser that policies see through, the units of measurement and a horizon to
        scores.
      moments: the moments of the observations so far.
      shape: the shape of the returns.
      horizon: the horizon of the evaluation.
      learned: zeros in the shape of what members learn, if scores have that.

    Returns:
      The scores of the evaluation only, but with the steps of all rounds.
    """
    is_known = observation.is_unit_known(env.obs, moments)
    num_looks = jnp.where(is_known, 0, observation.NUM_LOOKS)

    def one_round(i: jax.Array, carry: tuple) -> tuple:
        expected, steps, _ = carry
        is_look = i < num_looks
        yardstick = observation.freeze(expected, env.obs.kind)
        shown = observation.shown(yardstick, is_look)
        short = jnp.minimum(horizon, observation.LOOK_STEPS)
        scores = run(shown, yardstick, jnp.where(is_look, short, horizon))
        expected = observation.choose(is_look, scores.moments, expected)
        return expected, step_count.add(steps, scores.steps), scores

    none = step_count.of_number(0)
    described = jnp.zeros((shape[0], env.descriptor.size)) if env.descriptor else None
    returns, lengths = jnp.zeros(shape), jnp.zeros(shape, jnp.int32)
    nothing = Scores(returns, lengths, moments, none, described, learned)
    carry = moments, none, nothing
    _, steps, scores = jax.lax.fori_loop(0, num_looks + 1, one_round, carry)
    return scores._replace(steps=steps)
