"""POET: environments are mutated, policies search in them, and move to where they do better.

A niche is a task, a vector of numbers, and a search for a policy. In each generation every niche
takes a step of its search. Every `transfer_every` generations a table is made: the score of every
policy in every niche. Then

- the best policy of another niche is a guest if it beats the last five scores of the niche. It
  takes one step of a fresh search there. In the next generation it moves in, as it came or as it is
  after that step, if it beats the niche's own policy on fresh episodes, too;
- niches that are solved may have children, which are mutated tasks. One is admitted, the most novel
  of those that are no niche yet, and in which both its parent's policy and the best one are neither
  too good nor too bad. It begins with the best policy; the oldest niche retires if there is no
  place.

Everything is an array with an axis of niches. Niches take turns within the program, and each
evaluates its population on all devices. Moments of observations are those of all niches, so that a
policy sees the same in each.

Departures from the authors' code: only the best guest takes a step; scores are those of the
tables; children are scored by policies as they come; novelty is the distance of tasks, as in the
first paper, and ANNECS is that of the second.

References:
  Wang, Lehman, Clune and Stanley, "Paired Open-Ended Trailblazer (POET)", 2019.
  Wang et al., "Enhanced POET", 2020 (the criterion of transfers, and ANNECS).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from ternevo import problems
from ternevo.algorithms.archives import EMPTY
from ternevo.algorithms.guards import is_usable
from ternevo.arithmetic import observation
from ternevo.machine import devices
from ternevo.problems import Plan
from ternevo.rollouts import step_count
from ternevo.settings.strategies.poet import Poet
from ternevo.strategies.evolve import EvolveState, evolve, weight_metrics_of
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
    Search,
    StepCount,
    Strategy,
    TaskSpace,
)

KEPT_SCORES = 5
"""Scores of a niche that a guest must beat."""


class Inner(NamedTuple):
    """The search within a niche: its solutions become params, and it starts at any policy."""

    search: Search
    decode: Callable[[Any], Params]
    start: Callable[[Key, Params], Any]


class Niches(NamedTuple):
    """The niches [niches, ...]; of empty places only `is_active` means anything.

    Attributes:
      search: the state of the search of each.
      task: its task.
      is_active: whether there is a niche.
      number: how many were admitted before it.
      scores: its policy's scores in the last tables, the newest first; `EMPTY` before.
      is_novel: whether it was too easy for nobody when it was admitted, the archive included.
      is_solved: whether its policy has ever solved it.
    """

    search: Any
    task: Float32[Array, "niches size"]
    is_active: Bool[Array, " niches"]
    number: Int32[Array, " niches"]
    scores: Float32[Array, "niches kept"]
    is_novel: Bool[Array, " niches"]
    is_solved: Bool[Array, " niches"]


class Retired(NamedTuple):
    """The niches that are no longer searched [retired, ...]: policies, tasks, last scores."""

    members: Params
    task: Float32[Array, "retired size"]
    score: Float32[Array, " retired"]
    is_there: Bool[Array, " retired"]


class Guests(NamedTuple):
    """Policies that may move into a niche: as they came, after a step, and if there is one."""

    direct: Any
    tuned: Any
    is_there: Bool[Array, " niches"]


class Counts(NamedTuple):
    """What happened so far.

    Attributes:
      admitted: environments admitted.
      retired: niches that retired.
      annecs: admitted ones that were too easy for nobody and are solved ("accumulated number of
        novel environments created and solved").
      direct: policies that moved as they came.
      tuned: policies that moved after a step of a search.
    """

    admitted: Int32[Array, ""]
    retired: Int32[Array, ""]
    annecs: Int32[Array, ""]
    direct: Int32[Array, ""]
    tuned: Int32[Array, ""]


class PoetState(NamedTuple):
    """What there is, the place of the policy that ships, moments, and the generations done."""

    niches: Niches
    guests: Guests
    retired: Retired
    leader: Int32[Array, ""]
    counts: Counts
    moments: ObservationMoments
    generation: Int32[Array, ""]


class Crew(NamedTuple):
    """What a generation is made of."""

    settings: Poet
    env: Env
    space: TaskSpace
    policy: Policy
    inner: Inner
    plan: Plan

    def problem(self, task: jax.Array, plan: Plan) -> Problem:
        """Return the problem of one task."""
        return problems.of(self.policy, self.env._replace(draw_task=lambda key: task), plan)


class Table(NamedTuple):
    """Scores of all policies, active and retired: in the niches, and in their children."""

    niches: Float32[Array, "niches policies"]
    children: Float32[Array, "children policies"]


class Brood(NamedTuple):
    """Mutated tasks [children, size], the place of the parent of each, and if there are any."""

    task: Float32[Array, "children size"]
    parent: Int32[Array, " children"]
    is_there: Bool[Array, ""]


def trailblaze(crew: Crew) -> Strategy:
    """Return POET as a strategy; what ships is the policy that is best over all niches.

    That is the one with the best mean score in the last table: a run is tested on tasks from
    everywhere in the space, not on those of one niche. The others are in the archive, each with its
    task.
    """
    settings, space, inner = crew.settings, crew.space, crew.inner

    def init(key: Key) -> PoetState:
        first, count = crew.policy.init(key), settings.niches
        fill = lambda value, dtype: jnp.full(count, value, dtype)  # noqa: E731
        niches = Niches(
            jax.vmap(lambda own: inner.start(own, first))(jax.random.split(key, count)),
            jnp.tile(jnp.asarray(space.start, jnp.float32), (count, 1)),
            jnp.arange(count) == 0,
            fill(0, jnp.int32),
            jnp.full((count, KEPT_SCORES), EMPTY),
            fill(False, bool),
            fill(False, bool),
        )
        size = settings.retired
        retired = Retired(
            jax.tree.map(lambda x: jnp.broadcast_to(x, (size, *x.shape)), first),
            jnp.zeros((size, space.size)),
            jnp.full(size, EMPTY),
            jnp.zeros(size, bool),
        )
        zero = jnp.zeros((), jnp.int32)
        moments = observation.empty(crew.env.obs.size)
        guests = Guests(niches.search, niches.search, fill(False, bool))
        return PoetState(niches, guests, retired, zero, Counts(*[zero] * 5), moments, zero)

    def params(state: PoetState) -> PolicyParams:
        search = jax.tree.map(lambda x: x[state.leader], state.niches.search)
        return PolicyParams(inner.decode(inner.search.solution(search)), state.moments)

    def step(key: Key, state: PoetState) -> tuple[PoetState, Metrics]:
        after, metrics = generation(crew, key, state)
        return after, metrics | weight_metrics_of(params(after))

    kept = Kept(
        lambda state: archive_of(crew, state), space.names, space.low, space.high, space.id_of
    )
    return Strategy(init, step, params, archive=kept)


def archive_of(crew: Crew, state: PoetState) -> Archive:
    """Return the niches that have a score, the active ones first; the task is the behaviour."""
    niches, retired = state.niches, state.retired
    members = policies_of(crew, niches.search, retired)
    task = jnp.concatenate([niches.task, retired.task])
    scores = jnp.concatenate([niches.scores[:, 0], retired.score])
    is_there = jnp.concatenate([niches.is_active, retired.is_there]) & (scores > EMPTY)
    return Archive(members, scores, task, is_there, task)


def policies_of(crew: Crew, search: Any, retired: Retired) -> Params:
    """Return the policies of all niches and of the archive [niches + retired, ...]."""
    own = jax.vmap(lambda one: crew.inner.decode(crew.inner.search.solution(one)))(search)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), own, retired.members)


def generation(crew: Crew, key: Key, state: PoetState) -> tuple[PoetState, Metrics]:
    """Score if it is time, let policies move and niches have children, and search."""
    key_breed, key_score, key_admit, key_invite, key_search = jax.random.split(key, 5)
    every, count = crew.settings.transfer_every, crew.settings.niches
    is_due = (state.generation + 1) % every == 0
    brood = mutated(crew, key_breed, state, is_due)
    policies = policies_of(crew, state.niches.search, state.retired)
    scores, score_steps = scored(crew, key_score, state, policies, brood, is_due)
    state = moved(state, scores)
    table = Table(scores[:count], scores[count:])
    state = noted(crew, state, table, is_due)
    state, is_new = admitted(crew, key_admit, state, policies, brood, table)
    guests = invited(crew, key_invite, state, policies, table, is_due & ~is_new)
    niches = state.niches
    are_due = jnp.concatenate([niches.is_active, guests.is_there])
    moments, (searches, metrics) = searched(
        crew,
        key_search,
        jax.tree.map(lambda a, b: jnp.concatenate([a, b]), niches.search, guests.direct),
        jnp.concatenate([niches.task, niches.task]),
        are_due,
        state,
    )
    after = state._replace(
        niches=niches._replace(search=jax.tree.map(lambda x: x[:count], searches)),
        guests=guests._replace(tuned=jax.tree.map(lambda x: x[count:], searches)),
        moments=moments,
        generation=state.generation + 1,
    )
    return after, combined(metrics, are_due, score_steps) | niche_metrics(crew, after)


# ------------------------------------------------------------------------------------- scores


def scored(
    crew: Crew, key: Key, state: PoetState, policies: Params, brood: Brood, is_due: jax.Array
) -> tuple[Float32[Array, "rows policies"], StepCount]:
    """Return mean returns in niches and their children, and the steps that they took.

    All policies of a row meet the same episodes. Where a guest waits, the first three of the row
    are the niche's own policy and both forms of the guest; else they are those of a table. What is
    not scored is `EMPTY`.
    """
    niches, waits, count = state.niches, state.guests.is_there, crew.settings.niches
    tasks = jnp.concatenate([niches.task, brood.task])
    are_born = jnp.full(crew.settings.children, brood.is_there)
    due = jnp.concatenate([(niches.is_active & is_due) | waits, are_born])
    plan = crew.plan._replace(
        num_episodes=crew.settings.score_episodes, common_random_numbers="all"
    )
    solution = jax.vmap(lambda one: crew.inner.decode(crew.inner.search.solution(one)))
    direct, tuned = solution(state.guests.direct), solution(state.guests.tuned)
    total = count + crew.settings.retired

    def row(given: tuple) -> tuple[jax.Array, StepCount]:
        number, own, task, is_scored = given
        place = jnp.minimum(number, count - 1)
        has_guest = waits[place] & (number < count)

        def run() -> tuple[jax.Array, StepCount]:
            def agents(all_: jax.Array, plain: jax.Array, better: jax.Array) -> jax.Array:
                three = jnp.stack([all_[place], plain[place], better[place]])
                return jnp.where(has_guest, all_.at[:3].set(three), all_)

            population = Population(
                devices.replicated(jax.tree.map(agents, policies, direct, tuned))
            )
            problem = crew.problem(task, plan)
            scores = problem.evaluate(own, population, state.moments, state.generation)
            usable = jnp.all(is_usable(scores.returns), axis=1)
            return jnp.where(usable, jnp.mean(scores.returns, axis=1), EMPTY), scores.steps

        nothing = jnp.full(total, EMPTY), step_count.of_number(0)
        return jax.lax.cond(is_scored, run, lambda: nothing)

    keys = jax.random.split(key, len(tasks))
    scores, steps = jax.lax.map(row, (jnp.arange(len(tasks)), keys, tasks, due))
    return scores, devices.combine_in_order(step_count.add, steps)


def noted(crew: Crew, state: PoetState, table: Table, is_due: jax.Array) -> PoetState:
    """Return the state that knows the new scores of niches, what is solved, and who leads."""
    niches, count = state.niches, crew.settings.niches
    own = jnp.diagonal(jnp.where(niches.is_active, table.niches[:, :count], EMPTY))
    is_noted = niches.is_active & is_due
    scores = jnp.concatenate([own[:, None], niches.scores[:, :-1]], axis=1)
    is_solved = is_noted & (own >= crew.settings.reproduce_return)
    rises = jnp.sum(is_solved & ~niches.is_solved & niches.is_novel)
    first = best_of(niches, table, niches.is_active)
    return state._replace(
        niches=niches._replace(
            scores=jnp.where(is_noted[:, None], scores, niches.scores),
            is_solved=niches.is_solved | is_solved,
        ),
        leader=jnp.where(is_due, first, state.leader),
        counts=state.counts._replace(annecs=state.counts.annecs + rises),
    )


def best_of(niches: Niches, table: Table, may: Bool[Array, " niches"]) -> Int32[Array, ""]:
    """Return which of some niches has the policy with the best mean score in all active ones."""
    among = jnp.where(niches.is_active, table.niches[:, : len(may)], EMPTY)
    share = niches.is_active / jnp.sum(niches.is_active)
    means = jnp.where(may, jnp.sum(share[:, None] * among, axis=0), -jnp.inf)
    return jnp.argmax(means).astype(jnp.int32)


# ----------------------------------------------------------------------------------- children


def mutated(crew: Crew, key: Key, state: PoetState, is_due: jax.Array) -> Brood:
    """Return children of niches that are solved, if it is time and there are any.

    Each number of a task changes with probability 1/2, by up to its step, evenly, within its range.
    """
    settings, space, niches = crew.settings, crew.space, state.niches
    key_parent, key_which, key_change = jax.random.split(key, 3)
    may = niches.is_active & (niches.scores[:, 0] >= settings.reproduce_return)
    odds = jnp.where(may | ~jnp.any(may), 0.0, -jnp.inf)
    parent = jax.random.categorical(key_parent, odds, shape=(settings.children,))
    low, high, most = (jnp.asarray(x, jnp.float32) for x in (space.low, space.high, space.step))
    shape = settings.children, space.size
    changes = jax.random.bernoulli(key_which, 0.5, shape)
    change = settings.task_step * most * jax.random.uniform(key_change, shape, minval=-1.0)
    task = jnp.clip(niches.task[parent] + jnp.where(changes, change, 0.0), low, high)
    rounds = -(-settings.reproduce_every // settings.transfer_every) * settings.transfer_every
    is_time = is_due & ((state.generation + 1) % rounds == 0)
    return Brood(task, parent.astype(jnp.int32), is_time & jnp.any(may))


def novelty(crew: Crew, task: jax.Array, state: PoetState) -> Float[Array, " children"]:
    """Return the mean distance of tasks to the nearest others, as shares of the ranges."""
    low, high = (jnp.asarray(x, jnp.float32) for x in (crew.space.low, crew.space.high))
    others = jnp.concatenate([state.niches.task, state.retired.task])
    is_there = jnp.concatenate([state.niches.is_active, state.retired.is_there])
    distance = jnp.linalg.norm((task[:, None] - others) / (high - low), axis=-1)
    nearest = jnp.sort(jnp.where(is_there, distance, jnp.inf), axis=1)[:, : crew.settings.nearest]
    has_distance = jnp.isfinite(nearest)
    return jnp.sum(jnp.where(has_distance, nearest, 0.0), axis=1) / jnp.sum(has_distance, axis=1)


def is_known(task: jax.Array, state: PoetState) -> Bool[Array, " children"]:
    """Return whether tasks are those of niches, active or retired: mutations may change nothing."""
    others = jnp.concatenate([state.niches.task, state.retired.task])
    is_there = jnp.concatenate([state.niches.is_active, state.retired.is_there])
    return jnp.any(jnp.all(task[:, None] == others, axis=-1) & is_there, axis=1)


class Choice(NamedTuple):
    """A child: its number, whether it enters, whose policy is best in it, how good, and if novel.

    `is_novel` says whether it is too easy for nobody in the archive either.
    """

    child: Int32[Array, ""]
    enters: Bool[Array, ""]
    founder: Int32[Array, ""]
    score: Float32[Array, ""]
    is_novel: Bool[Array, ""]


def choice(crew: Crew, state: PoetState, brood: Brood, table: Table) -> Choice:
    """Return the most novel child that meets the criterion, and is no niche already."""
    settings, count = crew.settings, crew.settings.niches
    by_active = jnp.where(state.niches.is_active, table.children[:, :count], EMPTY)
    by_retired = jnp.where(state.retired.is_there, table.children[:, count:], EMPTY)
    of_parent = jnp.take_along_axis(by_active, brood.parent[:, None], axis=1)[:, 0]
    best = jnp.max(by_active, axis=1)
    fits = brood.is_there & (of_parent >= settings.least_return)
    fits &= best <= settings.largest_return  # and so is that of the parent
    fits &= ~is_known(brood.task, state)
    child = jnp.argmax(jnp.where(fits, novelty(crew, brood.task, state), -1.0)).astype(jnp.int32)
    return Choice(
        child,
        fits[child],
        jnp.argmax(by_active[child]).astype(jnp.int32),
        best[child],
        jnp.max(by_retired[child]) <= settings.largest_return,
    )


def admitted(
    crew: Crew, key: Key, state: PoetState, policies: Params, brood: Brood, table: Table
) -> tuple[PoetState, Bool[Array, " niches"]]:
    """Return the state with a child in a free or the oldest place, if one fits, and where it is.

    If the niche of the policy that ships retires, the best of those that stay ships instead.
    """
    settings, niches, retired = crew.settings, state.niches, state.retired
    found = choice(crew, state, brood, table)
    member = lambda index: jax.tree.map(lambda x: x[index], policies)  # noqa: E731
    place = jnp.argmin(jnp.where(niches.is_active, niches.number, -1))
    retires = found.enters & niches.is_active[place]
    left = Retired(member(place), niches.task[place], niches.scores[place, 0], jnp.asarray(True))
    child = Niches(
        crew.inner.start(key, member(found.founder)),
        brood.task[found.child],
        jnp.asarray(True),
        state.counts.admitted + 1,
        jnp.full(KEPT_SCORES, EMPTY).at[0].set(found.score),
        found.is_novel,
        jnp.asarray(False),
    )
    is_new = found.enters & (jnp.arange(settings.niches) == place)
    next_one = best_of(niches, table, niches.is_active & ~is_new)
    leader = jnp.where(retires & (place == state.leader), next_one, state.leader)
    shelf = (jnp.arange(settings.retired) == state.counts.retired % settings.retired) & retires
    counts = state.counts._replace(
        admitted=state.counts.admitted + found.enters, retired=state.counts.retired + retires
    )
    niches, retired = placed(is_new, child, niches), placed(shelf, left, retired)
    after = state._replace(niches=niches, retired=retired, leader=leader, counts=counts)
    return after, is_new


def placed(where: Bool[Array, " rows"], one: Any, rows: Any) -> Any:
    """Return rows [rows, ...] with one in place of some."""
    return jax.tree.map(lambda x, all_: jnp.where(_beside(where, all_), x, all_), one, rows)


def _beside(where: jax.Array, like: jax.Array) -> jax.Array:
    return where.reshape(-1, *[1] * (like.ndim - 1))


# ---------------------------------------------------------------------------------- transfers


def invited(
    crew: Crew,
    key: Key,
    state: PoetState,
    policies: Params,
    table: Table,
    may: Bool[Array, " niches"],
) -> Guests:
    """Return the best policy of another niche in each, where it beats the niche's last scores."""
    niches, count = state.niches, crew.settings.niches
    is_own = jnp.eye(count, dtype=bool)
    are_out = is_own | ~niches.is_active | ~may  # nor was the policy of a new niche scored
    others = jnp.where(are_out, EMPTY, table.niches[:, :count])
    beats = niches.is_active & may & (jnp.max(others, axis=1) > jnp.max(niches.scores, axis=1))
    best = jnp.argmax(others, axis=1)
    members = jax.tree.map(lambda x: x[best], policies)
    begun = jax.vmap(crew.inner.start)(jax.random.split(key, count), members)
    return Guests(begun, begun, beats)


def moved(state: PoetState, scores: Float32[Array, "rows policies"]) -> PoetState:
    """Return the state in which guests that beat the niche's own policy have moved in."""
    niches, guests = state.niches, state.guests
    own, direct, tuned = scores[: len(niches.is_active), :3].T
    best = jnp.maximum(direct, tuned)
    moves = guests.is_there & (best > jnp.maximum(own, jnp.max(niches.scores, axis=1)))
    as_it_came, after_a_step = moves & (direct >= tuned), moves & (direct < tuned)

    def chosen(old: jax.Array, plain: jax.Array, better: jax.Array) -> jax.Array:
        moved_in = jnp.where(_beside(after_a_step, old), better, old)
        return jnp.where(_beside(as_it_came, old), plain, moved_in)

    forgotten = jnp.full_like(niches.scores, EMPTY).at[:, 0].set(best)
    counts = state.counts._replace(
        direct=state.counts.direct + jnp.sum(as_it_came),
        tuned=state.counts.tuned + jnp.sum(after_a_step),
    )
    niches = niches._replace(
        search=jax.tree.map(chosen, niches.search, guests.direct, guests.tuned),
        scores=jnp.where(moves[:, None], forgotten, niches.scores),
    )
    return state._replace(niches=niches, counts=counts)


def searched(
    crew: Crew,
    key: Key,
    searches: Any,
    tasks: jax.Array,
    is_due: Bool[Array, " jobs"],
    state: PoetState,
) -> tuple[ObservationMoments, tuple[Any, Metrics]]:
    """Take a step of each search that is due, one after the other.

    Returns:
      The moments of all observations so far, the searches [jobs, ...] and their metrics [jobs].
    """

    @jax.jit  # so that it is traced only once
    def one_step(
        moments: ObservationMoments, own: Key, search: Any, task: jax.Array
    ) -> tuple[ObservationMoments, tuple]:
        problem = crew.problem(task, crew.plan)
        strategy = evolve(crew.inner.search, problem, crew.inner.decode)
        after, metrics = strategy.step(own, EvolveState(search, moments, state.generation))
        return after.moments, (after.search, metrics)

    def job(moments: ObservationMoments, row: tuple) -> tuple[ObservationMoments, tuple]:
        own, search, task, due = row
        shapes = jax.eval_shape(one_step, moments, own, search, task)[1][1]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        skip = lambda moments, own, search, task: (moments, (search, nothing))  # noqa: E731
        return jax.lax.cond(due, one_step, skip, moments, own, search, task)

    rows = jax.random.split(key, len(tasks)), searches, tasks, is_due
    return jax.lax.scan(job, state.moments, rows)


# ------------------------------------------------------------------------------------ metrics

SUMS = ("return/nonfinite", "return/out_of_range", LEFT_OUT)
STEPS = ("episode/steps", "episode/steps_high")


def combined(metrics: Metrics, is_due: Bool[Array, " jobs"], steps: StepCount) -> Metrics:
    """Return the metrics of all searches as one: sums of counts, extremes, else means."""
    found: Metrics = {}
    for name, x in metrics.items():
        if name in SUMS:
            found[name] = jnp.sum(x)
        elif name == "return/max":
            found[name] = jnp.max(jnp.where(is_due, x, -jnp.inf))
        elif name == "return/min":
            found[name] = jnp.min(jnp.where(is_due, x, jnp.inf))
        elif name not in STEPS:
            found[name] = jnp.sum(x * is_due) / jnp.sum(is_due)
    taken = StepCount(*(metrics[name] for name in STEPS))
    taken = devices.combine_in_order(step_count.add, taken)
    return found | step_count.metrics(step_count.add(taken, steps))


def niche_metrics(crew: Crew, state: PoetState) -> Metrics:
    """Return what niches there are, and what happened so far.

    `poet/hardest` is the mean of the numbers of a task, as shares of their ranges, in the hardest
    niche that is solved; 0 if there is none.
    """
    niches, counts = state.niches, state.counts
    low, high = (jnp.asarray(x, jnp.float32) for x in (crew.space.low, crew.space.high))
    hardness = jnp.mean((niches.task - low) / (high - low), axis=1)
    is_solved = niches.is_active & niches.is_solved
    has_score = niches.is_active & (niches.scores[:, 0] > EMPTY)
    total = jnp.sum(jnp.where(has_score, niches.scores[:, 0], 0.0))
    return {
        "poet/niches": jnp.sum(niches.is_active),
        "poet/solved": jnp.sum(is_solved),
        "poet/score": total / jnp.maximum(jnp.sum(has_score), 1),
        "poet/hardest": jnp.max(jnp.where(is_solved, hardness, 0.0)),
        "poet/admitted": counts.admitted,
        "poet/annecs": counts.annecs,
        "poet/moved_direct": counts.direct,
        "poet/moved_tuned": counts.tuned,
    }
