"""Off-policy learners beside PPO and evolution: at equal steps, and in equal time.

    python experiments/off_policy.py --tasks CartPole Acrobot Pendulum MountainCarContinuous
    python experiments/off_policy.py            # all, hours on two cores

runs what results/off_policy.jsonl lacks, one line for each seed, and writes the tables of
docs/off_policy.md. Every arm is an ordinary `python -m ternevo.run` of a page with its settings;
ternary arms change `--weights` and `--activation` only. PPO gets the same number of steps.
Evolution may go on: its line also has what it had reached after as many steps, and after as much
time, as the first off-policy arm of the task. `random` acts at random, and learns nothing.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from arms import PAGES, ROOT, Arm, check_all, from_seed, lacking, origin, side_by_side
from study import outcome, size_of
from study_results import Row, values
from study_words import NONE, number, put, spread, table
from tune import append, read

from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval
from ternevo.settings import command_line
from ternevo.settings.strategies.off_policy import OffPolicy
from ternevo.settings.strategies.ppo import PPO

RESULTS = PAGES / "results" / "off_policy.jsonl"
PAGE = ROOT / "docs" / "off_policy.md"
CONV = ("--policy", "conv", "--hidden_sizes", "(128,)")
TERNARY = ("--weights", "ternary", "--activation", "int8")


class Task(NamedTuple):
    """A task: its page, the steps of gradient learners, which of them, the goal, the seeds."""

    page: str
    num_steps: int
    learners: tuple[str, ...]
    goals: dict[str, float]
    num_seeds: int = 10
    options: tuple[str, ...] = ()


TASKS = {
    "CartPole": Task("gymnax_cartpole", 50_000, ("dqn",), {"dqn": 475}),
    "Acrobot": Task("gymnax_acrobot", 100_000, ("dqn",), {"dqn": -95}),
    "Pendulum": Task("gymnax_pendulum", 20_000, ("sac", "td3", "ddpg"), {"sac": -165, "td3": -165}),
    "MountainCarContinuous": Task(
        "gymnax_mountaincar_continuous", 50_000, ("sac", "td3"), {"sac": 90}
    ),
    "Breakout": Task("gymnax_breakout_minatar", 1_000_000, ("dqn",), {"dqn": 10}, 3, CONV),
    "hopper": Task("brax_hopper", 124_928, ("sac",), {"sac": 1500}, 2),
    "halfcheetah": Task("brax_halfcheetah", 500_000, ("sac",), {"sac": 2000}, 2),
}


@dataclasses.dataclass(frozen=True)
class OffPolicyConfig:
    """Run what is not there yet, and write the tables."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = ()
    """Which arms, such as "sac, ternary"; () for all of a task."""
    num_seeds: int = 0
    """Seeds of an arm, from 0; 0 for those of the task."""
    jobs: int = 2
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/off_policy")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the tables."""
    config = tyro.cli(
        OffPolicyConfig, args=argv, prog="python experiments/off_policy.py", use_underscores=True
    )
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, {arm for task in TASKS for arm in arms_of(task)})
    if not config.table_only:
        side_by_side(lambda w: run(config, *w), work_of(config), config.jobs, "off_policy")
    text = page_of(read(RESULTS))
    put(PAGE, "table", text)
    print(text)


