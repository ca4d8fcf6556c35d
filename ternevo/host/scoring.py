"""Score members in worlds: each plays its episodes with the deployed policy, as on a device.

Free worlds take the next episode from a queue. A result does not depend on how many worlds there
are, or on what runs beside it: each episode depends on its policy and its seed only.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.runtime import Policy
from ternevo.host.worlds import Spec, Stepped, Worlds


class HostError(RuntimeError):
    """A simulator outside JAX raised an error, hung, or returned what it must not."""


class Job(NamedTuple):
    """An episode to play: by which of the policies, and from which seed."""

    policy: int
    seed: int


class Terms(NamedTuple):
    """What is the same for all episodes.

    Attributes:
      spec: the environment.
      horizon: steps after which an episode is cut off.
      pivot: float64 [summed], about which observations are summed: as many of the components, from
        the first on, as have moments (all, or none).
    """

    spec: Spec
    horizon: int
    pivot: NDArray[np.float64]


class Scored(NamedTuple):
    """The results of episodes, in the order of the jobs.

    Attributes:
      returns: float64 [jobs].
      lengths: int64 [jobs], steps.
      sums: float64 [jobs, 3, summed]: for each component, how many values were finite, the sum
        of their distances from the pivot, and of the squares of these.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    sums: NDArray[np.float64]


LARGEST = 2.0**126
"""Observations of this size or more count as infinite, as in `ternevo.arithmetic.observation`."""


def no_results(num_jobs: int, terms: Terms) -> Scored:
    """Return results with zeros, to be filled."""
    return Scored(
        np.zeros(num_jobs),
        np.zeros(num_jobs, np.int64),
        np.zeros((num_jobs, 3, len(terms.pivot))),
    )


def score(
    worlds: Worlds,
    num_worlds: int,
    policies: Sequence[Policy],
    jobs: Sequence[Job],
    terms: Terms,
    alive: Callable[[], None] = lambda: None,
) -> Scored:
    """Play all episodes.

    Args:
      worlds: where they are played.
      num_worlds: how many worlds there are.
      policies: the policies.
      jobs: the episodes.
      terms: what is the same for all.
      alive: called after each step, to say that nothing hangs.

    Raises:
      HostError: the simulator raised an error, or returned observations or rewards that it must
        not.
    """
    queue = _Queue(worlds, policies, jobs, terms, no_results(len(jobs), terms))
    queue.begin(np.arange(min(num_worlds, len(jobs))))
    while queue.lanes.players:
        queue.step()
        alive()
    return queue.results


class _Lanes(NamedTuple):
    """Episodes that run, in arrays with a row for each."""

    rows: NDArray[np.intp]
    numbers: NDArray[np.intp]
    obs: NDArray[np.float32]
    results: Scored
    players: list["_Player"]

    def where(self, mask: NDArray[np.bool_]) -> "_Lanes":
        """Return some of them."""
        players = [player for player, is_one in zip(self.players, mask, strict=True) if is_one]
        returns, lengths, sums = self.results
        results = Scored(returns[mask], lengths[mask], sums[mask])
        return _Lanes(self.rows[mask], self.numbers[mask], self.obs[mask], results, players)

    def and_those(self, others: "_Lanes") -> "_Lanes":
        """Return these and others."""
        first, last = (
            [lanes.rows, lanes.numbers, lanes.obs, *lanes.results] for lanes in (self, others)
        )
        rows, numbers, obs, *results = map(np.concatenate, zip(first, last, strict=True))
        return _Lanes(rows, numbers, obs, Scored(*results), self.players + others.players)


class _Player:
    """A policy in one episode, with its memory if it has one."""

    def __init__(self, policy: Policy):
        has_memory = policy.record.memory_size > 0
        self.policy, self.memory = policy, policy.reset() if has_memory else None
        self.act = self._step if has_memory else policy.act

    def _step(self, obs: NDArray[np.float32]) -> Any:
        assert self.memory is not None
        self.memory, action = self.policy.step(self.memory, obs)
        return action


