"""Score members in worlds: each plays its episodes with the deployed policy, as on a device.

Free worlds take the next episode from a queue. A result does not depend on how many worlds there
are, or on what runs beside it: each episode depends on its policy and its seed only.
"""

import collections
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
    while queue.running:
        queue.step()
        alive()
    return queue.results


class _Lane:
    """A world with its current episode."""

    def __init__(self, number: int, policy: Policy, obs: NDArray[np.float32]):
        self.number, self.obs, self.length = number, obs, 0
        self.memory = policy.reset() if policy.record.memory_size else None
        self.policy = policy

    def act(self) -> Any:
        """Return the action of the deployed policy."""
        if self.memory is None:
            return self.policy.act(self.obs)
        self.memory, action = self.policy.step(self.memory, self.obs)
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
        self.waiting = collections.deque(range(len(jobs)))
        self.running: dict[int, _Lane] = {}
        discrete = bool(policies) and policies[0].record.output_kind == "discrete"
        self.dtype = np.int32 if discrete else np.float32

    def begin(self, rows: NDArray[np.intp]) -> None:
        """Begin waiting episodes in free worlds, as far as there are any."""
        rows = rows[: len(self.waiting)]
        if not len(rows):
            return
        numbers = [self.waiting.popleft() for _ in rows]
        seeds = np.asarray(self._seeds(numbers), np.int64)
        obs = self._call(numbers, lambda: self.worlds.reset(rows, seeds))
        nothing = np.zeros(len(rows))
        start = Stepped(obs, nothing, nothing.astype(bool))
        check(self.terms.spec, start, self._seeds(numbers), self.results.lengths[numbers])
        for row, number, own in zip(rows, numbers, obs, strict=True):
            policy = self.policies[self.jobs[number].policy]
            self.running[int(row)] = _Lane(number, policy, own)

    def step(self) -> None:
        """Step all worlds; where an episode ends, begin another one."""
        rows = np.fromiter(self.running, np.intp, len(self.running))
        lanes = list(self.running.values())
        numbers = [lane.number for lane in lanes]
        self._count(numbers, np.stack([lane.obs for lane in lanes]))
        actions = np.asarray([lane.act() for lane in lanes], self.dtype)
        found = self._call(numbers, lambda: self.worlds.step(rows, actions))
        check(self.terms.spec, found, self._seeds(numbers), self.results.lengths[numbers])
        self.results.returns[numbers] += found.reward
        self.results.lengths[numbers] += 1
        ended = found.terminated | (self.results.lengths[numbers] >= self.terms.horizon)
        for lane, own in zip(lanes, found.obs, strict=True):
            lane.obs = own
        if ended.any():
            for row in rows[ended]:
                del self.running[int(row)]
            self.begin(rows[ended])

    def _count(self, numbers: list[int], obs: NDArray[np.float32]) -> None:
        """Add the observations acted on."""
        summed = len(self.terms.pivot)
        if summed:
            values = obs[:, :summed].astype(np.float64)
            is_finite = np.abs(values) < LARGEST
            distance = np.where(is_finite, values - self.terms.pivot, 0.0)
            terms = np.stack([is_finite, distance, distance * distance], axis=1)
            self.results.sums[numbers] += terms

    def _call(self, numbers: list[int], function: Callable[[], Any]) -> Any:
        """Call the simulator; say where it failed."""
        try:
            return function()
        except Exception as error:
            seeds = self._seeds(numbers)
            listed = ", ".join(map(str, seeds[:4])) + (", ..." if len(seeds) > 4 else "")
            raise HostError(
                f"{self.terms.spec.id} raised {type(error).__name__}: {error} (in one of the "
                f"episodes of the seeds {listed})"
            ) from error

    def _seeds(self, numbers: list[int]) -> list[int]:
        return [self.jobs[number].seed for number in numbers]


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
