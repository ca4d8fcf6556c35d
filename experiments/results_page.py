"""Make the tables of docs/results.md of what other programs have measured.

    python experiments/results_page.py

Nothing is run: the lines are those of best_float.py, off_policy.py and study.py in results/, and
the table of compare.py in docs/ppo.md. What stands between the tables is written by hand.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import best_float
import numpy as np
import off_policy
import tyro
from analyse import ablation_row, size_row
from arms import PAGES, ROOT
from off_policy import after_seconds, after_steps, of, seconds_of, with_interval
from study import CHEAP
from study_claims import claim
from study_results import Results, Row, Twins, load, median_ratio, overall_score, ratios, values
from study_words import NONE, factor, in_words, put, returns_in_words, spread, table
from tasks import TASKS
from tune import read

TWIN = "SNES"
"""The float algorithm of which `ternary_nes` is the one on trits."""
OF_PPO = ("evolution, ternary", "evolution, float", "PPO, ternary", "PPO, float")
WEIGHTS = ("float", "ternary")
SMALL = tuple(off_policy.TASKS)[:4]
"""The tasks of off_policy.py that have all arms."""
SIZES = (("small", "small"), ("own", "own"), ("large", "large"), ("large", "own"))
"""Sizes of the ternary network and of the float one beside it."""
BEFORE_SCALES = ("ternary activations", "int4 activations")
"""Changes that were run before exponents were searched, on one task."""


@dataclasses.dataclass(frozen=True)
class PageConfig:
    """Write the tables of the page."""

    results: Path = PAGES / "results"
    """Folder of best_float.jsonl, off_policy.jsonl and study.jsonl."""
    docs: Path = ROOT / "docs"
    """Folder of results.md, and of ppo.md, whose table is read."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables of the page."""
    config = tyro.cli(
        PageConfig, args=argv, prog="python experiments/results_page.py", use_underscores=True
    )
    searches, study = read(config.results / "best_float.jsonl"), load(config.results)
    tables = {
        "floats": floats(searches),
        "ppo": beside_ppo((config.docs / "ppo.md").read_text()),
        "gradients": gradients(read(config.results / "off_policy.jsonl")),
        "sizes": sizes(study),
        "activations": activations(study),
        "goals": goals(searches, study.runs),
    }
    for name, text in tables.items():
        put(config.docs / "results.md", name, text)


# ------------------------------------------------------------------------------- float evolution


def floats(rows: list[Row]) -> str:
    """Return the tables of ternary weights beside their twin and the best float algorithm."""
    best = dict(pairs(rows))
    twins = {task: pair_with(task, TWIN, rows) for task in best}
    head = (
        "task | ternary | its twin, SNES | verdict | ratio of steps | best float | verdict | "
        "ratio of steps | bytes"
    )
    lines = [
        (
            *(task, returns_in_words(rival.arms["ternary"])),
            *(returns_in_words(twins[task].arms["float"]), *compared(twins[task])),
            *(f"{name}: {returns_in_words(rival.arms['float'])}", *compared(rival)),
            " / ".join(f"{rival.arms[arm][0]['bytes']:,}" for arm in ("ternary", "float")),
        )
        for task, (name, rival) in best.items()
    ]
    rivals = {"its twin": list(twins.values()), "the best float": [x for _, x in best.values()]}
    overall = "over all tasks, beside | median ratio of steps | normalised final return | tasks"
    sums = [(name, *over_all(found)) for name, found in rivals.items()]
    return f"{table(head, lines)}\n\n{table(overall, sums)}"


def pairs(rows: list[Row]) -> list[tuple[str, tuple[str, Twins]]]:
    """Return the best float algorithm of each task, by tuning, and both arms."""
    found = [(task, best_float.pair_of(task, rows)) for task in best_float.TASKS]
    return [(task, pair) for task, pair in found if pair is not None]


def pair_with(task: str, rival: str, rows: list[Row]) -> Twins:
    """Return ternary weights beside one float algorithm."""
    arms = {"ternary": "ternary", "float": rival}
    return Twins(task, {w: best_float.rows_of("runs", task, a, rows) for w, a in arms.items()})


def compared(pair: Twins) -> tuple[str, str]:
    """Return the verdict on ternary weights, and their ratio of steps."""
    return in_words(pair.difference("ternary")), spread(pair.ratio_interval("ternary"), factor)


def over_all(twins: Sequence[Twins]) -> tuple[str, str, int]:
    """Return median ratio, interquartile mean, and of how many tasks they are."""
    score, count = overall_score(twins, "ternary")
    return spread(median_ratio(twins, "ternary"), factor), spread(score), count


# ------------------------------------------------------------------------------------- gradients


def beside_ppo(page: str) -> str:
    """Return the returns in the table of docs/ppo.md, a row for each task."""
    found: dict[str, dict[str, str]] = {}
    task = ""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and "±" in cells[2]:
            task = cells[0].partition(", threshold")[0] or task
            found.setdefault(task, {})[cells[1]] = cells[2]
    head = " | ".join(("task", *OF_PPO))
    return table(
        head, [(task, *(arms.get(x, NONE) for x in OF_PPO)) for task, arms in found.items()]
    )


def gradients(rows: list[Row]) -> str:
    """Return gradient learners and evolution at equal steps, and evolution in PPO's time."""
    head = (
        "task, steps | DQN or SAC, float | ternary | PPO, float | ternary | `ternary_nes` | "
        "in the time of PPO, float | in that of DQN or SAC"
    )
    whole = [task for task in SMALL if all(of(rows, task, arm) for arm in arms_of(task))]
    return table(head, [gradient_row(task, rows) for task in whole])


