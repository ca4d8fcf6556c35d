"""What an option means outside its strategy: kept as field metadata, not as lists of names."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """A limit on a number, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


POSITIVE = Limit("positive", lambda x: x > 0)
NOT_NEGATIVE = Limit("0 or more", lambda x: x >= 0)
COUNT = Limit("at least 1", lambda x: x >= 1)
SHARE = Limit("above 0 and at most 1", lambda x: 0 < x <= 1)
FRACTION = Limit("0 to 1", lambda x: 0 <= x <= 1)
BELOW_ONE = Limit("at least 0 and below 1", lambda x: 0 <= x < 1)


def at_least(least: int) -> Limit:
    """Return the limit of a number with a minimum."""
    return Limit(f"at least {least}", lambda x: x >= least)


class Meaning(NamedTuple):
    """What other code needs to know about an option; nothing by default.

    Attributes:
      must_be: the limit on its number.
      free_on_resume: whether a resumed run may change it.
      of_the_arm: whether runs with different values belong to different arms.
      costs_memory: whether a larger value takes more memory.
      bounds_memory: whether it limits memory without affecting results; 0 is automatic.
      shortens_steps: whether a smaller value makes learning steps shorter.
      is_data: whether its number is an input of the compiled program, not a constant of it, so
        that runs with other numbers share the program. What builds from the settings then gets a
        traced scalar in its place: it may compute with it, but not branch on it.
    """

    must_be: Limit | None = None
    free_on_resume: bool = False
    of_the_arm: bool = True
    costs_memory: bool = False
    bounds_memory: bool = False
    shortens_steps: bool = False
    is_data: bool = False


NONE = Meaning()
KEY = "ternevo"


def option(default: Any, must_be: Limit | None = None, **meaning: bool) -> Any:
    """Return the field of an option with a meaning for other code; see `Meaning`.

    Examples:
      >>> import dataclasses
      >>> @dataclasses.dataclass(frozen=True)
      ... class Climbers:
      ...     step: float = option(0.1, POSITIVE, shortens_steps=True)
    """
    return dataclasses.field(default=default, metadata={KEY: Meaning(must_be, **meaning)})


def unseen(default: Any, must_be: Limit | None = None, **meaning: bool) -> Any:
    """Return the field of an option that does not affect the numbers of any generation."""
    return option(default, must_be, free_on_resume=True, of_the_arm=False, **meaning)


def meaning_of(field: dataclasses.Field) -> Meaning:
    """Return what an option means for other code."""
    return field.metadata.get(KEY, NONE)


def check(name: str, value: Any, limit: Limit) -> None:
    """Refuse a number that breaks its limit.

    Raises:
      ValueError: with the name, the limit and the number.

    Examples:
      >>> check("lr", 0.0, POSITIVE)
      Traceback (most recent call last):
      ValueError: lr must be positive, got 0.0
    """
    if not limit.holds(value):
        raise ValueError(f"{name} must be {limit.words}, got {value}")
