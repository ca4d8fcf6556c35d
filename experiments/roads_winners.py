"""Who wins where in docs/pruning.md: the best arm of each task among those of about equal bytes."""

import itertools
from collections.abc import Mapping, Sequence

from roads_arms import MORE_STEPS, road_of
from study_results import Row, values
from study_words import NONE, returns_in_words, table

from ternevo.runs.intervals import difference_interval

BINS = (0, 128, 256, 512, 1024, 4096, 32768)
"""Bytes of a policy file: a bin goes from above one of them to the next."""


def winners(found: Mapping[str, Sequence[list[Row]]]) -> str:
    """Return the table as Markdown, a row for each bin of each task that has an arm in it.

    Args:
      found: for each task the rows of each arm, all with the size of the file.
    """
    head = (
        "task | bytes | arms | best with the same steps | last policy | level with it "
        "| evolved with more steps"
    )
    cells = []
    for task, each in found.items():
        for low, high in itertools.pairwise(BINS):
            inside = [rows for rows in each if low < mean_size(rows) <= high]
            if inside:
                cells.append((task, f"{low + 1:,} to {high:,}", *_row_of(inside)))
    return table(head, cells) + "\n"


def mean_size(rows: list[Row]) -> float:
    """Return the bytes of an arm's policy files, mean of the seeds."""
    return float(values(rows, "file").mean())


def has_same_steps(rows: list[Row]) -> bool:
    """Return whether an arm had the steps of the task's learner."""
    return road_of(rows[0]["arm"]) != MORE_STEPS


def _row_of(inside: list[list[Row]]) -> tuple[str, ...]:
    """Return what a row says of the arms in a bin, beside where the bin is."""
    same = [rows for rows in inside if has_same_steps(rows)]
    longer = [rows for rows in inside if not has_same_steps(rows)]
    more = _best(longer) if longer else []
    units = f"{more[0]['arm'].rpartition(', ')[2]}: " if more else ""
    best = _best(same) if same else []
    said = best[0]["arm"] if best else NONE, returns_in_words(best), _level(same)
    return f"{len(same)}", *said, units + returns_in_words(more)


def _best(each: list[list[Row]]) -> list[Row]:
    """Return the rows of the arm with the highest mean, of equal ones the smallest."""
    return max(each, key=lambda rows: (values(rows, "return_last").mean(), -mean_size(rows)))


def _level(each: list[list[Row]]) -> str:
    """Return the other arms whose difference to the best has an interval with 0 in it."""
    if len(each) < 2:
        return NONE
    best = _best(each)
    returns = values(best, "return_last")
    level = [
        rows[0]["arm"]
        for rows in each
        if rows is not best and difference_interval(returns, values(rows, "return_last")).low <= 0
    ]
    return "; ".join(level) or "none"
