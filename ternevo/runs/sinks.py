"""Metric sinks: always metrics.jsonl; a progress bar, TensorBoard and wandb on request.

A row holds the results of one generation: "generation" (from 1), "env_steps" (total),
"wall_time" (seconds of training) and the strategy's metrics. A metric that was
not measured in a generation, or is not finite, is not in its row.

Trackers, TensorBoard and wandb, draw everything over "env_steps". They stay open until the run has
its result, and get that too.
"""

import io
import itertools
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from ternevo import reading
from ternevo.files import naming, replacing
from ternevo.installation import load

Row = dict[str, Any]
Result = dict[str, Any]
"""What result.json holds of a seed: "policy" and "best_policy", and "eval_env" with `--eval_env`,
each with its "return_mean"."""

STEPS, HIGH_STEPS = "episode/steps", "episode/steps_high"
"""Steps of a generation: an integer, or the lower and the upper 32 bits of one."""

PICTURES = (".gif", ".png", ".jpg", ".jpeg")


@runtime_checkable
class Sink(Protocol):
    """Receives the rows of a chunk."""

    def write(self, rows: list[Row]) -> None:
        """Receive rows."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


@runtime_checkable
class Tracker(Sink, Protocol):
    """A sink that also gets the result of the run, after its rows."""

    def finish(self, results: list[Result]) -> None:
        """Receive the results of the seeds that the sink stands for: its own, or all."""
        ...


@runtime_checkable
class AnimationSink(Sink, Protocol):
    """A sink that can also show a drawn episode."""

    def animate(self, path: Path, generation: int) -> None:
        """Show a GIF, PNG or HTML file at its generation; for any other file, show the path."""
        ...


def rows_of(metrics: dict[str, Any], generation: int, before: Row, seconds: float) -> list[Row]:
    """Return one row per generation of a chunk.

    Args:
      metrics: arrays [generations] by name.
      generation: the number of generations before the chunk.
      before: the last row before the chunk, or {}; totals continue from it.
      seconds: the duration of the chunk; its generations share it evenly.
    """
    count = len(next(iter(metrics.values())))
    env_steps, wall_time = before.get("env_steps", 0), before.get("wall_time", 0.0)
    rows = []
    for i in range(count):
        steps = steps_of(metrics, i)
        env_steps += steps
        row: Row = {
            "generation": generation + i + 1,
            "env_steps": env_steps,
            "wall_time": round(wall_time + seconds * (i + 1) / count, 4),
        }
        for name, values in metrics.items():
            if name != HIGH_STEPS and math.isfinite(values[i]):
                row[name] = values[i].item()
        rows.append(row | {STEPS: steps})
    return rows


def steps_of(metrics: dict[str, Any], row: int) -> int:
    """Return the exact steps of a generation; strategies with large counts give two words."""
    high = metrics[HIGH_STEPS][row] if HIGH_STEPS in metrics else 0
    return int(metrics[STEPS][row]) + (int(high) << 32)


def mean_rows(rows_of_each: list[list[Row]]) -> list[Row]:
    """Return the means over seeds, one row per generation; for one seed, return its rows.

    A metric that some seeds lack in a generation is averaged over the others.
    """
    if len(rows_of_each) == 1:
        return rows_of_each[0]
    by_generation: dict[int, list[Row]] = {}
    for rows in rows_of_each:
        for row in rows:
            by_generation.setdefault(row["generation"], []).append(row)
    return [
        {**_means(rows), "generation": generation} for generation, rows in by_generation.items()
    ]


def _means(rows: list[Row]) -> Row:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: statistics.fmean(row[name] for row in rows if name in row) for name in names}


FINAL = {"final/return": "policy", "final/best_return": "best_policy"}
"""Metrics of the final evaluation, and the policy of a result that each is of."""


def final_metrics(results: list[Result]) -> dict[str, float]:
    """Return the final return of the last and of the best policy, as means over seeds.

    One that is not finite, in any seed, is left out.

    Examples:
      >>> lost = {"return_mean": None}
      >>> final_metrics([{"policy": {"return_mean": x}, "best_policy": lost} for x in (1, 3)])
      {'final/return': 2.0}
    """
    returns = {
        metric: [result[policy]["return_mean"] for result in results]
        for metric, policy in FINAL.items()
    }
    return {metric: statistics.fmean(own) for metric, own in returns.items() if None not in own}


class Records:
    """Sends each seed's rows to its own sinks, and the means over seeds to the common sinks.

    `last` has the newest row of each seed, {} before the first. All rows are in metrics.jsonl.
    """

    def __init__(self, last: list[Row], own: list[list[Sink]], common: list[Sink]):
        """Continue after the row `last` of each seed."""
        self.last = last
        self._own = own
        self._common = common

    def write(self, metrics_of_each: list[dict[str, Any]], generation: int, seconds: float) -> None:
        """Receive the metrics of a chunk from every seed; see `rows_of`."""
        new = [
            rows_of(metrics, generation, last, seconds)
            for metrics, last in zip(metrics_of_each, self.last, strict=True)
        ]
        if not new[0]:
            return
        for sinks, rows in zip([*self._own, self._common], [*new, mean_rows(new)], strict=True):
            for sink in sinks:
                sink.write(rows)
        self.last = [rows[-1] for rows in new]

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        for sink in itertools.chain(*self._own):
            if isinstance(sink, Jsonl):
                sink.sync()

    def animate(self, path: Path, generation: int) -> None:
        """Show an episode of the first seed in its own and the common sinks that can show it."""
        for sink in [*self._own[0], *self._common]:
            if isinstance(sink, AnimationSink):
                sink.animate(path, generation)

    def end_training(self) -> None:
        """Close the sinks that need nothing but rows: the files, the progress bar."""
        self._close(lambda sink: not isinstance(sink, Tracker))

    def finish(self, results: list[Result]) -> None:
        """Give the trackers the result of each seed: its own to each, all to the common ones."""
        of_each = [[result] for result in results]
        for sinks, own in zip([*self._own, self._common], [*of_each, results], strict=True):
            for sink in sinks:
                if isinstance(sink, Tracker):
                    sink.finish(own)

    def close(self) -> None:
        """Close all sinks."""
        self._close(lambda sink: True)

    def _close(self, which: Callable[[Sink], bool]) -> None:
        for sinks in [*self._own, self._common]:
            for sink in filter(which, list(sinks)):
                sinks.remove(sink)
                sink.close()


class Jsonl:
    """A file with one JSON object per line."""

    def __init__(self, path: Path):
        """Append to `path`."""
        self._path = path
        self._file = path.open("a")

    def write(self, rows: list[Row]) -> None:
        """Append and flush."""
        with naming(self._path):
            self._file.writelines(json.dumps(row) + "\n" for row in rows)
            self._file.flush()

    def sync(self) -> None:
        """Wait until the rows are on disk."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close the file."""
        with self._file:
            self.sync()


