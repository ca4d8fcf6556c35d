"""One arm of a comparison: an ordinary `python -m ternevo.run` of several seeds, run and read."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ternevo import names
from ternevo.runs.sinks import Row, read_jsonl

PAGES = Path(__file__).parent
ROOT = PAGES.parent


@dataclasses.dataclass(frozen=True)
class Arm:
    """A page, a strategy, further options and seeds: what is run, and what the seeds left behind.

    `runs_dir` counts from the root of the project.
    """

    page: str
    name: str
    strategy: str
    options: tuple[str, ...]
    runs_dir: Path
    num_seeds: int
    first_seed: int = 0

    def folders(self) -> list[Path]:
        """Return the folders of its seeds, none before it has begun."""
        pattern = f"*/*/{self.strategy}/{self.run_name}/seed*/config.json"
        if self.num_seeds == 1:
            pattern = f"*/*/{self.strategy}/{self.run_name}/config.json"
        paths = (ROOT / self.runs_dir).glob(pattern)
        return [path.parent for path in sorted(paths, key=_seed_of)]

    @property
    def run_name(self) -> str:
        """The name of its run."""
        return f"{self.page}-{self.name}".replace(", ", "-").lower()

    def rows(self) -> list[list[Row]]:
        """Return the metrics of each seed."""
        return [read_jsonl(folder / "metrics.jsonl") for folder in self.folders()]

    def results(self) -> list[dict[str, Any]]:
        """Return the result of each seed, those only that are done."""
        paths = [folder / "result.json" for folder in self.folders()]
        return [json.loads(path.read_text()) for path in paths if path.exists()]

    def origins(self) -> list[dict[str, Any]]:
        """Return the config.json of each seed: its command, commit and machine."""
        return [json.loads((folder / "config.json").read_text()) for folder in self.folders()]

    def command(self, *more: str) -> list[str]:
        """Return its command line."""
        return [
            *(sys.executable, "-m", "ternevo.run"),
            *("--config", f"experiments/{self.page}.yaml", "--strategy", self.strategy),
            *self.options,
            *("--seed", str(self.first_seed), "--num_seeds", str(self.num_seeds)),
            *("--num_devices", "1", "--render", "False", "--runs_dir", str(self.runs_dir)),
            *("--name", self.run_name, *more),
        ]

    def run(self, *more: str) -> None:
        """Run it, or go on with it.

        Raises:
          RuntimeError: it failed, with its command and what it printed.
        """
        command = self.command("--resume", "True", *more)
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")


def _seed_of(config: Path) -> int:
    """Return the seed in the name of a folder, 0 where there is only one."""
    digits = config.parent.name.removeprefix("seed")
    return int(digits) if digits.isdigit() else 0


def origin(config: dict[str, Any]) -> dict[str, Any]:
    """Return where a number came from, of what config.json says."""
    return {
        "command": " ".join(config["command"]),
        "commit": config["commit"],
        "processor": config["machine"]["processor"],
    }


def lacking(
    rows: Sequence[Row], tasks: Sequence[str], arms: Sequence[str], num_seeds: int
) -> list[tuple[str, str, int]]:
    """Return the task, the arm and the first missing seed of all arms that lack seeds, from 0.

    Raises:
      ValueError: a seed is missing before one that is there, so that those from it on would be
        there twice.
    """
    done: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        done.setdefault((row["task"], row["arm"]), set()).add(row["seed"])
    work = []
    for pair in [(task, arm) for task in tasks for arm in arms]:
        seeds = done.get(pair, set())
        if seeds != set(range(len(seeds))):
            raise ValueError(f"rows of {', '.join(pair)} have seeds {sorted(seeds)}, with a gap")
        if len(seeds) < num_seeds:
            work.append((*pair, len(seeds)))
    return work


def from_seed(name: str, first_seed: int) -> str:
    """Return the name of an arm whose first seeds have been run under the name alone."""
    return f"{name}-from{first_seed}" if first_seed else name


def curve(rows: Sequence[Row]) -> list[tuple[int, float]]:
    """Return (environment steps, return of the policy that would be shipped) of each evaluation."""
    return [(row["env_steps"], row["eval/return"]) for row in rows if "eval/return" in row]


def check_all(kind: str, given: Sequence[str], allowed: Collection[str]) -> None:
    """End the program with status 2 and what is near if a name is not allowed."""
    try:
        for name in given:
            names.check(kind, name, allowed)
    except names.UnknownName as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def side_by_side(function: Any, work: Sequence[Any], jobs: int, what: str) -> None:
    """Call the function for each piece of work, `jobs` at once, under a progress bar.

    Raises:
      RuntimeError: that of the first that failed, after those that run have ended.
    """
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(work), desc=what, unit="run") as bar:
        for _ in pool.map(function, work):
            bar.update()
