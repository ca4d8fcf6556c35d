"""Time contestants in turns, and compute ratios."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ternevo.bench.cases import Case, Comparison
from ternevo.bench.contest import Contestant, Record
from ternevo.machine import callbacks
from ternevo.machine.device_memory import available_bytes, planned_bytes

MIN_ROUNDS = 3
"""Number of rounds that run even if they exceed the time limit of a case."""


def compiled(name: str, function: Any, *arguments: Any, run: Callable[[], Any]) -> Contestant:
    """Compile a jitted function for its arguments and return the contestant that `run`s it.

    `run` calls the same jitted function with similar arguments and uses the
    compiled program. Peak memory is XLA's plan: arguments, outputs
    and temporaries, on all devices together.
    """
    begin = time.perf_counter()
    program = function.lower(*arguments).compile()
    seconds = time.perf_counter() - begin
    one_device = planned_bytes(program)
    count = len(program.runtime_executable().local_devices())
    peak = None if one_device is None else one_device * count
    print(f"  {name}: compiled in {seconds:.1f} s, needs {in_bytes(peak)}", flush=True)
    skipped = _too_large(one_device, count)
    return Contestant(name, run, compile_seconds=seconds, peak_bytes=peak, skipped=skipped)


def _too_large(one_device: int | None, count: int) -> str:
    """Return why a program must not run, or "": on CPU, the system would kill this process.

    CPU devices share the memory of the machine.
    """
    available = available_bytes()
    if one_device is None or available is None:
        return ""
    needed = one_device * count if jax.default_backend() == "cpu" else one_device
    if needed <= available:
        return ""
    return f"needs {in_bytes(needed)}, but only {in_bytes(available)} are available"


def warmed_up(contestant: Contestant) -> Contestant:
    """Run a contestant once, untimed; mark it as skipped if memory runs out."""
    if contestant.skipped:
        return contestant
    try:
        callbacks.ready(contestant.run())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return contestant._replace(skipped="ran out of memory")
    return contestant


def rounds(
    contestants: Sequence[Contestant], repeats: int, max_seconds: float
) -> list[list[float]]:
    """Time warmed-up contestants in turns; return the seconds of each, round by round.

    Taking turns (A B A B) spreads a slow phase of the machine over all. After
    `max_seconds` no new round starts, except for the first `MIN_ROUNDS`.
    """
    seconds: list[list[float]] = [[] for _ in contestants]
    begin = time.perf_counter()
    for done in range(repeats):
        if done >= MIN_ROUNDS and time.perf_counter() - begin > max_seconds:
            break
        for contestant, times in zip(contestants, seconds, strict=True):
            start = time.perf_counter()
            callbacks.ready(contestant.run())
            times.append(time.perf_counter() - start)
    return seconds


def run_case(case: Case, repeats: int, max_seconds: float) -> Record:
    """Build a case, time it, and return its record for bench.json."""
    contest = case.setting.build()
    everybody = [warmed_up(contestant) for contestant in contest.contestants]
    running = [contestant for contestant in everybody if not contestant.skipped]
    seconds = rounds(running, repeats, max_seconds)
    times = dict(zip([contestant.name for contestant in running], seconds, strict=True))
    contestants = [record(c, times.get(c.name, [])) for c in everybody]
    return {
        "description": case.description,
        "suites": list(case.suites),
        "notes": contest.notes,
        "contestants": contestants,
        "ratios": ratios(contestants, case.comparisons),
    }


def record(contestant: Contestant, seconds: list[float]) -> Record:
    """Return the record of a contestant; rates use the median time."""
    median = statistics.median(seconds) if seconds else None

    def rate(amount: int | None) -> float | None:
        return amount / median if amount is not None and median else None

    return {
        "name": contestant.name,
        "skipped": contestant.skipped,
        "seconds": seconds,
        "median_seconds": median,
        "compile_seconds": contestant.compile_seconds,
        "peak_bytes": contestant.peak_bytes,
        "env_steps": contestant.env_steps,
        "env_steps_per_second": rate(contestant.env_steps),
        "generations_per_second": rate(contestant.generations),
        "bytes_read": contestant.bytes_read,
        "bytes_per_second": rate(contestant.bytes_read),
        "evaluations": contestant.evaluations,
        "evaluations_per_second": rate(contestant.evaluations),
    }


def ratios(contestants: list[Record], comparisons: Sequence[Comparison]) -> list[Record]:
    """Return the ratios of the first contestant to the others, without unavailable ones."""
    ours, named = contestants[0], {record["name"]: record for record in contestants}
    found = [(c, ratio(ours, named[c.rival], c.kind)) for c in comparisons if c.rival in named]
    return [
        {"rival": c.rival, "kind": c.kind, **values, "goal": c.goal, "reached": reached(c, values)}
        for c, values in found
        if values
    ]


def reached(comparison: Comparison, values: Record) -> bool | None:
    """Return whether the median reaches the goal; None without a goal."""
    if comparison.goal is None:
        return None
    if comparison.kind == "share":
        return values["median"] <= comparison.goal
    return values["median"] >= comparison.goal


AMOUNTS = {"rate": "env_steps", "bandwidth": "bytes_read", "evaluations": "evaluations"}


def ratio(ours: Record, other: Record, kind: str) -> Record | None:
    """Return {"median", "low", "high"} of one kind (see `cases.Kind`), None if a number is missing.

    `median` is the ratio of the median times; `low` and `high` are the smallest and
    largest ratio within one round. Memory has no spread.
    """
    if kind == "memory":
        if not ours["peak_bytes"] or not other["peak_bytes"]:
            return None
        value = other["peak_bytes"] / ours["peak_bytes"]
        return {"median": value, "low": value, "high": value}
    if kind == "speed":
        return _speed(other)
    if not ours["seconds"] or not other["seconds"]:
        return None
    factor = 1.0
    if kind in AMOUNTS:
        mine, theirs = ours[AMOUNTS[kind]], other[AMOUNTS[kind]]
        if not mine or not theirs:
            return None
        factor = mine / theirs
    pairs = [b / a for a, b in zip(ours["seconds"], other["seconds"], strict=True)]
    median = statistics.median(other["seconds"]) / statistics.median(ours["seconds"])
    values = {"median": median, "low": min(pairs), "high": max(pairs)}
    return {name: value * factor for name, value in values.items()}


def _speed(record: Record) -> Record | None:
    """Return evaluations per second for the median time, the slowest and the fastest round."""
    if not record["seconds"] or not record["evaluations"]:
        return None
    times = (statistics.median(record["seconds"]), max(record["seconds"]), min(record["seconds"]))
    rates = (record["evaluations"] / time for time in times)
    return dict(zip(("median", "low", "high"), rates, strict=True))


def in_bytes(count: int | None) -> str:
    """Return a number of bytes as text, such as "1.5 GB"."""
    if count is None:
        return "unknown memory"
    if count < 1000:
        return f"{count} B"
    power = min(int(math.log10(count)) // 3, 4)
    return f"{count / 1000**power:.3g} {['B', 'kB', 'MB', 'GB', 'TB'][power]}"
