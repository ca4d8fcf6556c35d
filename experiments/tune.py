"""One tuner for all: the same random settings for every arm of every task, on seeds of its own.

    python experiments/tune.py

draws eight settings from the ranges in `SPACE`, once, and runs each of them on each task
with each arm; the best of an arm have a second round on further seeds. The score is the area
under the learning curve (the return of the policy that would be shipped, over environment steps,
mean of the seeds), so that both speed and height count. Every trial of a round is a line in
results/tuning.jsonl, with its cost; what stands there is not run again. `best` is what the study
(`study.py`) takes. Seeds begin at 1000: the study has others.
"""

import dataclasses
import json
import math
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from arms import PAGES, Arm, check_all, curve, origin, side_by_side
from scipy.stats import qmc
from tasks import TASKS, Task

from ternevo.files import replace_text
from ternevo.runs.intervals import area

RESULTS = PAGES / "results" / "tuning.jsonl"
FIRST_SEED = 1000
NUM_TRIALS = 8
APPENDING = threading.Lock()

OF_ITS_TIME = (
    *("--fitness_shaping", "centered_rank", "--gradient", "plain", "--optimizer", "adam"),
    *("--spreads", "none", "--averaging", "0"),
)
"""The search that the study is about; the defaults are those of `best_float.py`."""

ARMS = {
    "ternary": ("ternary_nes", ("--weights", "ternary", "--activation", "int8", *OF_ITS_TIME)),
    "float": ("latent", ("--algorithm", "Open_ES", "--weights", "float", "--activation", "tanh")),
}
"""What is tuned: the strategy, and what makes the arm."""

BASELINES = {
    name: ("latent", ("--algorithm", name, "--weights", "float", "--activation", "tanh"))
    for name in ("PGPE", "SNES", "Sep_CMA_ES", "CR_FM_NES", "SimpleGA", "RandomSearch")
}
"""Further algorithms of evosax with float weights; a setting that one does not have is left out."""

BASELINE_TASKS = ("CartPole-v1", "Acrobot-v1")

FULL_EPISODES = ("SimpleGA", "RandomSearch")
"""They keep the fitness of members, and so cannot begin with short episodes."""

SPACE: dict[str, tuple[Any, ...]] = {
    "sigma": ("log", 0.05, 0.3),
    "lr": ("log", 0.04, 0.3),
    "sigma_schedule": ("one of", "constant", "cosine"),
    "lr_schedule": ("one of", "constant", "cosine"),
    "observation_shift": ("one of", 0, 1, 2),
    "init_horizon": ("one of", 1.0, 0.3),
}
"""The ranges, the same for all arms; cosine schedules end at 0.3 of where they begin."""


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """Run all trials that are not done yet, and print the best settings."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = (*ARMS, *BASELINES)
    """Which arms; the baselines have one of the tasks."""
    jobs: int = 2
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/tune")
    """Where the runs are kept."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not there yet, and print the best."""
    config = tyro.cli(
        TuneConfig, args=argv, prog="python experiments/tune.py", use_underscores=True
    )
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, [*ARMS, *BASELINES])
    pairs = [(task, arm) for task in config.tasks for arm in config.arms if is_tuned(task, arm)]
    run_round(config, 1, [(*pair, trial) for trial in range(NUM_TRIALS) for pair in pairs])
    run_round(config, 2, [(*pair, trial) for pair in pairs for trial in finalists(*pair)])
    for task, arm in pairs:
        row = best(task, arm)
        print(f"{task:<28}{arm:<14}{row['score']:10.1f}  {' '.join(row['options'])}")


def run_round(config: TuneConfig, number: int, wanted: list[tuple[str, str, int]]) -> None:
    """Run those of the trials (task, arm, trial) that a round lacks."""
    done = {(row["task"], row["arm"], row["trial"]) for row in read() if row["round"] == number}
    work = [piece for piece in wanted if piece not in done]
    side_by_side(
        lambda piece: run_trial(config, number, *piece), work, config.jobs, f"round {number}"
    )


def is_tuned(task: str, arm: str) -> bool:
    """Return whether an arm has trials on a task."""
    return arm in ARMS or task in BASELINE_TASKS


