"""Results of a sweep: a table, the best arguments, a figure and a report."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ternevo import report as reports
from ternevo.files import replacing
from ternevo.sweep.space import Parameter, space
from ternevo.sweep.trials import Sweep, outcome, varied_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna import Study
    from optuna.trial import FrozenTrial


def complete(study: "Study") -> "list[FrozenTrial]":
    """Return the trials that have an objective, best first; ties by number."""
    trials = [trial for trial in study.trials if trial.value is not None]
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    return sorted(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def table(sweep: Sweep, study: "Study") -> str:
    """Return all trials in columns: best first, trials without an objective last."""
    best_first = complete(study)
    others = [trial for trial in study.trials if trial.value is None]
    names = varied_parameters(sweep)
    lines = [("trial", *names, "outcome")] + [
        (str(trial.number), *(_short(values.get(k)) for k in names), outcome(sweep, trial))
        for trial, values in ((trial, sweep.values_of(trial)) for trial in best_first + others)
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def best_command(sweep: Sweep, study: "Study") -> str:
    """Return the command line of the best trial."""
    arguments = sweep.arguments(
        sweep.values_of(complete(study)[0]), f"--name={sweep.folder.name}-best"
    )
    return shlex.join(["python", "-m", "ternevo.run", *arguments])


def draw(sweep: Sweep, study: "Study", path: Path) -> None:
    """Plot the objective of every trial against each parameter that varies."""
    import matplotlib.figure

    names = varied_parameters(sweep)
    width = 3.4 * max(len(names), 1)
    figure = matplotlib.figure.Figure(figsize=(width, 3), layout="constrained")
    all_axes = figure.subplots(1, max(len(names), 1), sharey=True, squeeze=False)[0]
    objectives = [trial.value or 0.0 for trial in complete(study)]
    for name, axes in zip(names, all_axes, strict=False):
        values = [sweep.values_of(trial)[name] for trial in complete(study)]
        _scatter(axes, name, space(sweep.file.parameters)[name], values, objectives)
    all_axes[0].set_ylabel(sweep.file.metric)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _scatter(
    axes: "Axes", name: str, found: Parameter, values: list, objectives: list[float]
) -> None:
    """Plot one parameter: choices as ticks in the order of the file, a range as an axis."""
    if found.choices is not None:
        values = [found.choices.index(value) for value in values]
        axes.set_xticks(range(len(found.choices)), [_short(choice) for choice in found.choices])
    elif found.proposal.log:
        axes.set_xscale("log")
    axes.scatter(values, objectives, alpha=0.7)
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)


def report(sweep: Sweep, study: "Study") -> Path:
    """Write report.html about the runs of all trials that have an objective."""
    folders = [sweep.run_of(trial.number) for trial in complete(study)]
    return reports.write([f for f in folders if f], sweep.folder / "report.html", x="env_steps")
