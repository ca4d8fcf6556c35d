"""`experiments/gpu_check.sh` runs to its end where there is no GPU, so that it cannot rot."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_its_limits_are_what_its_head_says():
    """A machine may be lent for 15 minutes, of which the installation takes some."""
    text = (ROOT / "experiments" / "gpu_check.sh").read_text()
    ant = re.findall(r"SECONDS_OF_ANT:-(\d+)", text)[-1]  # with a GPU
    limits = re.findall(r'^step \w+ (?:\d+|"[\d ]+") (\d+|"\$seconds") ', text, re.MULTILINE)
    minutes = sum(int(ant if limit == '"$seconds"' else limit) for limit in limits) / 60
    assert len(limits) == 4 and minutes <= 13
    assert f"at most {minutes:g} minutes beside the installation" in text


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
