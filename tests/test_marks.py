"""Marks of tests: no test is in no target of the Makefile, and what is new in a table is wide."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression
from marks import wide

ROOT = Path(__file__).parents[1]
MARKS = ("wide", "slow", "gpu", "exact")
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
DEFAULT = OPTIONS["addopts"][1]
TARGETS = re.findall(r'pytest\b.* -m "?([^"\n$]+?)"? \$', (ROOT / "Makefile").read_text())


def test_every_test_is_run_by_a_target_and_a_wide_one_not_by_default():
    assert [mark.partition(":")[0] for mark in OPTIONS["markers"]] == list(MARKS)
    assert len(TARGETS) == 5, "wide, exact, slow, slow and exact, gpu"
    for has in itertools.product([False, True], repeat=len(MARKS)):
        of_test = dict(zip(MARKS, has, strict=True))
        default, is_wide, *others = [chosen(words, of_test) for words in (DEFAULT, *TARGETS)]
        assert default or is_wide or any(others), of_test
        assert not (default and of_test["wide"]) and not (is_wide and not of_test["wide"])


def chosen(words: str, of_test: dict[str, bool]) -> bool:
    """Return whether -m with these words runs a test."""
    return Expression.compile(words).evaluate(of_test.__getitem__)


def names_of(row) -> list[str]:
    return [mark.name for mark in row.marks]


def test_what_is_not_kept_is_wide_and_keeps_its_other_marks():
    slow = pytest.param("d", 4, id="last", marks=pytest.mark.slow)
    rows = wide([("a", 1), ("a", 2), ("b", 3), slow], keep=[("a", 2), "b"])
    assert [row.values for row in rows] == [("a", 1), ("a", 2), ("b", 3), ("d", 4)]
    assert [names_of(row) for row in rows] == [["wide"], [], [], ["slow", "wide"]]
    assert rows[3].id == "last"
    assert [names_of(row) for row in wide(["a", slow], keep=["last", "a"])] == [[], ["slow"]]


def test_a_name_that_is_in_no_row_is_refused():
    with pytest.raises(ValueError, match="'ab'"):
        wide(["a", "b"], keep=["a", "ab"])