def arms_of(task: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the arms of a task by name: the strategy and its options."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    num_steps, learners = TASKS[task].num_steps, TASKS[task].learners
    for learner in learners:
        found[f"{learner}, float"] = learner, ()
        found[f"{learner}, ternary"] = learner, TERNARY
    found[f"{learners[0]}, float, linear"] = learners[0], ("--hidden_sizes", "()")
    found["ppo, float"] = "ppo", ()
    found["ppo, ternary"] = "ppo", TERNARY
    found["ternary_nes"] = "ternary_nes", ()
    waiting = ("--learning_starts", str(num_steps), "--buffer_size", str(num_steps))
    found["random"] = learners[0], waiting
    return found


def work_of(config: OffPolicyConfig) -> list[tuple[str, str, int]]:
    """Return the task, the arm and the first missing seed of all arms that lack seeds."""
    found, work = read(RESULTS), []
    for task in config.tasks:
        asked = [arm for arm in arms_of(task) if not config.arms or arm in config.arms]
        work += lacking(found, (task,), asked, config.num_seeds or TASKS[task].num_seeds)
    return work


def run(config: OffPolicyConfig, task: str, name: str, first: int) -> None:
    """Run the seeds of an arm on a task from one on, and append a line for each."""
    strategy, options = arms_of(task)[name]
    asked = TASKS[task]
    count = (config.num_seeds or asked.num_seeds) - first
    if strategy != "ternary_nes":
        options = (*options, *budget(asked, strategy))
    own, options = from_seed(name, first), (*asked.options, *options)
    arm = Arm(asked.page, own, strategy, options, config.runs_dir, count, first)
    arm.run("--num_eval_episodes", "32")
    parts = zip(arm.folders(), arm.rows(), arm.results(), arm.origins(), strict=True)
    lines = []
    for seed, (folder, metrics, result, record) in enumerate(parts, first):
        size = size_of(policy_file.load(folder / "policy.tvp").weights)
        key = {"task": task, "arm": name, "seed": seed, "num_seeds": count}
        explored = [row["return/mean"] for row in metrics if "return/mean" in row]
        lines.append(
            {
                **key,
                **outcome(metrics, result),
                **size,
                "clock": [(row["env_steps"], row["wall_time"]) for row in metrics],
                "return_explored": float(np.mean(explored[-20:])) if explored else None,
                **origin(record),
            }
        )
    append(RESULTS, *lines)


def budget(task: Task, strategy: str) -> tuple[str, ...]:
    """Return the options that give a gradient learner the task's steps, with its page's pace."""
    page = ["--config", f"experiments/{task.page}.yaml", "--strategy", strategy]
    settings = command_line.parse(page).strategy
    if isinstance(settings, PPO):
        size = settings.batch_size
    else:
        assert isinstance(settings, OffPolicy)
        size = settings.pace.steps_per_generation
    count = max(1, round(task.num_steps / size))
    return "--num_generations", str(count), "--eval_every", str(max(1, count // 10))


# ------------------------------------------------------------------------------ the tables


def page_of(rows: list[Row]) -> str:
    """Return the table as Markdown, a row for each arm of each task that was run."""
    head = (
        "task | arm | last policy | goal | seeds | steps | seconds a seed | in equal time | bytes"
    )
    cells = [
        row_of(task, arm, found, rows)
        for task in TASKS
        for arm in arms_of(task)
        if (found := of(rows, task, arm))
    ]
    return table(head, cells) + "\n"


def of(rows: list[Row], task: str, arm: str) -> list[Row]:
    """Return the lines of an arm."""
    return [row for row in rows if (row["task"], row["arm"]) == (task, arm)]


def row_of(task: str, arm: str, found: list[Row], rows: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a task, after the task's steps and in the time of the first."""
    asked = TASKS[task]
    goal = asked.goals.get(arm.removesuffix(", float")) if arm.endswith("float") else None
    if arm == "random":
        reached = np.array([row["return_explored"] for row in found])
    elif arm == "ternary_nes":
        reached = np.array([after_steps(row, asked.num_steps) for row in found])
    else:
        reached = values(found, "return_last")
    first = of(rows, task, f"{asked.learners[0]}, float")
    limit = np.mean([seconds_of(row) for row in first]) if first else np.inf
    in_time = [after_seconds(row, float(limit)) for row in found]
    seconds = float(np.mean([seconds_of(row) for row in found]))
    evolves = arm == "ternary_nes"
    return (
        task,
        arm,
        with_interval(reached),
        NONE if goal is None else f"{goal:g}",
        f"{len(found)}",
        f"{asked.num_steps:,}" if evolves else f"{int(np.mean(values(found, 'env_steps'))):,}",
        number(seconds) if not evolves else NONE,
        with_interval(np.array(in_time)) if evolves else NONE,
        NONE if arm == "random" else f"{found[0]['bytes']:,}",
    )


def with_interval(reached: np.ndarray) -> str:
    """Return the mean with its interval, of two seeds or fewer the values themselves."""
    if len(reached) > 2:
        return spread(mean_interval(reached))
    return ", ".join(number(float(x)) for x in reached)


def seconds_of(row: Row) -> float:
    """Return the seconds of training of a seed, without compiling; seeds of a run share them."""
    return row["wall_time"] / row["num_seeds"]


def after_steps(row: Row, num_steps: int) -> float:
    """Return what the policy of the last evaluation within so many steps had."""
    return next(
        (r for steps, r in reversed(row["curve"]) if steps <= num_steps), row["curve"][0][1]
    )


def after_seconds(row: Row, seconds: float) -> float:
    """Return what the policy of the last evaluation within so many seconds had."""
    within = [steps for steps, time in row["clock"] if time / row["num_seeds"] <= seconds]
    return after_steps(row, max(within, default=0))


if __name__ == "__main__":
    main()
