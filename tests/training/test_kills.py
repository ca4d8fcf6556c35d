"""A thousand kills, see `kills.py`: nothing is lost, nothing is left over."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 1000


@pytest.mark.slow  # an hour on two cores
def test_a_thousand_kills_lose_nothing_and_leave_nothing():
    script = Path(__file__).with_name("kills.py")
    halves = [
        subprocess.Popen(
            [sys.executable, str(script), "--kills", str(KILLS // 2), "--seed", str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in range(2)
    ]
    printed = [process.communicate()[0] for process in halves]
    assert [process.returncode for process in halves] == [0, 0], printed
    for output in printed:
        last = output.splitlines()[-1]
        assert last.startswith("nothing lost, nothing left over: ")
        assert int(last.split(":")[1].split()[0]) >= KILLS // 2
