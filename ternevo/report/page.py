"""A report as one self-contained HTML page: no scripts, fonts or other files."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from ternevo.report import tables
from ternevo.report.failures import Failure, counted, failures
from ternevo.report.figures import Figures, networks
from ternevo.report.tables import Report, Table
from ternevo.runs.arms import by_env

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c2026; --faint: #5d6570;
  --line: #d9dde2; --card: #f4f6f8; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181d; --text: #e3e6ea;
  --faint: #9aa2ad; --line: #333941; --card: #1d2127; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.2rem 1rem 4rem; background: var(--ground);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .2rem 0; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p { max-width: 52rem; margin: .4rem 0; } .note { color: var(--faint); font-size: .9rem; }
img { display: block; width: 56rem; max-width: 100%; min-width: 32rem; height: auto; }
img.network { width: auto; min-width: 0; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; white-space: nowrap; }
td.long { white-space: normal; min-width: 15rem; overflow-wrap: anywhere; }
th { color: var(--faint); font-weight: 600; }
.cards { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.card { background: var(--card); border-radius: .5rem; padding: .5rem .9rem; }
.card b { display: block; font-size: 1.25rem; } .bad b { color: var(--bad); }
.card span { color: var(--faint); font-size: .85rem; }
summary { cursor: pointer; margin: .6rem 0; } code { font-size: .85rem; }
"""

LONG = 40
"""The number of letters from which a cell of a table is broken into lines."""
MOST_NAMED = 8
"""The most arms that the first line of a report names."""

ABOUT_NUMBERS = """Brackets and bands show 95 % intervals of the percentile bootstrap over seeds
(10,000 resamples; 2,000 for steps to a threshold, 500 for curves). With five or ten seeds they are
somewhat too narrow. Final return is the mean over fresh episodes of the policy shipped after the
last generation; best kept is the policy that did best in the evaluations during training."""

ABOUT_CURVES = """Return of the policy that would be shipped, on evaluation episodes not used in
training: the mean over the seeds of an arm, and its interval. Values between evaluations are
interpolated; a seed that ends early keeps its last return."""

ABOUT_RETURNS = """The interquartile mean leaves out the lowest and the highest quarter of the
seeds. Means leave out unfinished runs and returns that are not finite; the seeds column
counts them."""

ABOUT_LEARNING = """Area under the curve is its mean height. The threshold is reached when the mean
curve of the finished seeds first gets there; &le; means that it was already there at the first
evaluation. Success: finished seeds with a final return at or above the threshold, with the Wilson
interval."""

ABOUT_IMPROVEMENT = """The probability that a seed of one arm has a higher final return than a seed
of the other, on a random environment that both have; equal returns count half. At 0.5 neither is
better; an interval that excludes 0.5 means that one is."""

ABOUT_OVERALL = """Final returns are normalised in each environment: 0 is the lowest mean return of
any arm at its first evaluation, 1 the highest mean final return of any arm. Seeds are resampled
within environments; both ends of the scale stay fixed."""

ABOUT_SIZES = """Bytes of the whole policy file, and the final return. An arm is on the Pareto front
unless another arm beats it in one without losing in the other."""

ABOUT_WEIGHTS = """Weights of the shipped policy, without biases; shares are means over seeds."""

ABOUT_ENTROPY = """Mean entropy of a weight in the search distribution, in bits: at most 1.58 for
ternary and 1 for binary weights, 0 when the search has converged. Strategies without such a
distribution have none: populations, float weights, PPO."""

ABOUT_ARCHIVES = """The archive of the first seed of each arm that keeps one: a mark in each
occupied cell, in the colour of the return with which its member entered."""

ABOUT_NETWORKS = """Where policies are graphs, the best kept policy of the seed with the highest
return of one, as its run drew it. Columns are layers; blue links are positive, dashed red ones
negative."""

NOTHING = "<p>These runs have no data for this section.</p>"

ABOUT_FAILURES = """A run is unfinished until it has a result.json of its last generation."""


def page(report: Report, figures: Figures) -> str:
    """Return the page with its figures, which have the names of `ternevo.report.figures`."""
    found = failures(report)
    sections = [
        ("Learning curves", ABOUT_CURVES, image(figures, "learning_curves", "learning curves")),
        (
            "Final returns",
            ABOUT_RETURNS,
            image(figures, "final_returns", "final returns") + table(tables.returns(report)),
        ),
        ("Speed of learning and success", ABOUT_LEARNING, _learning(report)),
        ("Which arm is better", ABOUT_IMPROVEMENT, _improvement(report, figures)),
        (
            "Bytes and return",
            ABOUT_SIZES,
            image(figures, "pareto", "returns over bytes") + table(tables.sizes(report)),
        ),
        (
            "Weights",
            ABOUT_WEIGHTS,
            image(figures, "weights", "shares of -1, 0 and +1") + table(tables.layers(report)),
        ),
        (
            "Entropy of the search",
            ABOUT_ENTROPY,
            image(figures, "entropy", "entropy of the search") + table(tables.entropies(report)),
        ),
        (
            "Archives of behaviours",
            ABOUT_ARCHIVES,
            image(figures, "archives", "archives of behaviours"),
        ),
        ("Networks", ABOUT_NETWORKS, _networks(networks(report))),
        ("Failures", ABOUT_FAILURES, _failures(report, found)),
        ("Runs", "", _runs(report)),
    ]
    bodies = "\n".join(
        f"<h2>{title}</h2>\n<p class=note>{about}</p>\n{body or NOTHING}"
        for title, about, body in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>ternevo report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{_head(report, found)}\n{bodies}\n</body>\n</html>\n"
    )


