"""Figures of runs, from their metric rows. Nothing is shown; figures are written or returned."""

from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes

from ternevo.files import replacing
from ternevo.sinks import Row, mean_rows


def learning_curve(rows: list[Row], title: str, path: Path) -> None:
    """Draw returns in training and of the shipped policy over environment steps.

    A strategy without a population has no worst and best member; what it
    reports in only some generations is drawn for those.
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
    """Draw the shipped policies' returns of several seeds, thin, and their mean."""
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
    """Write a figure; matplotlib chooses the format by the suffix, png where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix(".") or "png")


def _plot(axes: Axes, rows: list[Row], metric: str, **style: Any) -> None:
    """Draw a metric over environment steps, from the rows that have it."""
    shown = [row for row in rows if metric in row]
    axes.plot([row["env_steps"] for row in shown], [row[metric] for row in shown], **style)
