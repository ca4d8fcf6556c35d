"""Put settings made of parts into one group of command-line flags."""

import ast
import contextlib
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import tyro

from ternevo.settings.flat import Part, flat, options_of
from ternevo.settings.options import types


def flattened(settings: Any, base: type) -> Any:
    """Return settings without parts: the parser would give each part a group of its own.

    Args:
      settings: settings with their defaults; returned unchanged if they have no parts.
      base: an abstract class of the settings, which the result extends too.
    """
    if not any(isinstance(value, Part) for value in vars(settings).values()):
        return settings
    values, kinds = flat(settings), types(settings)
    fields = []
    for name, option in options_of(settings).items():
        help = tyro.conf.arg(help=option.help or _docs(option.owner).get(name))
        value = dataclasses.field(default_factory=partial(values.get, name))  # it may be a dict
        fields.append((name, Annotated[kinds[name], help], value))
    return dataclasses.make_dataclass(type(settings).__name__, fields, bases=(base,), frozen=True)()


@functools.cache
def _docs(owner: type) -> Mapping[str, str]:
    """Return the field docstrings of a class, including inherited ones."""
    found: dict[str, str] = {}
    for class_ in reversed(owner.__mro__):
        if dataclasses.is_dataclass(class_):
            with contextlib.suppress(OSError):  # a class without a file, typed in a shell
                found |= _docs_in(inspect.getsource(class_))
    return found


def _docs_in(source: str) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(str(below.value.value))
        for field, below in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