def draw(trial: int, arm: str) -> tuple[str, ...]:
    """Return the options of a trial: the same for every task, and for every arm that can have them.

    They are a Latin hypercube: each eighth of a range has one.
    """
    points = qmc.LatinHypercube(len(SPACE), rng=0).random(NUM_TRIALS)
    chosen = {
        name: _value(*values, at=at)
        for (name, values), at in zip(SPACE.items(), points[trial], strict=True)
    }
    for name in ("sigma", "lr"):
        chosen[f"{name}_end"] = float(f"{0.3 * chosen[name]:.2g}")
    if arm in FULL_EPISODES:
        chosen["init_horizon"] = 1.0
    return tuple(part for name, value in chosen.items() for part in (f"--{name}", str(value)))


def _value(kind: str, *values: Any, at: float) -> Any:
    """Return the value of a range at a place between 0 and 1."""
    if kind == "one of":
        return values[int(at * len(values))]
    low, high = map(math.log, values)
    return float(f"{math.exp(low + at * (high - low)):.2g}")


def run_trial(config: TuneConfig, number: int, name: str, arm: str, trial: int) -> None:
    """Run a trial in a round, and append its line."""
    strategy, options = (ARMS | BASELINES)[arm]
    task, drawn = TASKS[name], draw(trial, arm)
    first, further = task.num_tuning_seeds, task.num_finalist_seeds
    run = Arm(
        task.page,
        f"{arm}-trial{trial}-round{number}",
        strategy,
        (*task.options, *options, *drawn),
        config.runs_dir,
        first if number == 1 else further,
        FIRST_SEED if number == 1 else FIRST_SEED + first,
    )
    run.run(*budget(task), "--num_eval_episodes", "32", "--num_final_episodes", "32")
    rows = run.rows()
    row = {
        "task": name,
        "arm": arm,
        "trial": trial,
        "round": number,
        "options": drawn,
        "score": statistics.fmean(area(curve(of_seed)) for of_seed in rows),
        "final": [curve(of_seed)[-1][1] for of_seed in rows],
        "env_steps": sum(of_seed[-1]["env_steps"] for of_seed in rows),
        "seconds": sum(of_seed[-1]["wall_time"] for of_seed in rows) / len(rows),
        **origin(run.origins()[0]),
    }
    append(RESULTS, row)


def budget(task: Task) -> tuple[str, ...]:
    """Return the options that give a run the budget of its task."""
    generations = str(task.num_generations)
    return (
        *("--num_generations", generations, "--checkpoint_every", generations),
        *("--eval_every", str(task.eval_every)),
    )


def append(path: Path, *rows: dict[str, Any]) -> None:
    """Add lines to a file of results; the file is replaced as a whole, never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with APPENDING:  # runs end side by side
        before = path.read_text() if path.exists() else ""
        replace_text(path, before + "".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the lines of a file of results, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finalists(task: str, arm: str) -> list[int]:
    """Return the trials that have a second round, the best of the first."""
    rows = [row for row in trials_of(read(), task, arm) if row["round"] == 1]
    rows.sort(key=lambda row: row["score"], reverse=True)
    return [row["trial"] for row in rows[: TASKS[task].num_finalists]]


def best(task: str, arm: str) -> dict[str, Any]:
    """Return options and score of the settings that an arm takes on a task.

    Raises:
      KeyError: it was never tuned.
    """
    rows = trials_of(read(), task, arm)
    if not rows:
        raise KeyError(f"{task} was never tuned with {arm}: run python experiments/tune.py")
    return winner(rows)


def winner(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return options and score of the best of the trials that came furthest.

    The score is the mean over the seeds of all rounds.
    """
    last = max(row["round"] for row in rows)
    furthest = [row for row in rows if row["round"] == last]
    scored = [{"options": row["options"], "score": _score(rows, row["trial"])} for row in furthest]
    return max(scored, key=lambda trial: trial["score"])


def trials_of(rows: list[dict[str, Any]], task: str, arm: str) -> list[dict[str, Any]]:
    """Return the lines of an arm on a task."""
    return [row for row in rows if (row["task"], row["arm"]) == (task, arm)]


def _score(rows: list[dict[str, Any]], trial: int) -> float:
    """Return the mean score of a trial over its seeds; "final" has one number for each."""
    of_trial = [row for row in rows if row["trial"] == trial]
    total = sum(row["score"] * len(row["final"]) for row in of_trial)
    return total / sum(len(row["final"]) for row in of_trial)


if __name__ == "__main__":
    main()
