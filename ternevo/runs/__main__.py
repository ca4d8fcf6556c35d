"""`python -m ternevo.runs`: list runs, and draw them into one figure."""

import sys

import tyro

from ternevo.commands import prog
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.options import types, written_out
from ternevo.settings.runs import RunsConfig


def main(argv: list[str] | None = None) -> None:
    """Print the table; exit with status 2 if a folder has no runs, or no run matches."""
    config = tyro.cli(
        RunsConfig,
        args=written_out(sys.argv[1:] if argv is None else argv, types(RunsConfig)),
        prog=prog("runs"),
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
    )
    with errors_in_a_line():
        from ternevo.runs import listing  # imports NumPy, which `--help` does not need

        listing.show(config)


if __name__ == "__main__":
    main()
