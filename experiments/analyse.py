"""Make docs/study.md and its figures of what tune.py and study.py wrote.

    python experiments/analyse.py

Everything on the page is computed from results/study.jsonl and results/tuning.jsonl; the
discussion at its end is results/discussion.md, written by hand. An unfinished study makes a page
that says what is missing. Nothing is run, and the same lines make the same page.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import study_figures
import tyro
from arms import PAGES, ROOT
from study import CHEAP, METHODS, SIZES
from study_claims import claims
from study_results import (
    WEIGHTS,
    Results,
    Row,
    Twins,
    areas,
    curves,
    load,
    median_ratio,
    missing,
    overall_score,
    ratios,
    seconds_of_a_seed,
    success_rate,
    values,
)
from study_words import (
    NONE,
    between,
    factor,
    in_words,
    listed,
    number,
    returns_in_words,
    spread,
    steps_in_words,
    table,
)
from tasks import TASKS, Task
from tune import ARMS, BASELINE_TASKS, BASELINES, FIRST_SEED, NUM_TRIALS, SPACE, trials_of, winner

from ternevo.files import replace_text
from ternevo.runs.intervals import mean_interval, steps_to

CURVES, SCORES = "study_curves.png", "study_scores.png"
NOTHING = "Nothing of this part has been run yet."


@dataclasses.dataclass(frozen=True)
class AnalyseConfig:
    """Write the page and its figures, and print the claims."""

    results: Path = PAGES / "results"
    """Folder of study.jsonl, tuning.jsonl and discussion.md."""
    out: Path = ROOT / "docs"
    """Folder of study.md and images/."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and its figures, and print the claims."""
    config = tyro.cli(
        AnalyseConfig, args=argv, prog="python experiments/analyse.py", use_underscores=True
    )
    results = load(config.results)
    config.out.mkdir(parents=True, exist_ok=True)
    if results.twins:
        study_figures.learning_curves(results.twins, config.out / "images" / CURVES)
        study_figures.scores(results.twins, config.out / "images" / SCORES)
    replace_text(config.out / "study.md", page(results))
    print("\n".join(claims(results.twins)))
    print(f"{len(missing(results))} pieces of the study are missing")


def page(results: Results) -> str:
    """Return docs/study.md."""
    sections = {
        "In short": "\n".join(claims(results.twins)),
        "What is missing": listed(missing(results)) or "Nothing: every part of the study is here.",
        "How it was made": made(results),
        "Ternary, float and binary weights": twins_section(results.twins),
        "Small and large networks": sizes_section(results),
        "Other methods": methods_section(results),
        "Other algorithms with float weights": baselines_section(results),
        "One change at a time": ablations_section(results),
        "Discussion": results.discussion.strip() or "Not written yet.",
    }
    bodies = [f"## {title}\n\n{body}" for title, body in sections.items()]
    return "\n\n".join([INTRODUCTION, *bodies]) + "\n"


INTRODUCTION = """# The study of the former search, beside its float twin

This is the study of the **former** `ternary_nes`, with centred ranks, one sigma for all weights and
Adam, as the commits below have it. [SNES on trits](strategies.md#snes-on-trits) has replaced it:
what that reaches is in [Results](results.md), and beside more float algorithms in
[search.md](search.md).

Every number here is computed by `python experiments/analyse.py` from
`experiments/results/study.jsonl` and `experiments/results/tuning.jsonl`, which hold the command and
commit of each line. Only the discussion is written by hand.

**How to read it.** `499.1 [498.2, 500]` is a mean over seeds with its 95 % bootstrap interval
(10,000 resamples of the seeds, percentiles). With five or ten seeds such intervals are rather too
narrow. "Final return" is that of the shipped policy: `policy.tvp`, what the search holds after its
last generation, not the best of several. "Best kept" is `best_policy.tvp`, which did best in the
evaluations during training. Both are means over held-out episodes that neither training nor those
evaluations met. A verdict "wins" or "loses" means that the interval of the difference of two means
leaves out 0; "ties" means that no difference was seen, which is not the same as none. Nothing is
corrected for the number of comparisons."""

