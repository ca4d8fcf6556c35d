"""Completion in a shell: one script for all commands, made by tyro from their settings."""

import contextlib
import io
import sys
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from ternevo.commands import COMMANDS
from ternevo.names import check, lookup
from ternevo.settings.command_line import RunConfig, boxes
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ternary_nes import TernaryNES

ELSE_FILES = {"bash": "\ncomplete -o default -F _tyro_ternevo ternevo", "zsh": " || _files"}
"""What makes each shell complete files where tyro has nothing: a policy is named by its path."""


def write(arguments: list[str]) -> None:
    """Write the script to a file, or print it.

    Args:
      arguments: an option of tyro and its operands: `--tyro-write-completion SHELL FILE` or
        `--tyro-print-completion SHELL`.

    Raises:
      SystemExit: an operand is missing, the shell is unknown, or the file cannot be written.
    """
    option, *rest = arguments
    operands = ["SHELL", "FILE"] if "write" in option else ["SHELL"]
    try:
        if len(rest) != len(operands):
            raise ValueError(f"{option} takes {' and '.join(operands)}, got {rest}")
        text = script(check("shell", rest[0], ELSE_FILES))
        if "write" in option:
            Path(rest[1]).write_text(text)
        else:
            print(text, end="")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def script(shell: str) -> str:
    """Return the script that completes `ternevo` in a shell."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(
            all_settings(),
            args=["--tyro-print-completion", shell],
            prog="ternevo",
            use_underscores=True,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff),
        )
    lines = [
        # A description of two lines would be read as two completions.
        line.replace(r"\n", " ") if line.startswith("COMPLETION_SPEC = ") else line
        for line in printed.getvalue().rstrip().splitlines()
    ]
    return "\n".join(lines) + f"{ELSE_FILES[shell]}\n"


def all_settings() -> Any:
    """Return the type of "one of the commands", for tyro."""
    run = boxes(RunConfig(TernaryNES(), MLP()), is_closed=True)
    others = [
        Annotated[lookup("settings", command.settings, {}), tyro.conf.subcommand(name)]
        for name, command in COMMANDS.items()
        if name != "run"
    ]
    return Union[(Annotated[run, tyro.conf.subcommand("run")], *others)]
