"""Read files of unknown origin: regular files only, and never more than expected.

A FIFO would block for ever, a device may never end, and JSON may be nested or as long as somebody
likes. What a file may *say* is checked by whoever reads it.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

MAX_JSON = 16 * 2**20
"""Bytes of a config.json or result.json: thousands of resumed parts fit."""

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class NotAFile(OSError):
    """A path that leads to something else than a regular file."""


def check_regular(path: str | Path) -> None:
    """Refuse anything but a regular file before opening it: opening a FIFO waits for a writer.

    Raises:
      FileNotFoundError: there is no such file.
      NotAFile: it is a directory, a FIFO, a device or a socket.
    """
    kind = stat.S_IFMT(os.stat(os.fspath(path)).st_mode)
    if kind != stat.S_IFREG:
        raise NotAFile(f"{path} must be a regular file, not {KINDS.get(kind, 'something else')}")


def read_bytes(path: str | Path, most: int) -> bytes:
    """Return the content of a regular file, at most `most` + 1 bytes of it.

    Raises:
      FileNotFoundError, NotAFile: see `check_regular`.
    """
    check_regular(path)
    with Path(path).open("rb") as file:  # `read` makes room for all that it is asked for
        return file.read(min(most, os.fstat(file.fileno()).st_size) + 1)


def read_object(path: Path, most: int = MAX_JSON) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
      FileNotFoundError, NotAFile: see `check_regular`.
      ValueError: the file holds no JSON object, or a very long one; the message names it.
    """
    data = read_bytes(path, most)
    if len(data) > most:
        raise ValueError(f"{path} is larger than {most} bytes")
    try:
        found = json.loads(data.decode())
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON: it is nested too deeply") from error
    except ValueError as error:  # also of text that is not UTF-8
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found