COMMANDS = """```sh
python experiments/tune.py     # settings of each arm, on seeds of their own
python experiments/study.py    # all runs
python experiments/analyse.py  # this page
```"""

ABOUT_BUDGETS = """**Budgets**, the same for all arms of evolution on a task; PPO has that of its
page. A threshold is the final return that counts as a success."""

ABOUT_TUNING = """Settings are drawn once (`draw` in `experiments/tune.py`), for all arms alike.
The score of a trial is the area under its learning curve. The best trials of an arm
have a second round on further seeds (how many, and how many seeds: *tuned with* above), and of
these the one with the highest mean over all its seeds is taken. Binary weights take the settings of
ternary ones."""

ABOUT_TWINS = """The same search (`ternary_nes`), network and budget, ternary and float weights each
with settings of their own. **Start** is the mean return of what would be shipped after the first
generation, of the two arms the smaller one. **Target** is 90 % of the way from the start to the
mean final return of float weights. An arm has got there when the mean curve of its seeds first
does, interpolated linearly;
`≤`: it was there at its first evaluation. Ratios below 1 mean fewer environment steps than float
weights need; the interval resamples the seeds of both arms, each resample with the target of its
own float weights (resamples in which these are not at it themselves are left out). The
**normalised** return is 0 at the start and 1 at the mean of float weights."""

ABOUT_OVERALL = """The interquartile mean leaves out the lowest and the highest quarter of all seeds
of all tasks. Its interval is that of the stratified bootstrap (Agarwal et al. 2021, rliable), with
the start and the mean of float weights held fixed. Float weights themselves need not have 1: it is
their mean, not their interquartile mean. The interval of the median ratio resamples the seeds of
each task; that of float weights is what two draws of the same seeds differ by."""

ABOUT_CURVES = """Mean over seeds of the shipped policy's return on 32 episodes, with its 95 %
bootstrap interval as a band. Dotted: the target."""

ABOUT_SIZES = """All sizes have the settings that were tuned for the page's own network.
The last rows put the large ternary network beside the page's own float one; see their bytes."""

ABOUT_METHODS = """Each method at its defaults, with the scales of inputs and outputs that were
tuned for ternary `ternary_nes`. The rows of `ternary_nes` are those of the first part: tuned, and
with more seeds. PPO has the settings and the budget of its page. The area is over an arm's own
steps. The threshold is that of the task, for the mean curve of the seeds."""

ABOUT_BASELINES = """Tuned by the same tuner, with the same trials, where an algorithm has the
setting; those that keep the fitness of members have full episodes in all of them."""

ABOUT_WITHOUT_SCALES = """The same before exponents were searched, with the settings of that time:
each change beside the arm *unchanged* of then, at the commit that the lines name. Those that did
not pay are no longer in the code."""

ABOUT_ABLATIONS = """One change at a time, beside the ternary arm of the first part, on the same
task and seeds. A difference is with the change minus without it."""

ABOUT_TRIED = """Options that did not pay, and are gone: they run at their commit. They are beside
the ternary arm of the first part."""


# ---------------------------------------------------------------------------------- how it was made


def made(results: Results) -> str:
    """Return commands, machine, budgets, settings, and what all of it took."""
    return "\n\n".join(
        [
            *(COMMANDS, provenance(results), ABOUT_BUDGETS, budgets()),
            f"**Tuning.** The same ranges for all arms: {ranges()}. {ABOUT_TUNING}",
            settings(results) or NOTHING,
            "**What the study took**, training only. Runs shared the machine with others.",
            costs(results) or NOTHING,
        ]
    )


def provenance(results: Results) -> str:
    """Return machine, commits, seeds and episodes, as the lines have them."""
    rows = [*results.runs, *results.trials]
    machines = sorted({str(row["processor"]) for row in rows}) or ["not known yet"]
    commits = sorted({short(row["commit"]) for row in rows}) or ["not known yet"]
    seeds = sorted({row["seed"] for row in results.runs})
    episodes = sorted({row["episodes"] for row in results.runs})
    return (
        f"Machine: {', '.join(machines)}. Commits: {', '.join(commits)} ('+changes': with changes "
        f"that were not committed). Seeds of the study: {span(seeds)}; those of the tuner begin "
        f"at {FIRST_SEED}. Held-out episodes of each policy: {span(episodes)}."
    )


