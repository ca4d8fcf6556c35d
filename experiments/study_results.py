"""What tune.py and study.py wrote, in the shapes that analyse.py prints and draws."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import study
from tasks import TASKS
from tune import read

from ternevo.runs.intervals import (
    Interval,
    Reached,
    area,
    difference_interval,
    interval_with_infinity,
    iqm_interval,
    normalise,
    ratio,
    resampled_ratios,
    steps_to,
)

Row = dict[str, Any]
WEIGHTS = ("ternary", "float", "binary")
"""The arms of the part `twins`."""
SHARE = 0.9
"""The part of the way from the start to float's final return that counts as having got there."""


@dataclasses.dataclass(frozen=True)
class Results:
    """All lines, without seeds whose return is not finite; those are in `broken`."""

    runs: list[Row]
    trials: list[Row]
    broken: list[Row]
    discussion: str

    def seeds(self, part: str, task: str, arm: str, size: str = "own") -> list[Row]:
        """Return the lines of one cell of the study, by seed."""
        wanted = (part, task, arm, size)
        return sorted((row for row in self.runs if key_of(row) == wanted), key=lambda r: r["seed"])

    def parts(self, part: str) -> list[Row]:
        """Return the lines of a part."""
        return [row for row in self.runs if row["part"] == part]

    @functools.cached_property
    def twins(self) -> "list[Twins]":
        """Return what there is of ternary, float and binary weights, for each task."""
        return [Twins(name, self._arms(name)) for name in TASKS if self._arms(name)]

    def _arms(self, task: str) -> dict[str, list[Row]]:
        arms = {arm: self.seeds("twins", task, arm) for arm in WEIGHTS}
        return {arm: rows for arm, rows in arms.items() if rows}


def key_of(row: Row) -> tuple[str, ...]:
    """Return which cell of the study a line belongs to."""
    return row["part"], row["task"], row["arm"], row["size"]


def load(folder: Path) -> Results:
    """Return what stands in study.jsonl, tuning.jsonl and discussion.md; files may be missing."""
    rows = read(folder / "study.jsonl")
    is_whole = [row["return_last"] is not None and row["return_best"] is not None for row in rows]
    discussion = folder / "discussion.md"
    return Results(
        runs=[row for row, whole in zip(rows, is_whole, strict=True) if whole],
        trials=read(folder / "tuning.jsonl"),
        broken=[row for row, whole in zip(rows, is_whole, strict=True) if not whole],
        discussion=discussion.read_text() if discussion.exists() else "",
    )


def missing(results: Results) -> list[str]:
    """Return a sentence for each cell of the study that is not there, or not as a whole."""
    said = [
        f"{', '.join(key_of(row))}, seed {row['seed']}: left out of all tables, "
        "as its return is not finite."
        for row in results.broken
    ]
    lines: dict[tuple[str, ...], int] = {}
    for row in [*results.runs, *results.broken]:
        lines[key_of(row)] = lines.get(key_of(row), 0) + 1
    for part in study.StudyConfig().parts:
        said += _missing_of(part, lines)
    return said


def _missing_of(part: str, lines: dict[tuple[str, ...], int]) -> list[str]:
    """Return what a part lacks; `lines` counts those of each cell."""
    if part not in study.PARTS or part not in {key[0] for key in lines}:
        return [f"{part}: nothing has been run yet."]
    try:
        cells = study.PARTS[part]()
    except KeyError as error:
        return [f"{part}: what is missing cannot be told, {error.args[0]}."]
    return [
        f"{', '.join(cell.key)}: {lines.get(cell.key, 0)} of {cell.num_seeds} seeds."
        for cell in cells
        if lines.get(cell.key, 0) < cell.num_seeds
    ]


