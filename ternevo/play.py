"""`python -m ternevo.play RUN`: one episode of a saved policy, drawn, opened, and its return."""

import re
import sys
import webbrowser
from pathlib import Path

import tyro

from ternevo.machine import startup
from ternevo.runs import run_folder
from ternevo.runs.errors import RunFolderError, errors_in_a_line
from ternevo.settings.options import types, written_out
from ternevo.settings.play import PlayConfig

DRAWN = re.compile(r"generation-(\d+)\.\w+")
"""The name of an animation; temporary files of `files.replacing` begin with a dot."""


def main(argv: list[str] | None = None) -> None:
    """Play, write, print the return, and open what was drawn; exit 2 on bad input."""
    config = tyro.cli(
        PlayConfig,
        args=written_out(sys.argv[1:] if argv is None else argv, types(PlayConfig)),
        prog="python -m ternevo.play",
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
    )
    with errors_in_a_line():
        if config.generation is None:
            startup.prepare()
            from ternevo.training import playing  # JAX, which takes seconds

            drawn = playing.play(config)
        else:
            drawn = stored(config.run, config.generation)
        print(drawn)
        if config.open and not webbrowser.open(drawn.resolve().as_uri()):
            raise RunFolderError(f"no browser to open {drawn} in")


def stored(run: Path, generation: int) -> Path:
    """Return the animation of a generation that a run drew while it trained.

    Raises:
      RunFolderError: there is none; the message names those that are there.
    """
    folder = run_folder.find(run)
    named = {path: DRAWN.fullmatch(path.name) for path in folder.episodes.glob("*")}
    drawn = {int(match[1]): path for path, match in named.items() if match}
    if generation not in drawn:
        there = ", ".join(map(str, sorted(drawn))) or "none, it was trained without --render_every"
        raise RunFolderError(f"{run} has no animation of generation {generation}; it has {there}")
    return drawn[generation]


if __name__ == "__main__":
    main()