def short(commit: str | None) -> str:
    """Return seven digits of a commit, and whether there were changes."""
    digits, plus, changes = (commit or "unknown").partition("+")
    return digits[:7] + plus + changes


def span(numbers: Sequence[int]) -> str:
    """Return the first and last of sorted numbers."""
    if not numbers:
        return "none yet"
    return f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def budgets() -> str:
    """Return the table of tasks."""
    head = "task | options | generations | evaluated every | seeds | threshold | tuned with"
    rows = [
        (
            *(name, f"`{' '.join(task.options)}`", task.num_generations, task.eval_every),
            *(task.num_seeds, task.threshold),
            tuned_with(task),
        )
        for name, task in TASKS.items()
    ]
    return table(head, rows)


def tuned_with(task: Task) -> str:
    """Return trials and seeds of both rounds in words."""
    first = f"{NUM_TRIALS} x {task.num_tuning_seeds}"
    return f"{first}, then {task.num_finalists} x {task.num_finalist_seeds}"


def ranges() -> str:
    """Return the ranges of the tuner in words."""
    words = [
        f"`{name}` {chosen[0]:g} to {chosen[1]:g} (logarithmic)"
        if kind == "log"
        else f"`{name}` one of {', '.join(map(str, chosen))}"
        for name, (kind, *chosen) in SPACE.items()
    ]
    return "; ".join(words)


def settings(results: Results) -> str:
    """Return the chosen settings of each task and arm, and what finding them took."""
    rows = []
    for task in TASKS:
        for arm in (*ARMS, *BASELINES):
            trials = trials_of(results.trials, task, arm)
            if not trials:
                continue
            best = winner(trials)
            chosen = f"`{' '.join(best['options'])}`", number(best["score"])
            rows.append((task, arm, *chosen, *spent_on(trials)))
    head = "task | arm | chosen settings | score | runs | seeds | environment steps | seconds"
    return table(head, rows) if rows else ""


def spent_on(trials: list[Row]) -> tuple[object, ...]:
    """Return the cells of what finding settings took: runs, seeds, steps, seconds."""
    seeds = sum(len(row["final"]) for row in trials)
    return len(trials), seeds, total(trials, "env_steps"), total(trials, "seconds")


def total(rows: Iterable[Row], name: str) -> str:
    """Return a sum in words."""
    return f"{sum(row[name] for row in rows):,.0f}"


def costs(results: Results) -> str:
    """Return what each part of the study took."""
    rows = []
    for part in dict.fromkeys(row["part"] for row in results.runs):
        lines = results.parts(part)
        seconds = sum(row["wall_time"] / row["num_seeds"] for row in lines)
        rows.append((part, len(lines), total(lines, "env_steps"), f"{seconds:,.0f}"))
    return table("part | seeds run | environment steps | seconds", rows) if rows else ""


# -------------------------------------------------------------------------------------- the parts


def twins_section(twins: Sequence[Twins]) -> str:
    """Return what ternary, float and binary weights reach under the same search."""
    if not twins:
        return NOTHING
    return "\n\n".join(
        [
            *(ABOUT_TWINS, overview(twins), overall(twins)),
            f"![learning curves of all tasks](images/{CURVES})",
            ABOUT_CURVES,
            f"![normalised final returns](images/{SCORES})",
            *(twins_of_task(one) for one in twins),
        ]
    )


def overview(twins: Sequence[Twins]) -> str:
    """Return one line for each task."""
    head = (
        "task | ternary minus float | verdict | ratio of steps, ternary | normalised, ternary | "
        "binary minus float | verdict | ratio of steps, binary | normalised, binary"
    )
    rows = []
    for one in twins:
        cells = [one.task]
        for arm in ("ternary", "binary"):
            difference, scores = one.difference(arm), one.scores(arm)
            cells += [spread(difference), f"{arm} {in_words(difference)}"]
            cells += [spread(one.ratio_interval(arm), factor)]
            cells += [spread(mean_interval(scores)) if len(scores) else NONE]
        rows.append(cells)
    return table(head, rows)


