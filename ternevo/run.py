"""`python -m ternevo.run`: train a policy, with a learning curve and an episode to watch."""

import sys

from ternevo.commands import while_read
from ternevo.installation import require
from ternevo.machine import startup
from ternevo.machine.interruption import Stop, interrupts_in_a_line, on_lost_output
from ternevo.machine.phases import Phases
from ternevo.runs import claims
from ternevo.runs.errors import errors_in_a_line
from ternevo.runs.run_folder import RunFolder, folder_of
from ternevo.settings.command_line import RunConfig, hint_at_page, parse
from ternevo.settings.environments import full_id


def main(argv: list[str] | None = None) -> None:
    """Run the command line. Exit with 2 on bad input and with 128 + n on signal n.

    Signals are SIGINT, SIGTERM, SIGHUP, and SIGPIPE when the reader of the output is gone. Exit
    with 1 on divergence and when memory runs out.
    """
    time = Phases()
    startup.prepare()
    config, stop = parse(argv), Stop()
    # A name that is taken is refused before JAX, which takes seconds, is imported.
    with (
        interrupts_in_a_line(),
        on_lost_output(stop),
        errors_in_a_line(),
        claims.held(config) as named,
    ):
        folder = folder_of(named, full_id(named.env)).path
        print(f"ternevo: {named.strategy_name} on {named.env}, seed {named.seed_label}: {folder}")
        sys.stdout.flush()
        require("training", "train")
        if hint := hint_at_page(config, argv):
            print(hint)
        with time.phase("importing", "importing JAX"):
            from ternevo.training import session

        with session.errors_as_status():
            session.run(named, stop, time)


def run(config: RunConfig, stop: Stop | None = None) -> RunFolder:
    """Train, evaluate, save and plot; return the run's folder. See `ternevo.training.session`."""
    from ternevo.training import session

    with claims.held(config) as named:
        return session.run(named, stop)


if __name__ == "__main__":
    while_read(main)
