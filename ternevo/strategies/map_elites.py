"""MAP-Elites: a generation varies members of an archive, and the best of each behaviour stay.

A member keeps the return of the episodes on which it entered. In an environment with chance that is
a lucky one; more episodes a member (`--num_episodes`) make it less so.

References:
  Mouret and Clune, "Illuminating search spaces by mapping elites", 2015.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from ternevo.algorithms import archives, variation
from ternevo.algorithms.archives import Cells, Entered
from ternevo.algorithms.guards import is_usable
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import kind_of
from ternevo.machine import devices
from ternevo.rollouts import step_count
from ternevo.settings.strategies.map_elites import MAPElites
from ternevo.strategies.evolve import metrics_of, weight_metrics_of
from ternevo.types import (
    LEFT_OUT,
    Archive,
    Env,
    Kept,
    Key,
    Metrics,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    Population,
    Problem,
    Strategy,
)


class MAPElitesState(NamedTuple):
    """The archive, the moments of all observations so far, and the generations done."""

    archive: Archive
    moments: ObservationMoments
    generation: Int32[Array, ""]


def cells_of(settings: MAPElites, env: Env) -> Cells:
    """Return the cells of an archive of behaviours in an environment.

    Raises:
      ValueError: the environment does not say what behaviour is, or the grid does not fit it.
    """
    if env.descriptor is None:
        raise ValueError(
            f"--strategy map_elites needs an environment that says what behaviour is, and {env.id} "
            "does not: use control/maze or meta/ant_gaits, or give an environment of your own a "
            "`descriptor`"
        )
    if settings.centroids:
        return archives.voronoi(env.descriptor, settings.centroids)
    return archives.grid(env.descriptor, settings.grid)


def illuminate(
    settings: MAPElites, cells: Cells, policy: Policy, weights: WeightName, problem: Problem
) -> Strategy:
    """Return MAP-Elites as a strategy; what ships is the best member, and the archive with it.

    Args:
      settings: its settings; rates may be traced.
      cells: the cells of its archive.
      policy: draws the members of the first generation.
      weights: the kind of its weights.
      problem: what members are scored on.

    Raises:
      ValueError: returns of different generations are not comparable.
    """
    if not problem.is_steady:
        raise ValueError(
            "--init_horizon must be 1 with map_elites: it keeps the fitness of earlier "
            "generations, and returns of shorter episodes are not comparable"
        )

    def init(key: Key) -> MAPElitesState:
        archive = archives.empty(cells, policy.init(key))
        moments = observation.empty(problem.obs.size)
        return MAPElitesState(archive, moments, jnp.zeros((), jnp.int32))

    def step(key: Key, state: MAPElitesState) -> tuple[MAPElitesState, Metrics]:
        key_make, key_score = jax.random.split(key)
        members = devices.replicated(children(settings, policy, weights, key_make, state))
        scores = problem.evaluate(key_score, Population(members), state.moments, state.generation)
        assert scores.descriptors is not None
        found = archives.entered(
            state.archive,
            cells,
            members,
            jnp.mean(scores.returns, axis=1),
            scores.descriptors,
            jnp.all(is_usable(scores.returns), axis=1),
        )
        moments = observation.update(state.moments, scores.moments)
        after = MAPElitesState(found.archive, moments, state.generation + 1)
        metrics = metrics_of(scores) | step_count.metrics(scores.steps)
        metrics |= {LEFT_OUT: jnp.zeros((), jnp.int32)} | _archive_metrics(settings, found)
        return after, metrics | weight_metrics_of(params(after))

    def params(state: MAPElitesState) -> PolicyParams:
        return PolicyParams(archives.leader(state.archive), state.moments)

    space = cells.space
    kept = Kept(lambda state: state.archive, space.names, space.low, space.high)
    return Strategy(init, step, params, archive=kept)


def children(
    settings: MAPElites, policy: Policy, weights: WeightName, key: Key, state: MAPElitesState
) -> Params:
    """Return the members of a generation: varied from the archive, or in the first one fresh."""
    size = settings.population_size
    key_first, key_second, key_vary = jax.random.split(key, 3)
    keys = jax.random.split(key_vary, size)

    def vary() -> Params:
        first, second = (archives.drawn(k, state.archive, size) for k in (key_first, key_second))
        return jax.vmap(lambda key, a, b: child(settings, weights, key, a, b))(keys, first, second)

    return jax.lax.cond(state.generation == 0, lambda: jax.vmap(policy.init)(keys), vary)


def child(
    settings: MAPElites, weights: WeightName, key: Key, first: Params, second: Params
) -> Params:
    """Return a child of two members: crossover and flips, or iso+line of floats."""
    kind = kind_of(weights)
    if kind.is_float:
        return variation.along_line(key, first, second, settings.iso_sigma, settings.line_sigma)
    key_cross, key_rate, key_flip = jax.random.split(key, 3)
    crossed = variation.crossed(key_cross, first, second, settings.crossover_rate)
    low, high = settings.flips.min_flips, settings.flips.max_flips
    rate = variation.flip_rate(key_rate, ternary.num_weights(first), low, high)
    return variation.flipped(key_flip, crossed, rate, kind)


def _archive_metrics(settings: MAPElites, found: Entered) -> Metrics:
    """Return how much of the archive is filled, how well, and what changed."""
    archive = found.archive
    return {
        "search/coverage": archives.coverage(archive),
        "search/qd_score": archives.qd_score(archive, settings.least_return),
        "search/best": jnp.max(archive.fitness),
        "search/new_cells": found.num_new,
        "search/better_cells": found.num_better,
    }
