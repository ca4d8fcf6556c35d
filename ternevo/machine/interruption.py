"""What ends a run early: a signal, or a closed terminal or pipe.

Either way a run in training finishes the current chunk of generations and saves the state. What
follows has no state to save: a signal ends it, and the message says what is kept.

Python runs the handler of a signal between two of its own steps, so not before a compiled program
has returned. A thread therefore hears of signals as they come.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOST_OUTPUT = signal.SIGPIPE
"""The signal that lost output counts as."""


class Stop:
    """Whether a run must end, and why: `signal` is the number of the first signal, or 0.

    Output that can no longer be written counts as `LOST_OUTPUT`. With `is_enough`, only training
    ends, and the run goes on to its results.
    """

    def __init__(self) -> None:
        """Begin without a reason to stop."""
        self.signal = 0
        self.is_enough = False

    def because_of(self, number: int) -> None:
        """Set the reason to stop, unless there already is one."""
        self.signal = self.signal or number


_is_abandoned = threading.Event()
_when_abandoned: dict[Callable[[], object], None] = {}


def is_abandoned() -> bool:
    """Return whether nobody will look at what the compiled program that runs returns."""
    return _is_abandoned.is_set()


def when_abandoned(function: Callable[[], object]) -> None:
    """Call a function, from another thread, when `is_abandoned` becomes true: it ends the wait."""
    _when_abandoned[function] = None


def _abandon() -> None:
    _is_abandoned.set()
    for function in list(_when_abandoned):
        function()


@contextlib.contextmanager
def on_signals(stop: Stop) -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGHUP only set `stop`; a second SIGINT raises KeyboardInterrupt.

    It does so when the compiled program returns, which no longer waits for simulators outside JAX.
    SIGHUP stays ignored under `nohup`. Only the main thread of a process may handle
    signals: in any other thread, this does nothing.
    """
    handled, heard = [], []

    def handle(number: int, frame: object) -> None:
        del frame
        handled.append(number)
        stop.because_of(number)
        # Two that come during one step of Python are handled once.
        if max(handled.count(signal.SIGINT), heard.count(signal.SIGINT)) > 1:
            raise KeyboardInterrupt

    def hear(number: int) -> None:
        heard.append(number)
        if len(heard) == 1:
            # Not with print: the signal may have interrupted one.
            with contextlib.suppress(OSError):
                os.write(2, b"stopping after this chunk\n")
        if number == signal.SIGINT and heard.count(number) == 2:
            _abandon()

    if not _is_main_thread():
        yield
        return
    with handled_by(handle), heard_by(hear):
        yield


class Interrupted(KeyboardInterrupt):
    """A signal came; `signal` is its number."""

    def __init__(self, number: int):
        """Remember the signal."""
        super().__init__()
        self.signal = number


@contextlib.contextmanager
def ended_by_signals(message: str) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the work within, which is no chunk that could be saved.

    Args:
      message: what is kept and how to get the rest; it is printed after "interrupted ".

    Raises:
      SystemExit: a signal came; the status is 128 plus its number.
    """

    def handle(number: int, frame: object) -> None:
        del frame
        raise Interrupted(number)

    try:
        with contextlib.ExitStack() as stack:
            if _is_main_thread():
                stack.enter_context(handled_by(handle))
                stack.enter_context(heard_by(lambda number: _abandon()))
            yield
    except Interrupted as error:
        print(f"interrupted {message}", flush=True)
        raise SystemExit(128 + error.signal) from error


@contextlib.contextmanager
def interrupts_in_a_line() -> Iterator[None]:
    """Print one line for a Ctrl-C that nothing else handled, and exit with 130.

    Raises:
      SystemExit: there was one.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        print("interrupted; what was written before is kept", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from error


@contextlib.contextmanager
def handled_by(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function handle the signals that end a process, except a SIGHUP ignored by `nohup`."""
    heeded = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def heard_by(hear: Callable[[int], object]) -> Iterator[None]:
    """Call a function as one of `SIGNALS` comes that is handled, in a thread of its own."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # as `set_wakeup_fd` demands
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while numbers := ours.recv(64):
            for number in numbers:
                if number in SIGNALS:
                    hear(number)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()
        thread.join()
        ours.close()
        _is_abandoned.clear()


@contextlib.contextmanager
def on_lost_output(stop: Stop) -> Iterator[None]:
    """Make failed writes to standard output and error only set `stop`.

    Writes fail when `| head` has exited, the terminal is closed, or the disk of a log is full.
    Outside the main thread this does nothing, as the streams belong to the whole process.
    """
    if not _is_main_thread():
        yield
        return
    watched: list[Any] = [
        stream and _Watched(stream, stop) for stream in (sys.stdout, sys.stderr)
    ]  # a stream that was closed before Python started is None
    with contextlib.redirect_stdout(watched[0]), contextlib.redirect_stderr(watched[1]):
        yield


class _Watched:
    """A stream that sets `stop` when the underlying stream raises an OSError."""

    def __init__(self, stream: Any, stop: Stop):
        self._stream = stream
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._watched():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._watched():
            self._stream.flush()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._stop.because_of(LOST_OUTPUT)
            self._discard()

    def _discard(self) -> None:
        """Discard the contents of the buffer and all later output."""
        with contextlib.suppress(OSError):  # a stream without a file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
