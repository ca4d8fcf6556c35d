"""YAML files that a user writes: pages of options, and sweep files; read by the same rules.

What YAML lets pass and nobody means is refused in one line: a key that stands twice, a file that is
not UTF-8, an alias that grows without end.
"""

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**20
MAX_VALUES = 10_000
"""Of a page, aliases counted as often as they stand: a few lines of YAML can mean billions."""
MAX_DEPTH = 20
_TEXT, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))


class PageError(ValueError):
    """A YAML file cannot be understood; the message begins with its path."""


class _Loader(yaml.SafeLoader):
    """YAML's own types, but keys are text, and no key stands twice: YAML takes the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in (_TEXT, _MERGE):
                found = f", and YAML reads {key.value} as none" if key.id == "scalar" else ""
                raise PageError(f"line {line}: a key must be text{found}; put it in quotes")
            if key.value in lines:
                both = f"lines {lines[key.value]} and {line}"
                raise PageError(f"the key {key.value!r} stands twice, in {both}")
            lines[key.value] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_VALUES:  # lists of merged aliases grow as fast as lists of them
            raise PageError(f"more than {MAX_VALUES:,} keys are merged into one mapping")


class _AsWritten(_Loader):
    """Every scalar is the text that stands there, as on a command line, and null is None."""


_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_NULL, _MERGE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path, as_written: bool = False) -> Any:
    """Return what a YAML file says.

    Args:
      path: where it is; UTF-8, with or without a byte order mark.
      as_written: give scalars as text, so that 010, 1.10 and 2026-01-01 stay what they are.

    Raises:
      PageError: it is not there, not UTF-8, not YAML, too large, or has a key twice; one line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PageError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise PageError(f"{path} has {len(data):,} bytes; a page has at most {MAX_BYTES:,}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PageError(f"{path} is not UTF-8 in line {line}: save it as UTF-8") from error
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
    """Return what is wrong and where: YAML says it in several lines, and shows the place."""
    mark = getattr(error, "problem_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    words = ", ".join(part for part in parts if part) or " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {words}" if mark else words


def _check_size(page: Any, path: Path) -> None:
    """Refuse a page that means more than it has lines, or contains itself."""
    count, left = 0, [(page, 0)]
    while left:
        value, depth = left.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise PageError(
                f"{path} means more than {MAX_VALUES:,} values, or is nested deeper than "
                f"{MAX_DEPTH} levels, aliases written out"
            )
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(inner, str | bytes) or not hasattr(inner, "__iter__"):
            continue
        left += [(item, depth + 1) for item in inner]
