"""Read YAML files written by users, pages of options and sweep files, by the same rules.

Mistakes that YAML accepts are refused with a one-line message: a duplicate key, a file that is not
UTF-8, an alias that expands without end.
"""

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**20
MAX_VALUES = 10_000
"""The most values in a page, with aliases expanded: a few lines can expand to billions."""
MAX_DEPTH = 20
_TEXT, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))


class PageError(ValueError):
    """A YAML file is invalid; the message begins with its path."""


class _Loader(yaml.SafeLoader):
    """YAML's own types, but keys must be text and unique; YAML itself keeps the last duplicate."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in (_TEXT, _MERGE):
                found = f", but YAML reads {key.value} differently" if key.id == "scalar" else ""
                raise PageError(f"line {line}: a key must be text{found}; quote it")
            if key.value in lines:
                both = f"lines {lines[key.value]} and {line}"
                raise PageError(f"duplicate key {key.value!r} in {both}")
            lines[key.value] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_VALUES:  # merged aliases grow as fast as lists of aliases
            raise PageError(f"more than {MAX_VALUES:,} keys are merged into one mapping")


class _AsWritten(_Loader):
    """Every scalar is its literal text, as on a command line, and null is None."""


_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_NULL, _MERGE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path, as_written: bool = False) -> Any:
    """Return the contents of a YAML file.

    Args:
      path: the file, in UTF-8 with or without a byte order mark.
      as_written: return scalars as text, so that 010, 1.10 and 2026-01-01 stay unchanged.

    Raises:
      PageError: it is missing, not UTF-8, not YAML, too large, or has a duplicate key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PageError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise PageError(f"{path} has {len(data):,} bytes; must be at most {MAX_BYTES:,}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PageError(f"{path} is not UTF-8 at line {line}: save it as UTF-8") from error
    try:
        page = yaml.load(text, _AsWritten if as_written else _Loader)  # both extend SafeLoader
    except PageError as error:
        raise PageError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        raise PageError(f"{path} is not YAML: {_in_a_line(error)}") from error
    except RecursionError as error:
        raise PageError(f"{path} is nested too deeply; at most {MAX_DEPTH} levels") from error
    _check_size(page, path)
    return page


def _in_a_line(error: Exception) -> str:
    """Return a YAML error as one line with its place; YAML's own message has several."""
    mark = getattr(error, "problem_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    words = ", ".join(part for part in parts if part) or " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {words}" if mark else words


def _check_size(page: Any, path: Path) -> None:
    """Refuse a page that is too large with aliases expanded, or that contains itself."""
    count, left = 0, [(page, 0)]
    while left:
        value, depth = left.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise PageError(
                f"{path} has more than {MAX_VALUES:,} values, or more than {MAX_DEPTH} levels, "
                "with aliases expanded"
            )
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(inner, str | bytes) or not hasattr(inner, "__iter__"):
            continue
        left += [(item, depth + 1) for item in inner]
