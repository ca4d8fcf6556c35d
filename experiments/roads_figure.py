"""The figure of docs/pruning.md: what each road to a small policy reaches, in how many bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.figure
from matplotlib.axes import Axes
from roads_arms import MORE_STEPS, SAME_STEPS, road_of
from roads_winners import has_same_steps, mean_size
from study_results import Row, values

from ternevo.files import replacing
from ternevo.runs.intervals import mean_interval, pareto_front

STYLES = {
    "float": ("C1", "s"),
    "float, rounded": ("C1", "D"),
    "int8": ("C2", "^"),
    "int4": ("C3", "v"),
    "int2": ("C4", "<"),
    "ternary": ("C0", "o"),
    "sparse from scratch": ("C5", "p"),
    "ternary, dense": ("C0", "*"),
    SAME_STEPS: ("C6", "P"),
    MORE_STEPS: ("C6", "X"),
}
"""Colours and markers of the roads."""


def draw(found: Mapping[str, Sequence[list[Row]]], path: Path) -> None:
    """Draw a panel for each task: returns over bytes, and a line along the Pareto front.

    Args:
      found: for each task the rows of each arm, all with the size of the file.
      path: where the picture goes.
    """
    size = 4.0 * len(found) + 0.4, 3.6
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False, sharex=True)[0]
    for axes, (task, arms) in zip(panels, found.items(), strict=True):
        _panel(axes, arms)
        axes.set_title(task, fontsize=10)
    marks = {mark.get_label(): mark for axes in panels for mark in axes.get_lines()}
    shown = [name for name in STYLES if name in marks]
    figure.legend([marks[name] for name in shown], shown, loc="outside upper center", ncols=5)
    figure.supxlabel(
        "bytes of the policy file; filled: on the Pareto front of the same steps", fontsize="medium"
    )
    panels[0].set_ylabel("return of the last policy")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _panel(axes: Axes, arms: Sequence[list[Row]]) -> None:
    """Draw the arms of a task, with 95 % intervals over seeds."""
    arms = sorted(arms, key=has_same_steps, reverse=True)
    sizes = [mean_size(rows) for rows in arms]
    returns = [mean_interval(values(rows, "return_last")) for rows in arms]
    count = sum(map(has_same_steps, arms))
    front = pareto_front(sizes[:count], [one.value for one in returns[:count]])
    axes.plot([sizes[i] for i in front], [returns[i].value for i in front], color="0.6", lw=1)
    for place, (rows, size, one) in enumerate(zip(arms, sizes, returns, strict=True)):
        road = road_of(rows[0]["arm"])
        colour, marker = STYLES[road]
        face = colour if place in front else "none"
        axes.plot([size, size], [one.low, one.high], color=colour, lw=1)
        axes.plot([size], [one.value], marker, color=colour, mfc=face, ms=8)
        axes.plot([], [], marker, color=colour, ms=8, ls="", label=road)  # filled, for the legend
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
