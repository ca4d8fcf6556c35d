"""Show flat settings, made of parts or not, in a few boxes of command-line flags."""

import ast
import contextlib
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import tyro

from ternevo.settings.flat import Option, flat, options_of
from ternevo.settings.options import types


def first_line(kind: type) -> str:
    """Return the first sentence or line of a class's docstring, "" if it has none of its own."""
    docs = vars(kind).get("__doc__") or ""
    return "" if docs.startswith(f"{kind.__name__}(") else inspect.cleandoc(docs).partition("\n")[0]


class Box(NamedTuple):
    """A box of the help: its name, its first line, and its options with their values."""

    name: str
    about: str
    options: list[tuple[str, Any, Any]]
    """The name, the annotated type and the default of each."""


def options_in(settings: Any, names: Collection[str] | None = None) -> list[tuple[str, Any, Any]]:
    """Return the options of settings for a `Box`: all of them, or those that are named."""
    values, kinds = flat(settings), types(settings)
    return [
        (name, Annotated[kinds[name], tyro.conf.arg(help=help_of(option, name))], values[name])
        for name, option in options_of(settings).items()
        if names is None or name in names
    ]


def help_of(option: Option, name: str) -> str:
    """Return the help of an option: what its part was given, or the docstring of its field."""
    return " ".join((option.help or _docs(option.owner).get(name, "")).split())


def as_shown(kind: type, hints: Mapping[str, Any], repeated: Sequence[str] = ()) -> type:
    """Return a dataclass with the options and the help of another, and none of its checks.

    Args:
      kind: a dataclass, of which the values that were found are to be made.
      hints: the types of its fields, with what is annotated.
      repeated: the options that may be given several times, of which one value is shown.
    """
    docs = _docs(kind)

    def argument(name: str) -> Any:
        text = " ".join(docs[name].split())
        if name not in repeated:
            return tyro.conf.arg(help=text)
        return tyro.conf.arg(help=text, metavar="STR", help_behavior_hint="(repeatable)")

    fields = [
        (
            field.name,
            Annotated[hints[field.name], argument(field.name)],
            dataclasses.field(default=field.default)
            if field.default_factory is dataclasses.MISSING
            else dataclasses.field(default_factory=field.default_factory),
        )
        for field in dataclasses.fields(kind)
    ]
    namespace = {"__doc__": inspect.getdoc(kind)}
    return dataclasses.make_dataclass(
        kind.__name__, fields, frozen=True, kw_only=True, namespace=namespace
    )


def in_boxes(general: Box, boxes: Sequence[Box]) -> Any:
    """Return a dataclass of dataclasses, which the parser shows as boxes.

    The parser names a box after its field and adds "options"; `general` is the one without a name.
    """
    fields = []
    for place, box in enumerate(boxes):
        inner = _dataclass("Box", box.options, box.about)
        named = Annotated[inner, tyro.conf.arg(name=box.name)]
        fields.append((f"box_{place}", named, inner()))
    return _dataclass("Options", [*general.options, *fields], general.about)


def _dataclass(name: str, options: Sequence[tuple[str, Any, Any]], about: str) -> type:
    fields = [
        (field, kind, dataclasses.field(default_factory=partial(_same, value)))
        for field, kind, value in options
    ]
    return dataclasses.make_dataclass(name, fields, frozen=True, namespace={"__doc__": about})


def _same(value: Any) -> Any:
    """Return a default, which may be a dict, of which a dataclass wants a function."""
    return value


def values_in(parsed: Any) -> dict[str, Any]:
    """Return the values of all options in what `in_boxes` made, by name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(parsed):
        value = getattr(parsed, field.name)
        found |= vars(value) if field.name.startswith("box_") else {field.name: value}
    return found


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
