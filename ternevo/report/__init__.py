"""One page about many runs: curves, tables, failures; `python -m ternevo.report` makes it too."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

PAGE = "report.html"
Threshold = float | int | Mapping[str, float | int] | None


def write(
    runs: Sequence[Path], out: Path, x: str = "env_steps", threshold: Threshold = None
) -> Path:
    """Write report.html, which needs no other file, and its figures as PNG files beside it.

    Each file is replaced at once or not at all. A figure of an earlier report in which there is
    nothing to draw any more is removed. A file of a run that cannot be read is named on the page;
    without a config.json the run is in no arm.

    Args:
      runs: runs, or folders that hold runs.
      out: the folder to write into; or the page itself, if it ends in ".html".
      x: what learning curves are drawn over, a name of `ternevo.runs.arms.AXES`.
      threshold: the return from which a seed counts as a success, for all environments, or of each
        by its full id.

    Returns:
      The page.

    Raises:
      RunFolderError: a folder is not there or holds no run, or no run can be read.
      UnknownName: there is no such axis, or no run in an environment of `threshold`.
      ValueError: a threshold is not finite.
    """
    from ternevo.files import replace_text, replacing
    from ternevo.names import check
    from ternevo.report.figures import draw
    from ternevo.report.page import page
    from ternevo.report.tables import Report
    from ternevo.runs.arms import AXES, arms_of, read
    from ternevo.runs.run_folder import RunFolderError

    check("axis", x, AXES)
    seeds, damaged = read(runs)
    if not seeds:
        raise RunFolderError(f"no run can be read: {'; '.join(damaged)}")
    arms = arms_of(seeds)
    report = Report(arms, x, targets_of(threshold, sorted({arm.env for arm in arms})), damaged)
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


def targets_of(threshold: Threshold, envs: Sequence[str]) -> dict[str, float]:
    """Return the threshold of each environment that has one.

    Raises:
      UnknownName: one is given for an environment that is not among `envs`.
      ValueError: one is not finite.
    """
    from ternevo.names import check

    if threshold is None:
        return {}
    given = threshold if isinstance(threshold, Mapping) else dict.fromkeys(envs, threshold)
    for value in given.values():
        if not math.isfinite(value):
            raise ValueError(f"a threshold is a finite number, and {value} is not")
    return {check("environment of a threshold", env, envs): float(given[env]) for env in given}
