"""`python -m ternevo.bench`: time the named cases; print ratios, write bench.json and bench.png."""

import sys

from ternevo.bench.cases import CASES, SUITES, chosen
from ternevo.bench.config import BenchConfig
from ternevo.commands import prog, while_read
from ternevo.installation import require
from ternevo.machine import startup
from ternevo.machine.interruption import interrupts_in_a_line
from ternevo.names import UnknownName
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.parser import parsed

EXAMPLES = (
    "--list",
    "--suite quick",
    "--case cartpole_trained --repeats 10 --out runs/bench",
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; exit with 2 on bad input, and with 1 if a case failed."""
    try:
        config = parsed(
            BenchConfig,
            argv,
            prog=prog("bench"),
            examples=EXAMPLES,
        )
        names = chosen(config.suite, config.case)
    except (UnknownName, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    if config.list:
        print(list_text(names))
        return
    command = ["python", "-m", "ternevo.bench", *(sys.argv[1:] if argv is None else argv)]
    startup.prepare()
    with errors_in_a_line():
        require("a benchmark", "train")
    with interrupts_in_a_line():
        from ternevo.bench import running  # imports JAX, which takes seconds

        running.start_jax()
        cases = running.run(config, names, command)
    if any("error" in record for record in cases.values()):
        raise SystemExit(1)


def list_text(names: list[str]) -> str:
    """Return the list of suites, followed by one paragraph for each case."""
    suites = [f"{name:<8}{what}" for name, what in SUITES.items()]
    cases = [
        f"{name} ({', '.join(CASES[name].suites)})\n  {CASES[name].description}" for name in names
    ]
    return "\n".join([*suites, "", *cases])


if __name__ == "__main__":
    while_read(main)
