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
    *("--env", "fake_suite:drift", "--num_devices", "1", "--population_size", "64"),
    *("--num_episodes", "32", "--num_generations", "100000", "--hidden_sizes", "4,"),
    *("--eval_every", "100000", "--num_eval_episodes", "2", "--no_render", "--name", "stopped"),
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_generation_end_and_leaves_no_process(number, tmp_path):
    path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    run = subprocess.Popen(
        [sys.executable, "-m", "ternevo.run", *RUN],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    rows = tmp_path / "runs/fake_suite:drift/ternary_nes/stopped/metrics.jsonl"
    assert wait_until(lambda: rows.exists() and rows.stat().st_size, 300)
    workers = children_of(run.pid)
    assert workers and all(map(is_running, workers))
    run.send_signal(number)
    printed, _ = run.communicate(timeout=120)
    assert run.returncode == 128 + number, printed
    assert "interrupted: the state is saved in" in printed
    assert "Traceback" not in printed
    assert not any(map(is_running, workers))
