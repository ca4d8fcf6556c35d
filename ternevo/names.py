"""Look a name up in a table, with an error that says what is allowed and what is near."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any


class UnknownName(ValueError):
    """A name that no table has."""


def check(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return `name` if it is one of `allowed`.

    Raises:
      UnknownName: it is not; the message lists near matches and what is allowed.
    """
    allowed = list(allowed)
    if name in allowed:
        return name
    near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise UnknownName(f"unknown {kind} {name!r}.{hint} Allowed: {', '.join(sorted(allowed))}")


def lookup(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return `table[name]`, or import it where the name is a "package.module:attribute".

    Raises:
      UnknownName: neither the table nor the module has it.
    """
    if ":" not in name:
        return table[check(kind, name, table)]
    module_name, attribute = name.split(":", 1)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UnknownName(f"cannot import {kind} {name!r}: {error}") from error
