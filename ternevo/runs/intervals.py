"""Statistics over seeds: bootstrap intervals, interquartile mean, comparisons, steps to a return.

All intervals are 95% percentile bootstrap intervals. The resamples come from one fixed seed, so
that the same numbers give the same page.

The statistics follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS 2021. Their library rliable computes them too. It is not a
dependency, because its last release (1.2.0, August 2024) requires arch, pandas, seaborn and absl
for what NumPy does in a few lines. scipy.stats.bootstrap does not support strata; the tests
compare with it where it has the same statistic.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
RATIO_RESAMPLES = 2_000
Numbers = Sequence[float | int] | np.ndarray
"""One number per seed."""
Points = Sequence[Sequence[float | int]]
"""A learning curve: (environment steps, return) of each evaluation."""


class Interval(NamedTuple):
    """A number and its interval."""

    value: float
    low: float
    high: float


class Reached(NamedTuple):
    """The steps at which a curve reached a return: infinite if it never did."""

    steps: float
    is_bound: bool = False
    """Whether it was reached at the first evaluation: `steps` is then an upper bound."""


def resampled_means(values: Numbers, numbers: np.random.Generator) -> np.ndarray:
    """Return the mean of each resample of the seeds [resamples]."""
    array = np.asarray(values, float)
    return numbers.choice(array, (RESAMPLES, len(array))).mean(1)


def interval_of(value: float, resamples: np.ndarray) -> Interval:
    """Return a number with the middle 95% of its resamples."""
    low, high = np.quantile(resamples, (0.025, 0.975))
    return Interval(float(value), float(low), float(high))


def mean_interval(values: Numbers) -> Interval:
    """Return the mean over seeds with its interval."""
    numbers = np.random.default_rng(0)
    return interval_of(float(np.mean(values)), resampled_means(values, numbers))


def difference_interval(left: Numbers, right: Numbers) -> Interval:
    """Return the mean of `left` minus the mean of `right`; seeds are not paired."""
    numbers = np.random.default_rng(0)
    resamples = resampled_means(left, numbers) - resampled_means(right, numbers)
    # Means of five and of ten equal numbers may differ in the last bit; treat them as equal.
    value = np.mean(left) - np.mean(right)
    return interval_of(float(np.round(value, 9)), np.round(resamples, 9))


def verdict(difference: Interval, words: tuple[str, str, str] = ("wins", "ties", "loses")) -> str:
    """Return the first word if the whole interval is above 0, the last if below, else the 2nd."""
    above, between, below = words
    if difference.low > 0:
        return above
    return below if difference.high < 0 else between


def iqm(values: Numbers) -> np.ndarray:
    """Return the interquartile mean over the last axis: without the lowest and highest quarter."""
    array = np.sort(np.asarray(values, float), axis=-1)
    cut = array.shape[-1] // 4
    return np.asarray(array[..., cut : array.shape[-1] - cut].mean(-1))


def iqm_interval(scores_of_tasks: Sequence[Numbers]) -> Interval:
    """Return the interquartile mean over tasks and seeds, resampling the seeds of each task.

    This is the stratified bootstrap of Agarwal et al. 2021 (rliable).
    """
    numbers = np.random.default_rng(0)
    arrays = [np.asarray(scores, float) for scores in scores_of_tasks]
    drawn = [numbers.choice(array, (RESAMPLES, len(array))) for array in arrays]
    return interval_of(float(iqm(np.concatenate(arrays))), iqm(np.concatenate(drawn, axis=1)))


def normalise(returns: Numbers, start: float | int, reference: float | int) -> np.ndarray:
    """Scale returns to 0 at `start` and 1 at `reference`; NaN if the reference is not better."""
    span = reference - start
    return (np.asarray(returns, float) - start) / (span if span > 0 else np.nan)


def on_one_axis(curves: Sequence[Points]) -> tuple[np.ndarray, np.ndarray]:
    """Return all steps at which a seed was evaluated, and the seeds' returns there [seeds, steps].

    Returns between two evaluations are interpolated linearly. The axis begins once every seed
    has been evaluated; a seed that ends before the others keeps its last return.
    """
    steps = [np.array([step for step, _ in points], float) for points in curves]
    returns = [np.array([value for _, value in points], float) for points in curves]
    axis = np.unique(np.concatenate(steps))
    axis = axis[axis >= max(own[0] for own in steps)]
    return axis, np.stack([np.interp(axis, x, y) for x, y in zip(steps, returns, strict=True)])


def steps_to(curves: Sequence[Points], target: float | int) -> Reached:
    """Return when the mean curve of the seeds first reaches a return, interpolated linearly."""
    axis, returns = on_one_axis(curves)
    steps, is_bound = _first_there(axis, returns.mean(0)[None], target)
    return Reached(float(steps[0]), is_bound=bool(is_bound[0]))


def steps_interval(
    curves: Sequence[Points], target: float | int, resamples: int = 2000
) -> Interval:
    """Return `steps_to` with its interval; an end is infinite if resamples never get there.

    Only `steps_to` says whether a curve is already there at its first evaluation.
    """
    weights = _weights_of_seeds(len(curves), resamples)
    steps = resampled_steps(curves, np.full(resamples, target), weights)
    return interval_with_infinity(steps_to(curves, target).steps, steps)


def resampled_steps(
    curves: Sequence[Points], targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return `steps_to` for each resample [resamples].

    Args:
      curves: the learning curve of each seed.
      targets: the return that each resample must reach [resamples].
      weights: how often each seed is in each resample [resamples, seeds].
    """
    axis, returns = on_one_axis(curves)
    return _first_there(axis, weights @ returns / len(returns), targets)[0]


