"""The options of `python -m ternevo.runs`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class RunsConfig:
    """List runs.

    Best is the highest return of an evaluation in training, best_kept the return of that policy on
    fresh episodes, steps those of a seed. A run is called running if it wrote metrics in the last
    two minutes, and unfinished otherwise.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Runs, or folders that hold runs."""
    env: str = ""
    """Only runs whose environment has this in its id."""
    strategy: str = ""
    """Only runs whose strategy has this in its name."""
    sort: Literal["path", "return", "steps", "time"] = "path"
    """By path; or by best return, steps or training time, the most first."""
    by_seed: bool = False
    """A row for each seed, instead of one for runs that differ in nothing but the seed."""
    json: bool = False
    """Print JSON instead of a table, with each seed's numbers."""
    plot: Path | None = None
    """Write a figure that compares their learning curves."""
