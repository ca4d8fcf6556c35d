"""The figures of docs/study.md."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
from matplotlib.axes import Axes
from study_results import WEIGHTS, Twins, curves

from ternevo.files import replacing
from ternevo.runs.intervals import mean_interval
from ternevo.runs.plots import draw_band

COLOURS: dict[str, str] = {"ternary": "C0", "float": "C1", "binary": "C2"}
COLUMNS = 3


def learning_curves(twins: Sequence[Twins], path: Path) -> None:
    """Draw a panel for each task: the mean over seeds, and its bootstrap interval as a band."""
    rows = math.ceil(len(twins) / COLUMNS)
    figure = matplotlib.figure.Figure(figsize=(11, 2.7 * rows + 0.4), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, one in zip(panels, twins, strict=False):
        _panel(axes, one)
    for axes in panels[len(twins) :]:
        axes.set_visible(False)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    shown = [name for name in WEIGHTS if name in lines]
    figure.legend([lines[name] for name in shown], shown, loc="outside upper center", ncols=3)
    figure.supxlabel("environment steps of a seed")
    figure.supylabel("return of the shipped policy")
    _write(figure, path)


def _panel(axes: Axes, one: Twins) -> None:
    """Draw the arms of a task."""
    for arm, rows in one.arms.items():
        draw_band(axes, curves(rows), color=COLOURS[arm], label=arm)
    if not math.isnan(one.target):
        axes.axhline(one.target, color="0.5", ls=":", lw=1)
    axes.set_title(one.task, fontsize=10)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 4))
    axes.grid(alpha=0.3)


def scores(twins: Sequence[Twins], path: Path) -> None:
    """Draw the mean normalised final return of each task and arm, with its interval."""
    shown = [one for one in twins if any(len(one.scores(arm)) for arm in WEIGHTS)]
    figure = matplotlib.figure.Figure(figsize=(7, 0.45 * len(shown) + 1.6), layout="constrained")
    axes = figure.subplots()
    for offset, arm in zip((-0.2, 0, 0.2), WEIGHTS, strict=True):
        _intervals(axes, shown, arm, offset)
    axes.axvline(1, color="0.5", lw=1)
    axes.axvline(0, color="0.5", ls=":", lw=1)
    axes.set_yticks(range(len(shown)), [one.task for one in shown])
    axes.invert_yaxis()
    axes.set_xlabel("final return: 0 is the start, 1 the mean of float weights")
    axes.legend(loc="best")
    axes.grid(alpha=0.3)
    _write(figure, path)


def _intervals(axes: Axes, shown: Sequence[Twins], arm: str, offset: float) -> None:
    """Draw the scores of an arm, a little beside those of the others."""
    there = [(row, one.scores(arm)) for row, one in enumerate(shown) if len(one.scores(arm))]
    intervals = [mean_interval(own) for _, own in there]
    axes.errorbar(
        [x.value for x in intervals],
        [row + offset for row, _ in there],
        xerr=[[x.value - x.low for x in intervals], [x.high - x.value for x in intervals]],
        fmt="o",
        ms=4,
        color=COLOURS[arm],
        label=arm,
    )


def _write(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure as png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
