"""One-line errors about a run that a user named."""

import contextlib
import sys
from collections.abc import Iterator

from ternevo.machine.interruption import interrupts_in_a_line


class RunFolderError(RuntimeError):
    """The name is taken, the run does not exist, or it was started with other settings."""


@contextlib.contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Exit with status 2 and one line if a run or a policy named by the user cannot be used.

    A Ctrl-C is one line too, with status 130.
    """
    try:
        with interrupts_in_a_line():
            yield
    except (OSError, ModuleNotFoundError, RunFolderError, ValueError) as error:
        # ValueError also covers an unknown name, and a file that is not a policy.
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
