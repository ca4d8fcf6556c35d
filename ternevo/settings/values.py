"""Values as people type them: `1e3` for a whole number, `yes` for a boolean, `16,16` for a list.

The parser accepts one form of each. `canonical` returns it, or says in one line what is allowed.
"""

import ast
import contextlib
import difflib
import re
import types
import typing
from decimal import Decimal, InvalidOperation
from typing import Any

TRUTH = {
    **dict.fromkeys(("true", "yes", "on"), "True"),
    **dict.fromkeys(("false", "no", "off"), "False"),
}
MOST_DIGITS = 18
"""The most digits of a whole number in scientific notation: 1e999999999 would fill the memory."""


def canonical(name: str, text: str, kind: Any) -> str:
    """Return a value of an option in the form the parser accepts.

    Args:
      name: the option, without dashes, for the message.
      text: the value as typed.
      kind: the type of the option; values of types not known here are returned unchanged.

    Raises:
      ValueError: the text is not a value of that type; the message says what is allowed.

    Examples:
      >>> canonical("population_size", "1e3", int), canonical("sizes", "[16, 8]", tuple[int, ...])
      ('1000', '(16, 8)')
      >>> kind = typing.Literal["weight", "none"] | None
      >>> canonical("spreads", "none", kind), canonical("seed", "none", int | None)
      ('none', 'None')
      >>> canonical("population_size", "1.5", int)
      Traceback (most recent call last):
      ValueError: --population_size must be a whole number, got '1.5'
    """
    is_choice = text.strip() in map(str, typing.get_args(base(kind)))  # such as --spreads none
    if is_optional(kind) and text.strip().lower() in ("none", "null") and not is_choice:
        return "None" if base(kind) is not str else text
    kind = base(kind)
    if is_tuple(kind):
        return _tuple(name, text, kind)
    found = _scalar(text, kind)
    if found is None:
        raise ValueError(f"--{name} must be {wanted(kind)}, got {text!r}{_near(text, kind)}")
    return found


def wanted(kind: Any) -> str:
    """Return what an option takes, in words that follow "must be"."""
    kind = base(kind)
    if typing.get_origin(kind) is typing.Literal:
        choices = [str(choice) for choice in typing.get_args(kind)]
        return f"{', '.join(choices[:-1])} or {choices[-1]}" if choices[1:] else choices[0]
    words = {int: "a whole number", float: "a number", bool: "True or False (yes, no, on, off)"}
    return words.get(kind, "a value")


def base(kind: Any) -> Any:
    """Return the only type besides None in a union, or the type itself."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    others = [one for one in typing.get_args(kind) if one is not types.NoneType]
    return others[0] if len(others) == 1 else kind


def is_optional(kind: Any) -> bool:
    """Return whether an option may be None."""
    return types.NoneType in typing.get_args(kind)


def is_tuple(kind: Any) -> bool:
    """Return whether an option is a tuple or an optional tuple."""
    return any(tuple in (x, typing.get_origin(x)) for x in (kind, *typing.get_args(kind)))


def is_literal(text: str) -> bool:
    """Return whether a text is a Python literal."""
    with contextlib.suppress(ValueError, SyntaxError):
        ast.literal_eval(text)
        return True
    return False


def _scalar(text: str, kind: Any) -> str | None:
    """Return the canonical form of a single value, or None if it does not have this type."""
    text = text if kind is str else text.strip()
    if kind is bool:
        return TRUTH.get(text.lower())
    if kind is int:
        return _whole(text)
    if kind is float:
        return text if _is_number(text) else None
    if typing.get_origin(kind) is typing.Literal:
        return text if text in map(str, typing.get_args(kind)) else None
    return text


def _whole(text: str) -> str | None:
    """Return a whole number in digits: 1_000, 1e3 and 32.0 are, 1.5 and 1e-1 are not."""
    with contextlib.suppress(ValueError):
        return str(int(text))
    with contextlib.suppress(InvalidOperation):
        number = Decimal(text)
        if number.is_finite() and number.adjusted() < MOST_DIGITS and number == int(number):
            return str(int(number))
    return None


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def _near(text: str, kind: Any) -> str:
    """Return a hint at the nearest of several choices, or ""."""
    if typing.get_origin(kind) is not typing.Literal:
        return ""
    choices = {str(choice).lower(): choice for choice in typing.get_args(kind)}
    near = difflib.get_close_matches(text.lower(), choices, n=1, cutoff=0.5)
    return f". Did you mean {choices[near[0]]!r}?" if near else ""


def _tuple(name: str, text: str, kind: Any) -> str:
    """Return a list, in any brackets or none, as a tuple literal."""
    elements = _elements(text)
    if any(isinstance(one, list | tuple) for one in elements):
        return repr(_tuples(elements))
    shown = []
    for one, element in zip(elements, _kinds(kind, len(elements)), strict=True):
        found = _scalar(str(one), element)
        if found is None:
            raise ValueError(f"--{name} must be {_of_each(element)}, got {str(one)!r}")
        is_text = isinstance(one, str) and element not in (int, float) and not is_literal(found)
        shown.append(repr(found) if is_text or element is str else found)
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"


def _kinds(kind: Any, count: int) -> list[Any]:
    """Return the type of each of `count` elements; another count is left to the parser."""
    kinds = list(typing.get_args(kind))
    if kinds[1:] == [...]:
        return kinds[:1] * count
    return kinds if len(kinds) == count else [Any] * count


def _of_each(element: Any) -> str:
    example = {int: ", such as 64,64", float: ", such as 0.5,1"}.get(element, "")
    return f"a list in which each is {wanted(element)}{example}"


def _elements(text: str) -> list[Any]:
    """Return the elements of a list: texts, or what a Python literal holds."""
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text.strip() or "()")
        return list(value) if isinstance(value, list | tuple) else [value]
    return [word for word in re.split(r"[,\s]+", text.strip("[]() ")) if word]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
