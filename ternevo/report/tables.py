"""The numbers of a report as tables of text, without any HTML."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ternevo.report.targets import Target, scale_of
from ternevo.runs.arms import (
    ENTROPY,
    Arm,
    by_env,
    differing,
    in_words,
    trit_shares,
    weights_of_seeds,
)
from ternevo.runs.intervals import (
    Interval,
    area,
    iqm_interval,
    mean_interval,
    normalise,
    pareto_front,
    probability_of_improvement,
    proportion_interval,
    steps_interval,
    steps_to,
)

NONE = "-"
"""The cell of a missing value."""
NO_THRESHOLD = "no threshold"
ONE_SEED = "(one seed)"
"""Shown instead of an interval when there is nothing to resample."""
NEVER = "never"
"""Shown for the steps to a return that was not reached."""
MAX_ARMS_IN_PAIRS = 6
"""With more arms, only the best arm is paired with each of the others."""
UNITS = {"env_steps": "steps", "wall_time": "seconds", "generations": "generations"}


class Table(NamedTuple):
    """A table of text: the column names, and rows of the same length."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Improvement(NamedTuple):
    """The probability that a seed of one arm beats one of another; its environments and seeds."""

    left: str
    right: str
    envs: list[str]
    seeds: str
    most_seeds: int
    """The most seeds of either arm in one environment; if it is 1 there is no interval."""
    value: Interval


@dataclasses.dataclass(frozen=True)
class Report:
    """The contents of a report.

    Attributes:
      arms: the arms that `ternevo.runs.arms.gather` found.
      x: the x-axis of learning curves, a name in `ternevo.runs.arms.AXES`.
      targets: the threshold of each environment that has one.
      damaged: a sentence for each run left out because its config.json cannot be read.
    """

    arms: list[Arm]
    x: str
    targets: Mapping[str, Target]
    damaged: Sequence[str] = ()

    @functools.cached_property
    def improvements(self) -> list[Improvement]:
        """The pairs of arms that share an environment in which both have final returns."""
        found = self._finals()
        labels = sorted(found, key=lambda label: -_rank(label, found))
        pairs = list(itertools.combinations(labels, 2))
        if len(labels) > MAX_ARMS_IN_PAIRS:
            pairs = pairs[: len(labels) - 1]  # pairs with the best arm come first
        return [
            _improvement(left, right, envs, found)
            for left, right in pairs
            if (envs := [env for env in found[left] if env in found[right]])
        ]

    def _finals(self) -> dict[str, dict[str, list[float]]]:
        """Return the final returns by label and environment."""
        found: dict[str, dict[str, list[float]]] = {}
        for arm in self.arms:
            if arm.finals:
                found.setdefault(arm.label, {})[arm.env] = arm.finals
        return found

    def scores(self) -> tuple[list[str], dict[str, list[np.ndarray]]]:
        """Return the environments that all arms share, and the normalised returns of each arm.

        0 is the lowest mean of an arm's first evaluations, 1 the highest mean final return.
        An environment in which nothing was learned is left out.
        """
        found = self._finals()
        shared = [e for e in by_env(self.arms) if all(e in own for own in found.values())]
        arms = by_env(self.arms)
        scales = {env: scale_of(arms[env]) for env in shared}
        envs = [env for env, (low, high) in scales.items() if high > low]
        scores = {
            label: [normalise(own[env], *scales[env]) for env in envs]
            for label, own in found.items()
        }
        return envs, scores


def _improvement(
    left: str, right: str, envs: list[str], found: dict[str, dict[str, list[float]]]
) -> Improvement:
    """Compare two arms, given the final returns by label and environment."""
    sides = [[found[label][env] for env in envs] for label in (left, right)]
    seeds = " and ".join(str(sum(map(len, side))) for side in sides)
    most = max(len(finals) for side in sides for finals in side)
    return Improvement(left, right, envs, seeds, most, probability_of_improvement(*sides))


