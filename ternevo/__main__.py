"""`ternevo COMMAND`, or `python -m ternevo COMMAND`: all commands under one name.

Nothing but the command that was asked for is imported, so that the rest answers at once.
"""

import importlib
import sys

from ternevo import __version__
from ternevo.commands import COMMANDS, while_read
from ternevo.names import UnknownName, check

COMPLETION = ("--tyro-write-completion", "--tyro-print-completion")
OPTIONS = ("--help", "-h", "--version", *COMPLETION)


def main() -> None:
    """Run the command that the first argument names, with the remaining arguments.

    Exit with 2 if there is no such command; otherwise the status is that of the command.
    """
    while_read(_main)


def _main() -> None:
    name, *rest = sys.argv[1:] or [""]
    if not name:
        print(help_text(), file=sys.stderr)
        raise SystemExit(2)
    if name in ("--help", "-h"):
        print(help_text())
    elif name == "--version":
        print(f"ternevo {__version__}")
    elif name in COMPLETION:
        write_completion([name, *rest])
    else:
        run(name, rest)


def run(name: str, arguments: list[str]) -> None:
    """Run a command as `python -m ternevo.NAME` does, with its arguments in `sys.argv`."""
    try:
        if name.startswith("-"):
            check("option", name, OPTIONS)
        check("command", name, COMMANDS)
    except UnknownName as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    if arguments and arguments[0] in COMPLETION:  # one script completes all commands
        write_completion(arguments)
        return
    sys.argv = [f"ternevo {name}", *arguments]
    importlib.import_module(COMMANDS[name].module).main()


def write_completion(arguments: list[str]) -> None:
    """Write or print the script that completes all commands in a shell."""
    importlib.import_module("ternevo.completion").write(arguments)


def help_text() -> str:
    """Return the list of commands, with a line for each."""
    commands = "\n".join(f"  {name:<8}{each.summary}" for name, each in COMMANDS.items())
    return f"""usage: ternevo COMMAND [OPTIONS]

Evolve ternary policies in JAX: weights in {{-1, 0, +1}}, searched without gradients.

commands:
{commands}

options:
  -h, --help   show this help; `ternevo COMMAND --help` lists the options of a command
  --version    show the version
  --tyro-write-completion {{bash,zsh}} FILE
               write a script that completes commands and options in a shell"""


if __name__ == "__main__":
    main()