def table(content: Table) -> str:
    """Return a table with all text escaped, or "" if it has no rows."""
    if not content.rows:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in content.head)
    rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in content.rows)
    return (
        f"<div class=scroll><table>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n"
    )


def _cell(text: str) -> str:
    """Return a cell of a table; one that is too long for a line, such as a label, is broken."""
    kind = " class=long" if len(text) > LONG else ""
    return f"<td{kind}>{escape(text)}</td>"


def image(figures: Figures, name: str, alt: str) -> str:
    """Return a figure embedded for light and dark pages, or "" if it was not drawn."""
    found = figures.get(name)
    if found is None:
        return ""
    light, dark = (f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in found)
    return (
        "<div class=scroll><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(alt)}"></picture></div>\n'
    )


def _networks(pictures: Mapping[str, bytes]) -> str:
    """Return pictures of graphs, each below its title."""
    return "".join(
        f"<p>{escape(title)}</p>\n<div class=scroll><img class=network "
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}" '
        f'alt="{escape(f"nodes and links of {title}")}"></div>\n'
        for title, data in pictures.items()
    )


def _head(report: Report, found: Sequence[Failure]) -> str:
    """Return the title, the counts, and an explanation of the numbers."""
    seeds = [seed for arm in report.arms for seed in arm.seeds]
    unfinished = sum(not seed.is_done for seed in seeds)
    counts = [
        ("runs", len(seeds), ""),
        ("arms", len({arm.label for arm in report.arms}), ""),
        ("environments", len(by_env(report.arms)), ""),
        ("unfinished", unfinished, "bad" if unfinished else ""),
        ("failure notes", len(found), "bad" if found else ""),
    ]
    cards = "".join(
        f'<div class="card {kind}"><b>{count:,}</b><span>{label}</span></div>'
        for label, count, kind in counts
    )
    labels = list(dict.fromkeys(arm.label for arm in report.arms))
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    shown = "; ".join(labels[:MOST_NAMED]) + more
    return (
        f"<h1>ternevo report</h1>\n<p>{escape(shown)} on {escape(', '.join(by_env(report.arms)))}"
        f"</p>\n<div class=cards>{cards}</div>\n<p class=note>{ABOUT_NUMBERS}</p>"
    )


def _learning(report: Report) -> str:
    """Return where the thresholds are from, and the table."""
    envs = list(by_env(report.arms))
    by_source: dict[str, list[str]] = {}
    for env in envs:
        if target := report.targets.get(env):
            shown = f"{env}: {tables.number(target.value)}"
            by_source.setdefault(target.source, []).append(shown)
    said = [f"{', '.join(own)} ({source})" for source, own in by_source.items()]
    said += [f"{env}: none, as nothing was learned" for env in envs if env not in report.targets]
    return (
        f"<p class=note>Thresholds: {escape('; '.join(said))}. To change one, give "
        f"<code>--threshold &quot;{escape(envs[0])}=NUMBER&quot;</code>.</p>\n"
        + table(tables.learning(report))
    )


def _improvement(report: Report, figures: Figures) -> str:
    if not report.improvements:
        return "<p>No two arms have final returns on the same environment.</p>"
    body = image(figures, "improvement", "probability of improvement")
    body += table(tables.improvements(report))
    envs, overall = tables.overall(report)
    if len(envs) > 1:
        body += f"<p class=note>{ABOUT_OVERALL} Environments: {escape(', '.join(envs))}.</p>\n"
        body += table(overall)
    return body


def _failures(report: Report, found: Sequence[Failure]) -> str:
    items = "".join(f"<li>{escape(failure.text)}</li>\n" for failure in found)
    return table(counted(report, list(found))) + (f"<ul>\n{items}</ul>" if items else "")


def _runs(report: Report) -> str:
    """Return the origin of the numbers: settings, machines, commands and all runs."""
    records = [seed.record for arm in report.arms for seed in arm.seeds]
    machines = Counter(_machine(record) for record in records)
    commands = dict.fromkeys(" ".join(record.get("command", [])) for record in records)
    said = "".join(
        f"<li>{count} runs: {escape(machine)}</li>\n" for machine, count in machines.items()
    )
    lines = "".join(f"<li><code>{escape(command)}</code></li>\n" for command in commands)
    joint = any("joint" in record for record in records)
    note = "<p class=note>Seconds of a joint run cover all its seeds.</p>\n" if joint else ""
    differing = table(tables.settings(report)) if len(report.arms) > 1 else ""
    return (
        f"<ul>\n{said}</ul>\n"
        f"<details><summary>Settings in which the arms differ</summary>\n{differing}</details>\n"
        f"<details><summary>Commands</summary>\n<ul>\n{lines}</ul></details>\n"
        f"<details open><summary>All runs</summary>\n{note}{table(tables.runs(report))}</details>"
    )


def _machine(record: dict) -> str:
    """Return the machine and versions of a run."""
    device, machine = record.get("device", {}), record.get("machine", {})
    versions = record.get("versions", {})
    return (
        f"{device.get('count')} x {device.get('kind')}, {machine.get('cores')} cores of "
        f"{machine.get('processor')}, ternevo {versions.get('ternevo')}, "
        f"jax {versions.get('jax')}, Python {versions.get('python')}"
    )
