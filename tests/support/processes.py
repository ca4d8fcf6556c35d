"""Whether processes run."""

import os
import time
from pathlib import Path


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


def children_of(pid):
    """Return the processes that a process has started; of Linux only."""
    stats = {path.parent.name: path.read_text() for path in Path("/proc").glob("[0-9]*/stat")}
    return [int(n) for n, stat in stats.items() if stat.rpartition(")")[2].split()[1] == str(pid)]


def outputs_of(processes, seconds=600):
    """Return what each printed until it ended; if one does not, none of them is left running."""
    try:
        return [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
