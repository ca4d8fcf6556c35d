"""Figures of runs. Nothing is displayed: figures of single runs are written, of arms returned.

    from ternevo.runs import arms, plots

    plots.learning_curves(arms.gather([Path("runs")]))  # a notebook shows it

Figures of arms are matplotlib figures without pyplot; write one with `figure.savefig(path)`.
"""

import io
import itertools
import math
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from ternevo.files import replacing
from ternevo.runs.arms import ENTROPY, Arm, by_env, trit_shares
from ternevo.runs.intervals import Interval, Points, curve_band, mean_interval, pareto_front
from ternevo.runs.sinks import Row, mean_rows

LEARNING_CURVE = ("env_steps", "return/min", "return/max", "return/mean", "eval/return")
"""The columns of a row that `learning_curve` and `seeds_curve` read."""


def learning_curve(rows: list[Row], title: str, path: Path) -> None:
    """Draw the returns in training and of the shipped policy over environment steps.

    A strategy without a population has no worst and best member. A metric that is
    reported only in some generations is drawn only for those.
    """
    figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    ranged = [row for row in rows if {"return/min", "return/max"} <= row.keys()]
    if ranged:
        axes.fill_between(
            [row["env_steps"] for row in ranged],
            [row["return/min"] for row in ranged],
            [row["return/max"] for row in ranged],
            alpha=0.15,
            lw=0,
            label="population, worst to best",
        )
    _plot(axes, rows, "return/mean", label="population mean" if ranged else "training episodes")
    _plot(axes, rows, "eval/return", marker="o", ms=3, label="shipped policy, fresh episodes")
    axes.set(title=title, xlabel="environment steps", ylabel="return")
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, path)


def seeds_curve(rows_of_each: list[list[Row]], title: str, path: Path) -> None:
    """Draw the shipped policies' returns of several seeds as thin lines, and their mean."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for rows in rows_of_each:
        _plot(axes, rows, "eval/return", color="C0", lw=0.8, alpha=0.5)
    mean = f"mean over {len(rows_of_each)} seeds"
    _plot(axes, mean_rows(rows_of_each), "eval/return", color="C0", lw=2.5, label=mean)
    axes.set(
        title=title, xlabel="environment steps of a seed", ylabel="return of the shipped policy"
    )
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, path)


def compare(runs: dict[str, list[Row]], path: Path) -> None:
    """Draw the shipped policies' returns of several runs over environment steps."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, rows in runs.items():
        _plot(axes, rows, "eval/return", marker="o", ms=3, label=name)
    axes.set(xlabel="environment steps", ylabel="return of the shipped policy")
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, path)


def _write(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure; matplotlib chooses the format by the suffix, png if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix(".") or "png")


def _plot(axes: Axes, rows: list[Row], metric: str, **style: Any) -> None:
    """Draw a metric over environment steps, from the rows that have it."""
    shown = [row for row in rows if metric in row]
    axes.plot([row["env_steps"] for row in shown], [row[metric] for row in shown], **style)


DARK: Any = {
    "figure.facecolor": "#15181d",
    "axes.facecolor": "#15181d",
    "axes.edgecolor": "#8b929c",
    "axes.labelcolor": "#d7dbe0",
    "text.color": "#d7dbe0",
    "xtick.color": "#b3b9c1",
    "ytick.color": "#b3b9c1",
    "legend.facecolor": "#15181d",
    "legend.edgecolor": "#5a616b",
}
"""Matplotlib settings for figures on a dark page."""

X_LABELS = {
    "env_steps": "environment steps of a seed",
    "wall_time": "seconds of training",
    "generations": "generations",
}
TRITS = {-1: "#3b75af", 0: "#9aa0a8", 1: "#d9822b"}
"""The colours of weights."""
MAX_COLUMNS, MAX_INCHES = 3, 13
"""The most panels side by side, and the width that they may have together."""
INCHES_PER_LETTER, INCHES_PER_HANDLE, INCHES_PER_LINE = 0.085, 0.7, 0.2
"""The size of a legend at the usual font size of 10 points."""
MAX_LETTERS = 34
"""The longest line of a label along an axis, of a legend and of a title."""
MARKERS = "osD^"
"""The markers of the first ten arms, of the next ten, and so on."""


