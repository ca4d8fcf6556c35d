"""How long a run takes from enter to its first generation and to its result, cold and warm.

python experiments/start_times.py
python experiments/start_times.py --envs gymnax/CartPole-v1

Each run is a process of its own with the default settings: first with an empty cache of compiled
programs (cold), then with what that one left (warm). Nothing else should run meanwhile. Prints a
table; "in all" is the line that a run ends with.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tyro
from tqdm import tqdm

ROW = "| {} | {} | {} | {} | {} |"
CACHE = "JAX_COMPILATION_CACHE_DIR"


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """Settings of this script."""

    envs: tuple[str, ...] = (
        "gymnax/CartPole-v1",
        "gymnax/Pendulum-v1",
        "brax/hopper@spring",
        "brax/ant@spring",
    )
    """Which environments."""
    generations_of_brax: int = 2
    """Generations of a run in brax, which draws no picture. A longer one is mostly training."""


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds from enter to the end of the first generation and of the run, and what it says."""

    first: float
    whole: float
    summary: str


def main(argv: Sequence[str] | None = None) -> None:
    """Time all runs, and print the table."""
    config = tyro.cli(
        StartConfig, args=argv, prog="python experiments/start_times.py", use_underscores=True
    )
    kinds = ("cold", "warm")
    print(ROW.format("environment", "cache", "first generation, s", "result, s", "in all"))
    print(ROW.format(*["---"] * 5), flush=True)
    with tqdm(total=len(config.envs) * len(kinds), desc="start", unit="run") as bar:
        for env in config.envs:
            with tempfile.TemporaryDirectory() as folder:
                for kind in kinds:
                    found = timed(env, Path(folder), kind, _options(env, config))
                    times = (f"{found.first:.0f}", f"{found.whole:.0f}")
                    tqdm.write(ROW.format(env, kind, *times, found.summary))
                    bar.update()


def _options(env: str, config: StartConfig) -> list[str]:
    if not env.startswith("brax/"):
        return []
    return ["--num_generations", str(config.generations_of_brax), "--render", "False"]


def timed(env: str, folder: Path, name: str, options: list[str]) -> Times:
    """Run training in a process of its own, with its cache and its results in a folder.

    Raises:
      SystemExit: it failed, or printed no generation; what it said is the message.
    """
    command = [sys.executable, "-m", "ternevo.run", "--env", env, "--name", name]
    command += ["--runs_dir", str(folder / "runs"), *options]
    # Nothing that would lead to another cache than the one in the folder.
    around = {key: value for key, value in os.environ.items() if key != CACHE}
    begin, first, summary, said = time.perf_counter(), None, "", []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # no terminal, where a bar would take the place of lines
        text=True,
        env={**around, "XDG_CACHE_HOME": str(folder / "cache")},
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("generation 1/"):
                first = time.perf_counter() - begin
            elif line.startswith("time "):
                summary = line.partition(" ")[2].strip()
    if process.returncode or first is None:
        raise SystemExit("".join(said))
    return Times(first, time.perf_counter() - begin, summary)


if __name__ == "__main__":
    main()
