"""`python -m ternevo.run`: train a policy, with a learning curve and an episode to watch."""

import sys
from typing import TYPE_CHECKING

from ternevo.machine import startup
from ternevo.machine.interruption import Stop, on_lost_output
from ternevo.settings.command_line import RunConfig, parse

if TYPE_CHECKING:
    from ternevo.runs.run_folder import RunFolder


def main(argv: list[str] | None = None) -> None:
    """Run the command line. Exit with 2 on bad input and with 128 + n on signal n.

    Signals are SIGINT, SIGTERM, SIGHUP, and SIGPIPE when the reader of the output is gone. Exit
    with 1 on divergence and when memory runs out.
    """
    startup.prepare()
    config, stop = parse(argv), Stop()
    with on_lost_output(stop):
        print(f"ternevo: {config.strategy_name} on {config.env}, seed {config.seed_label}")
        sys.stdout.flush()
        from ternevo.training import session  # JAX, which takes seconds

        with session.errors_as_status():
            session.run(config, stop)


def run(config: RunConfig, stop: Stop | None = None) -> "RunFolder":
    """Train, evaluate, save and plot; return the run's folder. See `ternevo.training.session`."""
    from ternevo.training import session

    return session.run(config, stop)


if __name__ == "__main__":
    main()
