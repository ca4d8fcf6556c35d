"""`python -m ternevo.runs`: list runs, and draw them into one figure."""

from ternevo.commands import prog, while_read
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.parser import parsed
from ternevo.settings.runs import RunsConfig

EXAMPLES = (
    "  # all runs below runs/",
    "--env cartpole --sort return",
    "runs/gymnax elsewhere/runs --by_seed",
    "--json > runs.json",
    "--plot compare.png",
)


def main(argv: list[str] | None = None) -> None:
    """Print the table; exit with status 2 if a folder has no runs, or no run matches."""
    config = parsed(
        RunsConfig,
        argv,
        prog=prog("runs"),
        examples=EXAMPLES,
    )
    with errors_in_a_line():
        from ternevo.runs import listing  # imports NumPy, which `--help` does not need

        listing.show(config)


if __name__ == "__main__":
    while_read(main)
