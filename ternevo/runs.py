"""`python -m ternevo.runs`: list runs, and draw them into one figure."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from ternevo import run_folder
from ternevo.run_folder import RunFolder, RunFolderError
from ternevo.sinks import read_jsonl

COLUMNS = ("run", "weights", "seed", "generations", "steps", "return", "best", "state")


@dataclasses.dataclass(frozen=True)
class RunsConfig:
    """List runs: shipped policy's newest return, the best one, and how far each run is."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Runs, or folders that hold runs."""
    plot: Path | None = None
    """Write a figure that compares their learning curves."""


def main(argv: list[str] | None = None) -> None:
    """Print the table; exit 2 if a folder holds no run."""
    config = tyro.cli(RunsConfig, args=argv, prog="python -m ternevo.runs", use_underscores=True)
    try:
        folders = [folder for root in config.folders for folder in _find(root)]
    except RunFolderError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    print(table([describe(folder) for folder in folders]))
    if config.plot:
        from ternevo import plots

        plots.compare({str(f.path): read_jsonl(f.metrics) for f in folders}, config.plot)
        print(config.plot)


def _find(root: Path) -> list[RunFolder]:
    folders = run_folder.find_all(root)
    if not folders:
        raise RunFolderError(f"no run in {root}")
    return folders


def describe(folder: RunFolder) -> tuple[str, ...]:
    """Return the row of one run, as text."""
    settings = run_folder.read_json(folder.config)["settings"]
    rows = read_jsonl(folder.metrics)
    last = rows[-1] if rows else {}
    evaluations = [row["eval/return"] for row in rows if "eval/return" in row]
    return (
        str(folder.path),
        settings["policy"]["weights"],
        str(settings["seed"]),
        f"{last.get('generation', 0)}/{settings['num_generations']}",
        f"{last.get('env_steps', 0):,}",
        f"{evaluations[-1]:.1f}" if evaluations else "-",
        f"{max(evaluations):.1f}" if evaluations else "-",
        "done" if folder.result.exists() else "unfinished",
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """Align rows under their headings."""
    lines = [COLUMNS, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    main()
