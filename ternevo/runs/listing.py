"""The table of `python -m ternevo.runs`: filter, group, sort and align rows of runs."""

import dataclasses
import datetime
import difflib
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ternevo.installation import require
from ternevo.names import UnknownName
from ternevo.runs import arms
from ternevo.runs.run_folder import RunFolder
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.runs import RunsConfig

RECENT_SECONDS = 120
"""A run that wrote metrics within this many seconds is "running"; a chunk takes about two."""

COLUMNS = (
    *("run", "env", "strategy", "weights", "seeds", "best", "best_kept"),
    *("steps", "size", "time", "date", "state"),
)
LEAST_WIDTHS = {"run": 12, "env": 12, "strategy": 10, "state": 10}
"""Columns that may be shortened in a narrow terminal, and their minimum widths."""
HEADINGS = {name: name for name in COLUMNS}
LEFT_OUT_FIRST = ("date", "time", "size", "best_kept", "weights")


@dataclasses.dataclass(frozen=True)
class Row:
    """A run of one seed, or several runs that differ only in the seed.

    Lists have one entry per seed; None means unknown, or not finite.

    Attributes:
      run: the path, with "*" where the paths of several runs differ.
      paths: the folder of each seed.
      env: the full id of the environment.
      strategy: the name of the strategy.
      weights: the kind of weights.
      seeds: the numbers of the seeds.
      best: the highest return of the shipped policy in an evaluation during training.
      best_kept: the return of the best policy on fresh episodes, if the run is done.
      steps: the number of environment steps.
      bytes: the size of the policy file.
      seconds: the training time; the seeds of a joint run share it.
      written: when metrics were last written, in seconds since 1970.
      generation: the current generation, for several runs the smallest.
      num_generations: the total number of generations.
      state: "done", "running", "unfinished", "failed", "not begun" or "unreadable".
      reason: why it failed, or why it is unreadable.
      is_joint: whether the seeds are trained in one program.
      settings: the common settings of the row's runs, flat, see `ternevo.runs.arms.settings_of`.
    """

    run: str
    paths: list[str]
    env: str = "-"
    strategy: str = "-"
    weights: str = "-"
    seeds: list[int] = dataclasses.field(default_factory=list)
    best: list[float | None] = dataclasses.field(default_factory=list)
    best_kept: list[float | None] = dataclasses.field(default_factory=list)
    steps: list[int] = dataclasses.field(default_factory=list)
    bytes: int | None = None
    seconds: float = 0.0
    written: float = 0.0
    generation: int = 0
    num_generations: int = 0
    state: str = "unreadable"
    reason: str | None = None
    is_joint: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def show(config: RunsConfig) -> None:
    """Print the table or JSON, and draw the requested figure."""
    of_each = selected([row for root in config.folders for row in rows_below(root)], config)
    rows = in_order(of_each if config.by_seed else grouped(of_each), config.sort)
    print(as_json(rows) if config.json else table([cells(row) for row in rows], _width()))
    if config.plot:
        require("--plot", "train", "matplotlib")
        from ternevo.runs import plots  # matplotlib

        readable = [Path(row.run) for row in of_each if row.state != "unreadable"]
        curves = {str(path): read_jsonl(RunFolder(path).metrics) for path in readable}
        plots.compare(curves, config.plot)
        print(config.plot, file=sys.stderr if config.json else sys.stdout)


def rows_below(root: Path) -> list[Row]:
    """Return one row per seed of each run below a folder, sorted by path.

    Raises:
      RunFolderError: the folder has no runs.
    """
    return [row_of(folder, record) for folder, record in arms.find(root).items()]


