"""What `--list_strategies` and `--list_envs` print, without importing a simulator."""

import shutil
import textwrap

from ternevo import installation
from ternevo.settings.environments import BRAX_BACKENDS, ENVIRONMENTS, ONLY_BACKENDS, OPTIONAL
from ternevo.settings.flags import first_line
from ternevo.settings.policies.settings import LATENT_KINDS, WeightName
from ternevo.settings.strategies import STRATEGIES

LEAST_COLUMNS, UNBROKEN = 60, 10_000
"""The narrowest terminal for which lines are broken; a pipe gets whole lines, for grep."""


def strategies() -> str:
    """Return the name of each strategy, the weights it searches, and what it is."""
    rows = [(name, _kinds(kind.searches), first_line(kind)) for name, kind in STRATEGIES.items()]
    return _page(
        ("--strategy", "--weights", "what it is"),
        rows,
        "all weights are ternary, binary, float, int8, int4 and int2. "
        "With --weights float, most run the nearest algorithm of evosax. --strategy NAME --help "
        "lists the options of one. A class of your own is --strategy package.module:Class.",
    )


def _kinds(searches: tuple[WeightName, ...]) -> str:
    """Return kinds of weights in a few words."""
    return "all" if set(searches) == set(LATENT_KINDS) else ", ".join(searches)


def envs() -> str:
    """Return the id of each environment, what it observes and which actions it takes."""
    rows = [(name, *shown) for name, shown in ENVIRONMENTS.items()]
    only = [f"{name} only as @{', @'.join(own)}" for name, own in ONLY_BACKENDS.items()]
    backends = ", ".join(f"@{name}" for name in BRAX_BACKENDS)
    return _page(
        ("--env", "observation", "actions"),
        rows,
        f"brax simulates with one of {backends}, as in brax/ant@mjx; the first is the default. "
        f"There is {' and '.join(only)}. A file of images, such as Keras's mnist.npz, is --env "
        "digits/PATH.npz, and an environment of your own --env package.module:factory."
        f"{_what_is_missing()}",
    )


def _what_is_missing() -> str:
    """Return how to install the suites that cannot be used yet."""
    suites = [suite for suite in OPTIONAL if not installation.has(suite)]
    commands = "; ".join(f"{suite}: {installation.command(suite)}" for suite in suites)
    return f" Not installed here: {commands}" if suites else ""


def _page(head: tuple[str, ...], rows: list[tuple[str, ...]], note: str) -> str:
    """Return a table with aligned columns, and a note, in lines that fit the terminal."""
    columns = max(LEAST_COLUMNS, shutil.get_terminal_size((UNBROKEN, 0)).columns)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    widths[-1] = 0  # nothing follows
    indent = sum(widths) + 2 * (len(widths) - 1)
    lines = []
    for row in [head, *rows]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines += textwrap.wrap(
            line, columns, subsequent_indent=" " * indent, break_on_hyphens=False
        )
    return "\n".join([*lines, "", *textwrap.wrap(note, columns, break_on_hyphens=False)])
