"""Write the tables of all environments into docs/reference/environments.md, between its marks.

    python docs/environment_table.py

Nothing is measured here: speeds are copied from the pages that they link to.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ternevo.files import replace_text
from ternevo.settings.environments import ENVIRONMENTS, OPTIONAL, OUTSIDE_JAX

DOCS = Path(__file__).parent
PAGE = DOCS / "reference" / "environments.md"
MARKS = ("<!-- environments -->", "<!-- end of environments -->")
LICENCES = {
    "ternevo": "Apache-2.0",
    "gymnax": "Apache-2.0",
    "brax": "Apache-2.0",
    "mujoco": "Apache-2.0",
    "gymnasium": "MIT",
    "box2d": "zlib",
    "ale-py": "GPL-2.0-only",
    "playground": "Apache-2.0",
    "envpool": "Apache-2.0",
    "mujoco-mjx": "Apache-2.0",
    "scikit-learn": "BSD-3-Clause",
}
"""Of each package, by its licence file. A test compares those that are installed."""
PACKAGES = {
    "gymnax": ("gymnax",),
    "brax": ("brax",),
    "mujoco": ("mujoco", "gymnasium"),
    "box2d": ("box2d", "gymnasium"),
    "atari": ("ale-py",),
    "playground": ("playground", "mujoco-mjx"),
    "envpool": ("envpool",),
    "digits": ("ternevo", "scikit-learn"),
}
"""Where the environments of a suite come from; the others are of ternevo itself."""
BODIES = ("meta/ant_", "meta/halfcheetah_")
"""How the ids begin that are bodies of brax."""
IN_TEXT = {"control/double_pole": ("71,000", "speed.md")}
"""Steps per second that a page has in its text, and the page."""
ALONE, LANES = "how-to/simulators.md#all-environments", "scaling.md#how-many-lanes"
"""The pages that have them in tables."""


def filled(text: str) -> str:
    """Return the text of the page with the tables of this version."""
    before, first, rest = text.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    fastest = speeds()
    suites = groupby(ENVIRONMENTS, key=lambda env_id: env_id.partition("/")[0])
    sections = "\n\n".join(section(suite, list(ids), fastest) for suite, ids in suites)
    return f"{before}{first}\n\n{sections}\n\n{last}{after}"


def section(suite: str, ids: Sequence[str], steps: dict[str, str]) -> str:
    """Return the heading of a suite, where it runs, and a row for each environment."""
    runs = "Outside JAX." if suite in OUTSIDE_JAX else "In JAX."
    needs = f" Needs the extra `{suite}`." if suite in OPTIONAL else ""
    rows = [(f"`{i}`", *ENVIRONMENTS[i], licence(i), steps.get(i, "")) for i in ids]
    head = [("`--env`", "observation", "actions", "licence", "steps/s"), ("---",) * 5]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows])
    return f"## {suite}\n\n{runs}{needs}\n\n{table}"


def licence(env_id: str) -> str:
    """Return the licence of each package that an environment comes from."""
    packages = PACKAGES.get(env_id.partition("/")[0], ("ternevo",))
    if env_id.startswith(BODIES):
        packages = (*packages, "brax")
    return ", ".join(f"{name}: {LICENCES[name]}" for name in packages)


def speeds() -> dict[str, str]:
    """Return the steps per second of what was measured, as links to where they are from."""
    found = {env_id: f"[{figure}](../{page})" for env_id, (figure, page) in IN_TEXT.items()}
    for row in table_of("how-to/simulators.md", "`--env`"):
        found[row["`--env`"].strip("`")] = f"[{row['steps/s']}](../{ALONE})"
    measured: dict[str, list[float]] = {}
    for row in table_of("scaling.md", "environment"):
        measured.setdefault(row["environment"], []).append(float(row[row["chosen"]]))
    for env_id in ENVIRONMENTS:
        if millions := measured.get(env_id.partition("/")[2]):
            least, most = min(millions), max(millions)
            found[env_id] = f"[{least:.2f} to {most:.2f} million](../{LANES})"
    return found


def table_of(page: str, column: str) -> list[dict[str, str]]:
    """Return the rows of the table of a page whose first column has that name."""
    lines = (DOCS / page).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {column} |"))
    last = lines.index("", first)
    head, _, *rows = [[x.strip() for x in line.split("|")[1:-1]] for line in lines[first:last]]
    return [dict(zip(head, row, strict=True)) for row in rows]


if __name__ == "__main__":
    replace_text(PAGE, filled(PAGE.read_text()))
