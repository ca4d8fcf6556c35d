"""The study: where ternary evolution keeps up with its float twin, and at what price.

    python experiments/study.py

runs every arm on every task of `tasks.py`, ten seeds each, with the settings that `tune.py` found
for that arm, and appends one line for each seed to results/study.jsonl: its learning curve, the
return of the shipped policy on 128 fresh episodes, bytes, non-zeros, seconds, command and
commit. What stands there is not run again, so that the command can be stopped and repeated.
`python experiments/analyse.py` makes docs/study.md of it.

Parts: `twins` (ternary, binary, float), `sizes` (small and large networks), `methods` (the genetic
algorithm, PBIL, CEM and CoSyNE, ternary and float, and PPO), `baselines` (further algorithms with
float weights), `ablations` (one change at a time).
"""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tune
import tyro
from arms import PAGES, Arm, check_all, curve, origin, side_by_side
from tasks import TASKS
from tune import append, best, read

from ternevo.arithmetic import ternary
from ternevo.arithmetic.ternary import WeightName
from ternevo.policies import policy_file
from ternevo.runs.sinks import Row
from ternevo.training.ternarizing import packed_size
from ternevo.types import Params

RESULTS = PAGES / "results" / "study.jsonl"

TERNARY = ("--weights", "ternary", "--activation", "int8")
BINARY = ("--weights", "binary", "--activation", "int8")
FLOAT = ("--weights", "float", "--activation", "tanh")
SIZES = {"small": ("--hidden_sizes", "(8,)"), "own": (), "large": ("--hidden_sizes", "(64, 64)")}
"""Hidden layers: "own" are those of the page, which tuning has too."""

CHEAP = ("CartPole-v1", "Acrobot-v1", "MountainCarContinuous-v0", "Pendulum-v1")
"""The tasks of the parts with many arms."""

Tasks = Collection[str]
ALL = tuple(TASKS)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One arm on one task: what is run, ten or five seeds of it."""

    part: str
    task: str
    arm: str
    size: str
    strategy: str
    options: tuple[str, ...]
    num_seeds: int

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies it in the results."""
        return self.part, self.task, self.arm, self.size


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Run what the results lack."""

    parts: tuple[str, ...] = ("twins", "sizes", "methods", "baselines", "ablations")
    """Which parts."""
    tasks: tuple[str, ...] = ALL
    """Which tasks."""
    jobs: int = 2
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/study")
    """Where the runs are kept."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not there yet."""
    config = tyro.cli(
        StudyConfig, args=argv, prog="python experiments/study.py", use_underscores=True
    )
    check_all("part", config.parts, PARTS)
    check_all("task", config.tasks, TASKS)
    done = {(row["part"], row["task"], row["arm"], row["size"]) for row in read(RESULTS)}
    wanted = [cell for part in config.parts for cell in PARTS[part](config.tasks)]
    work = [cell for cell in wanted if cell.key not in done]
    side_by_side(lambda cell: run(cell, config.runs_dir), work, config.jobs, "study")


# ------------------------------------------------------------------------------------ the parts


def twins(tasks: Tasks = ALL) -> list[Cell]:
    """Ternary and float weights under `ternary_nes`; on some tasks binary ones, set as ternary."""
    arms = [("ternary", TERNARY, "ternary"), ("float", FLOAT, "float")]
    return [
        nes_cell("twins", task, *arm)
        for task in tasks
        for arm in [*arms, *([("binary", BINARY, "ternary")] if task in CHEAP else [])]
    ]


def sizes(tasks: Tasks = ALL) -> list[Cell]:
    """Small and large networks, with the settings of the page's own."""
    return [
        nes_cell("sizes", task, arm, weights, arm, size)
        for task in among(tasks, CHEAP)
        for size in ("small", "large")
        for arm, weights in (("ternary", TERNARY), ("float", FLOAT))
    ]


def among(tasks: Tasks, those: Tasks) -> list[str]:
    """Return those tasks that are among the wanted ones."""
    return [task for task in those if task in tasks]


def nes_cell(
    part: str, task: str, arm: str, weights: tuple[str, ...], tuned: str, size: str = "own"
) -> Cell:
    """Return an arm of `ternary_nes` with the settings that the tuner found for `tuned`."""
    settings = best(task, tuned)["options"]
    if weights == FLOAT:
        options = ("--algorithm", "Open_ES", *weights, *settings)
        return Cell(part, task, arm, size, "latent", options, TASKS[task].num_seeds)
    options = (*weights, *tune.OF_ITS_TIME, *settings)
    return Cell(part, task, arm, size, "ternary_nes", options, TASKS[task].num_seeds)


METHODS = {"SGA": "ternary_ga", "PBIL": "pbil", "CEM": "cem", "CoSyNE": "cosyne"}
"""Those of a published plan for a comparison of ternary and float networks."""