def learning_curves(
    arms: Sequence[Arm], x: str = "env_steps", targets: Mapping[str, float] | None = None
) -> Figure:
    """Draw one panel per environment: each arm's mean over seeds, and its interval as a band.

    Args:
      arms: the arms from `ternevo.runs.arms.gather`; seeds without evaluations are left out.
      x: a name from `ternevo.runs.arms.AXES`.
      targets: the return, by environment, at which to draw a dotted line.
    """
    shown = [arm for arm in arms if arm.curves(x)]
    figure, panels = _panels(by_env(shown), width=5.2, height=3.4)
    styles = _styles(arms)
    for (env, own), axes in zip(by_env(shown).items(), panels, strict=True):
        for arm in own:
            draw_band(axes, arm.curves(x), label=arm.label, **styles[arm.label])
        if env in (targets or {}):
            axes.axhline((targets or {})[env], color="0.5", ls=":", lw=1.2)
        _title(axes, env)
        _write_out(axes, x)
    _finish(figure, X_LABELS[x], "return of the shipped policy")
    return figure


def draw_band(axes: Axes, curves: Sequence[Points], **style: Any) -> None:
    """Draw the mean curve of the seeds, and its 95% bootstrap interval as a band."""
    steps, mean, low, high = curve_band(curves)
    axes.fill_between(steps, low, high, color=style.get("color"), alpha=0.2, lw=0)
    axes.plot(steps, mean, marker="o" if len(steps) == 1 else "", **style)


def final_returns(arms: Sequence[Arm]) -> Figure:
    """Draw one panel per environment: the final return of each seed, and their mean and interval.

    Arms without a finished seed are left out.
    """
    shown = [arm for arm in arms if arm.finals]
    labels = {env: [arm.label for arm in own] for env, own in by_env(shown).items()}
    figure, panels, letters = _labelled_panels(labels, 0.24)
    styles = _styles(arms)
    for (env, own), axes in zip(by_env(shown).items(), panels, strict=True):
        draw_intervals(
            axes,
            {wrapped(arm.label, letters): mean_interval(arm.finals) for arm in own},
            [styles[arm.label]["color"] for arm in own],
        )
        for row, arm in enumerate(own):
            color = styles[arm.label]["color"]
            axes.plot(arm.finals, [row + 0.2] * len(arm.finals), "|", ms=7, alpha=0.7, color=color)
        _title(axes, env)
    figure.supxlabel(
        "final return of the shipped policy, mean and interval; | are seeds", fontsize="medium"
    )
    return figure


def intervals(
    found: Mapping[str, Interval], x_label: str, reference: float | None = None
) -> Figure:
    """Draw named numbers with their intervals, one below the other.

    Args:
      found: the numbers by name.
      x_label: the label of the x axis.
      reference: the position of a vertical line.
    """
    figure, (axes,), letters = _labelled_panels({"": list(found)}, 0.22)
    if reference is not None:
        axes.axvline(reference, color="0.5", lw=1)
    named = {wrapped(name, letters): interval for name, interval in found.items()}
    draw_intervals(axes, named, [f"C{place % 10}" for place in range(len(found))])
    axes.set_xlabel(x_label)
    return figure


def draw_intervals(axes: Axes, found: Mapping[str, Interval], colors: Sequence[Any]) -> None:
    """Draw one row per number: a dot, and a line over its interval."""
    for row, (one, color) in enumerate(zip(found.values(), colors, strict=True)):
        axes.plot([one.low, one.high], [row, row], color=color, lw=2.5, solid_capstyle="butt")
        axes.plot([one.value], [row], "o", color=color, ms=6)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.4, -0.6)  # the first one on top
    axes.grid(alpha=0.3, axis="x")


