"""Ternary search beside the best float search: tune all, run all on other seeds, print one table.

    python experiments/best_float.py

gives every arm the same tuner: `NUM_TRIALS` settings from its ranges (`ARMS`), the middle of each
first, all of them and their seeds in one compiled program (`across_seeds.trials`). The score is the
area under the learning curve. The best setting of each arm then runs on seeds 0 to 9, as an
ordinary `python -m ternevo.run`; tuning seeds begin at 1000. "Best float" is chosen by the tuning
score, and reported on the other seeds.

A second part, `--ablations`, runs `ternary_nes` at its defaults with one change at a time. A third,
`--former`, runs it at its defaults on all tasks of the study, beside the search that the study had
tuned for each of them.
What stands in results/best_float.jsonl is not run again. The tables go to docs/search.md,
between its marks.
"""

import dataclasses
import math
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from arms import PAGES, ROOT, Arm, check_all, origin
from scipy.stats import qmc
from study import outcome, size_of
from study_results import Row, Twins, median_ratio, overall_score, values
from study_words import factor, number, put, spread, table
from tune import append, read

from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.runs.intervals import area, mean_interval, verdict
from ternevo.settings.command_line import parse
from ternevo.strategies.across_seeds import keys_of, of_each_seed, trials
from ternevo.training import loop, setup

RESULTS = PAGES / "results" / "best_float.jsonl"
STUDY = PAGES / "results" / "study.jsonl"
"""Of the search before."""
PAGE = ROOT / "docs" / "search.md"
NUM_TRIALS = 8
TUNING_SEEDS = range(1000, 1003)
SEEDS = range(10)
FLOAT = ("--weights", "float", "--activation", "tanh")


@dataclasses.dataclass(frozen=True)
class Contender:
    """An algorithm: how a run names it, and the range of each number that is tuned."""

    strategy: str
    options: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]


def evosax(algorithm: str, *options: str, **ranges: tuple[float, float]) -> Contender:
    """Return an algorithm of evosax over float weights."""
    return Contender("latent", ("--algorithm", algorithm, *options, *FLOAT), ranges)


ARMS = {
    "ternary": Contender(
        "ternary_nes",
        ("--scale_sigma", "0.3", "--scale_lr", "0.2", "--averaging", "0.8"),
        {"sigma": (0.1, 0.6), "lr": (0.6, 2.4), "eta": (0.05, 0.3)},
    ),
    "SNES": evosax("SNES", "--optimizer", "sgd", sigma=(0.05, 0.5), lr=(0.5, 2.0)),
    "Sep_CMA_ES": evosax("Sep_CMA_ES", sigma=(0.05, 0.5)),
    "CR_FM_NES": evosax("CR_FM_NES", sigma=(0.05, 0.5)),
    "PGPE": evosax("PGPE", sigma=(0.05, 0.5), lr=(0.03, 0.3)),
    "Open_ES": evosax("Open_ES", sigma=(0.05, 0.5), lr=(0.03, 0.3)),
    "SimpleGA": evosax("SimpleGA", sigma=(0.05, 0.5)),
}
"""The arms. SNES takes plain steps, whose rate of 1 is that of the paper; PGPE and Open_ES Adam.

Exponents of ternary weights move faster than by default, as these budgets are short.
"""


FULL_EPISODES = ("SimpleGA",)
"""It keeps the fitness of members, and so cannot begin with short episodes."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A page and a budget that is the same for all arms."""

    page: str
    generations: int
    eval_every: int
    options: tuple[str, ...]


def of(population_size: int, num_episodes: int, *more: str) -> tuple[str, ...]:
    """Return the options of a budget."""
    sizes = ("--population_size", str(population_size), "--num_episodes", str(num_episodes))
    return (*sizes, "--observation_shift", "2", "--common_random_numbers", "all", *more)


