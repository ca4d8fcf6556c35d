"""Figures of runs, from their metric rows. Nothing is shown; figures are written or returned."""

from pathlib import Path

import matplotlib.figure
from matplotlib.axes import Axes

from ternevo.files import replacing
from ternevo.sinks import Row


def learning_curve(rows: list[Row], title: str, path: Path) -> None:
    """Draw population mean, its range, and the shipped policy's return over environment steps."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = [row for row in rows if {"return/mean", "return/min", "return/max"} <= row.keys()]
    steps = [row["env_steps"] for row in shown]
    axes.fill_between(
        steps,
        [row["return/min"] for row in shown],
        [row["return/max"] for row in shown],
        alpha=0.15,
        lw=0,
        label="population, worst to best",
    )
    axes.plot(steps, [row["return/mean"] for row in shown], label="population mean")
    _plot_evaluations(axes, rows, "shipped policy, fresh episodes")
    axes.set(title=title, xlabel="environment steps", ylabel="return")
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, path)


def compare(runs: dict[str, list[Row]], path: Path) -> None:
    """Draw the shipped policies' returns of several runs over environment steps."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, rows in runs.items():
        _plot_evaluations(axes, rows, name)
    axes.set(xlabel="environment steps", ylabel="return of the shipped policy")
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, path)


def _write(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure; matplotlib chooses the format by the suffix, png where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix(".") or "png")


def _plot_evaluations(axes: Axes, rows: list[Row], label: str) -> None:
    evaluated = [row for row in rows if "eval/return" in row]
    axes.plot(
        [row["env_steps"] for row in evaluated],
        [row["eval/return"] for row in evaluated],
        "o-",
        ms=3,
        label=label,
    )
