"""The file of a policy without a codec: named arrays and a JSON header in a NumPy .npz.

It holds what the policy's own module needs to act again: the name of the settings class, its
fields, the tensors, and the moments of observations. Nothing is pickled, compressed or imported
here. The header names a module; callers must call `names.check_trusted` before they import it.

An archive may come from an untrusted source. Its directory is checked before its members are read,
and each member before its array is made. Anything that `write` would not produce is rejected.
"""

import io
import json
import math
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ternevo import reading
from ternevo.deploy.record import OUTPUT_KINDS, WEIGHT_KINDS, OutputKind
from ternevo.deploy.tvp import MAX_BOUND, MAX_WEIGHTS, PolicyFormatError
from ternevo.files import replacing

FORMAT, VERSION = "ternevo policy", 1
HEADER = "header"
PREFIX, SUFFIX = "array/", ".npy"
MAGIC = b"PK"

MAX_HEADER = 2**16
"""The maximum number of characters in the JSON header."""
MAX_MEMBERS = 4096
MAX_BYTES = 4 * MAX_WEIGHTS + 2**24
"""Limit on all members: as many float32 weights as a .tvp may have, plus 16 MiB for the rest."""
MAX_COMPONENTS = 2**20
"""The maximum number of components of an observation, such as an image, or of an action."""
MAX_DIRECTORY = 2**20
"""The maximum bytes of the list of members, which is parsed before it is validated."""
DTYPES = {"<f4": np.dtype("<f4"), "|i1": np.dtype("i1")}
"""The dtypes of tensors and moments, by NumPy's names in a file."""

NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_HEADER = re.compile(
    rb"\{'descr': '([<|]\w+)', 'fortran_order': (False|True), 'shape': "
    rb"\((|\d{1,9},|\d{1,9}(?:, \d{1,9}){1,7})\), \} *\n"
)
END = struct.Struct("<4s4H2LH")
"""The last bytes of a zip: magic, disks, members, bytes and place of the directory, a comment."""
END_MAGIC, LOCATOR_MAGIC, LOCATOR_SIZE = b"PK\x05\x06", b"PK\x06\x07", 20

Arrays = dict[str, NDArray[Any]]
ObsKind = Literal["floats", "integers", "bits", "pixels", "planes"]
"""That of `ternevo.types`, which would import JAX."""
Shown = tuple[tuple[int, ...], ObsKind]
OBS_KINDS: tuple[ObsKind, ...] = get_args(ObsKind)


class Header(NamedTuple):
    """The validated header of a policy.

    Attributes:
      policy: a key of `POLICIES`, or "package.module:Class".
      settings: the values of its fields, as JSON.
      action: the fields of `ternevo.types.ActionSpec`.
      metadata: texts by name.
      obs: the fields of `ternevo.types.ObsSpec`; None if the file does not have them.
    """

    policy: str
    settings: dict[str, Any]
    action: tuple[OutputKind, int, tuple[float, ...], tuple[float, ...]]
    metadata: dict[str, str]
    obs: Shown | None = None


def is_archive(path: str | Path) -> bool:
    """Return whether a file starts like an archive.

    Raises:
      FileNotFoundError, NotAFile: there is no such regular file.
    """
    return reading.read_bytes(path, len(MAGIC))[: len(MAGIC)] == MAGIC