TASKS = {
    "CartPole-v1": Task("gymnax_cartpole", 30, 1, of(128, 1)),
    "Acrobot-v1": Task("gymnax_acrobot", 40, 2, of(128, 1)),
    "MountainCar-v0": Task("gymnax_mountaincar", 60, 3, of(128, 1)),
    "MountainCarContinuous-v0": Task("gymnax_mountaincar_continuous", 40, 2, of(128, 1)),
    "Pendulum-v1": Task("gymnax_pendulum", 100, 5, of(128, 4, "--init_horizon", "0.3")),
    "inverted_double_pendulum": Task(
        "brax_inverted_double_pendulum", 25, 1, of(128, 1, "--episode_length", "500")
    ),
    "walker2d": Task("brax_walker2d", 30, 1, of(128, 1, "--episode_length", "250")),
    "reacher": Task("brax_reacher", 40, 2, of(128, 1)),
    "hopper": Task("brax_hopper", 60, 3, of(256, 1)),
    "halfcheetah": Task("brax_halfcheetah", 30, 1, of(128, 1)),
    "Breakout-MinAtar": Task("gymnax_breakout_minatar", 60, 3, of(256, 2)),
    "Freeway-MinAtar": Task("gymnax_freeway_minatar", 20, 1, of(64, 1)),
}
"""All tasks of the study, with its budgets."""

TUNED = tuple(TASKS)[:7]
"""Those on which a run takes seconds, so that every arm can be tuned."""


DEFAULTS = (
    *("--sigma", "0.2", "--lr", "1.2", "--eta", "0.2"),
    *("--scale_sigma", "0.2", "--scale_lr", "0.1", "--averaging", "0.8"),
)
"""Said again, as pages have settings of their own."""

ABLATIONS: dict[str, tuple[str, ...]] = {
    "the defaults": (),
    "centred ranks": ("--fitness_shaping", "centered_rank"),
    "one spread for all, constant": ("--spreads", "none"),
    "a spread for each layer": ("--spreads", "layer"),
    "plain gradients through Adam": (
        *("--gradient", "plain", "--optimizer", "adam", "--lr", "0.1"),
    ),
    "exponents not searched": ("--search_scales", "False"),
    "the last latents ship, not their average": ("--averaging", "0"),
    "all of it as before": (
        *("--fitness_shaping", "centered_rank", "--spreads", "none", "--gradient", "plain"),
        *("--optimizer", "adam", "--lr", "0.1", "--sigma", "0.1"),
        *("--scale_lr", "0.1", "--scale_sigma", "0.1", "--averaging", "0"),
    ),
}
ABLATED = ("CartPole-v1", "Acrobot-v1", "MountainCarContinuous-v0", "Pendulum-v1")


