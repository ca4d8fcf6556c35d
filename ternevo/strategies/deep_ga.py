"""The genetic algorithm of Such et al. 2017: truncation, mutation, and an elite that is re-tested.

A generation evaluates the children of the last one's parents. The best of them and the elite so far
are then evaluated again, on fresh episodes, and the best of those is the elite: so no member leads
by one lucky episode. Parents are the best members of the generation, and the elite.

Two evaluations a generation are why this is a strategy and not an ask/tell search.

A member is its weights, or with `--genomes seeds` the list of the seeds that they come from
(`ternevo/strategies/seed_lists.py`). Both draw the same members.

References:
  Such et al., "Deep Neuroevolution: Genetic Algorithms are a Competitive Alternative for Training
  Deep Neural Networks for Reinforcement Learning", 2017, algorithm 1; the settings are those of the
  authors' code.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
from ternevo.strategies.seed_lists import Genomes, seed_lists
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

    Members are params, or lists of seeds.

    Attributes:
      parents: the best members of the last generation, and the elite.
      elite: the member that did best when it was evaluated again.
      validation: its mean return then.
      age: the number of generations since it became the elite.
      moments: the moments of all observations of populations.
      generation: the number of finished generations.
    """

    parents: Any
    elite: Any
    validation: Float[Array, ""]
    age: Int32[Array, ""]
    moments: ObservationMoments
    generation: Int32[Array, ""]


class Ranked(NamedTuple):
    """What the evaluations of a generation found."""

    parents: Any
    elite: Any
    validation: Float[Array, ""]
    is_kept: Bool[Array, ""]


def evolve_deeply(
    settings: DeepGA,
    policy: Policy,
    weights: WeightName,
    problem: Problem,
    validation: Problem,
    problem_of: Callable[[Callable[[Key], Params]], Problem],
    num_generations: int,
) -> Strategy:
    """Return the genetic algorithm as a strategy.

    With lists of seeds, the parents are replayed once in a generation, and the children are made
    of them as they are scored, on the device that scores them and, in JAX, only a queue of them at
    once (`--population_chunk`). The candidates are replayed too, and the elite where it is shown.

    Args:
      settings: its settings; rates may be traced.
      policy: draws the first members; with a truncation of 0, all.
      weights: the kind of its weights.
      problem: what members are scored on.
      validation: what the best are scored on again; only its number of episodes differs.
      problem_of: maps what makes a member of a key to the same problem for a population of keys.
      num_generations: the number of generations of the run; lists of seeds have room for no more.
    """
    plain = Genomes(policy.init, partial(mutated, settings, weights), lambda member: member)
    has_seeds = settings.genomes == "seeds"
    genomes = seed_lists(plain, num_generations) if has_seeds else plain

    def weights_of(members: Any) -> Params:
        """Return the weights of members [members, ...], which are replayed one after another."""
        return devices.replicated(jax.lax.map(genomes.weights, members)) if has_seeds else members

    def scored(key: Key, keys: Key, state: DeepGAState) -> tuple[Any, Scores]:
        """Return the members that are made of keys, and their scores."""
        make = maker(settings, genomes, state.parents, state.generation)
        members = devices.replicated(jax.vmap(make)(keys))
        asked, population = problem, members
        if has_seeds:
            parents = weights_of(state.parents)
            asked, population = problem_of(maker(settings, plain, parents, state.generation)), keys
        found = asked.evaluate(key, Population(population), state.moments, state.generation)
        return members, found

    def init(key: Key) -> DeepGAState:
        key_parents, key_elite = jax.random.split(key)
        draw = jax.vmap(genomes.first)
        return DeepGAState(
            draw(jax.random.split(key_parents, settings.num_parents)),
            genomes.first(key_elite),
            jnp.zeros(()),
            jnp.zeros((), jnp.int32),
            observation.empty(problem.obs.size),
            jnp.zeros((), jnp.int32),
        )

    def step(key: Key, state: DeepGAState) -> tuple[DeepGAState, Metrics]:
        key_make, key_score, key_again = jax.random.split(key, 3)
        keys = jax.random.split(key_make, settings.population_size)
        members, scores = scored(key_score, keys, state)
        fitness = fitness_of(scores.returns)
        candidates = devices.replicated(candidates_of(settings, members, fitness, state))
        moments = observation.update(state.moments, scores.moments)
        tested = Population(weights_of(candidates))
        again = validation.evaluate(key_again, tested, moments, state.generation)
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
        return PolicyParams(genomes.weights(state.elite), state.moments)

    return Strategy(init, step, params)


def search_metrics(scores: Scores, state: DeepGAState) -> Metrics:
    """Return the elite's mean return when evaluated again, its age, and how lucky the best was."""
    best = jnp.max(-fitness_of(scores.returns))
    return {
        "search/validation": state.validation,
        "search/luck": best - state.validation,
        "search/elite_age": state.age,
    }


def maker(
    settings: DeepGA, genomes: Genomes, parents: Any, generation: Int32[Array, ""]
) -> Callable[[Key], Any]:
    """Return what makes a member of a key: a mutated parent, or in the first generation a new one.

    Args:
      settings: the settings of the search.
      genomes: how members are written down.
      parents: the parents [parents, ...], in this form.
      generation: the number of finished generations.
    """
    if settings.truncation == 0:
        return genomes.first

    def child(key: Key) -> Any:
        key_parent, key_change = jax.random.split(key)
        index = jax.random.randint(key_parent, (), 0, settings.num_parents)
        return genomes.mutated(key_change, jax.tree.map(lambda x: x[index], parents))

    return lambda key: jax.lax.cond(generation == 0, genomes.first, child, key)


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
    settings: DeepGA, members: Any, fitness: Float[Array, " population"], state: DeepGAState
) -> Any:
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
    members: Any,
    fitness: Float[Array, " population"],
    candidates: Any,
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
