"""Reports of the measurements: a table for the terminal, bench.json, and bench.png."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ternevo.bench.contest import Record
from ternevo.bench.measure import in_bytes
from ternevo.files import replace_text, replacing

HEADINGS = ("case", "against", "ratio", "median", "spread", "goal", "")
LEGEND = """\
ternevo against others, in this run on this machine; higher is better, except for a share.
  time: the other's seconds over ours. rate: our environment steps per second over the other's;
  ours count only steps of unfinished episodes. share: the other's seconds over ours, where the
  other is a part of ours. memory: the other's bytes over ours, as planned by XLA: arguments,
  outputs, temporaries. bandwidth: bytes per second that we must read, over those that the other
  reads; above 1 if ours fit into a cache. spread: smallest and largest within one round. evosax
  always runs to the last step. physics and forward: the environment with random actions, and the
  policy, each alone. evaluations: policy evaluations per second of C over the other's. speed: not
  a ratio, but evaluations per second: of a policy on one core, from float observations to actions;
  of NEAT, members in episodes on all cores.
  reference PPO: as in purejaxrl, on one device; here all our steps count."""


def contestants_text(record: Record) -> str:
    """Return the lines printed after a case: one for each contestant, then the notes."""
    lines = [_contestant_line(contestant) for contestant in record["contestants"]]
    notes = ", ".join(f"{name} {_shown(name, value)}" for name, value in record["notes"].items())
    return "\n".join([*lines, f"  ({notes})"] if notes else lines)


def _contestant_line(contestant: Record) -> str:
    name = f"  {contestant['name']}:"
    if contestant["median_seconds"] is None:
        return f"{name} not timed: {contestant['skipped']}"
    seconds = contestant["seconds"]
    parts = [f"{name} {contestant['median_seconds']:.4g} s"]
    parts += [f"{min(seconds):.4g} to {max(seconds):.4g} in {len(seconds)} rounds"]
    rates = (
        *(("env_steps", "steps/s"), ("generations", "generations/s"), ("bytes", "bytes/s")),
        ("evaluations", "evaluations/s"),
    )
    for key, unit in rates:
        if contestant[f"{key}_per_second"] is not None:
            parts.append(f"{contestant[f'{key}_per_second']:,.4g} {unit}")
    return ", ".join(parts)


def _shown(name: str, value: Any) -> str:
    if name.endswith("bytes"):
        return in_bytes(value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def table(cases: dict[str, Record]) -> str:
    """Return the ratios of all cases, aligned under their headings."""
    lines = [HEADINGS, *(_row(name, ratio) for name, ratio in _ratios(cases))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    aligned = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    failed = [f"{name}: {record['error']}" for name, record in cases.items() if "error" in record]
    return "\n".join([*aligned, *failed])


def _ratios(cases: dict[str, Record]) -> list[tuple[str, Record]]:
    return [(name, ratio) for name, record in cases.items() for ratio in record.get("ratios", [])]


def _row(name: str, ratio: Record) -> tuple[str, ...]:
    kind, goal = ratio["kind"], ratio["goal"]
    spread = "" if kind == "memory" else f"{ratio['low']:.3g} to {ratio['high']:.3g}"
    wished = "" if goal is None else f"{'at most' if kind == 'share' else 'at least'} {goal:g}"
    verdict = {None: "", True: "reached", False: "missed"}[ratio["reached"]]
    return (name, ratio["rival"], kind, f"{ratio['median']:.3g}", spread, wished, verdict)


def write(folder: Path, header: Record, cases: dict[str, Record]) -> None:
    """Write bench.json and bench.png into `folder`; called after each case, so nothing is lost.

    Args:
      folder: the output folder; made if missing.
      header: date, command, versions, device, machine and commit.
      cases: the records of the finished cases by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**header, "legend": LEGEND.split("\n"), "cases": cases}, indent=2)
    replace_text(folder / "bench.json", text + "\n")
    if _ratios(cases):
        plot(header, cases, folder / "bench.png")


def plot(header: Record, cases: dict[str, Record], path: Path) -> None:
    """Draw the ratios as horizontal bars on a logarithmic axis, with goals as black marks."""
    ratios = [(name, ratio) for name, ratio in _ratios(cases) if ratio["kind"] != "speed"]
    rows = [(f"{name}: {r['rival']} ({r['kind']})", r) for name, r in ratios]
    figure = Figure(figsize=(9, 1.5 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    medians = [ratio["median"] for _, ratio in rows]
    below = [ratio["median"] - ratio["low"] for _, ratio in rows]
    above = [ratio["high"] - ratio["median"] for _, ratio in rows]
    # Bars start at 1: to the right of it ternevo is better, except for a share.
    axes.barh(places, [m - 1 for m in medians], left=1, xerr=(below, above), height=0.6)
    goals = [(place, r["goal"]) for place, (_, r) in enumerate(rows) if r["goal"] is not None]
    axes.plot([goal for _, goal in goals], [place for place, _ in goals], "k|", ms=12, label="goal")
    axes.axvline(1, color="black", lw=0.8)
    axes.set(xscale="log", yticks=places, yticklabels=[label for label, _ in rows])
    axes.set(xlabel="ratio (median, and the range over rounds)", title=_title(header))
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    if goals:
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _title(header: Record) -> str:
    device, machine = header["device"], header["machine"]
    kind = machine["processor"] if device["platform"] == "cpu" else device["kind"]
    return f"ternevo against others, {kind}, {device['count']} device(s)"
