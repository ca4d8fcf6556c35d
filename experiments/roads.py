"""Roads to a small policy: pruned floats, trits and a few bits, and small networks of trits.

    python experiments/roads.py --tasks CartPole

runs what results/roads.jsonl lacks, one line for each seed, and writes the table and the figure
of docs/pruning.md. Every arm is an ordinary `python -m ternevo.run` of a task's page with
`--sparsity`, and takes as many steps as the dense one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tyro
from arms import PAGES, ROOT, Arm, check_all, from_seed, lacking, origin, side_by_side
from roads_figure import draw
from study import outcome, size_of
from study_results import Row, values
from study_words import number, put, spread, table
from tune import append, read

from ternevo.deploy import tvp
from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval

RESULTS = PAGES / "results" / "roads.jsonl"
PAGE = ROOT / "docs" / "pruning.md"
FIGURE = ROOT / "docs" / "images" / "roads.png"
TERNARY = ("--weights", "ternary", "--activation", "int8")
FEW_BITS = ("--activation", "int8", "--weights")
KINDS = {
    "float": (),
    "int8": (*FEW_BITS, "int8"),
    "int4": (*FEW_BITS, "int4"),
    "ternary": TERNARY,
}
SPARSITIES = ("0", "0.5", "0.8", "0.9", "0.95", "0.98")
UNITS = ("32", "16")
"""Of the only hidden layer of small dense policies with trits: no masks, and no indices."""

SIZES = ("file", "stored", "bound")
"""Fields of a row: bytes of the bare file, of the weights in it, and their entropy."""


class Task(NamedTuple):
    """A task: its page, the learner, its number of generations."""

    page: str
    learner: str
    num_generations: int


TASKS = {
    "CartPole": Task("gymnax_cartpole", "dqn", 50),
    "Pendulum": Task("gymnax_pendulum", "sac", 20),
    "MountainCarContinuous": Task("gymnax_mountaincar_continuous", "sac", 50),
    "Acrobot": Task("gymnax_acrobot", "dqn", 100),
}


@dataclasses.dataclass(frozen=True)
class RoadsConfig:
    """Run what is not there yet, and write the table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = ()
    """Which arms, such as "int8, 0.9"; empty for all."""
    num_seeds: int = 5
    """Seeds of an arm, from 0."""
    jobs: int = 2
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/roads")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the table."""
    config = tyro.cli(
        RoadsConfig, args=argv, prog="python experiments/roads.py", use_underscores=True
    )
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, arms())
    if not config.table_only:
        asked = config.arms or tuple(arms())
        work = lacking(read(RESULTS), config.tasks, asked, config.num_seeds)
        side_by_side(lambda w: run(config, *w), work, config.jobs, "roads")
    rows = read(RESULTS)
    text = page_of(rows)
    put(PAGE, "table", text)
    draw({task: found for task in TASKS if (found := sized(rows, task))}, FIGURE)
    print(text)


def arms() -> dict[str, tuple[str, ...]]:
    """Return the options of each arm by its name."""
    small = {
        f"ternary, {units} units": (*TERNARY, "--hidden_sizes", f"({units},)") for units in UNITS
    }
    pruned = {
        f"{kind}, {sparsity}": (*options, "--sparsity", sparsity)
        for kind, options in KINDS.items()
        for sparsity in SPARSITIES
    }
    return pruned | small


def run(config: RoadsConfig, task: str, name: str, first: int) -> None:
    """Run the seeds of an arm on a task from one on, and append a line for each."""
    asked, count = TASKS[task], config.num_seeds - first
    budget = "--num_generations", str(asked.num_generations)
    options = (*arms()[name], *budget, "--eval_every", str(asked.num_generations // 10))
    own = from_seed(name, first)
    arm = Arm(asked.page, own, asked.learner, options, config.runs_dir, count, first)
    arm.run()
    saved = [policy_file.load(folder / "policy.tvp") for folder in arm.folders()]
    parts = zip(saved, arm.folders(), arm.rows(), arm.results(), arm.origins(), strict=True)
    append(
        RESULTS,
        *(
            {
                **{"task": task, "arm": name, "seed": seed, "num_seeds": count},
                **outcome(metrics, result),
                **size_of(policy.weights, policy.settings.weights),
                **file_of(folder / "policy.tvp"),
                **origin(record),
            }
            for seed, (policy, folder, metrics, result, record) in enumerate(parts, first)
        ),
    )


def file_of(path: Path) -> dict[str, int]:
    """Return the bytes of the bare policy file, and of its weights as they are stored there."""
    record = tvp.smallest(tvp.load(path).bare())
    return {"file": len(tvp.encode(record)), **tvp.sizes(record)._asdict()}


def page_of(rows: list[Row]) -> str:
    """Return the table as Markdown, a row for each arm of each task that was run."""
    head = (
        "task | weights, share pruned | last policy | seeds | steps | weights that are not 0 "
        "| bytes of the file, of weights, entropy bound"
    )
    cells = [
        row_of(task, arm, found)
        for task in TASKS
        for arm in arms()
        if (found := [row for row in rows if (row["task"], row["arm"]) == (task, arm)])
    ]
    return table(head, cells) + "\n"


def sized(rows: list[Row], task: str) -> list[list[Row]]:
    """Return the rows of each arm of a task for which sizes of files were kept."""
    every = [[r for r in rows if (r["task"], r["arm"]) == (task, arm)] for arm in arms()]
    return [found for found in every if found and all("file" in row for row in found)]


def row_of(task: str, arm: str, found: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a task."""
    kept = values(found, "nonzeros")
    return (
        f"{task}, {TASKS[task].learner}",
        arm,
        spread(mean_interval(values(found, "return_last"))),
        f"{len(found)}",
        f"{int(values(found, 'env_steps').mean()):,}",
        f"{number(float(kept.mean()))} of {found[0]['num_weights']:,}",
        ", ".join(number(float(values(found, name).mean())) for name in SIZES)
        if all(name in row for row in found for name in SIZES)
        else "not kept",
    )


if __name__ == "__main__":
    main()
