"""Read files of unknown origin: only regular files, and never more bytes than expected.

A FIFO would block forever, a device may never end, and JSON may be arbitrarily long or deeply
nested. The callers check what a file *says*.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

MAX_JSON = 16 * 2**20
"""Maximum bytes of a config.json or result.json, enough for thousands of resumed parts."""

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class NotAFile(OSError):
    """The path is not a regular file."""


def check_regular(path: str | Path) -> None:
    """Reject anything but a regular file before opening it: opening a FIFO waits for a writer.

    Raises:
      FileNotFoundError: there is no such file.
      NotAFile: it is a directory, a FIFO, a device or a socket.
    """
    kind = stat.S_IFMT(os.stat(os.fspath(path)).st_mode)
    if kind != stat.S_IFREG:
        raise NotAFile(f"{path} must be a regular file, not {KINDS.get(kind, 'something else')}")


def read_bytes(path: str | Path, most: int) -> bytes:
    """Return the content of a regular file, up to `most` + 1 bytes.

    Raises:
      FileNotFoundError, NotAFile: see `check_regular`.
    """
    check_regular(path)
    with Path(path).open("rb") as file:  # `read` allocates all that it is asked for
        return file.read(min(most, os.fstat(file.fileno()).st_size) + 1)


def read_object(path: Path, most: int = MAX_JSON) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
      FileNotFoundError, NotAFile: see `check_regular`.
      ValueError: the file does not hold a JSON object, or is too large; the message names it.
    """
    data = read_bytes(path, most)
    if len(data) > most:
        raise ValueError(f"{path} is larger than {most} bytes")
    try:
        found = json.loads(data.decode())
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON: it is nested too deeply") from error
    except ValueError as error:  # also raised for text that is not UTF-8
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return found
