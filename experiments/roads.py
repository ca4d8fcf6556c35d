"""Roads to a small policy: pruned floats, trits and a few bits, small networks, and evolution.

    python experiments/roads.py --tasks CartPole

runs what results/roads.jsonl lacks, one line for each seed, and writes the tables and the figure
of docs/pruning.md. Every arm of roads_arms.py is an ordinary `python -m ternevo.run` of a task's
page, and takes as many steps as the dense one, but for those with more steps; evolution has as
many generations as fit into these steps in the mean over seeds. Some policies are rounded
afterwards, by `python -m ternevo.export`.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import tyro
from arms import PAGES, ROOT, Arm, check_all, from_seed, lacking, origin, side_by_side
from roads_arms import MORE_STEPS, SAME_STEPS, TASKS, FewBits, Plan, arms, road_of
from roads_figure import draw
from roads_winners import winners
from study import outcome, size_of
from study_results import Row, values
from study_words import number, put, spread, table
from tune import append, read

from ternevo.deploy import tvp
from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval
from ternevo.settings.export import ExportConfig
from ternevo.training.ternarizing import export_ternarized

RESULTS = PAGES / "results" / "roads.jsonl"
PAGE = ROOT / "docs" / "pruning.md"
FIGURE = ROOT / "docs" / "images" / "roads.png"
SIZES = ("file", "stored", "bound")
"""Fields of a row: bytes of the bare file, of the weights in it, and their entropy."""

COUNTED = 400
"""Generations of evolution in which steps are counted, more than fit."""


@dataclasses.dataclass(frozen=True)
class RoadsConfig:
    """Run what is not there yet, and write the table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = ()
    """Which arms, such as "int8, 0.9"; empty for all. RLx2 is for tasks of SAC only."""
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
        run_missing(config)
    rows = read(RESULTS)
    found = {task: each for task in TASKS if (each := sized(rows, task))}
    text = page_of(rows)
    put(PAGE, "table", text)
    put(PAGE, "winners", winners(found))
    draw(found, FIGURE)
    print(text)


def run_missing(config: RoadsConfig) -> None:
    """Run what the results lack; those that round last, one by one, as they may share a run."""
    asked = config.arms or tuple(arms())
    wanted = lacking(read(RESULTS), config.tasks, asked, config.num_seeds)
    work = [piece for piece in wanted if arms()[piece[1]].is_on(piece[0])]
    trained = [piece for piece in work if not arms()[piece[1]].rounded]
    rounded = [piece for piece in work if arms()[piece[1]].rounded]
    side_by_side(lambda w: run(config, *w), trained, config.jobs, "roads")
    side_by_side(lambda w: run(config, *w), rounded, 1, "rounded after training")


def run(config: RoadsConfig, task: str, name: str, first: int) -> None:
    """Run the seeds of an arm on a task from one on, and append a line for each."""
    plan = arms()[name]
    arm = arm_of(config, task, plan.source or name, first, *budget(config, task, name, first))
    arm.run()
    parts = zip(arm.folders(), arm.rows(), arm.results(), arm.origins(), strict=True)
    append(
        RESULTS,
        *(
            {"task": task, "arm": name, "seed": seed, "num_seeds": arm.num_seeds}
            | line(plan, seed, *part)
            for seed, part in enumerate(parts, first)
        ),
    )


def arm_of(config: RoadsConfig, task: str, name: str, first: int, *more: str, to: str = "") -> Arm:
    """Return the run of an arm with further options; `to` is added to its name."""
    plan, count = arms()[name], config.num_seeds - first
    own, options = from_seed(name + to, first), (*plan.options, *more)
    strategy = plan.strategy_on(task)
    return Arm(TASKS[task].page, own, strategy, options, config.runs_dir, count, first)


def budget(config: RoadsConfig, task: str, name: str, first: int) -> tuple[str, ...]:
    """Return the options that say how long an arm is run, none for the page's budget."""
    road, generations = road_of(name), TASKS[task].num_generations
    if road == MORE_STEPS:
        return ()
    if road == SAME_STEPS:
        long = "--num_generations", f"{COUNTED}", "--eval_every", f"{COUNTED}"
        counted = arm_of(config, task, name, first, *long, to=", counted")
        counted.run()
        generations = that_fit(counted.rows(), TASKS[task].steps)
    every = max(1, generations // 10)
    return "--num_generations", f"{generations}", "--eval_every", f"{every}"


def that_fit(rows: Sequence[list[Row]], steps: int) -> int:
    """Return after how many generations the seeds have had at most so many steps in the mean.

    Args:
      rows: the metrics of each seed, a row for each generation.
      steps: environment steps.

    Raises:
      ValueError: none fits, or all do, and more might.
    """
    means = [sum(row["env_steps"] for row in each) / len(each) for each in zip(*rows, strict=True)]
    count = sum(mean <= steps for mean in means)
    if count in (0, len(means)):
        raise ValueError(f"{count} of {len(means)} generations fit into {steps:,} steps")
    return count


def line(plan: Plan, seed: int, folder: Path, metrics: list[Row], *records: Row) -> Row:
    """Return what is kept of a seed; the records are its result.json and its config.json."""
    result, config = records
    found, path = outcome(metrics, result) | origin(config), folder / "policy.tvp"
    if plan.rounded:
        kept = {name: x for name, x in found.items() if name not in ("return_best", "curve")}
        path, after = rounded(folder, plan.rounded, seed)
        found = kept | after | {"command": f"{found['command']}; {after['command']}"}
    policy = policy_file.load(path)
    return {**found, **size_of(policy.weights, policy.settings.weights), **file_of(path)}


def rounded(folder: Path, weights: FewBits, seed: int) -> tuple[Path, Row]:
    """Round the weights of the last policy of a run; return its file, and what it reaches."""
    command = f"python -m ternevo.export {os.path.relpath(folder, ROOT)}"
    command += f" --weights {weights} --which last --seed {seed}"
    found = export_ternarized(ExportConfig(run=folder, weights=weights, which="last", seed=seed))
    last, source = float(found.returns.mean()), float(found.source_returns.mean())
    return found.path, {"return_last": last, "return_source": source, "command": command}


def file_of(path: Path) -> dict[str, int]:
    """Return the bytes of the bare policy file, and of its weights as they are stored there."""
    record = tvp.smallest(tvp.load(path).bare())
    return {"file": len(tvp.encode(record)), **tvp.sizes(record)._asdict()}


def page_of(rows: list[Row]) -> str:
    """Return the table as Markdown, a row for each arm of each task that was run."""
    head = (
        "task | weights, share pruned or units | last policy | seeds | steps "
        "| weights that are not 0 | bytes of the file, of weights, entropy bound"
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
        f"{task}, {arms()[arm].strategy_on(task)}",
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
