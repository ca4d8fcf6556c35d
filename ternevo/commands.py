"""The names of the commands, and how each is called: `ternevo NAME` is `python -m ternevo.NAME`."""

import os
import select
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """A command of `ternevo`.

    Attributes:
      module: the module whose `main` runs it.
      summary: what it does, in a line.
      settings: the class of its settings, as "package.module:Class".
    """

    module: str
    summary: str
    settings: str


COMMANDS = {
    "run": Command(
        "ternevo.run",
        "train a policy, draw its learning curve and an episode",
        "ternevo.settings.command_line:RunConfig",
    ),
    "play": Command(
        "ternevo.play",
        "play one episode of a policy and show it",
        "ternevo.settings.play:PlayConfig",
    ),
    "export": Command(
        "ternevo.export",
        "write a policy as C, ONNX, NumPy, a web page or a bare file",
        "ternevo.settings.export:ExportConfig",
    ),
    "runs": Command(
        "ternevo.runs.__main__",
        "list runs and compare their learning curves",
        "ternevo.settings.runs:RunsConfig",
    ),
    "report": Command(
        "ternevo.report.__main__",
        "write one page about many runs",
        "ternevo.report.__main__:ReportConfig",
    ),
    "sweep": Command(
        "ternevo.sweep.__main__",
        "run a sweep file: many runs with different settings",
        "ternevo.sweep.__main__:SweepConfig",
    ),
    "distil": Command(
        "ternevo.distil.__main__",
        "make a small policy of a policy from elsewhere",
        "ternevo.settings.distil:DistilConfig",
    ),
    "bench": Command(
        "ternevo.bench.__main__",
        "time ternevo on this machine",
        "ternevo.bench.config:BenchConfig",
    ),
    "gym": Command(
        "ternevo.gym",
        "evaluate a policy in a Gymnasium environment",
        "ternevo.gym:GymConfig",
    ),
}
"""All commands, in the order of the help."""


def prog(name: str) -> str:
    """Return how a command was called, for its usage line.

    `ternevo run` puts "ternevo run" at the start of `sys.argv`; anything else, such as a module
    run by Python or a call from Python, counts as `python -m ternevo.run`.
    """
    called = f"ternevo {name}"
    return called if sys.argv[0] == called else f"python -m ternevo.{name}"


def while_read(main: Callable[[], object]) -> None:
    """Call the main function of a command; if nobody reads its output, end as by SIGPIPE.

    `ternevo run --list_envs | head -5` prints five lines, and no traceback.
    """
    try:
        try:
            main()
        except SystemExit:
            _flush()
            raise
        _flush()
    except BrokenPipeError:
        if sys.stdout is None or not _is_abandoned(sys.stdout.fileno()):
            raise  # another pipe, such as that of a simulator
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def _flush() -> None:
    """Write what is printed now, where a broken pipe can be answered."""
    if sys.stdout is not None:  # as it is for a program that was started without
        sys.stdout.flush()


def _is_abandoned(file: int) -> bool:
    """Return whether a file is a pipe that nobody reads: POLLERR on Linux, POLLHUP on macOS."""
    poll = select.poll()
    poll.register(file, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