def overall(twins: Sequence[Twins]) -> str:
    """Return the table over all tasks, and which of them have no ratio."""
    head = "arm | interquartile mean, normalised | tasks | median ratio of steps | largest | tasks"
    rows = []
    for arm in WEIGHTS:
        found, (score, count) = list(ratios(twins, arm).values()), overall_score(twins, arm)
        steps = spread(median_ratio(twins, arm), factor), factor(max(found)) if found else NONE
        rows.append((arm, spread(score), count, *steps, len(found)))
    unclear = [one.task for one in twins if one.task not in ratios(twins, "ternary")]
    note = ABOUT_OVERALL
    if unclear:
        why = (
            "an arm is missing, or float weights learnt nothing or are not at the target themselves"
        )
        note += f" Tasks without a ratio ({why}): {', '.join(unclear)}."
    return f"{table(head, rows)}\n\n{note}"


def twins_of_task(one: Twins) -> str:
    """Return the table of a task, and its verdict."""
    head = (
        "weights | seeds | final return | range | best kept | success | area under curve | "
        "steps to target | ratio | bytes | non-zeros | seconds per seed"
    )
    rows = [twin_row(one, arm) for arm in WEIGHTS if arm in one.arms]
    where = f"Start {number(one.start)}, target {number(one.target)}."
    said = [
        f"{arm.capitalize()} **{in_words(difference)}**: {spread(difference)} beside float."
        for arm in ("ternary", "binary")
        if (difference := one.difference(arm))
    ]
    lacking = [f"No {arm} weights yet." for arm in WEIGHTS if arm not in one.arms]
    text = " ".join([where, *said, *lacking])
    return f"### {one.task}\n\n{table(head, rows)}\n\n{text}"


def twin_row(one: Twins, arm: str) -> tuple[object, ...]:
    """Return the cells of an arm."""
    rows = one.arms[arm]
    lasts = values(rows, "return_last")
    return (
        *(arm, len(rows), spread(mean_interval(lasts))),
        f"{number(lasts.min())} to {number(lasts.max())}",
        spread(mean_interval(values(rows, "return_best"))),
        f"{success_rate(rows):.0%}",
        spread(mean_interval(areas(rows))),
        *(steps_in_words(one.reached(arm)), factor(one.ratio(arm))),
        f"{values(rows, 'bytes').mean():,.0f}",
        f"{values(rows, 'nonzeros').mean():,.0f} of {values(rows, 'num_weights').mean():,.0f}",
        number(seconds_of_a_seed(rows)),
    )


def sizes_section(results: Results) -> str:
    """Return networks of three sizes, and a large ternary beside a float one of the page's size."""
    if not results.parts("sizes"):
        return NOTHING
    pairs = [(task, size, size, size) for task in CHEAP for size in SIZES]
    equal = [(task, "large beside own", "large", "own") for task in CHEAP]
    head = "task | size | ternary | bytes | float | bytes | ternary minus float | ternary"
    hidden = ", ".join(
        f"{size} `{layers[-1] if layers else 'of the page'}`" for size, layers in SIZES.items()
    )
    rows = [size_row(results, *pair) for task in CHEAP for pair in pairs + equal if pair[0] == task]
    return f"Hidden layers: {hidden}. {ABOUT_SIZES}\n\n{table(head, rows)}"


def size_row(
    results: Results, task: str, label: str, of_ternary: str, of_float: str
) -> tuple[object, ...]:
    """Return the cells of ternary weights in one size beside float weights in another."""
    pair = [
        results.seeds("twins" if size == "own" else "sizes", task, arm, size)
        for arm, size in (("ternary", of_ternary), ("float", of_float))
    ]
    cells = [
        cell
        for rows in pair
        for cell in (
            returns_in_words(rows),
            f"{values(rows, 'bytes').mean():,.0f}" if rows else NONE,
        )
    ]
    difference = between(*pair, of=lambda rows: values(rows, "return_last"))
    return task, label, *cells, spread(difference), in_words(difference)