def read_jsonl(path: Path, names: Collection[str] | None = None) -> list[Row]:
    """Return the rows of a metrics file, without a truncated last line.

    Args:
      path: the file; if it does not exist, there are no rows.
      names: the metrics to keep besides "generation", None for all.

    Raises:
      NotAFile: it is not a regular file.
      ValueError: another line is not a row; the message names it.
    """
    if not path.exists():
        return []
    reading.check_regular(path)
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = _parse_row(line)
                kept = row if names is None else {k: row[k] for k in names if k in row}
                rows.append({"generation": row["generation"], **kept})
            except (ValueError, KeyError) as error:
                if line.endswith(b"\n"):
                    raise ValueError(f"line {number} of {path} is not a row of metrics") from error
    return rows


def _parse_row(line: bytes) -> Row:
    """Return the row of a line.

    Raises:
      ValueError: it is not JSON, not an object, or has a value that is not a number.
    """
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(row, dict) or any(type(x) not in (int, float) for x in row.values()):
        raise ValueError("it must be an object of numbers")
    return row


def cut_jsonl(path: Path, generation: int) -> Row:
    """Drop the rows after `generation`; a resumed run will write them again.

    Returns:
      The row of that generation, {} for generation 0.

    Raises:
      ValueError: the file does not begin with rows 1 to `generation`, in order.
    """
    row: Row = {}
    if path.exists():
        reading.check_regular(path)
    with (
        path.open("rb") if path.exists() else io.BytesIO() as before,
        replacing(path) as temporary,
        temporary.open("wb") as kept,
    ):
        for number in range(1, generation + 1):
            line = before.readline().rstrip(b"\n")
            row = _checked_row(path, line, number, generation)
            kept.write(line + b"\n")
    return row