@dataclasses.dataclass(frozen=True)
class BestFloatConfig:
    """Tune and run what is not there yet, and write the table."""

    tasks: tuple[str, ...] = TUNED
    """Which tasks."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms."""
    ablations: bool = False
    """Run the ablations instead."""
    former: bool = False
    """Run the defaults on all tasks of the study instead, to stand beside the former search."""
    runs_dir: Path = Path("runs/best_float")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Tune, run and write the table."""
    config = tyro.cli(
        BestFloatConfig, args=argv, prog="python experiments/best_float.py", use_underscores=True
    )
    check_all("task", config.tasks, TASKS)
    check_all("arm", config.arms, ARMS)
    if config.ablations:
        for task in ABLATED:
            for name, change in ABLATIONS.items():
                run("ablations", task, name, "ternary_nes", (*DEFAULTS, *change), config.runs_dir)
    elif config.former:
        for task in TASKS:
            run("former", task, "defaults", "ternary_nes", DEFAULTS, config.runs_dir)
    elif not config.table_only:
        devices.use_cores(1)
        for task in config.tasks:
            for arm in config.arms:
                tune(task, arm)
                who, numbers = ARMS[arm], best(task, arm)["options"]
                chosen = (p for name, value in numbers.items() for p in (f"--{name}", str(value)))
                run(
                    "runs",
                    task,
                    arm,
                    who.strategy,
                    (*who.options, *own_options(arm), *chosen),
                    config.runs_dir,
                )
    text = page_of(read(RESULTS))
    put(PAGE, "table", text)
    print(text)


def rows_of(part: str, task: str, arm: str, rows: list[Row] | None = None) -> list[Row]:
    """Return the lines of an arm on a task."""
    key = (part, task, arm)
    found = read(RESULTS) if rows is None else rows
    return [row for row in found if (row["part"], row["task"], row["arm"]) == key]


# ------------------------------------------------------------------------------------ the tuner


def settings_of(arm: str) -> list[dict[str, float]]:
    """Return the numbers of each trial: the middle of all ranges, then a Latin hypercube."""
    ranges = ARMS[arm].ranges
    points = qmc.LatinHypercube(len(ranges), rng=0).random(NUM_TRIALS - 1)
    middle_first = [[0.5] * len(ranges), *points.tolist()]
    return [
        {name: _between(*span, at) for (name, span), at in zip(ranges.items(), place, strict=True)}
        for place in middle_first
    ]


def _between(low: float, high: float, at: float) -> float:
    return float(f"{math.exp(math.log(low) + at * math.log(high / low)):.2g}")


def arguments(task: str, arm: str) -> tuple[str, ...]:
    """Return what all runs of an arm on a task have in common, as on a command line."""
    where, who = TASKS[task], ARMS[arm]
    return (
        *("--config", str(PAGES / f"{where.page}.yaml"), "--strategy", who.strategy),
        *(*where.options, *who.options, *own_options(arm)),
        *("--num_generations", str(where.generations), "--eval_every", str(where.eval_every)),
        *("--num_eval_episodes", "32"),
    )


def own_options(arm: str) -> tuple[str, ...]:
    """Return what an arm cannot do otherwise."""
    return ("--init_horizon", "1") if arm in FULL_EPISODES else ()


def tune(task: str, arm: str) -> None:
    """Run all trials of an arm in one program, and append a line for each."""
    if rows_of("tuning", task, arm):
        return
    begin = time.perf_counter()
    parts = setup.build(parse([*arguments(task, arm), "--num_devices", "1"]))
    chosen = settings_of(arm)
    lanes = [(change, seed) for change in chosen for seed in TUNING_SEEDS]
    strategy = trials(parts.strategy, [change for change, _ in lanes])
    state = loop.start(keys_of([seed for _, seed in lanes]), strategy)
    evaluation = setup.evaluation_of(parts.config, parts.env, parts.policy, len(lanes))
    chunks = list(loop.train(strategy, state, TASKS[task].generations, evaluation=evaluation))
    names = ("eval/return", "episode/steps")
    metrics = {n: jnp.asarray(np.concatenate([c.metrics[n] for c in chunks])) for n in names}
    curves = [points(lane) for lane in of_each_seed(metrics, len(lanes), axis=1)]
    seconds, size = time.perf_counter() - begin, len(TUNING_SEEDS)
    lines = [
        {
            **{"part": "tuning", "task": task, "arm": arm, "options": chosen[i]},
            "score": statistics.fmean(map(area, curves[i * size : (i + 1) * size])),
            "final": [one[-1][1] for one in curves[i * size : (i + 1) * size]],
            "seconds_of_all": seconds,
            "commit": commit(),
        }
        for i in range(len(chosen))
    ]
    append(RESULTS, *lines)


def points(lane: dict[str, Any]) -> list[tuple[int, float]]:
    """Return (environment steps, return) of each evaluation of a trial."""
    steps = np.cumsum(np.asarray(lane["episode/steps"], np.int64))
    found = np.asarray(lane["eval/return"])
    return [(int(s), float(x)) for s, x in zip(steps, found, strict=True) if not math.isnan(x)]


def commit() -> str:
    """Return the commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def best(task: str, arm: str, rows: list[Row] | None = None) -> Row:
    """Return the trial with the highest score."""
    return max(rows_of("tuning", task, arm, rows), key=lambda row: row["score"])


# ------------------------------------------------------------------------------------- the runs


def run(
    part: str, task: str, arm: str, strategy: str, options: tuple[str, ...], runs_dir: Path
) -> None:
    """Run an arm on the seeds of the tables, and append a line for each."""
    if rows_of(part, task, arm):
        return
    where = TASKS[task]
    name = arm if part == "runs" else f"{part}-{arm.replace(' ', '-')}"
    of_arm = Arm(where.page, name, strategy, (*where.options, *options), runs_dir, len(SEEDS))
    generations = str(where.generations)
    of_arm.run(
        *("--num_generations", generations, "--checkpoint_every", generations),
        *("--eval_every", str(where.eval_every), "--num_eval_episodes", "32"),
    )
    parts = zip(of_arm.folders(), of_arm.rows(), of_arm.results(), of_arm.origins(), strict=True)
    lines = []
    for seed, (folder, metrics, result, record) in enumerate(parts):
        size = size_of(policy_file.load(folder / "policy.tvp").weights)
        key = {"part": part, "task": task, "arm": arm, "seed": seed, "num_seeds": len(SEEDS)}
        lines.append({**key, **outcome(metrics, result), **size, **origin(record)})
    append(RESULTS, *lines)


# ------------------------------------------------------------------------------------ the table


