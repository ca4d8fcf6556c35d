"""Parse YAML by stricter rules than its own: keys are text and unique, and aliases stay small."""

from typing import Any

import yaml

MAX_VALUES = 10_000
"""The most values in a text, with aliases expanded: a few lines can expand to billions."""
MAX_DEPTH = 20
_TEXT, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))


class NotYaml(ValueError):
    """The text is not YAML; the message says where."""


class Refused(ValueError):
    """The text is YAML, but breaks a rule of ours; the message says which, and where."""


class _Loader(yaml.SafeLoader):
    """YAML's own types, but keys must be text and unique; YAML itself keeps the last duplicate."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in (_TEXT, _MERGE):
                found = f", but YAML reads {key.value} differently" if key.id == "scalar" else ""
                raise Refused(f"line {line}: a key must be text{found}; quote it")
            if key.value in lines:
                both = f"lines {lines[key.value]} and {line}"
                raise Refused(f"duplicate key {key.value!r} in {both}")
            lines[key.value] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_VALUES:  # merged aliases grow as fast as lists of aliases
            raise Refused(f"more than {MAX_VALUES:,} keys are merged into one mapping")


class _AsWritten(_Loader):
    """Every scalar is its literal text, as on a command line, and null is None."""


_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_NULL, _MERGE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str, as_written: bool) -> Any:
    """Return what a text holds; with `as_written`, scalars are returned as text.

    Raises:
      Refused: it is too large or too deep, or a key is not text or occurs twice.
      NotYaml: it is not YAML.
    """
    try:
        found = yaml.load(text, _AsWritten if as_written else _Loader)  # both extend SafeLoader
    except Refused:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        raise NotYaml(_in_a_line(error)) from error
    except RecursionError as error:
        raise Refused(f"nested too deeply; at most {MAX_DEPTH} levels") from error
    _check_size(found)
    return found


def _in_a_line(error: Exception) -> str:
    """Return a YAML error as one line with its place; YAML's own message has several."""
    mark = getattr(error, "problem_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    words = ", ".join(part for part in parts if part) or " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {words}" if mark else words


def _check_size(found: Any) -> None:
    """Refuse what is too large with aliases expanded, or contains itself."""
    count, left = 0, [(found, 0)]
    while left:
        value, depth = left.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise Refused(
                f"more than {MAX_VALUES:,} values, or more than {MAX_DEPTH} levels, with aliases "
                "expanded"
            )
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(inner, str | bytes) or not hasattr(inner, "__iter__"):
            continue
        left += [(item, depth + 1) for item in inner]