class _Queue:
    """Episodes that wait, and those that run."""

    def __init__(
        self,
        worlds: Worlds,
        policies: Sequence[Policy],
        jobs: Sequence[Job],
        terms: Terms,
        results: Scored,
    ):
        self.worlds, self.policies, self.jobs = worlds, policies, jobs
        self.terms, self.results = terms, results
        self.seeds = np.asarray([job.seed for job in jobs], np.int64)
        self.num_begun = 0
        nobody = np.empty(0, np.intp)
        obs = np.empty((0, terms.spec.obs_size), np.float32)
        self.lanes = _Lanes(nobody, nobody, obs, no_results(0, terms), [])

    def begin(self, rows: NDArray[np.intp]) -> None:
        """Begin waiting episodes in free worlds, as far as there are any."""
        numbers = np.arange(self.num_begun, min(self.num_begun + len(rows), len(self.jobs)))
        if not len(numbers):
            return
        self.num_begun += len(numbers)
        rows = rows[: len(numbers)]
        obs = self._call(numbers, lambda: self.worlds.reset(rows, self.seeds[numbers]))
        start = no_results(len(numbers), self.terms)
        shown = Stepped(obs, start.returns, start.returns.astype(bool))
        check(self.terms.spec, shown, self.seeds[numbers], start.lengths)
        players = [_Player(self.policies[self.jobs[number].policy]) for number in numbers.tolist()]
        self.lanes = self.lanes.and_those(_Lanes(rows, numbers, obs, start, players))

    def step(self) -> None:
        """Step all worlds; where an episode ends, begin another one."""
        lanes = self.lanes
        results, numbers = lanes.results, lanes.numbers
        add_observations(results.sums, lanes.obs, self.terms.pivot)
        actions = self._actions()
        found = self._call(numbers, lambda: self.worlds.step(lanes.rows, actions))
        check(self.terms.spec, found, self.seeds[numbers], results.lengths)
        results.returns[:] += found.reward
        results.lengths[:] += 1
        self.lanes = lanes._replace(obs=found.obs)
        ended = found.terminated | (results.lengths >= self.terms.horizon)
        if ended.any():
            over = self.lanes.where(ended)
            for of_all, own in zip(self.results, over.results, strict=True):
                of_all[over.numbers] = own
            self.lanes = self.lanes.where(~ended)
            self.begin(over.rows)

    def _actions(self) -> NDArray[Any]:
        """Return the actions of the deployed policies, int32 [k] or float32 [k, size]."""
        spec, players = self.terms.spec, self.lanes.players
        is_discrete = spec.action_kind == "discrete"
        shape = len(players) if is_discrete else (len(players), spec.action_size)
        actions = np.empty(shape, np.int32 if is_discrete else np.float32)
        for i, (player, obs) in enumerate(zip(players, self.lanes.obs, strict=True)):
            actions[i] = player.act(obs)
        return actions

    def _call(self, numbers: NDArray[np.intp], function: Callable[[], Any]) -> Any:
        """Call the simulator; say where it failed."""
        try:
            return function()
        except Exception as error:
            seeds = self.seeds[numbers]
            listed = ", ".join(map(str, seeds[:4])) + (", ..." if len(seeds) > 4 else "")
            raise HostError(
                f"{self.terms.spec.id} raised {type(error).__name__}: {error} (in one of the "
                f"episodes of the seeds {listed})"
            ) from error


def add_observations(
    sums: NDArray[np.float64], obs: NDArray[np.float32], pivot: NDArray[np.float64]
) -> None:
    """Add observations [k, obs] to the sums [k, 3, summed] of `Scored`."""
    summed = len(pivot)
    if not summed:
        return
    values = obs[:, :summed].astype(np.float64)
    distance = values - pivot
    is_finite = np.abs(values) < LARGEST
    if not is_finite.all():
        distance = np.where(is_finite, distance, 0.0)
    sums[:, 0] += is_finite
    sums[:, 1] += distance
    sums[:, 2] += distance * distance


def check(
    spec: Spec,
    found: Stepped,
    seeds: Sequence[int] | NDArray[np.integer],
    steps: NDArray[np.integer],
) -> None:
    """Refuse what a simulator must not return.

    Args:
      spec: the environment.
      found: what its worlds show.
      seeds: [k], of their episodes.
      steps: [k], the number of steps before this one.

    Raises:
      HostError: arrays have other shapes, or numbers are NaN.
    """
    count = (len(seeds),)
    for what, values, shape in (
        ("observations", found.obs, (*count, spec.obs_size)),
        ("rewards", found.reward, count),
        ("endings", found.terminated, count),
    ):
        if np.shape(values) != shape:
            raise HostError(
                f"{spec.id} returned {what} of shape {np.shape(values)}; must be {shape}"
            )
    # A sum is NaN if a number is: looking at each of many numbers would take longer.
    if np.isnan(np.sum(found.obs, dtype=np.float64)) or np.isnan(found.reward).any():
        where = np.isnan(found.obs).any(axis=1) | np.isnan(found.reward)
        if where.any():  # infinities of both signs have no sum either
            first = int(np.argmax(where))
            raise HostError(
                f"{spec.id} returned NaN in step {steps[first] + 1} of the episode of seed "
                f"{seeds[first]}"
            )
