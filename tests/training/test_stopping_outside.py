"""Stopped runs in simulators outside JAX: saved, with the usual status, and nobody left over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import children_of, is_running, wait_until

SUPPORT = Path(__file__).parents[1] / "support"
RUN = (
    *("--num_devices", "1", "--population_size", "64"),
    *("--num_episodes", "32", "--num_generations", "100000", "--hidden_sizes", "4,"),
    *("--eval_every", "100000", "--num_eval_episodes", "2", "--no_render", "--name", "stopped"),
)


def started(env, folder):
    """Return the process of a run in an environment of the fake suite, which prints to a file."""
    path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    with (folder / "printed").open("w") as printed:
        return subprocess.Popen(
            [sys.executable, "-m", "ternevo.run", "--env", f"fake_suite:{env}", *RUN],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_generation_end_and_leaves_no_process(number, tmp_path):
    run = started("drift", tmp_path)
    rows = tmp_path / "runs/fake_suite:drift/ternary_nes/stopped/metrics.jsonl"
    assert wait_until(lambda: rows.exists() and rows.stat().st_size, 300)
    workers = children_of(run.pid)
    assert workers and all(map(is_running, workers))
    run.send_signal(number)
    code = run.wait(timeout=120)
    printed = (tmp_path / "printed").read_text()
    assert code == 128 + number, printed
    assert "interrupted: the state is saved in" in printed
    assert "Traceback" not in printed
    assert not any(map(is_running, workers))


@pytest.mark.wide  # processes that hang are in test_workers.py
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_second_ctrl_c_does_not_wait_for_the_simulators(tmp_path):
    run = started("hangs", tmp_path)
    assert wait_until(lambda: children_of(run.pid), 300)
    workers = children_of(run.pid)
    printed = tmp_path / "printed"
    run.send_signal(signal.SIGINT)
    assert wait_until(lambda: "stopping after this chunk" in printed.read_text(), 30)
    assert run.poll() is None and all(map(is_running, workers))  # the step hangs
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=60) == 128 + signal.SIGINT, printed.read_text()
    assert "interrupted; what was written before is kept" in printed.read_text()
    assert "Traceback" not in printed.read_text() and "simulates" not in printed.read_text()
    assert not any(map(is_running, workers))
