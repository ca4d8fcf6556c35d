"""Numbers, verdicts and tables of docs/study.md as text."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from study_results import Row, values

from ternevo.files import replace_text
from ternevo.runs.intervals import Interval, Reached, difference_interval, mean_interval, verdict

NONE = "-"
"""The cell of what there is not."""


def between(
    left: list[Row], right: list[Row], of: Callable[[list[Row]], np.ndarray]
) -> Interval | None:
    """Return the difference of two cells, None if one is missing."""
    return difference_interval(of(left), of(right)) if left and right else None


def in_words(
    difference: Interval | None, words: tuple[str, str, str] = ("wins", "ties", "loses")
) -> str:
    """Return the verdict, or that there is none."""
    return verdict(difference, words) if difference else "not run yet"


def returns_in_words(rows: list[Row]) -> str:
    """Return the mean final return with its interval."""
    return spread(mean_interval(values(rows, "return_last"))) if rows else NONE


def steps_in_words(reached: Reached) -> str:
    """Return when a return was reached."""
    if np.isnan(reached.steps):
        return NONE
    if np.isinf(reached.steps):
        return "not reached"
    return ("≤ " if reached.is_bound else "") + f"{reached.steps:,.0f}"


def factor(value: float) -> str:
    """Return a ratio of steps."""
    if np.isnan(value):
        return NONE
    return "infinite" if np.isinf(value) else f"{value:.2f}"


def number(value: float) -> str:
    """Return a number with three digits or more."""
    if not np.isfinite(value):
        return NONE
    digits = next((d for bound, d in ((1000, 0), (100, 1)) if abs(value) >= bound), 2)
    return f"{round(float(value), digits) + 0.0:,.{digits}f}"  # + 0.0: no minus before a zero


def spread(interval: Interval | None, in_digits: Callable[[float], str] = number) -> str:
    """Return a value with its interval, as numbers or, with `factor`, as ratios of steps."""
    if interval is None:
        return NONE
    value, low, high = map(in_digits, interval)
    return f"{value} [{low}, {high}]"


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; `head` has its columns with | between. It says if it has no rows."""
    cells = [" | ".join(str(cell) for cell in row) for row in rows]
    if not cells:
        return "Not run yet."
    lines = [head, " | ".join("---" for _ in head.split("|")), *cells]
    return "\n".join(f"| {line} |" for line in lines)


def put(page: Path, name: str, text: str) -> None:
    """Replace what a page has between `<!-- name -->` and `<!-- end of name -->`.

    Raises:
      ValueError: the page has not each of the two once, in this order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    whole = page.read_text()
    before, _, rest = whole.partition(begin)
    if (whole.count(begin), rest.count(end), whole.count(end)) != (1, 1, 1):
        raise ValueError(f"{page} must have {begin} and then {end}, each once")
    replace_text(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}")


def listed(sentences: Sequence[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
