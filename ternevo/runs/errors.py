"""What is wrong with a run that a user named, in one line."""

import contextlib
import sys
from collections.abc import Iterator


class RunFolderError(RuntimeError):
    """The name is taken, the run is not there, or it was started with other settings."""


@contextlib.contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Exit 2 with one line where a run or a policy that a user named cannot be used."""
    try:
        yield
    except (OSError, ModuleNotFoundError, RunFolderError, ValueError) as error:
        # A ValueError is also an unknown name, and a file that is no policy.
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
