"""Normalise options from a shell, a page or a sweep for the parser.

The parser accepts one form of a boolean, `--resume=True`, and one of a list,
`--hidden_sizes=(8, 8)`. People and sweep agents write other, equally unambiguous forms.
"""

import ast
import contextlib
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from ternevo.settings.flat import options_of

Types = Mapping[str, Any]
"""The type of each option, by the name of its field."""

OPTION = re.compile(r"-(?![\d.])")
"""The start of a word that is not a value: a minus that is not the sign of a number."""

TRUTH = {
    **dict.fromkeys(("true", "yes", "on"), "True"),
    **dict.fromkeys(("false", "no", "off"), "False"),
}


def types(*settings: Any) -> dict[str, Any]:
    """Return the option types of settings, or of settings classes, by name."""
    return {
        name: typing.get_type_hints(option.owner)[name]
        for each in settings
        for name, option in options_of(each).items()
    }


def written_out(arguments: Iterable[str], of: Types) -> list[str]:
    """Return the arguments of a command line in the form the parser accepts.

    `--resume` and `--resume yes` become `--resume=True`. A list may have any brackets or
    none, and may span several words: `[8, 8]`, `(8, 8)`, `8,8`, `8 8`.

    Args:
      arguments: the words of a command line.
      of: the types of its options.

    Examples:
      >>> written_out(["--resume", "--sizes", "[8,", "8]"], {"resume": bool, "sizes": tuple})
      ['--resume=True', '--sizes=(8, 8)']
    """
    left, found = list(arguments), []
    while left:
        argument = left.pop(0)
        name, has_value, value = argument.partition("=")
        kind = of.get(name[2:].replace("-", "_")) if name.startswith("--") else None
        if kind is bool:
            if not has_value:
                value = left.pop(0) if left and left[0].lower() in TRUTH else "True"
            found.append(f"{name}={TRUTH.get(value.lower(), value)}")
        elif _is_tuple(kind):
            words = [value] if has_value else []
            while left and not OPTION.match(left[0]):
                words.append(left.pop(0))
            found.append(f"{name}={_as_tuple(' '.join(words))}" if words else argument)
        else:
            found.append(argument)
    return found


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
    if _is_tuple(kind):
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
    return str(value) if _is_literal(str(value)) else repr(str(value))


def _is_tuple(kind: Any) -> bool:
    """Return whether an option is a tuple or an optional tuple."""
    return any(tuple in (x, typing.get_origin(x)) for x in (kind, *typing.get_args(kind)))


def _as_tuple(text: str) -> str:
    """Return a list, as a user writes it, as a tuple literal."""
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text.strip() or "()")
        return repr(_tuples(value if isinstance(value, list | tuple) or value is None else [value]))
    words = [word for word in re.split(r"[,\s]+", text.strip("[]() ")) if word]
    return f"({''.join(f'{_as_text(word)}, ' for word in words)})"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _is_literal(text: str) -> bool:
    with contextlib.suppress(ValueError, SyntaxError):
        ast.literal_eval(text)
        return True
    return False
