"""The peak memory of one generation, measured in its own process.

That process is `python -m ternevo.bench.one_generation`: other cases in the same process would
add to its peak.
"""

import dataclasses
import json
import subprocess
import sys
from typing import Any

from ternevo.bench.cases import PeakMemory
from ternevo.bench.contest import CaseError, Contest, Contestant
from ternevo.bench.measure import in_bytes


def build(setting: PeakMemory) -> Contest:
    """Return one process with the whole population and one with two members, each run once."""
    two = dataclasses.replace(setting, population_size=2)
    ours, small = run_fresh(setting), run_fresh(two)
    contestants = [
        _contestant("ternevo", setting, ours),
        _contestant("two members", two, small),
    ]
    notes = {
        "weights": ours["weights"],
        "population_int8_bytes": setting.population_size * ours["weights"],
        "peak_bytes": ours["peak_bytes"],
        "over_two_members_bytes": ours["peak_bytes"] - small["peak_bytes"],
    }
    return Contest(contestants, notes)


def _contestant(name: str, setting: PeakMemory, found: dict[str, Any]) -> Contestant:
    print(f"  {name}: peak memory {in_bytes(found['peak_bytes'])}", flush=True)
    return Contestant(
        name,
        lambda: None,
        env_steps=found["env_steps"],
        peak_bytes=found["peak_bytes"],
        skipped="only its memory is measured: its time would be mostly compilation",
    )


def run_fresh(setting: PeakMemory) -> dict[str, Any]:
    """Run one generation in a fresh process; return its "peak_bytes", "env_steps", "weights".

    Raises:
      CaseError: the process failed, or was killed because memory ran out (status -9).
    """
    command = [
        sys.executable,
        "-m",
        "ternevo.bench.one_generation",
        json.dumps(dataclasses.asdict(setting)),
    ]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        size = setting.population_size
        raise CaseError(f"a generation of {size:,} members exited with status {result.returncode}")
    return json.loads(result.stdout.splitlines()[-1])
