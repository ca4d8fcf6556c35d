"""What a worker does: `python -m ternevo.host.worker PARENT PIPE SUITE NAME NUM_WORLDS`."""

import os
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from ternevo.deploy.runtime import Policy
from ternevo.host.scoring import HostError, score
from ternevo.host.suites import suite
from ternevo.host.worlds import Worlds

SECONDS_PER_SIGN = 2.0
"""How often a worker says that it is alive."""


class _Signs:
    """Says from time to time that the worker is alive."""

    def __init__(self, pipe: Connection):
        self.pipe, self.last = pipe, time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self.last > SECONDS_PER_SIGN:
            self.last = now
            self.pipe.send(("alive", None))  # if nobody listens, `main` ends


def main(argv: list[str]) -> None:
    """Answer until the other end of the pipe is closed."""
    parent, descriptor, suite_name, name, num_worlds = argv
    threading.Thread(target=_end_with_parent, args=(int(parent),), daemon=True).start()
    pipe, worlds = Connection(int(descriptor)), None
    while True:
        try:
            message = pipe.recv()
        except (EOFError, ConnectionResetError):
            break
        try:
            if worlds is None:
                worlds = suite(suite_name).open_worlds(name, int(num_worlds), 1)
            answer = "scored", _scored(worlds, int(num_worlds), message, _Signs(pipe))
        except HostError as error:
            answer = "error", str(error)
        except Exception as error:
            answer = "error", f"{suite_name}/{name} failed with {type(error).__name__}: {error}"
        try:
            pipe.send(answer)
        except BrokenPipeError:
            break
    if worlds is not None:
        worlds.close()


def _scored(worlds: Worlds, num_worlds: int, message: Any, signs: _Signs) -> Any:
    files, jobs, terms = message
    return score(worlds, num_worlds, [*map(Policy.from_bytes, files)], jobs, terms, signs)


def _end_with_parent(parent: int) -> None:
    """End as soon as the process that started this one has ended, whatever is being computed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
