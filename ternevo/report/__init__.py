"""One page about many runs: curves, tables, failures; `python -m ternevo.report` makes it too."""

from collections.abc import Mapping, Sequence
from pathlib import Path

PAGE = "report.html"
Threshold = float | int | Mapping[str, float | int] | None


def write(
    runs: Sequence[Path], out: Path, x: str = "env_steps", threshold: Threshold = None
) -> Path:
    """Write report.html, which needs no other file, and its figures as PNG files beside it.

    Each file is replaced at once or not at all.

    Args:
      runs: runs, or folders that hold runs.
      out: the folder to write into; or the page itself, if it ends in ".html".
      x: what learning curves are drawn over, a name of `ternevo.arms.AXES`.
      threshold: the return from which a seed counts as a success, for all environments, or of each
        by its full id.

    Returns:
      The page.

    Raises:
      RunFolderError: a folder is not there or holds no run.
      UnknownName: there is no such axis, or no run in an environment of `threshold`.
    """
    from ternevo.arms import AXES, gather
    from ternevo.files import replace_text, replacing
    from ternevo.names import check
    from ternevo.report.figures import draw
    from ternevo.report.page import page
    from ternevo.report.tables import Report

    check("axis", x, AXES)
    arms = gather(runs)
    report = Report(arms, x, targets_of(threshold, sorted({arm.env for arm in arms})))
    path = out if out.suffix == ".html" else out / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = draw(report)
    for name, figure in figures.items():
        with replacing(path.parent / f"{name}.png") as temporary:
            temporary.write_bytes(figure.light)
    replace_text(path, page(report, figures))
    return path


def targets_of(threshold: Threshold, envs: Sequence[str]) -> dict[str, float]:
    """Return the threshold of each environment that has one.

    Raises:
      UnknownName: one is given for an environment that is not among `envs`.
    """
    from ternevo.names import check

    if threshold is None:
        return {}
    if not isinstance(threshold, Mapping):
        return {env: float(threshold) for env in envs}
    return {
        check("environment of a threshold", env, envs): float(threshold[env]) for env in threshold
    }