def write(path: Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Write a header of JSON values, and arrays; the file is replaced atomically.

    Raises:
      PolicyFormatError: `read` would reject the file, so it is not written.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **header})
    # Names come from the paths of params, and may clash with savez's own parameters.
    named = {f"{PREFIX}{name}": value for name, value in arrays.items()}
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{HEADER: np.array(text)}, **named)
        try:
            read(temporary)
        except PolicyFormatError as error:
            raise PolicyFormatError(0, error.reason, path) from error


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Return the header and the arrays; validate the header's fields with `checked`.

    Raises:
      FileNotFoundError, NotAFile: there is no such regular file.
      PolicyFormatError: it is not an archive of this version, or is damaged.
    """
    most = MAX_BYTES + MAX_DIRECTORY
    data = reading.read_bytes(path, most)
    try:
        _need(len(data) <= most, f"larger than {most} bytes")
        members = _members(data)
        header = _json(_text(members.pop(f"{HEADER}{SUFFIX}")))
        arrays = {
            name.removeprefix(PREFIX).removesuffix(SUFFIX): _array(name, member)
            for name, member in members.items()
        }
    except Exception as error:  # a damaged zip may raise almost anything
        reason = error.reason if isinstance(error, PolicyFormatError) else error
        raise PolicyFormatError(0, f"the archive cannot be read: {reason}", path) from error
    found = (header.get("format"), header.get("version")) if isinstance(header, dict) else header
    if found != (FORMAT, VERSION):
        said = f"the header says {_short(found)}, and not {(FORMAT, VERSION)}"
        raise PolicyFormatError(0, said, path)
    return header, arrays


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise PolicyFormatError(0, reason)


# --------------------------------------------------------------------------------- the members


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip by name, after checking that `write` made its directory."""
    _check_end(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        total = sum(info.file_size for info in infos)
        _need(total <= MAX_BYTES, f"members of {total} bytes; at most {MAX_BYTES} may be")
        names = [info.filename for info in infos]
        _need(names[:1] == [f"{HEADER}{SUFFIX}"], f"the first member must be the {HEADER}")
        _need(len(set(names)) == len(names), "a member occurs twice")
        for info in infos:
            _check_member(info)
        return {info.filename: archive.read(info) for info in infos}


def _check_end(data: bytes) -> None:
    """Reject a directory that is too large to read; NumPy does not write a comment after it."""
    _need(len(data) >= END.size, "it is cut off")
    magic, *_, count, size, _, comment = END.unpack(data[-END.size :])
    _need(magic == END_MAGIC and comment == 0, "it does not end as a zip of NumPy does")
    locator = data[-END.size - LOCATOR_SIZE :][: len(LOCATOR_MAGIC)]
    _need(locator != LOCATOR_MAGIC, "its directory is 64-bit")
    _need(count <= MAX_MEMBERS, f"{count} members; at most {MAX_MEMBERS} may be")
    _need(size <= MAX_DIRECTORY, f"a directory of {size} bytes; at most {MAX_DIRECTORY} may be")


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.filename
    is_array = name.startswith(PREFIX) and name.endswith(SUFFIX)
    _need(is_array or name == f"{HEADER}{SUFFIX}", f"an unknown member {name!a}")
    is_plain = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
    _need(is_plain and not info.flag_bits & 1, f"{name!a} is compressed or encrypted")


def _array(name: str, member: bytes) -> NDArray[Any]:
    """Return a copy of the array of a member, after checking its size against its shape."""
    descr, is_fortran, shape, start = _npy_header(member)
    _need(descr in DTYPES, f"{name!a} is of dtype {descr}; must be float32 or int8")
    dtype = DTYPES[descr]
    wanted = math.prod(shape) * dtype.itemsize
    _need(len(member) - start == wanted, f"{name!a} has {len(member) - start} bytes, not {wanted}")
    values = np.frombuffer(member, dtype, offset=start)
    return values.reshape(shape, order="F" if is_fortran else "C").copy()


def _text(member: bytes) -> str:
    """Return the text of the header, an array of one string with four bytes per character."""
    descr, _, shape, start = _npy_header(member)
    length = int(descr[2:]) if re.fullmatch(r"<U\d{1,5}", descr) else 0
    _need(shape == () and 0 < length <= MAX_HEADER, f"the header is {descr}{list(shape)}")
    _need(len(member) - start == 4 * length, "the header is cut off")
    return member[start:].decode("utf-32-le")


def _npy_header(member: bytes) -> tuple[str, bool, tuple[int, ...], int]:
    """Return dtype, Fortran order, shape and offset of the values of a .npy of version 1."""
    start = len(NPY_MAGIC) + 2
    _need(member.startswith(NPY_MAGIC) and len(member) > start, "a member is not a .npy of NumPy")
    (size,) = struct.unpack_from("<H", member, start - 2)
    found = NPY_HEADER.fullmatch(member[start : start + size])
    if found is None:
        raise PolicyFormatError(0, "a member has a damaged header")
    descr, order, shape = (group.decode() for group in found.groups())
    return descr, order == "True", tuple(map(int, re.findall(r"\d+", shape))), start + size


def _json(text: str) -> Any:
    """Return the value of a JSON text, without duplicate names in any object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _need(len(dict(pairs)) == len(pairs), "a name occurs twice in the header")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


# ---------------------------------------------------------------------------------- the header


def checked(header: dict[str, Any]) -> Header:
    """Return the validated header of a policy; the same rules apply as for a .tvp.

    Raises:
      PolicyFormatError: a field is missing, unknown or wrong; the message names it.
    """
    for name in Header._fields:
        is_optional = name in Header._field_defaults
        _need(is_optional or name in header, f"there is no {name!r} in the header")
    unknown = sorted(header.keys() - {"format", "version", *Header._fields})
    _need(not unknown, f"unknown in the header: {', '.join(map(ascii, unknown))}")
    policy, settings, metadata = header["policy"], header["settings"], header["metadata"]
    is_named = isinstance(policy, str) and policy != ""
    _need(is_named, f"policy must be a name or a package.module:Class, not {_short(policy)}")
    _need(isinstance(settings, dict), f"settings must be an object, not {_short(settings)}")
    kind = settings.get("weights", "ternary")
    _need(kind in WEIGHT_KINDS, f"weights are {_short(kind)}; must be one of {WEIGHT_KINDS}")
    is_text = isinstance(metadata, dict) and all(isinstance(x, str) for x in metadata.values())
    _need(is_text, "metadata must be an object of texts")
    return Header(policy, settings, _action(header["action"]), metadata, _shown(header))


def _shown(header: dict[str, Any]) -> Shown | None:
    """Return the shape and kind of observations, if the header has them."""
    if "obs" not in header:
        return None
    obs = header["obs"]
    is_obs = isinstance(obs, dict) and obs.keys() == {"shape", "kind"}
    _need(is_obs, "obs must be an object of shape, kind")
    shape, kind = obs["shape"], obs["kind"]
    _need(kind in OBS_KINDS, f"kind of obs {_short(kind)}; must be one of {OBS_KINDS}")
    is_shape = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
    _need(is_shape, f"shape of obs {_short(shape)}; must be a list of positive integers")
    return tuple(shape), kind


def _action(action: Any) -> tuple[OutputKind, int, tuple[float, ...], tuple[float, ...]]:
    fields = ("kind", "size", "low", "high")
    is_action = isinstance(action, dict) and action.keys() == set(fields)
    _need(is_action, f"action must be an object of {', '.join(fields)}")
    kind, size = action["kind"], action["size"]
    _need(kind in OUTPUT_KINDS, f"kind of action {_short(kind)}; must be one of {OUTPUT_KINDS}")
    is_size = type(size) is int and 1 <= size <= MAX_COMPONENTS
    _need(is_size, f"size of action {_short(size)}; must be 1 to {MAX_COMPONENTS}")
    low, high = (_bound(name, action[name]) for name in ("low", "high"))
    wanted = size if kind == "continuous" else 0
    _need(len(low) == len(high) == wanted, f"low and high of action must have {wanted} numbers")
    is_range = all(x <= y for x, y in zip(low, high, strict=True))
    _need(is_range, "low of action is above high")
    return kind, size, low, high


def _bound(name: str, values: Any) -> tuple[float, ...]:
    is_list = isinstance(values, list) and all(type(x) in (int, float) for x in values)
    _need(is_list, f"{name} of action must be a list of numbers")
    is_finite = all(abs(x) <= float(MAX_BOUND) for x in values)  # NaN also fails
    _need(is_finite, f"{name} of action has a number above {MAX_BOUND:g} in size")
    return tuple(values)


def _short(value: Any) -> str:
    """Return a value from a file, shortened for a message."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