def _rank(label: str, found: dict[str, dict[str, list[float]]]) -> float:
    """Return the mean share of other arms that an arm beats in mean return."""
    shares = []
    for env, own in found[label].items():
        others = [np.mean(x[env]) for other, x in found.items() if other != label and env in x]
        shares += [np.mean([np.mean(own) > other for other in others])] if others else []
    return float(np.mean(shares)) if shares else 0.0


# ------------------------------------------------------------------------------------- the tables


def returns(report: Report) -> Table:
    """Return the final returns of each arm."""
    head = (
        *("environment", "arm", "seeds", "final return", "interquartile mean", "lowest to highest"),
        "best kept",
    )
    return Table(head, [_returns_row(arm) for arm in report.arms])


def _returns_row(arm: Arm) -> tuple[str, ...]:
    finals = arm.finals
    if not finals:
        return (arm.env, arm.label, f"0 of {len(arm.seeds)}", *[NONE] * 4)
    return (
        *(arm.env, arm.label, f"{len(finals)} of {len(arm.seeds)}"),
        *(mean_of_seeds(finals), spread(iqm_interval([finals]), len(finals))),
        f"{number(min(finals))} to {number(max(finals))}",
        mean_of_seeds(arm.bests),
    )


def learning(report: Report) -> Table:
    """Return how fast each arm learned and how often it succeeded."""
    head = (
        *("environment", "arm", "area under the curve", "threshold"),
        *(f"{UNITS[report.x]} to threshold", "success"),
    )
    return Table(head, [_learning_row(arm, report) for arm in report.arms])


def _learning_row(arm: Arm, report: Report) -> tuple[str, ...]:
    curves = [seed.curve(report.x) for seed in arm.seeds if seed.is_done and seed.curve(report.x)]
    areas = mean_of_seeds([area(curve) for curve in curves])
    target = report.targets.get(arm.env)
    if target is None:
        return arm.env, arm.label, areas, *[NO_THRESHOLD] * 3
    steps = NONE
    if curves:
        bound = "≤ " if steps_to(curves, target.value).is_bound else ""
        steps = bound + spread(steps_interval(curves, target.value), len(curves))
    return arm.env, arm.label, areas, number(target.value), steps, success(arm, target.value)


def success(arm: Arm, target: float) -> str:
    """Return how many finished seeds reached a return; a return that is not finite did not."""
    done = [seed for seed in arm.seeds if seed.is_done]
    if not done:
        return NONE
    count = sum(final >= target for final in arm.finals)
    rate = proportion_interval(count, len(done))
    return f"{count} of {len(done)}: {rate.value:.0%} [{rate.low:.0%} to {rate.high:.0%}]"


def overall(report: Report) -> tuple[list[str], Table]:
    """Return the environments that all arms share, and the interquartile mean over them."""
    envs, scores = report.scores()
    rows = [
        (label, str(sum(map(len, own))), spread(iqm_interval(own), max(map(len, own))))
        for label, own in scores.items()
        if envs
    ]
    return envs, Table(("arm", "runs", "interquartile mean of normalised returns"), rows)


def improvements(report: Report) -> Table:
    """Return the probability of improvement of each pair."""
    head = ("arm", "over", "environments", "seeds", "probability of improvement")
    rows = [
        (
            *(pair.left, pair.right, ", ".join(pair.envs), pair.seeds),
            spread(pair.value, pair.most_seeds),
        )
        for pair in report.improvements
    ]
    return Table(head, rows)


def sizes(report: Report) -> Table:
    """Return bytes and returns, and which arms are on the Pareto front."""
    head = ("environment", "arm", "policy file, bytes", "weights", "final return", "Pareto front")
    rows = []
    for env, own in by_env(report.arms).items():
        shown = [arm for arm in own if arm.sizes and arm.finals]
        costs = [float(np.mean(arm.sizes)) for arm in shown]
        front = pareto_front(costs, [float(np.mean(arm.finals)) for arm in shown])
        for place, (arm, cost) in enumerate(zip(shown, costs, strict=True)):
            count = sum(layer[0].size for layer in weights_of_seeds(arm).values())
            rows.append(
                (
                    *(env, arm.label, f"{cost:,.0f}", f"{count:,}"),
                    *(mean_of_seeds(arm.finals), "yes" if place in front else "no"),
                )
            )
    return Table(head, rows)