def _checked_row(path: Path, line: bytes, number: int, generation: int) -> Row:
    """Return the row of generation `number`.

    Raises:
      ValueError: the line is not that row.
    """
    try:
        row = _parse_row(line)
        if row["generation"] == number and math.isfinite(row["env_steps"] + row["wall_time"]):
            return row
        found = f"is the row of generation {row['generation']}"
    except (ValueError, KeyError, OverflowError):
        found = "is damaged" if line else "is missing"
    raise ValueError(
        f"{path} does not have the rows of generations 1 to {generation}, from which the "
        f"newest checkpoint continues: line {number} {found}. Put the file back, or start from "
        "this run's policy with --init_from and another --name"
    )


SHOWN = {"return": "return/mean", "max": "return/max", "eval": "eval/return"}
"""Metrics on the console: each is shown once a row has it, and then with its newest value."""

LEFT_OUT_MEMBERS = {
    "return/nonfinite": "that is not finite",
    "return/out_of_range": "above 1e15 in size",
}
"""Metrics that count members with unused returns, and how the console describes the returns."""


class Console:
    """A progress bar on a terminal; elsewhere one line per chunk."""

    def __init__(self, num_generations: int, before: Row, num_seeds: int = 1):
        """Start after the row `before`, {} for a new run; rows are means over seeds."""
        self._num_generations = num_generations
        self._num_seeds = num_seeds
        self._last = before
        self._first_time: float | None = None
        done = self._first_generation = before.get("generation", 0)
        self._known: dict[str, float] = {}
        is_terminal = sys.stderr.isatty()
        self._bar = (
            tqdm(total=num_generations, initial=done, unit="gen", dynamic_ncols=True)
            if is_terminal
            else None
        )

    def write(self, rows: list[Row]) -> None:
        """Show the newest values."""
        row = rows[-1]
        for known in rows:
            self._known |= {name: known[name] for name in SHOWN.values() if name in known}
        values = {
            label: f"{self._known[name]:.1f}"
            for label, name in SHOWN.items()
            if name in self._known
        }
        values["steps/s"] = f"{self._steps_per_second(rows):,.0f}"
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(len(rows))
        else:
            shown = "  ".join(f"{name} {value}" for name, value in values.items())
            print(
                f"generation {row['generation']}/{self._num_generations}  {shown}  "
                f"left {self._time_left(row)}",
                flush=True,
            )
        self._report_left_out(rows)
        self._last = row

    def close(self) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()

    def _steps_per_second(self, rows: list[Row]) -> float:
        steps = self._num_seeds * sum(row["episode/steps"] for row in rows)
        seconds = rows[-1]["wall_time"] - self._last.get("wall_time", 0.0)
        return steps / max(seconds, 1e-9)

    def _time_left(self, row: Row) -> str:
        """Estimate from the chunks after the first one, which holds the compilation."""
        if self._first_time is None:
            self._first_time, self._first_generation = row["wall_time"], row["generation"]
            return "?"
        done = row["generation"] - self._first_generation
        pace = (row["wall_time"] - self._first_time) / max(done, 1)
        return tqdm.format_interval(int(pace * (self._num_generations - row["generation"])))

    def _report_left_out(self, rows: list[Row]) -> None:
        """Report the number of members with unusable returns."""
        for metric, what in LEFT_OUT_MEMBERS.items():
            count = round(self._num_seeds * sum(row.get(metric, 0) for row in rows))
            if count:
                tqdm.write(
                    f"warning: {count} members had a return {what} in generations "
                    f"{rows[0]['generation']} to {rows[-1]['generation']}; they got the worst "
                    "fitness",
                    file=sys.stderr,
                )


