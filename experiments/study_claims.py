"""What the study is to decide: each claim, whether it was reached, and what was measured."""

from collections.abc import Sequence

import numpy as np
from study_results import Twins, median_ratio, overall_score, ratios, values
from study_words import factor, in_words, number, spread
from tasks import TASKS


def claims(twins: Sequence[Twins]) -> list[str]:
    """Return a line for each claim that the study is to decide, won or lost."""
    return [wins(twins), *claims_of_steps(twins), claim_of_return(twins), *claims_of_hopper(twins)]


def wins(twins: Sequence[Twins]) -> str:
    """Return where ternary weights win, tie and lose against float ones."""
    of_task = {one.task: in_words(one.difference("ternary")) for one in twins}
    counted = []
    for word in ("wins", "ties", "loses"):
        names = [task for task, found in of_task.items() if found == word]
        counted.append(f"{word} {len(names)}" + (f" ({', '.join(names)})" if names else ""))
    return f"- Final return, ternary against float: {', '.join(counted)}; of {len(TASKS)} tasks."


def claims_of_steps(twins: Sequence[Twins]) -> list[str]:
    """Return the two claims about steps to 90 % of float's return."""
    found, median = ratios(twins, "ternary"), median_ratio(twins, "ternary")
    if median is None:
        return [claim("steps, ternary over float", None, "no task has both arms")]
    worst = max(found, key=lambda t: found[t])
    tasks = f"{len(found)} of {len(TASKS)} tasks"
    above = [f"{task} {factor(value)}" for task, value in found.items() if value > 1.5]
    named = f"above it: {', '.join(above)}" if above else f"largest {factor(found[worst])}, {worst}"
    return [
        claim(
            "median ratio of steps, ternary over float, at most 1.0",
            median.value <= 1,
            f"{spread(median, factor)}; {tasks}",
        ),
        claim("no task with a ratio above 1.5", not above, f"{named}; {tasks}"),
    ]


def claim_of_return(twins: Sequence[Twins]) -> str:
    """Return the claim about normalised final returns."""
    score, count = overall_score(twins, "ternary")
    what = "interquartile mean of the normalised final return at least 0.97"
    if score is None:
        return claim(what, None, "no task has both arms")
    return claim(what, score.value >= 0.97, f"{spread(score)}; {count} of {len(TASKS)} tasks")


def claims_of_hopper(twins: Sequence[Twins]) -> list[str]:
    """Return the claim about the hopper, of the last and of the best policies."""
    arms = next((one.arms for one in twins if one.task == "hopper"), {})
    said = []
    for label, name in (("last policy", "return_last"), ("best kept", "return_best")):
        found = {arm: values(rows, name) for arm, rows in arms.items() if arm != "binary"}
        is_so = None
        if "ternary" in found:
            is_so = bool(np.median(found["ternary"]) >= 900 and found["ternary"].min() >= 600)
        beside = [
            f"{arm} median {number(np.median(x))}, lowest {number(x.min())}"
            for arm, x in found.items()
        ]
        what = f"hopper, {label}: median at least 900 and no seed under 600"
        said.append(claim(what, is_so, "; ".join(beside) or "not run yet"))
    return said


def claim(what: str, is_so: bool | None, numbers: str) -> str:
    """Return a claim, whether it was reached, and what was measured."""
    word = "cannot be said" if is_so is None else "**reached**" if is_so else "**not reached**"
    return f"- {what[0].upper() + what[1:]}: {word} ({numbers})."
