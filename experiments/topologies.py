"""NEAT beside searches of fixed networks, with trits, at equal evaluations.

    python experiments/topologies.py --tasks CartPole Acrobot

runs what results/topologies.jsonl lacks, one line for each seed, and writes the table of
docs/how-to/evolve_a_topology.md. Every arm is an ordinary `python -m ternevo.run`; all have
the same population, episodes of a member and generations. NEAT has --add_node_rate 0.1,
--add_link_rate 0.2 and --max_hidden 8; all other options are at their defaults.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tyro
from arms import PAGES, ROOT, Arm, check_all, from_seed, lacking, origin, side_by_side
from roads import file_of
from study import outcome, size_of
from study_results import Row, values
from study_words import number, put, spread, table
from tune import append, read

from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval

RESULTS = PAGES / "results" / "topologies.jsonl"
PAGE = ROOT / "docs" / "how-to" / "evolve_a_topology.md"
GRAPH = ("--policy", "graph", "--max_hidden", "8")
GROWING = ("--add_node_rate", "0.1", "--add_link_rate", "0.2")


class Task(NamedTuple):
    """A task: its environment, population, episodes of a member and generations."""

    env: str
    population_size: int
    num_episodes: int
    num_generations: int

    @property
    def options(self) -> tuple[str, ...]:
        """The environment and the budget, and an evaluation after every tenth of it."""
        budget = {
            "env": self.env,
            **{"population_size": self.population_size, "num_episodes": self.num_episodes},
            **{"num_generations": self.num_generations},
            "eval_every": self.num_generations // 10,
        }
        return tuple(word for name, x in budget.items() for word in (f"--{name}", str(x)))


TASKS = {
    "CartPole": Task("gymnax/CartPole-v1", 128, 2, 40),
    "Acrobot": Task("gymnax/Acrobot-v1", 128, 2, 40),
    "LunarLander": Task("box2d/LunarLander-v3", 128, 2, 100),
    "hopper@spring": Task("brax/hopper@spring", 128, 1, 100),
}
ARMS = {
    "neat, ternary": ("neat", (*GRAPH, *GROWING)),
    "neat, float": ("neat", (*GRAPH, *GROWING, "--weights", "float")),
    "ternary_nes": ("ternary_nes", ()),
    "ternary_ga": ("ternary_ga", ()),
}


class WithoutPage(Arm):
    """An arm whose options name the environment; a page has layers, which a graph has not."""

    def command(self, *more: str) -> list[str]:
        """Return its command line."""
        whole = super().command(*more)
        return [*whole[:3], *whole[5:]]


@dataclasses.dataclass(frozen=True)
class TopologiesConfig:
    """Run what is not there yet, and write the table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms, such as "neat, ternary"."""
    num_seeds: int = 5
    """Seeds of an arm, from 0."""
    jobs: int = 1
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/topologies")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the table."""
    config = tyro.cli(
        TopologiesConfig, args=argv, prog="python experiments/topologies.py", use_underscores=True
    )
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, ARMS)
    if not config.table_only:
        work = lacking(read(RESULTS), config.tasks, config.arms, config.num_seeds)
        side_by_side(lambda w: run(config, *w), work, config.jobs, "topologies")
    text = page_of(read(RESULTS))
    put(PAGE, "table", text)
    print(text)


def run(config: TopologiesConfig, task: str, name: str, first: int) -> None:
    """Run the seeds of an arm on a task from one on, and append a line for each."""
    asked, (strategy, options) = TASKS[task], ARMS[name]
    words, count = (*options, *asked.options), config.num_seeds - first
    own = from_seed(name, first)
    arm = WithoutPage(task.lower(), own, strategy, words, config.runs_dir, count, first)
    arm.run()
    parts = zip(arm.folders(), arm.rows(), arm.results(), arm.origins(), strict=True)
    lines = []
    for seed, (folder, metrics, result, record) in enumerate(parts, first):
        saved = policy_file.load(folder / "policy.tvp")
        lines.append(
            {
                **{"task": task, "arm": name, "seed": seed},
                "evaluations": asked.population_size * asked.num_generations,
                **outcome(metrics, result),
                **size_of(saved.weights, saved.settings.weights),
                **file_of(folder / "policy.tvp"),
                **origin(record),
            }
        )
    append(RESULTS, *lines)


def page_of(rows: list[Row]) -> str:
    """Return the table as Markdown, a row for each arm of each task that was run."""
    head = "task | arm | last policy | seeds | evaluations | steps | links | bytes of the file"
    cells = [
        row_of(task, arm, found)
        for task in TASKS
        for arm in ARMS
        if (found := [row for row in rows if (row["task"], row["arm"]) == (task, arm)])
    ]
    return table(head, cells) + "\n"


def row_of(task: str, arm: str, found: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a task; links are weights that are not 0."""
    return (
        task,
        arm,
        spread(mean_interval(values(found, "return_last"))),
        f"{len(found)}",
        f"{found[0]['evaluations']:,}",
        f"{int(values(found, 'env_steps').mean()):,}",
        number(float(values(found, "nonzeros").mean())),
        number(float(values(found, "file").mean())),
    )


if __name__ == "__main__":
    main()
