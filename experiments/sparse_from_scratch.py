"""Sparse training from scratch: static masks, SET, RigL and RLx2 beside dense TD3 and SAC.

    python experiments/sparse_from_scratch.py --tasks Pendulum

runs what results/sparse_from_scratch.jsonl lacks, one line for each seed, and writes the table of
docs/pruning.md. Every arm is an ordinary `python -m ternevo.run` of a task's page, and takes as
many steps as the dense one. The small arm has as many weights as the sparse ones have that are not
0, in actor and critics.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro
from arms import PAGES, ROOT, Arm, check_all, from_seed, lacking, origin, side_by_side
from study import outcome, size_of
from study_results import Row, values
from study_words import number, put, spread, table
from tune import append, read

from ternevo.learners.flops import (
    Layer,
    Networks,
    forward,
    sac,
    sac_of_rlx2,
    td3,
    td3_of_rlx2,
)
from ternevo.learners.sparsity import erk
from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval

RESULTS = PAGES / "results" / "sparse_from_scratch.jsonl"
PAGE = ROOT / "docs" / "pruning.md"
HIDDEN, SMALL, SPARSITY = 64, 19, 0.9
"""Units of the two hidden layers, those of the small arm, and the share of weights that is 0."""


class Task(NamedTuple):
    """A task: its page, the number of generations, of observations and of actions."""

    page: str
    num_generations: int
    obs: int
    action: int


TASKS = {
    "Pendulum": Task("gymnax_pendulum", 20, 3, 1),
    "MountainCarContinuous": Task("gymnax_mountaincar_continuous", 50, 2, 1),
}
STEPS = 3
"""Rewards in a row that a delayed target adds up."""
SPARSE = ("--sparsity", "0.9", "--critic_sparsity", "0.9", "--sparsity_allocation", "erk")
DELAYED = ("--n_step", str(STEPS), "--n_step_start", "0.1")
FORGETTING = ("--buffer_distance", "0.2")
OPTIONS = {
    "dense": (),
    "rlx2": (*SPARSE, "--sparse_training", "rigl", *DELAYED, *FORGETTING),
    "rigl": (*SPARSE, "--sparse_training", "rigl"),
    "set": (*SPARSE, "--sparse_training", "set"),
    "static": (*SPARSE, "--sparse_training", "static"),
    "small dense": ("--hidden_sizes", "[19,19]", "--critic_hidden_sizes", "[19,19]"),
    "gradual": (*SPARSE, "--sparse_training", "gradual"),
    "rigl, delayed": (*SPARSE, "--sparse_training", "rigl", *DELAYED),
}


class Plan(NamedTuple):
    """The strategy of an arm, and its options beside those of the page."""

    strategy: Literal["td3", "sac"]
    options: tuple[str, ...]


ARMS = {name: Plan("td3", options) for name, options in OPTIONS.items()}
ARMS |= {f"sac {name}": Plan("sac", options) for name, options in OPTIONS.items()}


@dataclasses.dataclass(frozen=True)
class SparseConfig:
    """Run what is not there yet, and write the table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms."""
    num_seeds: int = 3
    """Seeds of an arm, from 0."""
    jobs: int = 1
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/sparse_from_scratch")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the table."""
    prog = "python experiments/sparse_from_scratch.py"
    config = tyro.cli(SparseConfig, args=argv, prog=prog, use_underscores=True)
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, ARMS)
    if not config.table_only:
        work = lacking(read(RESULTS), config.tasks, config.arms, config.num_seeds)
        side_by_side(lambda w: run(config, *w), work, config.jobs, "sparse from scratch")
    text = page_of(read(RESULTS))
    put(PAGE, "sparse from scratch", text)
    print(text)