class TensorBoard:
    """Scalars in TensorBoard's event files."""

    def __init__(self, folder: Path, done: int, settings: Mapping[str, Any] | None = None):
        """Write into `folder`; TensorBoard ignores anything there after `done` environment steps.

        Args:
          folder: the folder of its event files.
          done: the environment steps before a resume, 0 for a new run.
          settings: hyper-parameters by name, shown with the result.

        Raises:
          MissingExtra: tensorboardX is not installed.
        """
        self._package = load("--track tensorboard", "tensorboard", "tensorboardX")
        self._writer = self._package.SummaryWriter(str(folder), purge_step=done + 1)
        self._steps = done
        self._settings = settings or {}

    def write(self, rows: list[Row]) -> None:
        """Add every metric at its environment steps."""
        for row in rows:
            self._steps = int(row["env_steps"])
            for name, value in row.items():
                if name != "env_steps":
                    self._writer.add_scalar(name, value, self._steps)
        self._writer.flush()

    def finish(self, results: list[Result]) -> None:
        """Add the final returns, and the hyper-parameters beside them (the tab HParams).

        tensorboardX's own `add_hparams` would put them into a run of another name.
        """
        metrics = final_metrics(results)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, self._steps)
        simple = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in self._settings.items()
        }
        for summary in self._package.summary.hparams(simple, metrics):
            self._writer._get_file_writer().add_summary(summary)
        self._writer.flush()

    def animate(self, path: Path, generation: int) -> None:
        """Add a picture unchanged, as browsers play a GIF; for other files, add the path.

        tensorboardX's own `add_video` would need moviepy to produce the same bytes.
        """
        del generation  # of the last row, and so at its environment steps
        if path.suffix not in PICTURES:
            self._writer.add_text("animation", f"open {path} in a browser", self._steps)
            return
        from PIL import Image

        summary_of = self._package.proto.summary_pb2.Summary
        with Image.open(path) as image:
            width, height = image.size
        picture = summary_of.Image(
            height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
        )
        summary = summary_of(value=[summary_of.Value(tag="animation", image=picture)])
        self._writer._get_file_writer().add_summary(summary, self._steps)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class Wandb:
    """A wandb run; offline with `mode="offline"` or WANDB_MODE=offline."""

    def __init__(self, files: Mapping[str, Path] | None = None, **settings: Any):
        """Start a run with the arguments of `wandb.init`.

        Args:
          files: what the artifact of the finished run holds, by the name there.
          **settings: the arguments of `wandb.init`.

        Raises:
          MissingExtra: wandb is not installed.
        """
        self._package = load("--track wandb", "wandb", "wandb")
        self._files = files or {}
        self._run = self._package.init(**settings)
        self._run.define_metric("env_steps")
        self._run.define_metric("*", step_metric="env_steps")

    def finish(self, results: list[Result]) -> None:
        """Put the final returns into the summary, and log the policies as an artifact."""
        metrics = final_metrics(results)
        self._run.summary.update(metrics)
        artifact = self._package.Artifact(f"policy-{self._run.id}", type="model", metadata=metrics)
        for name, path in self._files.items():
            artifact.add_file(str(path), name=name)
        self._run.log_artifact(artifact)

    def write(self, rows: list[Row]) -> None:
        """Log every row at its generation; wandb draws it over its environment steps."""
        for row in rows:
            self._run.log(row, step=row["generation"])

    def animate(self, path: Path, generation: int) -> None:
        """Log a GIF as a video, a page as HTML, other pictures as images, other files by path."""
        wandb = self._package
        shown = dict.fromkeys(PICTURES, lambda: wandb.Image(str(path))) | {
            ".gif": lambda: wandb.Video(str(path)),
            ".html": lambda: wandb.Html(str(path), inject=False),
        }
        row = {"animation": shown.get(path.suffix, lambda: f"open {path}")()}
        self._run.log(row, step=generation)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
