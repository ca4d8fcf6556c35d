"""Gather runs, draw them, and write the page and its figures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ternevo.files import replace_text, replacing
from ternevo.names import check
from ternevo.report.figures import draw
from ternevo.report.page import page
from ternevo.report.tables import Report
from ternevo.report.targets import GIVEN, Target, default_targets
from ternevo.report.threshold import Threshold
from ternevo.runs.arms import AXES, arms_of, read
from ternevo.runs.errors import RunFolderError

PAGE = "report.html"


def write(runs: Sequence[Path], out: Path, x: str, threshold: Threshold) -> Path:
    """Write a report; see `ternevo.report.write`."""
    check("axis", x, AXES)
    seeds, damaged = read(runs)
    if not seeds:
        raise RunFolderError(f"no run can be read: {'; '.join(damaged)}")
    arms = arms_of(seeds)
    given = targets_of(threshold, sorted({arm.env for arm in arms}))
    report = Report(arms, x, default_targets(arms) | given, damaged)
    path = out if out.suffix == ".html" else out / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = draw(report)
    for name, figure in figures.items():
        beside = path.parent / f"{name}.png"
        if figure is None:
            beside.unlink(missing_ok=True)
            continue
        with replacing(beside) as temporary:
            temporary.write_bytes(figure.light)
    replace_text(path, page(report, figures))
    return path


def targets_of(threshold: Threshold, envs: Sequence[str]) -> dict[str, Target]:
    """Return the threshold that was given for each environment that has one.

    Raises:
      UnknownName: one is given for an environment that is not among `envs`.
      ValueError: a threshold is not finite.
    """
    if threshold is None:
        return {}
    given = threshold if isinstance(threshold, Mapping) else dict.fromkeys(envs, threshold)
    for value in given.values():
        if not math.isfinite(value):
            raise ValueError(f"a threshold must be a finite number, got {value}")
    return {
        check("environment of a threshold", env, envs): Target(float(value), GIVEN)
        for env, value in given.items()
    }
