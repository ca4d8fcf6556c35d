"""Look up a name in a table; the error lists what is allowed and the nearest matches.

A name with a colon, "package.module:attribute", is imported instead. What is then found was written
by a user, so it is checked here, too. `lookup` imports whatever it is told to. Importing a module
runs it, so a name out of a file goes through `check_trusted` first.
"""

import dataclasses
import difflib
import importlib
import inspect
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

Found = TypeVar("Found")

Trust = bool | str
"""Which names of a file may be imported: all (True), none (False), or this one only."""

IMPORTABLE = re.compile(r"[\w.-]+:\w+")
"""What somebody can be asked to type: "package.module:attribute"."""


class UnknownName(ValueError):
    """A name that no table has."""


class WrongObject(UnknownName):
    """A name that leads to something else than what it was given for."""


class UntrustedName(ValueError):
    """A name that would be imported although only a file gives it."""


def check(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return `name` if it is one of `allowed`.

    Raises:
      UnknownName: it is not; the message lists near matches and what is allowed.

    Examples:
      >>> check("strategy", "pbli", ["cem", "pbil"])
      Traceback (most recent call last):
      ternevo.names.UnknownName: unknown strategy 'pbli'. Did you mean 'pbil'? Allowed: cem, pbil
    """
    allowed = list(allowed)
    if name in allowed:
        return name
    raise UnknownName(
        f"unknown {kind} {name!r}.{_hint(name, allowed)} Allowed: {', '.join(sorted(allowed))}"
    )


def lookup(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return `table[name]`, or import it where the name is a "package.module:attribute".

    Raises:
      UnknownName: neither the table nor the module has it; the message names what is near.
    """
    if ":" not in name:
        return table[check(kind, name, table)]
    module_name, attribute = name.split(":", 1)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        is_their_own = missing and f"{module_name}.".startswith(f"{missing}.")
        places = " (it is looked for in the current directory and in PYTHONPATH)"
        raise UnknownName(
            f"cannot import {kind} {name!r}: {error}{places if is_their_own else ''}"
        ) from error
    if not hasattr(module, attribute):
        public = _public(module)
        raise UnknownName(
            f"cannot import {kind} {name!r}: {module_name} has no {attribute!r}."
            f"{_hint(attribute, public)} It has: {', '.join(public) or 'nothing of its own'}"
        )
    return getattr(module, attribute)


def check_trusted(path: str | Path, kind: str, name: str, trust: Trust) -> None:
    """Refuse to import a name that only a file gives, unless the user has given it too.

    Args:
      path: the file.
      kind: what the name is of; `--kind` is the option by which a user says it.
      name: what the file says.
      trust: what the user says.

    Raises:
      UntrustedName: the name has a colon, and `trust` is neither True nor this very name.
    """
    if ":" not in name or trust is True or name == trust:
        return
    what = f"{path} names code to import as its {kind}, {name!a}; nothing was imported"
    if not IMPORTABLE.fullmatch(name):
        raise UntrustedName(f"{what}, as that is not a package.module:attribute")
    raise UntrustedName(
        f"{what}. If you trust that code, say its name as well: --{kind} {shlex.quote(name)}"
    )


def lookup_settings(
    kind: str, name: str, table: Mapping[str, type[Found]], base: type[Found]
) -> type[Found]:
    """Return the settings class of that name: a frozen dataclass extending `base`, with defaults.

    Raises:
      UnknownName: there is nothing of that name.
      WrongObject: it is something else; the message says what is missing.
    """
    found = lookup(kind, name, table)
    lacking = _lacking(found, base)
    if lacking:
        raise WrongObject(
            f"{kind} {name!r} must be a frozen dataclass that extends {_full_name(base)}, with "
            f"defaults: {lacking}"
        )
    return found


def of_type(what: str, value: Any, wanted: type[Found]) -> Found:
    """Return `value` if it is an instance of `wanted`.

    Raises:
      WrongObject: it is not.
    """
    if isinstance(value, wanted):
        return value
    raise WrongObject(f"{what} must be a {_full_name(wanted)}, not {_in_words(value)}")


def _lacking(found: Any, base: type) -> str:
    """Return what is missing for settings, "" if nothing is."""
    if not isinstance(found, type):
        return f"it is {_in_words(found)}"
    if not issubclass(found, base):
        return f"it does not extend {base.__name__}"
    if "__dataclass_fields__" not in vars(found):
        return "it is not decorated with @dataclasses.dataclass(frozen=True)"
    for field in dataclasses.fields(found):
        if dataclasses.MISSING is field.default is field.default_factory:
            return f"its field {field.name!r} has no default"
    build = inspect.getattr_static(base, "build")
    if inspect.getattr_static(found, "build") is build and not getattr(found, "built_by", ""):
        arguments = list(inspect.signature(build).parameters)
        return f"it has no method build({', '.join(arguments)})"
    return ""


def _public(module: ModuleType) -> list[str]:
    """Return the names that a module defines itself, so far as can be seen."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def _hint(name: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _in_words(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _full_name(class_: type) -> str:
    return f"{class_.__module__}.{class_.__qualname__}"
