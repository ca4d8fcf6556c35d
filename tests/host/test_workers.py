"""Processes that simulate: the same scores for any number, clear errors, and no orphans."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st
from processes import is_running, wait_until
from test_scoring import JOBS, files_of, scored, terms_of

from ternevo.host import workers
from ternevo.host.scoring import HostError, Job
from ternevo.host.workers import Place, Workers
from ternevo.settings.policies import MLP


@pytest.fixture(scope="module")
def files():
    return files_of(MLP((4,)))


def test_any_number_of_workers_gives_the_same_scores(files):
    expected = scored(files, 4)
    for count in (1, 2):
        crew = Workers(Place("fake_suite", "drift", 3), count)
        try:
            for _ in range(2):  # a second time in used worlds
                for mine, theirs in zip(crew.score(files, JOBS, terms_of()), expected, strict=True):
                    np.testing.assert_array_equal(mine, theirs)
        finally:
            pids = [worker.process.pid for worker in crew._workers]
            crew.close()
        assert len(pids) == count
        assert not any(map(is_running, pids))


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 40))
def test_pieces_are_all_jobs_in_order_and_become_smaller(num_jobs, count, num_worlds):
    jobs = [Job(i // 3, i) for i in range(num_jobs)]
    files = [bytes([i]) for i in range(100)]
    crew = Workers(Place("fake_suite", "drift", num_worlds), count)
    pieces = list(crew._pieces(files, jobs))
    assert [number for piece in pieces for number in piece.numbers] == list(range(num_jobs))
    for piece in pieces:
        found = [(piece.files[job.policy], job.seed) for job in piece.jobs]
        assert found == [(files[number // 3], number) for number in piece.numbers]
    sizes = [len(piece.numbers) for piece in pieces]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= -(-num_jobs // count)  # all workers get some


def test_workers_that_were_killed_between_two_scores_are_replaced(files):
    """As by a second Ctrl-C in a notebook, while something else was running."""
    crew = Workers(Place("fake_suite", "drift", 3), 2)
    try:
        before = crew.score(files, JOBS, terms_of())
        ended = [worker.process for worker in crew._workers]
        crew.kill()
        for process in ended:
            process.wait()
        for again, first in zip(crew.score(files, JOBS, terms_of()), before, strict=True):
            np.testing.assert_array_equal(again, first)
    finally:
        crew.close()


@pytest.mark.parametrize(
    "name, words",
    [
        ("raises", "fake/raises raised ArithmeticError: the drift is lost"),
        ("hangs", "fake/hangs did not finish a step for 2 seconds"),
        ("dies", "a process that simulates fake/dies ended with exit code 7"),
    ],
)
def test_a_failure_is_an_error_and_stops_all_processes(files, name, words, monkeypatch):
    monkeypatch.setattr(workers, "HANGS_AFTER", 2.0 if name == "hangs" else 60.0)
    crew = Workers(Place("fake_suite", name, 3), 1)
    pids = []
    started = workers._started

    def noting(place):
        pids.append((worker := started(place)).process.pid)
        return worker

    monkeypatch.setattr(workers, "_started", noting)
    with pytest.raises(HostError, match=words):
        crew.score(files, JOBS, terms_of(name))
    assert pids and not any(map(is_running, pids))


PARENT = """
import sys, threading
sys.path[:0] = {path!r}
from processes import is_running, wait_until
from test_scoring import JOBS, files_of, terms_of
from ternevo.host.workers import Place, Workers
from ternevo.settings.policies import MLP
crew = Workers(Place("fake_suite", "hangs", 3), 2)
threading.Thread(target=crew.score, args=(files_of(MLP((4,))), JOBS, terms_of("hangs"))).start()
while len(crew._workers) < 2:
    pass
print(*[worker.process.pid for worker in crew._workers], flush=True)
"""


def test_workers_end_with_the_process_that_started_them():
    code = PARENT.format(path=[p for p in sys.path if p])
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(is_running, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: not any(map(is_running, pids)))
