"""Rows of a table of which the default tests run some, and `make test-wide` the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

PARAM = type(pytest.param())


def wide(rows: Iterable[Any], keep: Collection[Any]) -> list:
    """Return the rows for `pytest.mark.parametrize`, wide but for those to keep.

    A row is a value, a tuple of values, or a `pytest.param`, whose id and marks stay. It is kept
    if `keep` has its id, its first value, or all of its values as a tuple. So what is new in a
    table is wide, and missing nowhere.

    Raises:
        ValueError: `keep` has what no row is.
    """
    found = [_as_param(row) for row in rows]
    unknown = [one for one in keep if not any(one in _names(row) for row in found)]
    if unknown:
        raise ValueError(f"{unknown} are no rows: none is left by default that shows what they did")
    return [
        pytest.param(*row.values, id=row.id, marks=[*row.marks, *([pytest.mark.wide] * is_wide)])
        for row in found
        for is_wide in [not any(name in keep for name in _names(row))]
    ]


def _as_param(row):
    if isinstance(row, PARAM):
        return row
    return pytest.param(*row) if isinstance(row, tuple) else pytest.param(row)


def _names(row) -> tuple:
    return row.id, row.values[0], row.values
