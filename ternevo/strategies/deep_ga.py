"""The genetic algorithm of Such et al. 2017: truncation, mutation, and an elite that is re-tested.

A generation evaluates the children of the last one's parents. The best of them and the elite so far
are then evaluated again, on fresh episodes, and the best of those is the elite: so no member leads
by one lucky episode. Parents are the best members of the generation, and the elite.

Two evaluations a generation are why this is a strategy and not an ask/tell search.

References:
  Such et al., "Deep Neuroevolution: Genetic Algorithms are a Competitive Alternative for Training
  Deep Neural Networks for Reinforcement Learning", 2017, algorithm 1; the settings are those of the
  authors' code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from ternevo.algorithms import variation
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import kind_of
from ternevo.machine import devices
from ternevo.rollouts import step_count
from ternevo.settings.strategies.deep_ga import DeepGA
from ternevo.strategies.evolve import fitness_of, metrics_of, weight_metrics_of
from ternevo.types import (
    LEFT_OUT,
    Key,
    Metrics,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    Population,
    Problem,
    Scores,
    Strategy,
)


class DeepGAState(NamedTuple):
    """The parents [parents, ...] of the next generation, and the elite, which ships.

    Attributes:
      parents: the best members of the last generation, and the elite.
      elite: the member that did best when it was evaluated again.
      validation: its mean return then.
      age: the number of generations since it became the elite.
      moments: the moments of all observations of populations.
      generation: the number of finished generations.
    """

    parents: Params
    elite: Params
    validation: Float[Array, ""]
    age: Int32[Array, ""]
    moments: ObservationMoments
    generation: Int32[Array, ""]


class Ranked(NamedTuple):
    """What the evaluations of a generation found."""

    parents: Params
    elite: Params
    validation: Float[Array, ""]
    is_kept: Bool[Array, ""]


def evolve_deeply(
    settings: DeepGA, policy: Policy, weights: WeightName, problem: Problem, validation: Problem
) -> Strategy:
    """Return the genetic algorithm as a strategy.

    Args:
      settings: its settings; rates may be traced.
      policy: draws the first members; with a truncation of 0, all.
      weights: the kind of its weights.
      problem: what members are scored on.
      validation: what the best are scored on again; only its number of episodes differs.
    """

    def init(key: Key) -> DeepGAState:
        key_parents, key_elite = jax.random.split(key)
        draw = jax.vmap(policy.init)
        return DeepGAState(
            draw(jax.random.split(key_parents, settings.num_parents)),
            policy.init(key_elite),
            jnp.zeros(()),
            jnp.zeros((), jnp.int32),
            observation.empty(problem.obs.size),
            jnp.zeros((), jnp.int32),
        )

    def step(key: Key, state: DeepGAState) -> tuple[DeepGAState, Metrics]:
        key_make, key_score, key_again = jax.random.split(key, 3)
        members = devices.replicated(population_of(settings, policy, weights, key_make, state))
        scores = problem.evaluate(key_score, Population(members), state.moments, state.generation)
        fitness = fitness_of(scores.returns)
        candidates = devices.replicated(candidates_of(settings, members, fitness, state))
        moments = observation.merge(state.moments, scores.moments)
        again = validation.evaluate(key_again, Population(candidates), moments, state.generation)
        found = ranked(settings, members, fitness, candidates, again)
        is_kept = found.is_kept & (state.generation > 0)
        after = DeepGAState(
            found.parents,
            found.elite,
            found.validation,
            jnp.where(is_kept, state.age + 1, 0),
            moments,
            state.generation + 1,
        )
        steps = step_count.metrics(step_count.add(scores.steps, again.steps))
        metrics = metrics_of(scores) | steps | {LEFT_OUT: jnp.zeros((), jnp.int32)}
        return after, metrics | search_metrics(scores, after) | weight_metrics_of(params(after))

    def params(state: DeepGAState) -> PolicyParams:
        return PolicyParams(state.elite, state.moments)

    return Strategy(init, step, params)


def search_metrics(scores: Scores, state: DeepGAState) -> Metrics:
    """Return the elite's mean return when evaluated again, its age, and how lucky the best was."""
    best = jnp.max(-fitness_of(scores.returns))
    return {
        "search/validation": state.validation,
        "search/luck": best - state.validation,
        "search/elite_age": state.age,
    }


def population_of(
    settings: DeepGA, policy: Policy, weights: WeightName, key: Key, state: DeepGAState
) -> Params:
    """Return the members of a generation: mutated parents, or in the first one fresh members."""
    keys = jax.random.split(key, settings.population_size)
    draw = lambda: jax.vmap(policy.init)(keys)  # noqa: E731
    if settings.truncation == 0:
        return draw()

    def child(key: Key) -> Params:
        key_parent, key_change = jax.random.split(key)
        index = jax.random.randint(key_parent, (), 0, settings.num_parents)
        return mutated(settings, weights, key_change, jax.tree.map(lambda x: x[index], parents))

    parents = state.parents
    return jax.lax.cond(state.generation == 0, draw, lambda: jax.vmap(child)(keys))


def mutated(settings: DeepGA, weights: WeightName, key: Key, parent: Params) -> Params:
    """Return a child of one parent: flips of trits or signs, normal noise on floats."""
    kind = kind_of(weights)
    if kind.is_float:
        return variation.noised(key, parent, settings.mutation_power)
    key_rate, key_flip = jax.random.split(key)
    low, high = settings.flips.min_flips, settings.flips.max_flips
    rate = variation.flip_rate(key_rate, ternary.num_weights(parent), low, high)
    return variation.flipped(key_flip, parent, rate, kind)


def candidates_of(
    settings: DeepGA, members: Params, fitness: Float[Array, " population"], state: DeepGAState
) -> Params:
    """Return the members to evaluate again: the elite and the best of the generation.

    In the first generation, which has no elite yet, they are all of that generation.
    """
    order = jnp.argsort(fitness)[: settings.num_candidates]
    best = jax.tree.map(lambda x: x[order], members)
    is_first = state.generation == 0

    def with_elite(best: jax.Array, elite: jax.Array) -> jax.Array:
        """Put the elite in front; it takes the place of the last."""
        moved = jnp.concatenate([elite[None], best[:-1]])
        return jnp.where(is_first, best, moved)

    return jax.tree.map(with_elite, best, state.elite)


def ranked(
    settings: DeepGA,
    members: Params,
    fitness: Float[Array, " population"],
    candidates: Params,
    again: Scores,
) -> Ranked:
    """Return the elite and the parents after the second evaluation.

    Of equal candidates the first leads, which is the elite so far. The elite is a parent too, in
    place of the last one, even where its own children did better.
    """
    second = fitness_of(again.returns)
    leader = jnp.argmin(second)
    elite = jax.tree.map(lambda x: x[leader], candidates)
    order = jnp.argsort(fitness)[: settings.num_parents]
    best = jax.tree.map(lambda x: x[order], members)
    parents = jax.tree.map(lambda x, own: jnp.concatenate([own[None], x[:-1]]), best, elite)
    return Ranked(parents, elite, -second[leader], leader == 0)
