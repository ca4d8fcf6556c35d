"""The table of what `experiments/gpu_check.sh` left in a folder, as Markdown.

python experiments/gpu_check.py runs/gpu_check
"""

import argparse
import json
from pathlib import Path
from typing import Any

from study_words import table

from ternevo.bench.running import machine_text
from ternevo.runs import provenance
from ternevo.runs.sinks import read_jsonl


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what experiments/gpu_check.sh was given")
    folder = parser.parse_args().folder
    machine = machine_text(provenance.describe()).replace("\n", "; ")
    print(f"`experiments/gpu_check.sh` on {machine}:\n")
    print(table("what | result", [*_tests(folder), *_ratios(folder), *_runs(folder)]))


def _tests(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "tests.txt").read_text().splitlines()
    return [("tests marked gpu", lines[-1].strip("= ") if lines else "nothing was printed")]


def _ratios(folder: Path) -> list[tuple[str, str]]:
    path = folder / "bench" / "bench.json"
    cases: dict[str, Any] = json.loads(path.read_text())["cases"] if path.exists() else {}
    return [
        (f"{name}, {ratio['kind']} against {ratio['rival']}", f"{ratio['median']:.3g}")
        for name, case in cases.items()
        for ratio in case.get("ratios", ())
        if ratio["median"] is not None
    ]


def _runs(folder: Path) -> list[tuple[str, str]]:
    return [
        (f"{path.parent.name}: a run", _speed(read_jsonl(path)))
        for path in sorted((folder / "runs").glob("**/metrics.jsonl"))
    ]


def _speed(rows: list[dict[str, Any]]) -> str:
    """Return the speed between the first row and the last, without compilation."""
    if len(rows) < 2:
        return f"{len(rows)} generations"
    first, last = rows[0], rows[-1]
    seconds = last["wall_time"] - first["wall_time"]
    rate = (last["env_steps"] - first["env_steps"]) / max(seconds, 1e-9)
    return (
        f"{rate:,.0f} steps/s over {last['generation'] - first['generation']} generations; "
        f"return {first['return/mean']:.4g} at first, {last['return/mean']:.4g} at last"
    )


if __name__ == "__main__":
    main()