def methods_section(results: Results) -> str:
    """Return the other methods, each with ternary and with float weights."""
    if not results.parts("methods"):
        return NOTHING
    arms = [f"{method}, {kind}" for method in (*METHODS, "PPO") for kind in ("ternary", "float")]
    rows = []
    for task in CHEAP:
        cells = [("methods", arm, arm) for arm in arms]
        tuned = [("twins", kind, f"ternary_nes, {kind}") for kind in ("ternary", "float")]
        for part, arm, label in tuned + cells:
            rows.append((task, label, *method_row(results.seeds(part, task, arm))))
    return f"{ABOUT_METHODS}\n\n{table(METHODS_HEAD, rows)}"


def baselines_section(results: Results) -> str:
    """Return further algorithms of evosax, tuned as the twins are."""
    if not results.parts("baselines"):
        return NOTHING
    rows = [
        (task, label, *method_row(results.seeds(part, task, arm)))
        for task in BASELINE_TASKS
        for part, arm, label in [
            ("twins", "ternary", "ternary_nes, ternary"),
            ("twins", "float", "Open_ES (ternary_nes, float)"),
            *(("baselines", name, name) for name in BASELINES),
        ]
    ]
    return f"{ABOUT_BASELINES}\n\n{table(METHODS_HEAD, rows)}"


METHODS_HEAD = (
    "task | method, weights | seeds | final return | success | area under curve | "
    "steps to threshold | environment steps"
)


def method_row(rows: list[Row]) -> tuple[object, ...]:
    """Return the cells of a method on a task."""
    if not rows:
        return (0, *[NONE] * 5)
    reached = steps_to(curves(rows), TASKS[rows[0]["task"]].threshold)
    return (
        *(len(rows), returns_in_words(rows), f"{success_rate(rows):.0%}"),
        *(spread(mean_interval(areas(rows))), steps_in_words(reached)),
        f"{values(rows, 'env_steps').mean():,.0f}",
    )


def ablations_section(results: Results) -> str:
    """Return each change beside the ternary arm of the same task and seeds."""
    if not results.parts("ablations"):
        return NOTHING
    tables = {
        "ablations": (ABOUT_ABLATIONS, ("twins", "ternary")),
        "tried": (ABOUT_TRIED, ("twins", "ternary")),
        "without_scales": (ABOUT_WITHOUT_SCALES, ("without_scales", "unchanged")),
    }
    return "\n\n".join(
        f"{about}\n\n{ablations_table(results, part, beside)}"
        for part, (about, beside) in tables.items()
        if results.parts(part)
    )


def ablations_table(results: Results, part: str, beside: tuple[str, str]) -> str:
    """Return each change of a part beside another arm of the same task and seeds."""
    base, arm_of_base = beside
    cells = [
        (arm, task, results.seeds(part, task, arm), results.seeds(base, task, arm_of_base))
        for arm in dict.fromkeys(row["arm"] for row in results.parts(part))
        for task in TASKS
        if (part, arm) != beside
    ]
    head = (
        "change | task | seeds | final return | without the change | difference | verdict | "
        "difference of areas | verdict"
    )
    return table(head, [(arm, task, *ablation_row(*pair)) for arm, task, *pair in cells if pair[0]])


def ablation_row(changed: list[Row], ternary: list[Row]) -> tuple[object, ...]:
    """Return the cells of a change on a task."""
    seeds = {row["seed"] for row in changed}
    same = [row for row in ternary if row["seed"] in seeds]
    words = ("helps", "no difference seen", "hurts")
    of_return = between(changed, same, of=lambda rows: values(rows, "return_last"))
    of_area = between(changed, same, of=areas)
    return (
        *(len(changed), returns_in_words(changed), returns_in_words(same)),
        *(spread(of_return), in_words(of_return, words)),
        *(spread(of_area), in_words(of_area, words)),
    )


if __name__ == "__main__":
    main()