def pareto(arms: Sequence[Arm]) -> Figure:
    """Draw one panel per environment: final returns over the bytes of the policy file.

    A line joins the arms on the Pareto front. Arms without a final return or a policy file are
    left out.
    """
    shown = [arm for arm in arms if arm.finals and arm.sizes]
    figure, panels = _panels(by_env(shown), width=5.2, height=3.4)
    styles, markers = _styles(arms), _markers(arms)
    for (env, own), axes in zip(by_env(shown).items(), panels, strict=True):
        sizes = [float(np.mean(arm.sizes)) for arm in own]
        found = [mean_interval(arm.finals) for arm in own]
        front = pareto_front(sizes, [one.value for one in found])
        axes.plot([sizes[i] for i in front], [found[i].value for i in front], color="0.6", lw=1)
        for place, (arm, size, one) in enumerate(zip(own, sizes, found, strict=True)):
            color, marker = styles[arm.label]["color"], markers[arm.label]
            axes.plot([size, size], [one.low, one.high], color=color, lw=1.5)
            face = color if place in front else "none"
            axes.plot([size], [one.value], marker, color=color, mfc=face, ms=8)
            axes.plot([], [], marker, color=color, ms=8, label=arm.label)  # filled, for the legend
        axes.set_xscale("log")
        _title(axes, env)
    _finish(figure, "bytes of the policy file; filled: on the Pareto front", "final return")
    return figure


