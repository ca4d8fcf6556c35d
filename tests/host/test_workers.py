"""Processes that simulate: the same scores for any number, clear errors, and no orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_scoring import JOBS, files_of, scored, terms_of

from ternevo.host import workers
from ternevo.host.scoring import HostError
from ternevo.host.workers import Place, Workers
from ternevo.settings.policies import MLP


@pytest.fixture(scope="module")
def files():
    return files_of(MLP((4,)))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # one that has ended may wait for an init that never asks
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


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
