"""Read the bytes of a policy file, and refuse those that are damaged."""

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray


class PolicyFormatError(ValueError):
    """The bytes are not a policy of this version, or they are damaged.

    Attributes:
      offset: the byte where it shows.
      reason: what is wrong there.
    """

    def __init__(self, offset: int, reason: str, path: str | Path = ""):
        """Say what is wrong, and where."""
        super().__init__(f"{path}: byte {offset}: {reason}" if path else f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason
        self.path = path

    def __reduce__(self) -> tuple:
        """Pickle the arguments, so that the error reaches another process."""
        return type(self), (self.offset, self.reason, self.path)


class Reader:
    """The bytes, and how far they were read; the last four are the check sum."""

    def __init__(self, data: bytes):
        """Start at the first byte."""
        self.data, self.at = data, 0
        self.end = len(data) - 4

    def refuse(self, offset: int, reason: str) -> NoReturn:
        """Raise the error of a damaged file."""
        raise PolicyFormatError(offset, reason)

    def need(self, condition: bool, offset: int, reason: str) -> None:
        """Refuse the file unless a condition holds."""
        if not condition:
            self.refuse(offset, reason)

    def take(self, size: int, what: str) -> bytes:
        """Return the next bytes; the error names what they would be."""
        if size > self.end - self.at:
            self.refuse(self.at, f"{what} takes {size} bytes, and {self.end - self.at} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def floats(self, count: int, what: str) -> NDArray[np.float32]:
        """Return the next floats, which are finite."""
        start = self.at
        values = np.frombuffer(self.take(4 * count, what), "<f4").astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            self.refuse(start + 4 * int(bad[0]), f"{what} {bad[0]} is not finite")
        return values

    def exponents(self, count: int, what: str, limit: int) -> NDArray[np.int8]:
        """Return the next exponents, at most `limit` in size."""
        start = self.at
        values = np.frombuffer(self.take(count, "exponents"), np.int8)
        bad = np.flatnonzero(np.abs(values.astype(int)) > limit)
        if bad.size:
            found = f"exponent {values[bad[0]]} of {what} {bad[0]}"
            self.refuse(start + int(bad[0]), f"{found}; at most {limit} in size")
        return values.copy()