def page_of(rows: list[Row]) -> str:
    """Return what was found as Markdown: the claims, a row for each task, one for each arm."""
    pairs = [pair for task in TASKS if (pair := pair_of(task, rows)) is not None]
    every = [
        arm_row(task, arm, rows)
        for task in TASKS
        for arm in ARMS
        if rows_of("runs", task, arm, rows)
    ]
    head = "task | ternary | best float, by tuning | difference | verdict | ratio of steps | bytes"
    arms = "task | arm | settings | final return | lowest seed | area under the curve"
    short = table(head, [row_of(*pair) for pair in pairs])
    said = [*claims([twins for _, twins in pairs]), short, table(arms, every)]
    return "\n\n".join([*said, *former(rows), *ablations(rows)]) + "\n"


def former(rows: list[Row]) -> list[str]:
    """Return the heading and the table of the defaults beside the search of the study."""
    lines = [former_row(pair) for pair in former_pairs(rows, read(STUDY))]
    if not lines:
        return []
    head = "task | defaults | former search, tuned | difference | verdict | ratio of steps"
    return ["## Beside the former search", table(head, lines)]


def former_pairs(rows: list[Row], before: list[Row]) -> list[Twins]:
    """Return the defaults beside the lines of the study, which have the place of "float"."""
    return [
        Twins(task, {"ternary": now, "float": old})
        for task in TASKS
        if (now := rows_of("former", task, "defaults", rows))
        and (old := [r for r in rows_of("twins", task, "ternary", before) if r["size"] == "own"])
    ]


def former_row(pair: Twins) -> tuple[str, ...]:
    """Return the cells of the defaults beside the former search."""
    difference = pair.difference("ternary")
    return (
        pair.task,
        *(spread(mean_interval(values(pair.arms[x], "return_last"))) for x in pair.arms),
        spread(difference),
        "" if difference is None else verdict(difference),
        spread(pair.ratio_interval("ternary"), factor),
    )


def ablations(rows: list[Row]) -> list[str]:
    """Return the heading and the table of the changes, if they were run."""
    changed = [
        (task, name, found)
        for task in ABLATED
        for name in ABLATIONS
        if (found := rows_of("ablations", task, name, rows))
    ]
    head = "task | one change | final return | lowest seed | area under the curve"
    lines = [(task, name, *in_numbers(found)) for task, name, found in changed]
    return ["## One change at a time", table(head, lines)] if lines else []


def in_numbers(rows: list[Row]) -> tuple[str, ...]:
    """Return the final return, its least over seeds, and the area under the learning curve."""
    final, areas = values(rows, "return_last"), np.array([area(row["curve"]) for row in rows])
    return spread(mean_interval(final)), number(final.min()), spread(mean_interval(areas))


def claims(pairs: list[Twins]) -> list[str]:
    """Return the two numbers over all tasks."""
    median, (score, count) = median_ratio(pairs, "ternary"), overall_score(pairs, "ternary")
    said = []
    if median is not None:
        said.append(f"Median ratio of steps: {spread(median, factor)}.")
    if score is not None:
        said.append(
            f"Interquartile mean of normalised final returns: {spread(score)}, of {count} tasks."
        )
    return said


def pair_of(task: str, rows: list[Row]) -> tuple[str, Twins] | None:
    """Return the float algorithm that the tuner liked best on a task, and both arms."""
    floats = [arm for arm in ARMS if arm != "ternary" and rows_of("runs", task, arm, rows)]
    ours = rows_of("runs", task, "ternary", rows)
    if not (ours and floats):
        return None
    rival = max(floats, key=lambda arm: best(task, arm, rows)["score"])
    return rival, Twins(task, {"ternary": ours, "float": rows_of("runs", task, rival, rows)})


def row_of(rival: str, pair: Twins) -> tuple[str, ...]:
    """Return ternary weights beside the best float algorithm of a task."""
    ours, theirs = pair.arms["ternary"], pair.arms["float"]
    difference = pair.difference("ternary")
    return (
        pair.task,
        spread(mean_interval(values(ours, "return_last"))),
        f"{rival}: {spread(mean_interval(values(theirs, 'return_last')))}",
        spread(difference),
        "" if difference is None else verdict(difference),
        spread(pair.ratio_interval("ternary"), factor),
        f"{ours[0]['bytes']:,} / {theirs[0]['bytes']:,}",
    )


def arm_row(task: str, arm: str, rows: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a task."""
    found = rows_of("runs", task, arm, rows)
    numbers = best(task, arm, rows)["options"]
    chosen = " ".join(f"{name} {value:g}" for name, value in numbers.items())
    return task, arm, chosen, *in_numbers(found)


if __name__ == "__main__":
    main()
