"""Processes that score members, each in worlds of its own, so that all cores simulate.

A worker is `python -m ternevo.host.worker`, and not a fork: JAX has started threads by then. It
gets policies as the bytes of their files, and sends returns. It ends with the process that
started it.
"""

import atexit
import contextlib
import functools
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from ternevo.host.scoring import HostError, Job, Scored, Terms, no_results

HANGS_AFTER = 120.0
"""Seconds without a step after which a worker is said to hang."""

SHARE = 0.5
"""How much of a worker's share of what is left is in a piece: the last ones are small, so that no
worker waits long for another."""


_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A core for each worker."""


class Place(NamedTuple):
    """Where a worker scores: a suite, a name in it, and the number of worlds."""

    suite: str
    name: str
    num_worlds: int


class Piece(NamedTuple):
    """Episodes for a worker: which of all jobs, and the files of the policies they need."""

    numbers: list[int]
    jobs: list[Job]
    files: list[bytes]


class _Worker(NamedTuple):
    process: subprocess.Popen
    pipe: Connection


class Workers:
    """A number of processes that score, started when there is something to score."""

    def __init__(self, place: Place, count: int):
        """Start nothing yet.

        Args:
          place: where they score.
          count: how many processes.
        """
        self.place, self.count = place, count
        self._workers: list[_Worker] = []

    def score(self, files: Sequence[bytes], jobs: Sequence[Job], terms: Terms) -> Scored:
        """Score policies, given as the bytes of their files; see `scoring.score`.

        Raises:
          HostError: a simulator failed or hung, or a worker ended. All workers are stopped.
        """
        try:
            self._start()
            return self._run(self._pieces(files, jobs), terms, len(jobs))
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        if any(worker.process.poll() is not None for worker in self._workers):
            self.close()  # `kill` was called while nothing was scored
        if not self._workers:
            for _ in range(self.count):
                self._workers.append(_started(self.place))

    def _run(self, waiting: Iterator[Piece], terms: Terms, num_jobs: int) -> Scored:
        results = no_results(num_jobs, terms)
        working: dict[Any, tuple[_Worker, Piece]] = {}

        def give(worker: _Worker) -> None:
            piece = next(waiting, None)
            if piece is not None:
                _send(worker, (piece.files, piece.jobs, terms))
                working[worker.pipe] = worker, piece

        for worker in self._workers:
            give(worker)
        while working:
            ready = wait(list(working), timeout=HANGS_AFTER)
            if not ready:
                raise HostError(
                    f"{terms.spec.id} did not finish a step for {HANGS_AFTER:.0f} seconds"
                )
            for pipe in ready:
                worker, piece = working[pipe]
                answer = _received(worker, terms)
                if answer is not None:
                    for all_of_it, own in zip(results, answer, strict=True):
                        all_of_it[piece.numbers] = own
                    del working[pipe]
                    give(worker)
        return results

    def _pieces(self, files: Sequence[bytes], jobs: Sequence[Job]) -> Iterator[Piece]:
        """Cut the jobs into pieces, in order: none so small that worlds are mostly idle."""
        least = min(self.place.num_worlds // 2, math.ceil(len(jobs) / self.count))
        end = 0
        for size in _sizes(len(jobs), self.count, max(1, least)):
            numbers = list(range(end, end := end + size))
            needed = sorted({jobs[number].policy for number in numbers})
            place = {policy: i for i, policy in enumerate(needed)}
            own = [jobs[number]._replace(policy=place[jobs[number].policy]) for number in numbers]
            yield Piece(numbers, own, [files[policy] for policy in needed])

    def kill(self) -> None:
        """Kill the processes, from any thread; a `score` that is running raises HostError."""
        for worker in list(self._workers):
            worker.process.kill()

    def close(self) -> None:
        """Stop the processes; `score` would start others."""
        self.kill()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.process.wait()


@functools.cache
def shared(place: Place, count: int) -> Workers:
    """Return workers that live until this process ends, the same for the same arguments."""
    workers = Workers(place, count)
    atexit.register(workers.close)
    return workers


def _sizes(num_jobs: int, count: int, least: int) -> Iterator[int]:
    """Yield the sizes of pieces, most of which are at least `least`."""
    left = num_jobs
    while left:
        size = min(left, max(least, math.ceil(SHARE * left / count)))
        yield size
        left -= size


def _started(place: Place) -> _Worker:
    ours, theirs = Pipe()
    arguments = map(str, (os.getpid(), theirs.fileno(), *place))
    command = [sys.executable, "-m", "ternevo.host.worker", *arguments]
    process = subprocess.Popen(
        command,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for us alone: we finish the generation and save
        env=os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    theirs.close()
    return _Worker(process, ours)


def _send(worker: _Worker, message: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # `_received` says that it has ended
        worker.pipe.send(message)


def _received(worker: _Worker, terms: Terms) -> Scored | None:
    """Return a worker's results, or None if it only says that it is alive."""
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        code = worker.process.wait()
        raise HostError(
            f"a process that simulates {terms.spec.id} ended with exit code {code}; its messages, "
            "if there are any, are above"
        ) from None
    if kind == "error":
        raise HostError(content)
    return content if kind == "scored" else None