def row_of(folder: RunFolder, record: dict[str, Any] | str) -> Row:
    """Return the row of a run of one seed, given its config.json or why it cannot be read."""
    path = str(folder.path)
    if isinstance(record, str):
        return Row(path, [path], reason=record)
    rows, result, broken = arms.read_numbers(folder)
    if broken:
        return Row(path, [path], reason="; ".join(broken))
    settings = record["settings"]
    last = rows[-1] if rows else {}
    evaluations = [row["eval/return"] for row in rows if "eval/return" in row]
    policy = next((p for p in (folder.best_policy, folder.policy) if p.exists()), None)
    state, reason = _state(folder, record, last, result)
    return Row(
        run=path,
        paths=[path],
        env=record["env"],
        strategy=settings["strategy_name"],
        weights=settings["policy"].get("weights", "-"),
        seeds=[settings["seed"]],
        best=[max(evaluations, default=None)],
        best_kept=[result["best_policy"]["return_mean"] if arms.is_done(record, result) else None],
        steps=[last.get("env_steps", 0)],
        bytes=policy.stat().st_size if policy else None,
        seconds=last.get("wall_time", 0.0),
        written=_written(folder),
        generation=last.get("generation", 0),
        num_generations=settings["num_generations"],
        state=state,
        reason=reason,
        is_joint="joint" in record,
        settings=arms.settings_of(record),
    )


def _written(folder: RunFolder) -> float:
    return (folder.metrics if folder.metrics.exists() else folder.config).stat().st_mtime


def _state(
    folder: RunFolder, record: dict[str, Any], last: dict[str, Any], result: dict[str, Any]
) -> tuple[str, str | None]:
    """Return the state of a run according to its files, and why it failed."""
    if failure := arms.failure_of(folder, record):
        return "failed", failure
    if arms.is_done(record, result):
        return "done", None
    if not last:
        return "not begun", None
    is_recent = time.time() - _written(folder) < RECENT_SECONDS
    return ("running" if is_recent else "unfinished"), None


def selected(rows: list[Row], config: RunsConfig) -> list[Row]:
    """Return the rows whose environment and strategy contain the given texts.

    Raises:
      UnknownName: no row does; the message lists near matches.
    """
    for field in ("env", "strategy"):
        wanted = getattr(config, field)
        found = [row for row in rows if wanted.casefold() in getattr(row, field).casefold()]
        if wanted and not found:
            raise UnknownName(_not_found(field, wanted, {getattr(row, field) for row in rows}))
        rows = found
    return rows


def _not_found(field: str, wanted: str, there: set[str]) -> str:
    """List the existing names; the user may have meant the last part of an environment's id."""
    names = sorted(there - {"-"})
    by_word = {name.rpartition("/")[2].casefold(): name for name in names}
    by_word |= {name.casefold(): name for name in names}
    words = difflib.get_close_matches(wanted.casefold(), by_word, cutoff=0.5)
    near = " or ".join(dict.fromkeys(repr(by_word[word]) for word in words))
    hint = f" Did you mean {near}?" if near else ""
    return f"no run has {wanted!r} in its {field}.{hint} There are: {', '.join(names)}"


