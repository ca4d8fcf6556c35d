"""Evolution and gradients in MuJoCo, Box2D and Atari: ternary and float, at the steps of a page.

    python experiments/simulators.py --tasks LunarLander Swimmer
    python experiments/simulators.py            # all, many hours on two cores

runs what results/simulators.jsonl lacks, one line for each seed, and writes the table of
docs/simulators.md. Every arm is an ordinary `python -m ternevo.run` of a task's page; ternary arms
of gradient learners change `--weights` and `--activation`, the float arm of evolution `--weights`.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from arms import PAGES, ROOT, Arm, check_all, origin, side_by_side
from study import outcome, size_of
from study_results import Row, values
from study_words import NONE, number, put, spread, table
from tune import append, read

from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval

RESULTS = PAGES / "results" / "simulators.jsonl"
PAGE = ROOT / "docs" / "simulators.md"
TERNARY = ("--weights", "ternary", "--activation", "int8")


class Task(NamedTuple):
    """A task: its page, its learners, what is called evolution, and goals by arm."""

    page: str
    learners: tuple[str, ...] = ()
    evolution: Mapping[str, str] = types.MappingProxyType({"evolution": "ternary_nes"})
    goals: Mapping[str, float] = types.MappingProxyType({})


ATARI = {"GA": "ternary_ga", "ES": "ternary_nes", "random search": "random_search"}
FRAMES_OF_A_STEP = 4
PUBLISHED = """\
| published: GA, 1 and 6 billion frames | 4,536 and 6,220 | 969 and 1,422 | - |
| published: ES, 1 billion | 370 | 760 | - |
| published: random search, 1 billion | 1,164 | 488 | - |
| published: DQN, 200 million | 797 | 163 | - |
"""
"""Such et al., "Deep Neuroevolution", 2017, table 1, which has no pong; ES from Salimans et al."""

TASKS = {
    "LunarLander": Task(
        "box2d_lunar_lander", ("dqn",), goals={"evolution, ternary": 200, "dqn, float": 150}
    ),
    "BipedalWalker": Task("box2d_bipedal_walker", goals={"evolution, ternary": 254}),
    "Swimmer": Task("mujoco_swimmer"),
    "Hopper": Task("mujoco_hopper", ("sac",)),
    "HalfCheetah": Task("mujoco_halfcheetah", ("sac",)),
    "frostbite": Task("atari_frostbite", ("dqn",), ATARI),
    "venture": Task("atari_venture", ("dqn",), ATARI),
    "pong": Task("atari_pong", ("dqn",), ATARI),
}
GAMES = ("frostbite", "venture", "pong")


@dataclasses.dataclass(frozen=True)
class SimulatorsConfig:
    """Run what is not there yet, and write the table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    arms: tuple[str, ...] = ()
    """Which arms, such as "evolution, ternary"; () for all of a task."""
    num_seeds: int = 3
    """Seeds of an arm, from 0."""
    num_episodes: int = 100
    """Fresh episodes of the final evaluation."""
    jobs: int = 2
    """Runs side by side, each with one process that simulates."""
    runs_dir: Path = Path("runs/simulators")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the table."""
    config = tyro.cli(
        SimulatorsConfig, args=argv, prog="python experiments/simulators.py", use_underscores=True
    )
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, {arm for task in TASKS for arm in arms_of(task)})
    if not config.table_only:
        done = {(row["task"], row["arm"]) for row in read(RESULTS)}
        wanted = [(task, arm) for task in config.tasks for arm in arms_of(task)]
        work = [w for w in wanted if w not in done and (not config.arms or w[1] in config.arms)]
        side_by_side(lambda w: run(*w, config), work, config.jobs, "simulators")
    text = page_of(read(RESULTS))
    put(PAGE, "table", text)
    print(text)


def arms_of(task: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the arms of a task by name: the strategy and its options."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, strategy in TASKS[task].evolution.items():
        found[f"{name}, ternary"] = strategy, ()
        found[f"{name}, float"] = strategy, ("--weights", "float")
    for learner in TASKS[task].learners:
        found[f"{learner}, float"] = learner, ()
        found[f"{learner}, ternary"] = learner, TERNARY
    return found


def run(task: str, name: str, config: SimulatorsConfig) -> None:
    """Run the seeds of an arm on a task, and append a line for each."""
    strategy, options = arms_of(task)[name]
    arm = Arm(TASKS[task].page, name, strategy, options, config.runs_dir, config.num_seeds)
    arm.run("--num_final_episodes", str(config.num_episodes))
    parts = zip(arm.folders(), arm.rows(), arm.results(), arm.origins(), strict=True)
    append(
        RESULTS,
        *(
            {
                **{"task": task, "arm": name, "seed": seed, "num_seeds": config.num_seeds},
                **outcome(metrics, result),
                **size_of(policy_file.load(folder / "policy.tvp").weights),
                **origin(record),
            }
            for seed, (folder, metrics, result, record) in enumerate(parts)
        ),
    )


def page_of(rows: list[Row]) -> str:
    """Return the tables as Markdown: a row for each arm of each task that was run, and Atari."""
    head = "task | arm | last policy | goal | seeds | steps | seconds a seed | bytes"
    cells = [
        row_of(task, arm, found)
        for task in TASKS
        if task not in GAMES
        for arm in arms_of(task)
        if (found := of(rows, task, arm))
    ]
    return f"{table(head, cells)}\n\n{atari(rows)}"


def of(rows: list[Row], task: str, arm: str) -> list[Row]:
    """Return the rows of an arm on a task."""
    return [row for row in rows if (row["task"], row["arm"]) == (task, arm)]


def atari(rows: list[Row]) -> str:
    """Return the table of Atari: a row for each arm, a column for each game."""

    def cell(game: str, arm: str) -> str:
        found = of(rows, game, arm)
        if not found:
            return NONE
        last, best = (
            ", ".join(number(x) for x in values(found, name))
            for name in ("return_last", "return_best")
        )
        frames = FRAMES_OF_A_STEP * np.mean(values(found, "env_steps")) / 1e6
        return f"{last} ({best}); {frames:.1f} M, {number(float(found[0]['bytes']) / 1000)} kB"

    cells = [
        (arm, *(cell(game, arm) for game in GAMES))
        for arm in arms_of(GAMES[0])
        if any(of(rows, game, arm) for game in GAMES)
    ]
    return table(f"arm | {' | '.join(GAMES)}", cells) + "\n" + PUBLISHED


def row_of(task: str, arm: str, found: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a task."""
    reached, goal = values(found, "return_last"), TASKS[task].goals.get(arm)
    each = ", ".join(number(float(x)) for x in reached)
    shown = f"{each}: {spread(mean_interval(reached))}" if len(reached) > 2 else each
    return (
        task,
        arm,
        shown,
        NONE if goal is None else f"{goal:g}",
        f"{len(found)}",
        f"{int(np.mean(values(found, 'env_steps'))):,}",
        number(float(np.mean([row["wall_time"] / row["num_seeds"] for row in found]))),
        f"{found[0]['bytes']:,}",
    )


if __name__ == "__main__":
    main()