def weights(arms: Sequence[Arm]) -> Figure:
    """Draw one panel per environment: the shares of -1, 0 and +1 among each layer's weights.

    Each bar is a layer of an arm, with the first layer on top and the shares averaged over seeds.
    Only the first layer of an arm has its label.
    Arms with float weights, or without a policy file, are left out.
    """
    shown = {
        env: [
            (layer if place else f"{arm.label}, {layer}", trits)
            for arm in own
            for place, (layer, trits) in enumerate(trit_shares(arm).items())
        ]
        for env, own in by_env(arms).items()
    }
    shown = {env: bars for env, bars in shown.items() if bars}
    labels = {env: [name for name, _ in bars] for env, bars in shown.items()}
    figure, panels, letters = _labelled_panels(labels, 0.16)
    for (env, bars), axes in zip(shown.items(), panels, strict=True):
        left = np.zeros(len(bars))
        for trit, color in TRITS.items():
            share = np.array([trits[trit].value for _, trits in bars])
            axes.barh(
                range(len(bars)), share, left=left, color=color, label=f"{trit:+d}" if trit else "0"
            )
            left += share
        axes.set_yticks(range(len(bars)), [wrapped(name, letters) for name, _ in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)  # the first one on top
        axes.set_xlim(0, 1)
        _title(axes, env)
    _legend(figure)
    figure.supxlabel("share of the weights of a layer, without biases", fontsize="medium")
    return figure


def entropy(arms: Sequence[Arm], x: str = "env_steps") -> Figure:
    """Draw one panel per environment: the entropy of the search distribution during training.

    This is `search/entropy`, the mean entropy per weight in bits. Only strategies that search with
    a distribution over trits report it; others are left out.
    """
    shown = [arm for arm in arms if arm.curves(x, ENTROPY)]
    figure, panels = _panels(by_env(shown), width=5.2, height=3.0)
    styles = _styles(arms)
    for (env, own), axes in zip(by_env(shown).items(), panels, strict=True):
        for arm in own:
            curves = [thinned(curve) for curve in arm.curves(x, ENTROPY)]
            draw_band(axes, curves, label=arm.label, **styles[arm.label])
        axes.set_ylim(bottom=0)
        _title(axes, env)
        _write_out(axes, x)
    _finish(figure, X_LABELS[x], "bits per weight")
    return figure


def _write_out(axes: Axes, x: str) -> None:
    """Put few numbers along an axis, and write millions of steps as 2 M."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if x != "wall_time":
        axes.xaxis.set_major_formatter(EngFormatter())


def thinned(points: Sequence[Any], count: int = 300) -> list[Any]:
    """Return evenly spaced points, about as many as asked for, including the last one."""
    step = -(-len(points) // count)
    return list(points[::-1][::step][::-1])


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=144, format="png")
    return buffer.getvalue()


def _panels(titles: Collection[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel per title, each `width` by `height` inches."""
    beside = max(1, int(MAX_INCHES / (0.75 * width)))
    columns = max(1, min(MAX_COLUMNS, beside, len(titles)))
    rows = max(1, math.ceil(len(titles) / columns))
    width = max(width * columns * (1 if columns == 1 else 0.75), 7)
    figure = Figure(figsize=(width, height * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(titles) :]:
        axes.set_visible(False)
    return figure, panels[: len(titles)]


def _labelled_panels(
    labels: Mapping[str, Sequence[str]], padding: float
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with one panel per title, each with room for its labels along the y axis.

    Args:
      labels: the labels of each panel, one below the other.
      padding: inches between two labels.

    Returns:
      The figure, its panels, and the letters of a line of a label.
    """
    letters = MAX_LETTERS if len(labels) > 1 else 2 * MAX_LETTERS
    lines = [[wrapped(label, letters).splitlines() for label in own] for own in labels.values()]
    longest = max((len(line) for own in lines for one in own for line in one), default=0)
    heights = [
        len(own) * (padding + INCHES_PER_LINE * _most_of_neighbours(list(map(len, own))))
        for own in lines
    ]
    height = 0.9 + max(heights, default=0.5)
    figure, panels = _panels(labels, 3.6 + INCHES_PER_LETTER * longest, height)
    return figure, panels, letters


def _most_of_neighbours(lines: Sequence[int]) -> float:
    """Return the largest mean number of lines of two labels beside each other."""
    pairs = [sum(pair) / 2 for pair in itertools.pairwise(lines)]
    return max([*pairs, max(lines, default=1) / 2 + 0.5])


def wrapped(label: str, letters: int = MAX_LETTERS) -> str:
    """Return a label in lines that are short enough for a figure.

    Examples:
      >>> wrapped("ternary_nes, ternary, population_size=1024").splitlines()
      ['ternary_nes, ternary,', 'population_size=1024']
      >>> wrapped("my_lab.a_module_with_a_long_name:make").splitlines()
      ['my_lab.a_module_with_a_long_name:', 'make']
    """
    found = []
    for line in label.splitlines():
        pieces = [
            piece
            for word in re.split(r"(?<= )", line)
            for piece in ([word] if len(word) <= letters else re.split(r"(?<=[./:@=_,(])", word))
        ]
        found.append("")
        for piece in pieces:
            if found[-1] and len(found[-1] + piece.rstrip()) > letters:
                found.append("")
            found[-1] += piece
    return "\n".join(part for line in found for part in textwrap.wrap(line, letters)) or label


def _title(axes: Axes, env: str) -> None:
    axes.set_title(wrapped(env), fontsize=10)


def _markers(arms: Sequence[Arm]) -> dict[str, str]:
    """Return the marker of each label, which with its colour tells forty arms apart."""
    labels = dict.fromkeys(arm.label for arm in sorted(arms, key=lambda arm: arm.label))
    return {label: MARKERS[place // 10 % len(MARKERS)] for place, label in enumerate(labels)}


def _styles(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Return the colour and line style of each label: ten colours, then again in other styles."""
    labels = dict.fromkeys(arm.label for arm in sorted(arms, key=lambda arm: arm.label))
    lines = ("-", "--", ":", "-.")
    return {
        label: {"color": f"C{place % 10}", "ls": lines[place // 10 % 4]}
        for place, label in enumerate(labels)
    }


def _finish(figure: Figure, x_label: str, y_label: str) -> None:
    """Label the axes of all panels, and add a grid and one legend."""
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        place = axes.get_subplotspec()
        if place is None or place.is_first_col():  # a label of the figure would meet the legend
            axes.set_ylabel(y_label)
    figure.supxlabel(x_label, fontsize="medium")
    _legend(figure)


def _legend(figure: Figure) -> None:
    """Put one legend above all panels, and make room for it."""
    found = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {
        label: handle for own, labels in found for handle, label in zip(own, labels, strict=True)
    }
    if handles:
        names = [wrapped(label, 2 * MAX_LETTERS) for label in handles]
        longest = max(len(line) for name in names for line in name.splitlines())
        inches = INCHES_PER_LETTER * longest + INCHES_PER_HANDLE
        columns = max(1, min(3, int(figure.get_figwidth() / inches)))
        rows = math.ceil(len(names) / columns)  # the legend is filled column by column
        lines = max(
            sum(len(name.splitlines()) for name in names[start : start + rows])
            for start in range(0, len(names), rows)
        )
        figure.set_figheight(figure.get_figheight() + INCHES_PER_LINE * lines)
        figure.legend(handles.values(), names, loc="outside upper left", ncols=columns)