def grouped(rows: list[Row]) -> list[Row]:
    """Put runs that differ only in the seed, and the seeds of a joint run, into one row."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        path = Path(row.run)
        seed = f"seed{row.seeds[0]}" if row.seeds else ""
        name = (
            path.parent.name if row.is_joint else path.name.replace(seed, "seed*") if seed else path
        )
        common = json.dumps(row.settings, sort_keys=True)
        groups.setdefault((path.parent, name, row.env, common), []).append(row)
    return [_merged(members) if len(members) > 1 else members[0] for members in groups.values()]


def _merged(rows: list[Row]) -> Row:
    """Return one row for several seeds; if their sizes differ, the largest is shown."""
    first, seconds = rows[0], [row.seconds for row in rows]
    path, states = Path(first.run), [row.state for row in rows]
    name = path.name.replace(f"seed{first.seeds[0]}", "seed*")
    is_alike = len(set(states)) == 1
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return dataclasses.replace(
        first,
        run=str(path.parent if first.is_joint else path.with_name(name)),
        **{
            name: [x for row in rows for x in getattr(row, name)]
            for name in ("paths", "seeds", "best", "best_kept", "steps")
        },
        bytes=max((row.bytes for row in rows if row.bytes is not None), default=None),
        seconds=max(seconds) if first.is_joint else math.fsum(seconds),
        written=max(row.written for row in rows),
        generation=min(row.generation for row in rows),
        state=first.state if is_alike else counts,
        reason=next((row.reason for row in rows if row.reason), None),
    )


def in_order(rows: list[Row], by: str) -> list[Row]:
    """Sort rows in descending order; rows with an unknown value come last."""
    keys = {
        "path": lambda row: row.run,
        "return": lambda row: -_mean(row.best, -math.inf),
        "steps": lambda row: -_mean(row.steps, 0.0),
        "time": lambda row: -row.seconds,
    }
    return sorted(rows, key=keys[by])


def _mean(numbers: Sequence[int | float | None], unknown: float) -> float:
    known = [x for x in numbers if x is not None]
    return statistics.fmean(known) if known else unknown


def as_json(rows: list[Row]) -> str:
    """Return rows as a JSON list of objects."""
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=2)


def cells(row: Row) -> dict[str, str]:
    """Return a row as text, by column."""
    progress = f" {row.generation}/{row.num_generations}"
    is_under_way = row.state in ("running", "unfinished", "failed")
    return {
        "run": row.run,
        "env": row.env,
        "strategy": row.strategy,
        "weights": row.weights,
        "seeds": _seeds(row.seeds),
        "best": _over_seeds(row.best),
        "best_kept": _over_seeds(row.best_kept),
        "steps": _short(_mean(row.steps, 0.0)) if row.steps else "-",
        "size": "-" if row.bytes is None else f"{row.bytes:,} B",
        "time": str(datetime.timedelta(seconds=round(row.seconds))) if row.steps else "-",
        "date": datetime.date.fromtimestamp(row.written).isoformat() if row.written else "-",
        "state": row.state
        + (progress if is_under_way else "")
        + (f": {row.reason}" if row.reason else ""),
    }


def _seeds(seeds: list[int]) -> str:
    """Write consecutive seeds as a range."""
    is_range = len(seeds) > 1 and len(set(seeds)) == len(seeds) == max(seeds) - min(seeds) + 1
    if is_range:
        return f"{min(seeds)}-{max(seeds)}"
    return ",".join(map(str, seeds)) or "-"


def _over_seeds(returns: list[float | None]) -> str:
    """Write the mean and standard deviation over seeds, and their number if some are unknown."""
    known = [x for x in returns if x is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.pstdev(known):.1f}" if len(known) > 1 else ""
    missing = f" of {len(known)}" if len(known) < len(returns) else ""
    return f"{statistics.fmean(known):.1f}{spread}{missing}"


def _short(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f}"


def _width() -> int | float:
    """Return the width of the terminal; output to a pipe is not limited."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf


def table(rows: list[dict[str, str]], width: int | float) -> str:
    """Align rows under their headings, within the given width.

    Texts are shortened first; then columns are left out, and a last line lists them.
    """
    for count in range(len(LEFT_OUT_FIRST) + 1):
        left_out = LEFT_OUT_FIRST[:count]
        shown = [name for name in COLUMNS if name not in left_out]
        widths = {name: max(len(row[name]) for row in [*rows, HEADINGS]) for name in shown}
        if _narrow(widths, width):
            break
    lines = [
        "  ".join(_cut(name, row[name], size).ljust(size) for name, size in widths.items()).rstrip()
        for row in [HEADINGS, *rows]
    ]
    note = f"\nnot shown in a narrow terminal: {', '.join(left_out)}" if left_out else ""
    return "\n".join(lines) + note


def _narrow(widths: dict[str, int], width: int | float) -> bool:
    """Shorten the widest texts until a row fits; return whether it does."""
    while sum(widths.values()) + 2 * (len(widths) - 1) > width:
        can = {name: widths[name] for name, least in LEAST_WIDTHS.items() if widths[name] > least}
        if not can:
            return False
        widths[max(can, key=lambda name: can[name])] -= 1
    return True


def _cut(column: str, text: str, size: int) -> str:
    """Shorten a text; keep the end of a path, as it tells more."""
    if len(text) <= size:
        return text
    return f"…{text[len(text) - size + 1 :]}" if column == "run" else f"{text[: size - 1]}…"