def methods(tasks: Tasks = ALL) -> list[Cell]:
    """Four methods at their defaults with both kinds of weights, and the page's PPO; five seeds."""
    evolution = [
        Cell("methods", task, f"{name}, {kind}", "own", strategy, (*weights, *shifts(task)), 5)
        for task in among(tasks, CHEAP)
        for name, strategy in METHODS.items()
        for kind, weights in (("ternary", TERNARY), ("float", FLOAT))
    ]
    gradients = [
        Cell("methods", task, f"PPO, {kind}", "own", "ppo", weights, 5)
        for task in among(tasks, CHEAP)
        for kind, weights in (("ternary", TERNARY), ("float", FLOAT))
    ]
    return evolution + gradients


def shifts(task: str) -> tuple[str, ...]:
    """Return the scales of inputs and outputs that were tuned for ternary weights on this task."""
    options = best(task, "ternary")["options"]
    pairs = zip(options[::2], options[1::2], strict=True)
    return tuple(x for pair in pairs if pair[0].endswith("_shift") for x in pair)


def baselines(tasks: Tasks = ALL) -> list[Cell]:
    """Return further algorithms of evosax with float weights, each with settings of its own."""
    return [
        Cell("baselines", task, arm, "own", strategy, options, TASKS[task].num_seeds)
        for task in among(tasks, tune.BASELINE_TASKS)
        for arm, (strategy, of_arm) in tune.BASELINES.items()
        for options in [(*of_arm, *best(task, arm)["options"])]
    ]


ABLATIONS: dict[str, tuple[str, ...]] = {
    "exponents not searched": ("--search_scales", "False"),
    "full episodes from the start": ("--init_horizon", "1.0"),
    "no antithetic pairs": ("--antithetic", "False"),
    "other episodes for each member": ("--common_random_numbers", "none"),
    "sign activations": ("--activation", "sign"),
}
"""One change at a time to the ternary arm of the twins; the name says which.

Two parts run at their commit only, as their options did not pay and are gone: `tried`, beside the
ternary arm of the twins, and `without_scales`, from before exponents were searched.
"""

ABLATED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CHEAP, tuple(ABLATIONS)),
    **dict.fromkeys(("MountainCar-v0", "Breakout-MinAtar", "hopper"), ("exponents not searched",)),
}
"""The changes of each task."""


def ablations(tasks: Tasks = ALL) -> list[Cell]:
    """Return the ternary arm of the twins with one change."""
    return [
        dataclasses.replace(base, arm=name, options=(*base.options, *ABLATIONS[name]))
        for task in among(tasks, ABLATED)
        for base in [nes_cell("ablations", task, "", TERNARY, "ternary")]
        for name in ABLATED[task]
    ]


PARTS = {
    "twins": twins,
    "sizes": sizes,
    "methods": methods,
    "baselines": baselines,
    "ablations": ablations,
}


# --------------------------------------------------------------------------------------- a cell


def run(cell: Cell, runs_dir: Path) -> None:
    """Run a cell, and append a line for each of its seeds."""
    task = TASKS[cell.task]
    is_evolution = cell.strategy != "ppo"
    name = "-".join(cell.key[:1] + cell.key[2:])
    options = (*SIZES[cell.size], *cell.options)
    if is_evolution:
        options = (*task.options, *options)
    arm = Arm(task.page, name, cell.strategy, options, runs_dir, cell.num_seeds)
    more = (*tune.budget(task), "--num_eval_episodes", "32") if is_evolution else ()
    arm.run(*more)
    parts = zip(arm.folders(), arm.rows(), arm.results(), arm.origins(), strict=True)
    append(RESULTS, *(line(cell, seed, *part) for seed, part in enumerate(parts)))


def line(cell: Cell, seed: int, folder: Path, rows: list[Row], *records: dict[str, Any]) -> dict:
    """Return what is kept of a seed; the records are its result.json and its config.json."""
    result, config = records
    weights = policy_file.load(folder / "policy.tvp").weights
    of_seed = {"seed": seed, **outcome(rows, result), **size_of(weights), **origin(config)}
    return dataclasses.asdict(cell) | of_seed


def outcome(rows: list[Row], result: dict[str, Any]) -> dict[str, Any]:
    """Return what a seed reached: its last and its best policy on fresh episodes, and the way."""
    return {
        "return_last": result["policy"]["return_mean"],
        "return_best": result["best_policy"]["return_mean"],
        "episodes": result["policy"]["episodes"],
        "curve": curve(rows),
        "env_steps": result["env_steps"],
        "wall_time": result["wall_time"],
    }


def size_of(weights: Params, kind: WeightName = "ternary") -> dict[str, int]:
    """Return what a policy takes."""
    count = ternary.num_weights(weights)
    return {
        "bytes": packed_size(weights, kind),
        "num_weights": count,
        "nonzeros": round(count * (1 - float(ternary.zero_fraction(weights)))),
    }


if __name__ == "__main__":
    main()
