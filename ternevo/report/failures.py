"""What went wrong in the runs of a report, how often and in which run."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ternevo.report.tables import Report, Table, number
from ternevo.report.targets import Target
from ternevo.runs.arms import Arm, Seed

FAILED = "runs whose training failed"
UNFINISHED = "unfinished runs"
NOT_FINITE = "runs with a final return that is not finite"
MEMBERS = "members with a return that is not finite or beyond 1e15, over all generations"
NO_EVALUATION = "runs without an evaluation"
BROKEN = "files that cannot be read"
REPEATED = "duplicate seeds in an arm"
BELOW = "finished seeds below the threshold"
KINDS = (FAILED, UNFINISHED, NOT_FINITE, MEMBERS, NO_EVALUATION, BROKEN, REPEATED, BELOW)


class Failure(NamedTuple):
    """One of `KINDS`, how many cases it stands for, and a sentence that names the run."""

    kind: str
    count: int
    text: str


def failures(report: Report) -> list[Failure]:
    """Return what went wrong, run by run."""
    found = [Failure(BROKEN, 1, f"{said}; this run is not in any arm") for said in report.damaged]
    for arm in report.arms:
        for seed in arm.seeds:
            found += _of_seed(seed, report.targets.get(arm.env))
        found += _repeated(arm)
    return found


def _of_seed(seed: Seed, target: Target | None) -> Iterator[Failure]:
    where, settings = seed.folder.path, seed.record["settings"]
    if seed.failure:
        yield Failure(FAILED, 1, f"{where}: {seed.failure}")
    if not seed.is_done:
        why = "" if seed.failure else "; it is still running, was stopped or failed"
        so_far = f"{seed.generations} of {settings['num_generations']} generations"
        yield Failure(UNFINISHED, 1, f"{where}: {so_far}{why}; shown in curves but not in tables")
    elif seed.final_return is None:
        yield Failure(NOT_FINITE, 1, f"{where}: the final return is not finite; left out of means")
    elif target and not target.is_relative and seed.final_return < target.value:
        below = f"{number(seed.final_return)} is below the threshold {number(target.value)}"
        yield Failure(BELOW, 1, f"{where}: {below}")
    if seed.num_nonfinite:
        said = f"{seed.num_nonfinite} members had a return that is not finite or beyond 1e15"
        yield Failure(MEMBERS, seed.num_nonfinite, f"{where}: {said}")
    if not seed.curve():
        yield Failure(NO_EVALUATION, 1, f"{where}: no evaluation yet; left out of curves")
    for said in seed.broken:
        yield Failure(BROKEN, 1, said)


def _repeated(arm: Arm) -> Iterator[Failure]:
    counts = Counter(seed.number for seed in arm.seeds)
    for number_, count in counts.items():
        if count > 1:
            places = ", ".join(str(s.folder.path) for s in arm.seeds if s.number == number_)
            said = f"seed {number_} occurs {count} times, so intervals are too narrow: {places}"
            yield Failure(REPEATED, 1, f"{arm.env}, {arm.label}: {said}")


def counted(report: Report, found: list[Failure]) -> Table:
    """Return the number of failures of each kind, over all runs."""
    rows = [(kind, f"{sum(f.count for f in found if f.kind == kind):,}") for kind in KINDS]
    if all(target.is_relative for target in report.targets.values()):
        rows[-1] = (BELOW, "not counted: no threshold is known or given; set --threshold")
    return Table(("failure", "count"), rows)
