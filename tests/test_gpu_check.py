"""`experiments/gpu_check.sh` runs to its end where there is no GPU, so that it cannot rot."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_it_leaves_a_table_and_all_that_it_is_made_of(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "experiments" / "gpu_check.sh", tmp_path],
        env={**os.environ, "PYTHON": sys.executable, "SECONDS_OF_ANT": "90"},
        capture_output=True,
        text=True,
    )
    logs = {path.name: path.read_text()[-2000:] for path in tmp_path.glob("*.txt")}
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    table = (tmp_path / "table.md").read_text()
    assert re.search(r"\| tests marked gpu \| \d+ passed", table)
    assert "cartpole_quick, time against evosax" in table
    assert "ant: a run" in table and "cartpole: a run" in table and "steps/s over" in table
    assert (tmp_path / "bench" / "bench.json").exists()
