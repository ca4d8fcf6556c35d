"""One page about many runs: curves, tables and failures. See also `python -m ternevo.report`."""

from collections.abc import Sequence
from pathlib import Path

from ternevo.installation import require
from ternevo.report.threshold import Threshold


def write(
    runs: Sequence[Path], out: Path, x: str = "env_steps", threshold: Threshold = None
) -> Path:
    """Write a self-contained report.html, and its figures as PNG files next to it.

    Each file is replaced atomically. A figure of an earlier report that now has nothing to show is
    removed. The page lists files that cannot be read; a run without a readable config.json does not
    belong to any arm.

    Args:
      runs: run folders, or folders that contain them.
      out: the output folder, or the page itself if it ends in ".html".
      x: the x-axis of the learning curves, a name in `ternevo.runs.arms.AXES`.
      threshold: the return at which a seed counts as a success: one for all environments, or one
        for each full environment id. The others have that of `ternevo.report.targets.KNOWN`, or
        else 90 % of the way from the first evaluation to the best arm's final return.

    Returns:
      The page.

    Raises:
      RunFolderError: a folder is missing or does not contain a run, or no run can be read.
      UnknownName: the axis is unknown, or no run is in an environment of `threshold`.
      ValueError: a threshold is not finite.
      MissingExtra: matplotlib or scipy is not installed.
    """
    require("a report", "train", "matplotlib", "scipy")
    from ternevo.report import writing  # imports NumPy and matplotlib, not needed by `--help`

    return writing.write(runs, out, x, threshold)
