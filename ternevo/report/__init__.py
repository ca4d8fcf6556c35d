"""One page about many runs: curves, tables, failures; `python -m ternevo.report` makes it too."""

from collections.abc import Sequence
from pathlib import Path

from ternevo.report.threshold import Threshold


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
    from ternevo.report import writing  # NumPy and matplotlib, which `--help` does without

    return writing.write(runs, out, x, threshold)
