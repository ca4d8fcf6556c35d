"""The file of a policy that is not an MLP: named arrays and a JSON header in a NumPy .npz.

It holds what the policy's own module needs to act again: the name of the settings' class, their
fields, the tensors, the moments of observations. Nothing is pickled. Whoever reads the policy
imports the module that the header names.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.tvp import PolicyFormatError
from ternevo.files import replacing

FORMAT, VERSION = "ternevo policy", 1
HEADER = "header"
MAGIC = b"PK"

Arrays = dict[str, NDArray[Any]]


def is_archive(path: str | Path) -> bool:
    """Return whether a file begins as an archive does."""
    with Path(path).open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def write(path: Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Write a header of JSON values, and arrays; the file is replaced at once or not at all."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **header})
    with replacing(path) as temporary, temporary.open("wb") as file:
        # Names come from the paths of params, and savez has parameters of its own.
        named = {f"array/{name}": value for name, value in arrays.items()}
        np.savez(file, allow_pickle=False, **{HEADER: np.array(text)}, **named)


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays.

    Raises:
      FileNotFoundError: there is no such file.
      PolicyFormatError: it is no such archive of this version, or damaged.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive[HEADER].item())
            arrays = {
                name.removeprefix("array/"): archive[name]
                for name in archive.files
                if name != HEADER
            }
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip raises whatever its readers come upon
        raise PolicyFormatError(0, f"the archive cannot be read: {error}", path) from error
    found = (header.get("format"), header.get("version")) if isinstance(header, dict) else header
    if found != (FORMAT, VERSION):
        raise PolicyFormatError(0, f"the header says {found}, and not {(FORMAT, VERSION)}", path)
    return header, arrays
