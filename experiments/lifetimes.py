"""Policies that learn while they live, beside those that do not: the acceptance experiments.

    python experiments/lifetimes.py --systems hebbian hill_climber

runs what results/lifetimes.jsonl lacks, one line for each seed, and writes the table of
docs/lifetimes.md. All seeds of an arm are one `python -m ternevo.run`; each best policy then lives
through fresh episodes of the family that it was trained on, and of those it was not.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from arms import PAGES, ROOT, check_all, origin
from study_words import number, spread, table
from tune import append, read

from ternevo.files import replace_text
from ternevo.runs.intervals import mean_interval

RESULTS = PAGES / "results" / "lifetimes.jsonl"
PAGE = ROOT / "docs" / "lifetimes.md"
MARKS = ("<!-- table {} -->", "<!-- end of table {} -->")
NUM_EPISODES = 256


class System(NamedTuple):
    """A system: options of all arms, environments to test on by column, and its arms."""

    options: str
    tests: dict[str, str]
    arms: dict[str, str]


REACH = "meta/babble_and_reach"
CORNERS = "meta/four_corners"
HEBBIAN = "--policy hebbian --babble_steps 24"
CLIMBER = "--policy hill_climber --lifetime 22"
SYSTEMS = {
    "hebbian": System(
        f"--env {REACH} --strategy ternary_ga --population_size 128 --num_generations 60 "
        "--num_episodes 8",
        {"seen": REACH, "unseen": f"{REACH}@unseen"},
        {
            "a rule per input, integers": f"{HEBBIAN} --rules_per input",
            "a rule per input, trits act": f"{HEBBIAN} --rules_per input --fast ternary",
            "a rule per input, floats": f"{HEBBIAN} --rules_per input --fast float --gain 2",
            "a rule per input, all float": (
                f"{HEBBIAN} --rules_per input --fast float --gain 2 --weights float"
            ),
            "a rule per layer, integers": f"{HEBBIAN} --rules_per layer",
            "a rule per synapse, integers": f"{HEBBIAN} --rules_per synapse",
            "a rule per synapse, all float": (
                f"{HEBBIAN} --rules_per synapse --fast float --gain 2 --weights float"
            ),
            "evolved start, per synapse": f"{HEBBIAN} --rules_per synapse --start evolved",
            "static, ternary": "--policy mlp --hidden_sizes ()",
            "static, float": "--policy mlp --hidden_sizes () --weights float",
            "gated memory of 8, ternary": "--policy recurrent --memory_size 8 --hidden_sizes 8",
        },
    ),
    "hill_climber": System(
        f"--env {CORNERS} --strategy ternary_ga --population_size 96 --num_generations 80 "
        "--num_episodes 8",
        {"last episode": CORNERS},
        {
            "evolved start and mask": CLIMBER,
            "evolved start, all may change": f"{CLIMBER} --evolve_mask False --flip_rate 3",
            "random start, evolved mask": f"{CLIMBER} --start random",
            "no trials": "--policy hill_climber --num_trials 0 --lifetime 2 --evolve_mask False",
            "evolved start and mask, float": f"{CLIMBER} --weights float",
        },
    ),
    "noise": System(
        "--env meta/noisy_corners --strategy ternary_ga --population_size 96 "
        "--num_generations 80 --num_episodes 8 --lifetime 22 --policy hill_climber",
        {"last episode": "meta/noisy_corners"},
        {
            "20 trials of an episode": "--num_trials 20",
            "6 trials of 3 episodes": "--num_trials 6 --trial_episodes 3",
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class LifetimesConfig:
    """Run what is not there yet, and write the table."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    """Which systems."""
    num_seeds: int = 5
    """Seeds of an arm, from 0."""
    runs_dir: Path = Path("runs/lifetimes")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(config: LifetimesConfig) -> None:
    """Run what is missing, and write the tables."""
    check_all("system", config.systems, SYSTEMS)
    for system in config.systems:
        for arm in SYSTEMS[system].arms:
            lacks = not rows_of(system, arm)
            if lacks and not config.table_only:
                run(config, system, arm)
            write()


def rows_of(system: str, arm: str) -> list[dict[str, Any]]:
    """Return the lines of an arm."""
    return [row for row in read(RESULTS) if (row["system"], row["arm"]) == (system, arm)]


def run(config: LifetimesConfig, system: str, arm: str) -> None:
    """Train all seeds of an arm in one program, and test each."""
    options = f"{SYSTEMS[system].options} {SYSTEMS[system].arms[arm]}"
    name = f"{system}_{list(SYSTEMS[system].arms).index(arm)}"
    command = [sys.executable, "-m", "ternevo.run", *options.split(), "--name", name]
    command += ["--runs_dir", str(config.runs_dir), "--num_seeds", str(config.num_seeds)]
    command += ["--render", "False", "--num_devices", "1"]
    for left in (ROOT / config.runs_dir).glob(f"meta/*/*/{name}"):  # of a run that was stopped
        shutil.rmtree(left)
    print(*command[1:], flush=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    seconds = time.perf_counter() - begun
    for seed, folder in enumerate(folders_of(config, name)):
        found = json.loads((folder / "result.json").read_text())
        returns = tested(folder / "best_policy.tvp", SYSTEMS[system].tests)
        line = {
            **{"system": system, "arm": arm, "seed": seed, "returns": returns},
            **{"episodes": NUM_EPISODES, "env_steps": found["env_steps"]},
            **{"wall_seconds_of_all_seeds": round(seconds), "bytes": size_of(folder)},
            **origin(json.loads((folder / "config.json").read_text())),
        }
        append(RESULTS, line)
        print(json.dumps({key: line[key] for key in ("arm", "seed", "returns")}), flush=True)


def folders_of(config: LifetimesConfig, name: str) -> list[Path]:
    """Return the folder of each seed."""
    (top,) = (ROOT / config.runs_dir).glob(f"meta/*/*/{name}")
    return [top / f"seed{seed}" for seed in range(config.num_seeds)]


def tested(policy: Path, tests: dict[str, str]) -> dict[str, float]:
    """Return the mean return of a policy on each environment."""
    import ternevo

    return {
        column: ternevo.evaluate(policy, env, num_episodes=NUM_EPISODES, seed=1).mean
        for column, env in tests.items()
    }


def size_of(folder: Path) -> int:
    """Return the bytes of a policy on a device."""
    from ternevo.deploy import runtime

    return runtime.load(folder / "best_policy.tvp").info()["bytes"]


def write() -> None:
    """Write the tables of all systems into the page."""
    text = PAGE.read_text()
    for name, system in SYSTEMS.items():
        begin, end = (mark.format(name) for mark in MARKS)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table_of(name, system)}\n\n{end}{rest.partition(end)[2]}"
    replace_text(PAGE, text)


def table_of(name: str, system: System) -> str:
    """Return a row for each arm that has been run: means with 95% intervals, and all seeds."""
    columns = list(system.tests)
    rows = []
    for arm in system.arms:
        found = rows_of(name, arm)
        if not found:
            continue
        cells: list[str] = [arm]
        for column in columns:
            values = np.array([row["returns"][column] for row in found])
            cells += [spread(mean_interval(values)), ", ".join(map(number, values))]
        cells += [str(found[0]["bytes"]), f"{found[0]['env_steps'] / 1e6:.1f} M"]
        rows.append(cells)
    titles = [title for column in columns for title in (column, "seeds")]
    return table(" | ".join(["arm", *titles, "bytes", "steps a seed"]), rows)


if __name__ == "__main__":
    main(tyro.cli(LifetimesConfig))
