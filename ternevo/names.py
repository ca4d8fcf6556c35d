"""Look up a name in a table; the error lists the allowed names and the nearest matches.

A name with a colon, "package.module:attribute", is imported instead. The imported object is user
code, so it is checked here too. `lookup` imports any name it is given. Importing a module
runs it, so a name that comes from a file must pass `check_trusted` first.
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
"""Which names from a file may be imported: all (True), none (False), or only this one."""

IMPORTABLE = re.compile(r"[\w.-]+:\w+")
"""The names that a message may ask a user to type: "package.module:attribute"."""


class UnknownName(ValueError):
    """The name is not in the table."""


class WrongObject(UnknownName):
    """The name refers to the wrong kind of object."""


class UntrustedName(ValueError):
    """The name comes only from a file, and importing it would run code."""


def check(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return `name` if it is one of `allowed`.

    Raises:
      UnknownName: it is not; the message lists near matches and the allowed names.

    Examples:
      >>> check("strategy", "pbli", ["cem", "pbil"])
      Traceback (most recent call last):
      ternevo.names.UnknownName: unknown strategy 'pbli'. Did you mean 'pbil'? Allowed: cem, pbil
    """
    allowed = list(allowed)
    if name in allowed:
        return name
    raise UnknownName(
        f"unknown {kind} {name!r}.{hint(name, allowed)} Allowed: {', '.join(sorted(allowed))}"
    )


def hint(name: str, allowed: list[str]) -> str:
    """Return " Did you mean 'pbil'?" with the nearest matches of a name, or "" if none is near."""
    near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def lookup(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return `table[name]`, or import the name if it is a "package.module:attribute".

    Raises:
      UnknownName: neither the table nor the module has it; the message lists near matches.
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
            f"{hint(attribute, public)} It has: {', '.join(public) or 'nothing of its own'}"
        )
    return getattr(module, attribute)


def check_trusted(path: str | Path, kind: str, name: str, trust: Trust) -> None:
    """Refuse to import a name that comes only from a file, unless the user gave it too.

    Args:
      path: the file.
      kind: what the name refers to; the user sets it with the option `--kind`.
      name: the name in the file.
      trust: the names that the user trusts.

    Raises:
      UntrustedName: the name has a colon, and `trust` is neither True nor this name.
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
    """Return the settings class with this name: a frozen dataclass with defaults, extending `base`.

    Raises:
      UnknownName: nothing has this name.
      WrongObject: it is not such a class; the message says what is missing.
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
    """Return what a settings class is missing, or "" if nothing."""
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
    """Return the names that a module defines itself, as far as can be told."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def _in_words(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _full_name(class_: type) -> str:
    return f"{class_.__module__}.{class_.__qualname__}"
