"""One parser for all commands: values as people type them, one-line errors, examples as help."""

import contextlib
import io
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

from ternevo.installation import MissingExtra
from ternevo.settings.flags import as_shown
from ternevo.settings.flat import options_of
from ternevo.settings.options import written_out
from ternevo.settings.spelling import check_known

Config = TypeVar("Config")

MARKERS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.FlagConversionOff,
    tyro.conf.UsePythonSyntaxForLiteralCollections,
    tyro.conf.AvoidSubcommands,
)

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RULE = re.compile(r"^[─-]{3,}$")
MISSING = re.compile(r"^Missing from [^:]+: (\S+) (.*?)\.? \(required\)$")
FOOTER = "For full helptext"


def parsed(
    kind: type[Config],
    argv: Sequence[str] | None,
    prog: str,
    examples: Sequence[str] = (),
    appended: Sequence[str] = (),
) -> Config:
    """Return the settings of a command from its arguments.

    Args:
      kind: a dataclass; its docstring and those of its fields are the help.
      argv: the arguments; `sys.argv[1:]` if None.
      prog: the name of the command, for the help.
      examples: arguments of the command, each with a comment after "  # ", shown after the help.
      appended: the options that may be given several times.

    Raises:
      SystemExit: after printing help (status 0) or a one-line error (status 2).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    hints = typing.get_type_hints(kind, include_extras=True)
    words = {name for name, hint in hints.items() if _is_positional(hint)}
    kinds = typing.get_type_hints(kind)
    of = {name: kinds[name] for name in options_of(kind) if name not in words}
    of |= dict.fromkeys(appended, str)
    with error_in_a_line():
        arguments = written_out(argv, of)
        check_known(arguments, of, takes_words=bool(words))
        for name in appended:
            arguments = _in_one_list(arguments, name)
        shown = as_shown(kind, hints, appended)
        found = call(
            lambda: tyro.cli(
                shown, args=arguments, prog=prog, use_underscores=True, config=MARKERS
            ),
            prog,
            examples,
        )
        return kind(**vars(found))


def _in_one_list(arguments: list[str], name: str) -> list[str]:
    """Return arguments in which an option that was given several times has a list of its values."""
    start = f"--{name}="
    values = [word.removeprefix(start) for word in arguments if word.startswith(start)]
    others = [word for word in arguments if not word.startswith(start)]
    return [f"{start}{tuple(values)!r}", *others] if values else others


def _is_positional(hint: Any) -> bool:
    return tyro.conf.Positional in getattr(hint, "__metadata__", ())


@contextlib.contextmanager
def error_in_a_line() -> Iterator[None]:
    """Print a `ValueError` or a `MissingExtra` as one line, and exit with status 2."""
    try:
        yield
    except (MissingExtra, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def call(parse: Callable[[], Config], prog: str, examples: Sequence[str]) -> Config:
    """Call tyro; show examples after its help, and its errors as one line instead of a box.

    Raises:
      SystemExit: as tyro does.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse()
    except SystemExit as exit_:
        if exit_.code == 0 and examples:
            print(f"\n{examples_text(prog, examples)}")
        if exit_.code == 2:
            print(f"error: {in_a_line(said.getvalue())}", file=sys.stderr)
            said = io.StringIO()
        raise
    finally:
        sys.stderr.write(said.getvalue())


def examples_text(prog: str, examples: Sequence[str]) -> str:
    """Return examples of a command as they are shown after its help."""
    return "\n".join(["examples:", *(f"  {prog} {example}" for example in examples)])


def in_a_line(box: str) -> str:
    r"""Return what a box of tyro says, in one line.

    Examples:
      >>> in_a_line("╭─ Value error ─╮\n│ Error parsing X: y must be at │\n│ least 1 │\n╰───╯")
      'y must be at least 1'
    """
    lines = [line.strip() for line in ANSI.sub("", box).splitlines()]
    inside = [line.strip("│ ") for line in lines if line.startswith("│")]
    words = [line for line in inside or lines[1:] if not RULE.match(line)]  # a plain terminal
    text = " ".join(" ".join(words).partition(FOOTER)[0].split())
    text = re.sub(r"^Error parsing \w+: ", "", text)
    return MISSING.sub(r"\1 is missing: \2", text) or " ".join(box.split())
