"""The options of `python -m ternevo.runs`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class RunsConfig:
    """List runs.

    best is the highest return of an evaluation in training, best_kept the return of that policy on
    fresh episodes, and steps is per seed. A run without a result is running if it wrote metrics in
    the last two minutes, else unfinished.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Runs, or folders that hold runs."""
    env: str = ""
    """Only list runs whose environment id contains this text."""
    strategy: str = ""
    """Only list runs whose strategy name contains this text."""
    sort: Literal["path", "return", "steps", "time"] = "path"
    """Sort by path, or by best return, steps or training time with the highest first."""
    by_seed: bool = False
    """List each seed in its own row, instead of grouping runs that differ only in the seed."""
    json: bool = False
    """Print JSON with the numbers of each seed, instead of a table."""
    plot: Path | None = None
    """File for a figure that compares the learning curves."""