def run(config: SparseConfig, task: str, name: str, first: int) -> None:
    """Run the seeds of an arm on a task from one on, and append a line for each."""
    asked, plan = TASKS[task], ARMS[name]
    budget = "--num_generations", str(asked.num_generations)
    options = (*plan.options, *budget, "--eval_every", str(asked.num_generations // 10))
    folder_name, count = from_seed(name.replace(" ", "_"), first), config.num_seeds - first
    arm = Arm(asked.page, folder_name, plan.strategy, options, config.runs_dir, count, first)
    arm.run()
    saved = [policy_file.load(folder / "policy.tvp") for folder in arm.folders()]
    parts = zip(saved, arm.rows(), arm.results(), arm.origins(), strict=True)
    append(
        RESULTS,
        *(
            {
                **{"task": task, "arm": name, "seed": seed, "num_seeds": count},
                **outcome(metrics, result),
                **size_of(policy.weights, policy.settings.weights),
                **used_of(metrics),
                **origin(record),
            }
            for seed, (policy, metrics, result, record) in enumerate(parts, first)
        ),
    )


def used_of(metrics: list[Row]) -> dict[str, float]:
    """Return the number of steps in use of a buffer that forgets, at the end."""
    return {"used": metrics[-1]["replay/used"]} if "replay/used" in metrics[-1] else {}


def networks_of(task: Task, options: tuple[str, ...]) -> Networks:
    """Return the operations of the actor and of one critic with the options of an arm."""
    width = SMALL if "--hidden_sizes" in options else HIDDEN
    ends = (task.obs, task.action), (task.obs + task.action, 1)
    actor, critic = ([(i, width), (width, width), (width, o)] for i, o in ends)
    if "--sparsity" not in options:
        return Networks(forward(dense(actor)), forward(dense(critic)))
    return Networks(forward(sparse(actor, 1)), forward(sparse(critic, 2)))


def dense(shapes: list[tuple[int, int]]) -> list[Layer]:
    """Return layers without zeros."""
    return [(inputs, outputs, 1.0) for inputs, outputs in shapes]


def sparse(shapes: list[tuple[int, int]], copies: int) -> list[Layer]:
    """Return layers with the Erdos-Renyi densities of so many copies of a network together."""
    found = erk([shape for shape in shapes for _ in range(copies)], SPARSITY)[::copies]
    return [(*shape, 1 - float(share)) for shape, share in zip(shapes, found, strict=True)]


def training(plan: Plan, networks: Networks) -> np.ndarray:
    """Return the operations of a gradient step by our rule and by RLx2's."""
    if plan.strategy == "td3":
        return np.array([td3(networks), td3_of_rlx2(networks)])
    n_step = STEPS if "--n_step" in plan.options else 1
    return np.array([sac(networks), sac_of_rlx2(networks, n_step)])


def ratios(task: Task, plan: Plan) -> tuple[float, float, float]:
    """Return the operations of training by our rule and by RLx2's, and of acting, over dense ones.

    A gradually pruned learner is dense at first, which is not counted here.
    """
    own, whole = networks_of(task, plan.options), networks_of(task, ())
    ours, published = training(plan, own) / training(Plan(plan.strategy, ()), whole)
    return ours, published, own.actor / whole.actor


def page_of(rows: list[Row]) -> str:
    """Return the table as Markdown, a row for each arm of each task that was run."""
    head = (
        "task | arm | last policy | seeds | steps | weights that are not 0 "
        "| FLOPs of training (by RLx2's rule), of acting"
    )
    cells = [
        row_of(task, arm, found)
        for task in TASKS
        for arm in ARMS
        if (found := [row for row in rows if (row["task"], row["arm"]) == (task, arm)])
    ]
    return table(head, cells) + "\n"


def row_of(task: str, arm: str, found: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a task."""
    kept = values(found, "nonzeros")
    own, published, acting = ratios(TASKS[task], ARMS[arm])
    flops = f"{own:.3f} ({published:.3f}), {acting:.3f}"
    return (
        task,
        arm,
        spread(mean_interval(values(found, "return_last"))),
        f"{len(found)}",
        f"{int(values(found, 'env_steps').mean()):,}",
        f"{number(float(kept.mean()))} of {found[0]['num_weights']:,}",
        "dense until pruned" if "gradual" in ARMS[arm].options else flops,
    )


if __name__ == "__main__":
    main()
