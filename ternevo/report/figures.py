"""The figures of a report, each as a PNG file for light and for dark pages."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from ternevo.report.tables import ONE_SEED, Improvement, Report, number
from ternevo.runs import archives, plots
from ternevo.runs.archives import Listed
from ternevo.runs.arms import ENTROPY, trit_shares


class Image(NamedTuple):
    """A figure as PNG files, on a white and on a dark background."""

    light: bytes
    dark: bytes


Figures = Mapping[str, Image | None]
"""The figures of a report by name; None for a figure with nothing to show."""


def draw(report: Report) -> Figures:
    """Draw all figures of a report."""
    arms, x = report.arms, report.x
    improvements = {_name(pair): pair.value for pair in report.improvements}
    makers: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "learning_curves": (
            any(arm.curves(x) for arm in arms),
            lambda: plots.learning_curves(
                arms, x, {env: target.value for env, target in report.targets.items()}
            ),
        ),
        "final_returns": (any(arm.finals for arm in arms), lambda: plots.final_returns(arms)),
        "improvement": (
            bool(improvements),
            lambda: plots.intervals(improvements, "probability of improvement", reference=0.5),
        ),
        "pareto": (
            any(arm.finals and arm.sizes for arm in arms),
            lambda: plots.pareto(arms),
        ),
        "weights": (any(trit_shares(arm) for arm in arms), lambda: plots.weights(arms)),
        "entropy": (
            any(arm.curves(x, ENTROPY) for arm in arms),
            lambda: plots.entropy(arms, x),
        ),
    }
    found = _archives(report)
    makers["archives"] = bool(found), lambda: archives.picture(found)
    return {name: _image(make) if is_there else None for name, (is_there, make) in makers.items()}


MOST_ARCHIVES = 6
"""The most archives that are drawn, the first seeds of the first arms."""


def _archives(report: Report) -> dict[str, Listed]:
    """Return the archive of the first seed of each arm that has one, by a title."""
    firsts = {f"{arm.env}, {arm.label}": arm.seeds[0].folder for arm in report.arms if arm.seeds}
    found = {title: archives.read(folder) for title, folder in firsts.items()}
    listed = [(title, one) for title, one in found.items() if one is not None]
    return dict(listed[:MOST_ARCHIVES])


def networks(report: Report) -> dict[str, bytes]:
    """Return the picture that the best seed of each arm drew of its graph, as a PNG, by a title."""
    found = {}
    for arm in report.arms:
        drawn = [seed for seed in arm.seeds if seed.folder.network.is_file()]
        done = [(seed.best_return, seed) for seed in drawn if seed.best_return is not None]
        if done:
            value, best = max(done, key=lambda pair: pair[0])
            title = f"{arm.env}, {arm.label}, seed {best.number}: return {number(value)}"
            found[title] = best.folder.network.read_bytes()
    return found


def _name(pair: Improvement) -> str:
    one_seed = f" {ONE_SEED}" if pair.most_seeds == 1 else ""
    return f"{pair.left}\nover {pair.right}{one_seed}"


def _image(make: Callable[[], Figure]) -> Image:
    light = plots.png(make())
    with matplotlib.rc_context(plots.DARK):
        return Image(light, plots.png(make()))