def layers(report: Report) -> Table:
    """Return the fraction of zeros in each layer, and the shares of -1 and +1 for trits."""
    head = ("environment", "arm", "layer", "weights", "zeros", "-1", "+1")
    rows = []
    for arm in report.arms:
        shares = trit_shares(arm)
        for name, own in weights_of_seeds(arm).items():
            zeros = mean_interval([float(np.mean(one == 0)) for one in own])
            signs = [shares[name][sign] for sign in (-1, 1)] if name in shares else []
            rows.append(
                (
                    *(arm.env, arm.label, name, f"{own[0].size:,}", percent(zeros, len(own))),
                    *([percent(sign, len(own)) for sign in signs] or ["float"] * 2),
                )
            )
    return Table(head, rows)


def entropies(report: Report) -> Table:
    """Return the entropy of each search distribution in its first and last generation."""
    rows = []
    for arm in report.arms:
        curves = arm.curves("generations", ENTROPY)
        ends = [mean_of_seeds([c[i][1] for c in curves]) for i in (0, -1) if curves]
        rows.append((arm.env, arm.label, *(ends or [f"no {ENTROPY}"] * 2)))
    return Table(("environment", "arm", "first, bits per weight", "last"), rows)


def settings(report: Report) -> Table:
    """Return the settings in which the arms differ."""
    names = differing(report.arms)
    rows = [
        (
            *(arm.env, arm.label),
            *(in_words(arm.settings[name]) if name in arm.settings else NONE for name in names),
        )
        for arm in report.arms
    ]
    return Table(("environment", "arm", *names), rows)


def runs(report: Report) -> Table:
    """Return a row for each run, with its device and commit."""
    head = (
        *("run", "environment", "arm", "seed", "state", "generations", "steps", "seconds"),
        *("final return", "best kept", "device", "commit"),
    )
    rows = []
    for arm in report.arms:
        for seed in arm.seeds:
            last = seed.rows[-1] if seed.rows else {}
            rows.append(
                (
                    *(str(seed.folder.path), arm.env, arm.label, str(seed.number)),
                    "done" if seed.is_done else "unfinished",
                    f"{seed.generations:,} of {arm.settings['num_generations']:,}",
                    *(f"{last.get('env_steps', 0):,}", f"{last.get('wall_time', 0):,.1f}"),
                    *(optional(seed.final_return), optional(seed.best_return)),
                    str(seed.record.get("device", {}).get("kind", NONE)),
                    str(seed.record.get("commit") or NONE)[:10],
                )
            )
    return Table(head, rows)


# --------------------------------------------------------------------------------------- the words


def optional(value: float | None) -> str:
    """Return a number as text, or `NONE` if it is missing."""
    return NONE if value is None else number(value)


def percent(interval: Interval, num_seeds: int) -> str:
    """Return a share with its interval; one seed has no interval."""
    if num_seeds == 1:
        return f"{interval.value:.1%} {ONE_SEED}"
    return f"{interval.value:.1%} [{interval.low:.1%} to {interval.high:.1%}]"


def mean_of_seeds(values: Sequence[float]) -> str:
    """Return the mean over seeds, with its interval."""
    return spread(mean_interval(values), len(values)) if len(values) else NONE


def spread(interval: Interval, num_seeds: int) -> str:
    """Return a number with its interval; one seed, or one per task, has no interval."""
    if num_seeds == 1:
        return f"{number(interval.value)} {ONE_SEED}"
    if math.isinf(interval.low):
        return NEVER
    return f"{number(interval.value)} [{number(interval.low)} to {number(interval.high)}]"


def number(value: float | int) -> str:
    """Return a number with at least three digits; infinity becomes `NEVER`."""
    if math.isinf(value):
        return NEVER
    digits = next((d for bound, d in ((1000, 0), (100, 1)) if abs(value) >= bound), 2)
    return f"{round(float(value), digits) + 0.0:,.{digits}f}"  # + 0.0 avoids -0