def interval_with_infinity(value: float, resamples: np.ndarray) -> Interval:
    """Return a number with the middle 95% of its resamples, some of which may be infinite.

    There is no interpolation, as it has no meaning between a number and infinity. NaN resamples
    are left out.
    """
    there = resamples[~np.isnan(resamples)]
    if not len(there):
        return Interval(value, np.nan, np.nan)
    low = np.quantile(there, 0.025, method="lower")
    high = np.quantile(there, 0.975, method="higher")
    return Interval(value, float(low), float(high))


def _first_there(
    axis: np.ndarray, means: np.ndarray, target: np.ndarray | float | int
) -> tuple[np.ndarray, np.ndarray]:
    """Return when curves [curves, steps] first reach a return, and which start at or above it.

    The return is either one for all curves, or one per curve [curves].
    """
    is_there = means >= np.reshape(target, (-1, 1))
    first = is_there.argmax(1)
    before = np.maximum(first - 1, 0)
    rows = np.arange(len(means))
    left, right = means[rows, before], means[rows, first]
    share = np.divide(target - left, right - left, out=np.zeros(len(means)), where=first > 0)
    steps = axis[before] + share * (axis[first] - axis[before])
    is_ever = is_there.any(1)
    return np.where(is_ever, steps, np.inf), is_ever & (first == 0)


def ratio(left: Reached, right: Reached) -> float:
    """Return the ratio of steps: infinite if only `left` never got there, NaN if `right` never."""
    return left.steps / right.steps if np.isfinite(right.steps) else np.nan


def resampled_ratios(
    left: Sequence[Points], right: Sequence[Points], finals: Numbers, start: float, share: float
) -> np.ndarray:
    """Return `ratio` for each resample of the seeds of both arms [resamples].

    Each resample has its own target: `share` of the way from `start` to the mean final return
    of its seeds of `right`. The ratio is NaN if these do not reach it.

    Args:
      left: the learning curve of each seed of one arm.
      right: the learning curve of each seed of the other arm; seeds are not paired.
      finals: the final return of each seed of `right`.
      start: the return of both arms at the start, the same for all resamples.
      share: the fraction of the way to the final return that counts as reaching it.
    """
    numbers = np.random.default_rng(0)
    of_left, of_right = (
        _weights_of_seeds(len(curves), RATIO_RESAMPLES, numbers) for curves in (left, right)
    )
    span = of_right @ np.asarray(finals, float) / len(right) - start
    targets = np.where(span > 0, start + share * span, np.nan)
    needed = resampled_steps(right, targets, of_right)
    return resampled_steps(left, targets, of_left) / np.where(np.isinf(needed), np.nan, needed)


def curve_band(curves: Sequence[Points], resamples: int = 500) -> np.ndarray:
    """Return the steps, the mean, and the lower and upper ends of its interval [4, steps]."""
    axis, returns = on_one_axis(curves)
    weights = _weights_of_seeds(len(returns), resamples)
    low, high = np.quantile(weights @ returns / len(returns), (0.025, 0.975), axis=0)
    return np.stack([axis, returns.mean(0), low, high])


def _weights_of_seeds(
    count: int, resamples: int, numbers: np.random.Generator | None = None
) -> np.ndarray:
    """Return how often each seed is in each resample [resamples, seeds]."""
    numbers = numbers or np.random.default_rng(0)
    return numbers.multinomial(count, np.full(count, 1 / count), resamples)


def area(points: Points) -> float:
    """Return the area under a curve divided by its length: its mean height, by trapezoids.

    For a curve of one point, return the height of that point.
    """
    steps, returns = np.asarray(points, float).T
    if len(steps) == 1:
        return float(returns[0])
    return float(np.trapezoid(returns, steps) / (steps[-1] - steps[0]))


def probability_of_improvement(
    left_of_tasks: Sequence[Numbers], right_of_tasks: Sequence[Numbers]
) -> Interval:
    """Return the probability that a seed of `left` is above a seed of `right` on a random task.

    This is the mean over tasks of the Mann-Whitney statistic divided by the number of pairs, with
    ties counting half. The interval resamples the seeds of each task (stratified bootstrap).

    Args:
      left_of_tasks: the returns of one arm's seeds, for each task.
      right_of_tasks: the returns of the other arm's seeds on the same tasks; seeds are not paired.
    """
    values, resampled = [], []
    numbers = np.random.default_rng(0)
    for left, right in zip(left_of_tasks, right_of_tasks, strict=True):
        beside = np.subtract.outer(np.asarray(left, float), np.asarray(right, float))
        wins = (np.sign(beside) + 1) / 2
        values.append(wins.mean())
        rows, columns = (
            numbers.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size
            for size in wins.shape
        )
        resampled.append(((rows @ wins) * columns).sum(1))
    return interval_of(float(np.mean(values)), np.mean(resampled, axis=0))


def proportion_interval(count: int, total: int) -> Interval:
    """Return a share of `total` with its Wilson interval.

    The bootstrap would give five successes out of five an interval of zero width.
    """
    from scipy.stats import binomtest

    low, high = binomtest(count, total).proportion_ci(method="wilson")
    return Interval(count / total, float(low), float(high))


def pareto_front(costs: Numbers, values: Numbers) -> list[int]:
    """Return the indices of the points on the Pareto front, in order of cost.

    A point is off the front if another point costs no more, is worth no less, and differs in at
    least one of the two.
    """
    points = list(zip(costs, values, strict=True))
    kept = [
        place
        for place, (cost, value) in enumerate(points)
        if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
    ]
    return sorted(kept, key=lambda place: points[place][0])
