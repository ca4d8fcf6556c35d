"""Pages of options and sweep files: find the one a user named, and read it.

Mistakes that YAML accepts are refused with a one-line message: a duplicate key, a file that is not
UTF-8, an alias that expands without end.

The pages of experiments/ are part of the package, and can be named from anywhere: `cartpole`,
`gymnax_cartpole` and `gymnax/CartPole-v1` all mean experiments/gymnax_cartpole.yaml. YAML is
imported only when a file is read.
"""

import os
import re
from pathlib import Path
from typing import Any, Literal

from ternevo.installation import checkout, require
from ternevo.names import hint
from ternevo.settings.environments import full_id

MAX_BYTES = 2**20

Kind = Literal["page", "sweep"]
FOLDERS: dict[Kind, str] = {"page": ".", "sweep": "sweeps"}
"""Where the shipped files of a kind are, below experiments/."""
SUITES = ("brax_", "gymnax_")
"""What a name may leave out."""


class PageError(ValueError):
    """A YAML file is missing or invalid; the message begins with its path."""


def find(named: Path, kind: Kind = "page") -> Path:
    """Return the file that a user named: an existing file, or else a shipped one of that name.

    Raises:
      PageError: there is neither; the message lists the shipped ones and near matches.
    """
    if os.path.exists(named) and not os.path.isdir(named):
        return named
    if path := _by_name(kind).get(_simplified(str(named))):
        return path
    if os.path.isdir(named):
        return named  # reading it fails with the reason
    short = [_without_suite(stem) for stem in shipped(kind)]
    near = hint(_without_suite(named.stem), short)
    raise PageError(
        f"{named} cannot be read: there is neither such a file nor a {kind} of that name.{near} "
        f"There are: {', '.join(short)}"
    )


def of_environment(env_id: str) -> tuple[str, Any] | None:
    """Return the short name and the contents of the page for an environment, if there is one."""
    path = _by_name("page").get(_simplified(env_id.partition("@")[0]))
    if path is None or not isinstance(page := read(path, as_written=True), dict):
        return None
    is_of_it = full_id(str(page.get("env"))) == full_id(env_id)
    return (_without_suite(path.stem), page) if is_of_it else None


def _by_name(kind: Kind) -> dict[str, Path]:
    """Return the shipped files by their names in a simple form, with and without the suite."""
    files = shipped(kind)
    short = {_without_suite(stem): path for stem, path in files.items()}
    return {_simplified(name): path for name, path in (short | files).items()}


def shipped(kind: Kind = "page") -> dict[str, Path]:
    """Return the files that are part of the package, by their names without the suffix."""
    root = checkout()
    folder = root / "experiments" if root else Path(__file__).parents[1] / "pages"
    return {path.stem: path for path in sorted((folder / FOLDERS[kind]).glob("*.yaml"))}


def _without_suite(stem: str) -> str:
    return next((stem.removeprefix(suite) for suite in SUITES if stem.startswith(suite)), stem)


def _simplified(name: str) -> str:
    """Return a name as compared: gymnaxcartpole for gymnax/CartPole-v1 and gymnax_cartpole.yaml."""
    return re.sub(r"\.ya?ml$|-v\d+$|[\W_]", "", name.casefold())


def read(path: Path, as_written: bool = False) -> Any:
    """Return the contents of a YAML file.

    Args:
      path: the file, in UTF-8 with or without a byte order mark.
      as_written: return scalars as text, so that 010, 1.10 and 2026-01-01 stay unchanged.

    Raises:
      PageError: it is missing, not UTF-8, not YAML, too large, or has a duplicate key.
      MissingExtra: pyyaml is not installed.
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
    require(f"reading {path}", "train", "yaml")
    from ternevo.settings import yaml_text  # pyyaml, which the base install does without

    try:
        return yaml_text.parse(text, as_written)
    except yaml_text.Refused as error:
        raise PageError(f"{path}: {error}") from error
    except yaml_text.NotYaml as error:
        raise PageError(f"{path} is not YAML: {error}") from error
