"""Normalise options from a shell, a page or a sweep for the parser.

The parser accepts one form of a boolean, `--resume=True`, and one of a list,
`--hidden_sizes=(8, 8)`. People and sweep agents write other, equally unambiguous forms; the module
`ternevo.settings.values` has the rules.
"""

import itertools
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from ternevo.settings.flat import options_of
from ternevo.settings.values import (
    TRUTH,
    base,
    canonical,
    is_literal,
    is_optional,
    is_tuple,
    wanted,
)

Types = Mapping[str, Any]
"""The type of each option, by the name of its field."""

OPTION = re.compile(r"-(?![\d.])")
"""The start of a word that is not a value: a minus that is not the sign of a number."""


def types(*settings: Any) -> dict[str, Any]:
    """Return the option types of settings, or of settings classes, by name."""
    return {
        name: typing.get_type_hints(option.owner)[name]
        for each in settings
        for name, option in options_of(each).items()
    }


def written_out(arguments: Iterable[str], of: Types) -> list[str]:
    """Return the arguments of a command line in the form the parser accepts.

    `--resume` and `--resume yes` become `--resume=True`, `--no_resume` becomes `--resume=False`. A
    list may have any brackets or none, and may span several words: `[8, 8]`, `(8, 8)`, `8,8`,
    `8 8`. A whole number may be `1e3`. Options that are not in `of` stay as they are.

    Args:
      arguments: the words of a command line.
      of: the types of its options.

    Raises:
      ValueError: an option has no value, or one that it does not take.

    Examples:
      >>> written_out(["--resume", "--sizes", "[8,", "8]"], {"resume": bool, "sizes": tuple})
      ['--resume=True', '--sizes=(8, 8)']
    """
    left, found = list(arguments), []
    while left:
        argument = left.pop(0)
        name, has_value, value = argument.partition("=")
        option = name_of(name)
        if option in of:
            text = value if has_value else _value(option, of[option], left)
            found.append(f"--{option}={canonical(option, text, of[option])}")
        elif switched_off(option, of):
            if has_value:
                raise ValueError(f"{name} takes no value; write --{option[3:]} {value or 'True'}")
            found.append(f"--{option[3:]}=False")
        else:
            found.append(argument)
    return found


def name_of(word: str) -> str:
    """Return the field of an option, `a_b` for `--a-b`, or "" if the word is not an option."""
    return word[2:].replace("-", "_") if word.startswith("--") else ""


def switched_off(option: str, of: Types) -> bool:
    """Return whether an option is the negation of a boolean one: no_render of render."""
    return option.startswith("no_") and base(of.get(option[3:])) is bool


def _value(option: str, kind: Any, left: list[str]) -> str:
    """Take the value of an option from the words after it.

    Raises:
      ValueError: there is none.
    """
    words = [] if not left or OPTION.match(left[0]) else [left[0]]
    if base(kind) is bool:
        is_value = words and words[0].lower() in (*TRUTH, *(["none"] if is_optional(kind) else []))
        return left.pop(0) if is_value else "True"
    if is_tuple(kind):
        words = list(itertools.takewhile(lambda word: not OPTION.match(word), left))
    if not words:
        raise ValueError(f"--{option} needs {wanted(kind)} after it")
    del left[: len(words)]
    return " ".join(words)


def taken(names: Iterable[str], arguments: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of some options of single values, and the other arguments.

    Raises:
      ValueError: one has no value.

    Examples:
      >>> taken(["env"], ["--env", "probe/sign", "--seed", "3"])
      ({'env': 'probe/sign'}, ['--seed', '3'])
    """
    found, others, left = {}, [], list(arguments)
    while left:
        argument = left.pop(0)
        name, has_value, value = argument.partition("=")
        option = name_of(name)
        if option in names:
            found[option] = value if has_value else _value(option, str, left)
        else:
            others.append(argument)
    return found, others


def from_page(page: Mapping[str, Any], of: Types) -> list[str]:
    """Return the options of a page as arguments: {"lr": "0.1"} becomes ["--lr=0.1"].

    Args:
      page: strings, None and lists by name, as `pages.read(..., as_written=True)` returns them.
      of: the types of the options.

    Raises:
      ValueError: a value has the wrong form for its option.

    Examples:
      >>> from_page({"sizes": ["8", "8"], "tags": ["a", "b"]}, {"sizes": tuple, "tags": str})
      ['--sizes=[8, 8]', '--tags=a,b']
    """
    arguments = []
    for name, value in page.items():
        if name in of:
            arguments.append(f"--{name}={_from_page(name, value, of[name])}")
        else:
            arguments += [f"--{name}", str(value)]  # the parser reports the unknown option
    return arguments


def _from_page(name: str, value: Any, kind: Any) -> str:
    if value is None:
        if type(None) not in typing.get_args(kind):
            raise ValueError(
                f"{name} is empty or null in the page: give it a value, or remove it to use the "
                "default"
            )
        return "None"
    if isinstance(value, dict):
        if dict not in (kind, typing.get_origin(kind)):
            raise ValueError(f"{name} must be a single value in the page, got a mapping: {value}")
        return "{" + ", ".join(f"{key!r}: {_as_text(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, list):
        return str(value)
    if is_tuple(kind):
        return _as_text(value)
    if kind is str or str in typing.get_args(kind):
        if not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} must be text, or a list of texts, in the page, got {value}")
        return ",".join(value)
    raise ValueError(f"{name} must be a single value in the page, got a list: {_as_text(value)}")


def _as_text(value: Any) -> str:
    """Return nested lists of strings as a Python literal."""
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    return str(value) if is_literal(str(value)) else repr(str(value))
