"""`python -m ternevo.play RUN`: play, draw and open one episode of a saved policy."""

import re
import webbrowser
from pathlib import Path

from ternevo.commands import prog, while_read
from ternevo.installation import require
from ternevo.machine import startup
from ternevo.runs import run_folder
from ternevo.runs.errors import RunFolderError, errors_in_a_line
from ternevo.settings.parser import parsed
from ternevo.settings.play import PlayConfig

EXAMPLES = (
    "runs/gymnax/CartPole-v1/ternary_nes/seed0",
    "runs/gymnax/CartPole-v1/ternary_nes/seed0 --which last --seed 3",
    "runs/gymnax/CartPole-v1/ternary_nes/seed0 --generation 50   # drawn by --render_every 50",
    "policy.tvp --out episode --open False",
)

DRAWN = re.compile(r"generation-(\d+)\.\w+")
"""The name of an animation; temporary files of `files.replacing` start with a dot instead."""


def main(argv: list[str] | None = None) -> None:
    """Play an episode, write it, print its return and open the file; exit with 2 on bad input."""
    config = parsed(
        PlayConfig,
        argv,
        prog=prog("play"),
        examples=EXAMPLES,
    )
    with errors_in_a_line():
        if config.generation is None:
            startup.prepare()
            require("playing an episode", "train")
            from ternevo.training import playing  # JAX, which takes seconds

            drawn = playing.play(config)
        else:
            drawn = stored(config.run, config.generation)
        print(drawn)
        if config.open and not webbrowser.open(drawn.resolve().as_uri()):
            raise RunFolderError(f"found no browser to open {drawn}")


def stored(run: Path, generation: int) -> Path:
    """Return the animation that a run drew at a generation during training.

    Raises:
      RunFolderError: there is none; the message lists the existing ones.
    """
    folder = run_folder.find(run)
    named = {path: DRAWN.fullmatch(path.name) for path in folder.episodes.glob("*")}
    drawn = {int(match[1]): path for path, match in named.items() if match}
    if generation not in drawn:
        there = ", ".join(map(str, sorted(drawn))) or "none (trained without --render_every)"
        raise RunFolderError(f"{run} has no animation of generation {generation}; it has {there}")
    return drawn[generation]


if __name__ == "__main__":
    while_read(main)