def values(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return a number of each seed."""
    return np.array([row[name] for row in rows], float)


def areas(rows: Sequence[Row]) -> np.ndarray:
    """Return the area under the curve of each seed: its mean height over its own steps."""
    return np.array([area(row["curve"]) for row in rows])


def curves(rows: Sequence[Row]) -> list[list[list[float]]]:
    """Return the learning curve of each seed."""
    return [row["curve"] for row in rows]


def success_rate(rows: Sequence[Row]) -> float:
    """Return the share of seeds whose shipped policy reaches the threshold of the task."""
    return float((values(rows, "return_last") >= TASKS[rows[0]["task"]].threshold).mean())


def seconds_of_a_seed(rows: Sequence[Row]) -> float:
    """Return the training time of one seed; the clock of a line is that of all seeds of the run."""
    return float(values(rows, "wall_time").mean()) / rows[0]["num_seeds"]


@dataclasses.dataclass(frozen=True)
class Twins:
    """The arms of one task that were run, each with the lines of its seeds."""

    task: str
    arms: dict[str, list[Row]]

    @property
    def start(self) -> float:
        """The mean return after the first generation, of ternary or float weights: the smaller."""
        arms = [rows for name, rows in self.arms.items() if name != "binary"]
        return min(float(np.mean([row["curve"][0][1] for row in rows])) for rows in arms)

    @property
    def float_mean(self) -> float:
        """The mean final return of float weights; no number without them."""
        return float(
            values(self.arms["float"], "return_last").mean() if "float" in self.arms else np.nan
        )

    @property
    def target(self) -> float:
        """The return that arms race to; no number if float weights learnt nothing."""
        span = self.float_mean - self.start
        return self.start + SHARE * span if span > 0 else np.nan

    def reached(self, arm: str) -> Reached:
        """Return when the mean curve of an arm got to the target."""
        if arm not in self.arms or np.isnan(self.target):
            return Reached(np.nan)
        return steps_to(curves(self.arms[arm]), self.target)

    def ratio(self, arm: str) -> float:
        """Return the steps that an arm takes, over those of float weights."""
        return ratio(self.reached(arm), self.reached("float"))

    def ratio_interval(self, arm: str) -> Interval | None:
        """Return that ratio with its interval, None if there is none."""
        value = self.ratio(arm)
        return None if np.isnan(value) else interval_with_infinity(value, self.ratio_resamples(arm))

    def ratio_resamples(self, arm: str) -> np.ndarray:
        """Return that ratio for each resample of the seeds; the target is that of the resample."""
        own, other = self.arms[arm], self.arms["float"]
        finals = values(other, "return_last")
        return resampled_ratios(curves(own), curves(other), finals, self.start, SHARE)

    def scores(self, arm: str) -> np.ndarray:
        """Return the normalised final return of each seed, none where there is no such scale."""
        if arm not in self.arms or np.isnan(self.target):
            return np.array([])
        return normalise(values(self.arms[arm], "return_last"), self.start, self.float_mean)

    def difference(self, arm: str, name: str = "return_last") -> Interval | None:
        """Return how far an arm is above float weights."""
        if arm not in self.arms or "float" not in self.arms:
            return None
        return difference_interval(values(self.arms[arm], name), values(self.arms["float"], name))


def overall_score(twins: Sequence[Twins], arm: str) -> tuple[Interval | None, int]:
    """Return the interquartile mean of an arm over tasks and seeds, and of how many tasks it is."""
    scores = [one.scores(arm) for one in twins]
    there = [own for own in scores if len(own)]
    return (iqm_interval(there) if there else None), len(there)


def ratios(twins: Sequence[Twins], arm: str) -> dict[str, float]:
    """Return the ratio of steps of each task that has one."""
    every = {one.task: one.ratio(arm) for one in twins}
    return {task: value for task, value in every.items() if not np.isnan(value)}


def median_ratio(twins: Sequence[Twins], arm: str) -> Interval | None:
    """Return the median over tasks of the ratio of steps, resampling the seeds of each task."""
    found = ratios(twins, arm)
    if not found:
        return None
    resamples = np.stack([one.ratio_resamples(arm) for one in twins if one.task in found])
    resamples = resamples[:, ~np.isnan(resamples).all(0)]
    median = float(np.median(list(found.values())))
    return interval_with_infinity(median, np.nanmedian(resamples, axis=0))
