"""Say what a run is doing and for how long, and sum up what its time went to."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

SECONDS_BETWEEN_LINES = 10.0
"""The interval of signs of life where a line cannot be rewritten, such as in a log file."""


class Phases:
    """The seconds of each phase of a run.

    The time before the first phase, and between phases, counts as "other".
    """

    def __init__(self) -> None:
        """Start the clock."""
        self._begin = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str, words: str = "") -> Iterator[None]:
        """Count the time of a block, and print `words` with a clock until it ends."""
        begin = time.monotonic()
        try:
            with telling(words) if words else contextlib.nullcontext():
                yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0) + time.monotonic() - begin

    def summary(self) -> str:
        """Return the whole time and its parts, such as "41 s: 9 importing, 32 training".

        Parts below half a second are counted as "other".
        """
        total = time.monotonic() - self._begin
        parts = {name: x for name, x in self._seconds.items() if x >= 0.5}
        parts["other"] = total - sum(parts.values())
        shown = ", ".join(f"{x:.0f} {name}" for name, x in parts.items() if x >= 0.5)
        return f"{total:.0f} s: {shown}" if shown else f"{total:.0f} s"


@contextlib.contextmanager
def telling(words: str) -> Iterator[None]:
    """Print `words`, and then the seconds until the block ends: in place on a terminal."""
    print(words, flush=True)
    ended = threading.Event()
    clock = threading.Thread(target=_tick, args=(words, ended), daemon=True)
    clock.start()
    try:
        yield
    finally:
        ended.set()
        clock.join()


def _tick(words: str, ended: threading.Event) -> None:
    stream, begin = sys.stderr, time.monotonic()
    if stream is None:  # it was closed before Python started
        return
    on_terminal = stream.isatty()
    while not ended.wait(1.0 if on_terminal else SECONDS_BETWEEN_LINES):
        seconds = time.monotonic() - begin
        line = f"\r{seconds:4.0f} s" if on_terminal else f"{words}: {seconds:.0f} s\n"
        print(line, end="", file=stream, flush=True)
    if on_terminal:
        print("\r\x1b[K", end="", file=stream, flush=True)