def arms_of(task: str) -> tuple[str, ...]:
    """Return the arms of a row: the first off-policy learner, PPO and evolution."""
    learners = (off_policy.TASKS[task].learners[0], "ppo")
    return (*(f"{x}, {weights}" for x in learners for weights in WEIGHTS), "ternary_nes")


def gradient_row(task: str, rows: list[Row]) -> tuple[str, ...]:
    """Return what all arms reached after the steps of a task, and evolution in equal time."""
    num_steps, (*learners, evolution) = off_policy.TASKS[task].num_steps, arms_of(task)
    first, _, ppo, _ = (of(rows, task, arm) for arm in learners)
    evolved = of(rows, task, evolution)
    in_time = [
        [after_seconds(row, float(np.mean([seconds_of(one) for one in beside]))) for row in evolved]
        for beside in (ppo, first)
    ]
    return (
        f"{task}, {num_steps:,}",
        *(returns_in_words(of(rows, task, arm)) for arm in learners),
        with_interval(np.array([after_steps(row, num_steps) for row in evolved])),
        *(with_interval(np.array(reached)) for reached in in_time),
    )


# ------------------------------------------------------------------------------------ conditions


def sizes(results: Results) -> str:
    """Return ternary minus float weights in networks of three sizes, and of two."""
    head = "task | small, both | of the page, both | large, both | large beside float of the page"
    rows = [(task, *(size_of(results, task, *size) for size in SIZES)) for task in CHEAP]
    return table(head, rows)


def size_of(results: Results, task: str, of_ternary: str, of_float: str) -> str:
    """Return the verdict and the difference of two sizes."""
    *_, difference, verdict = size_row(results, task, "", of_ternary, of_float)
    return f"{verdict}: {difference}"


def activations(results: Results) -> str:
    """Return other activations of ternary networks beside int8."""
    now = [("sign activations", task, "ablations", ("twins", "ternary")) for task in CHEAP]
    before = [
        (change, "Acrobot-v1", "without_scales", ("without_scales", "unchanged"))
        for change in BEFORE_SCALES
    ]
    rows = []
    for change, task, part, (base, arm) in (*now, *before):
        changed, same = results.seeds(part, task, change), results.seeds(base, task, arm)
        if changed:
            _, *returns, of_return, _, of_area = ablation_row(changed, same)
            rows.append((change, task, *returns, of_return, of_area))
    head = "change | task | final return | with `int8` | difference | verdict | of the area"
    return table(head, rows)


# ----------------------------------------------------------------------------------------- goals


def goals(rows: list[Row], study: list[Row]) -> str:
    """Return a line for each goal of the search that its lines can decide."""
    best = [pair for _, (_, pair) in pairs(rows)]
    former = beside_former(best_float.former_pairs(rows, study))
    return "\n".join([*beside_best(best), *former, of_pendulum(rows)])


def beside_best(twins: Sequence[Twins]) -> list[str]:
    """Return the three goals of ternary weights beside the best float algorithm."""
    steps, (score, count) = median_ratio(twins, "ternary"), overall_score(twins, "ternary")
    above = [f"{t} {factor(x)}" for t, x in ratios(twins, "ternary").items() if x > 2]
    tasks = f"{count} of {len(TASKS)} tasks"
    return [
        claim(
            "median ratio of steps to the best float algorithm at most 1.0, interval below 1.5",
            steps and steps.value <= 1 and steps.high < 1.5,
            f"{spread(steps, factor)}; {tasks}",
        ),
        claim(
            "no task with a ratio above 2",
            not above if twins else None,
            f"above it: {', '.join(above) or 'none'}; {tasks}",
        ),
        claim(
            "interquartile mean of normalised final returns at least 1.0",
            score and score.value >= 1,
            f"{spread(score)}; {tasks}",
        ),
    ]


def beside_former(twins: Sequence[Twins]) -> list[str]:
    """Return the two goals of the defaults beside the former search, tuned."""
    fewer = [task for task, x in ratios(twins, "ternary").items() if x < 1]
    worse = [one.task for one in twins if in_words(one.difference("ternary")) == "loses"]
    tasks = f"{len(twins)} of {len(TASKS)} tasks"
    return [
        claim(
            "defaults: fewer steps than the former search, tuned, on at least 8 of 12 tasks",
            len(fewer) >= 8 if twins else None,
            f"fewer on {len(fewer)}; {tasks}",
        ),
        claim(
            "defaults: on no task a lower final return than the former search, tuned",
            not worse if twins else None,
            f"lower on {', '.join(worse) or 'none'}; {tasks}",
        ),
    ]


def of_pendulum(rows: list[Row]) -> str:
    """Return the goal of Pendulum; the defaults were run with the same budget."""
    tuned, defaults = (
        values(best_float.rows_of(part, "Pendulum-v1", arm, rows), "return_last") >= -200
        for part, arm in (("runs", "ternary"), ("former", "defaults"))
    )
    return claim(
        "Pendulum at least -200 on 8 of 10 seeds",
        bool(tuned.sum() >= 8) if len(tuned) else None,
        f"{tuned.sum()} with tuned settings, {defaults.sum()} with the defaults in as many steps",
    )


if __name__ == "__main__":
    main()
