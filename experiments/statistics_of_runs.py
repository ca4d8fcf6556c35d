"""Statistics over seeds: bootstrap intervals, the interquartile mean, and steps to a return.

All intervals are of 95 %, by the percentile bootstrap. The resamples come from one fixed seed, so
that the same lines of results give the same page.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
Numbers = Sequence[float] | np.ndarray
"""One number of each seed."""
Points = Sequence[Sequence[float]]
"""A learning curve: (environment steps, return) of each evaluation."""


class Interval(NamedTuple):
    """A number and the interval around it."""

    value: float
    low: float
    high: float


class Reached(NamedTuple):
    """When a curve got to a return: infinite if it never did."""

    steps: float
    is_bound: bool = False
    """Whether it was there already when it was first evaluated: `steps` is then an upper bound."""


def resampled_means(values: Numbers, numbers: np.random.Generator) -> np.ndarray:
    """Return the mean of each resample of the seeds [resamples]."""
    array = np.asarray(values, float)
    return numbers.choice(array, (RESAMPLES, len(array))).mean(1)


def interval_of(value: float, resamples: np.ndarray) -> Interval:
    """Return a number with the middle 95 % of its resamples."""
    low, high = np.quantile(resamples, (0.025, 0.975))
    return Interval(float(value), float(low), float(high))


def mean_interval(values: Numbers) -> Interval:
    """Return the mean over seeds with its interval."""
    numbers = np.random.default_rng(0)
    return interval_of(float(np.mean(values)), resampled_means(values, numbers))


def difference_interval(left: Numbers, right: Numbers) -> Interval:
    """Return how far the mean of `left` is above that of `right`; seeds are not taken as pairs."""
    numbers = np.random.default_rng(0)
    resamples = resampled_means(left, numbers) - resampled_means(right, numbers)
    # Means of five and of ten equal numbers may differ in the last bit: that is no difference.
    value = np.mean(left) - np.mean(right)
    return interval_of(float(np.round(value, 9)), np.round(resamples, 9))


def verdict(difference: Interval, words: tuple[str, str, str] = ("wins", "ties", "loses")) -> str:
    """Return the first word if the whole interval is above 0, the last if below, else the other."""
    above, between, below = words
    if difference.low > 0:
        return above
    return below if difference.high < 0 else between


def iqm(values: Numbers) -> np.ndarray:
    """Return the interquartile mean of the last axis: without the lowest and highest quarter."""
    array = np.sort(np.asarray(values, float), axis=-1)
    cut = array.shape[-1] // 4
    return array[..., cut : array.shape[-1] - cut].mean(-1)


def iqm_interval(scores_of_tasks: Sequence[Numbers]) -> Interval:
    """Return the interquartile mean over tasks and seeds, resampling the seeds of each task.

    The stratified bootstrap of Agarwal et al. 2021 (rliable).
    """
    numbers = np.random.default_rng(0)
    arrays = [np.asarray(scores, float) for scores in scores_of_tasks]
    drawn = [numbers.choice(array, (RESAMPLES, len(array))) for array in arrays]
    return interval_of(float(iqm(np.concatenate(arrays))), iqm(np.concatenate(drawn, axis=1)))


def normalise(returns: Numbers, start: float, reference: float) -> np.ndarray:
    """Return 0 for `start` and 1 for `reference`; no number if the reference is no better."""
    span = reference - start
    return (np.asarray(returns, float) - start) / (span if span > 0 else np.nan)


def on_one_axis(curves: Sequence[Points]) -> tuple[np.ndarray, np.ndarray]:
    """Return all steps at which a seed was evaluated, and the seeds' returns there [seeds, steps].

    Returns between two evaluations are interpolated linearly. The axis begins where every seed
    has been evaluated; a seed that ends before the others keeps its last return.
    """
    steps = [np.array([step for step, _ in points], float) for points in curves]
    returns = [np.array([value for _, value in points], float) for points in curves]
    axis = np.unique(np.concatenate(steps))
    axis = axis[axis >= max(own[0] for own in steps)]
    return axis, np.stack([np.interp(axis, x, y) for x, y in zip(steps, returns, strict=True)])


def steps_to(curves: Sequence[Points], target: float) -> Reached:
    """Return when the mean curve of the seeds first gets to a return, interpolated linearly."""
    axis, returns = on_one_axis(curves)
    mean = returns.mean(0)
    there = np.flatnonzero(mean >= target)
    if not len(there):
        return Reached(np.inf)
    last = there[0]
    if last == 0:
        return Reached(float(axis[0]), is_bound=True)
    share = (target - mean[last - 1]) / (mean[last] - mean[last - 1])
    return Reached(float(axis[last - 1] + share * (axis[last] - axis[last - 1])))


def ratio(left: Reached, right: Reached) -> float:
    """Return the ratio of steps: infinite if only `left` never got there, no number if `right`."""
    return left.steps / right.steps if np.isfinite(right.steps) else np.nan


def curve_band(curves: Sequence[Points], resamples: int = 500) -> np.ndarray:
    """Return steps, mean, and the lower and upper end of its interval [4, steps]."""
    axis, returns = on_one_axis(curves)
    count = len(returns)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), resamples)
    low, high = np.quantile(weights @ returns / count, (0.025, 0.975), axis=0)
    return np.stack([axis, returns.mean(0), low, high])
