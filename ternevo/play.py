"""`python -m ternevo.play RUN`: one episode of a saved policy, drawn, opened, and its return."""

import dataclasses
import os
import re
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ternevo.machine import startup
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.runs import run_folder
from ternevo.runs.run_folder import RunFolderError, errors_in_a_line
from ternevo.settings.options import types, written_out

DRAWN = re.compile(r"generation-(\d+)\.\w+")
"""The name of an animation; temporary files of `files.replacing` begin with a dot."""


def has_screen() -> bool:
    """Return whether somebody sits at this terminal, with a display for a browser."""
    has_display = sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return sys.stdout.isatty() and bool(has_display)


@dataclasses.dataclass(frozen=True)
class PlayConfig:
    """Play one episode of a saved policy and render it (HTML for brax, GIF or PNG for gymnax)."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder, or a policy file."""
    which: Literal["best", "last"] = "best"
    """Which of a run's policies."""
    env: str | None = None
    """Play in this environment instead of the one it was trained on. Name one of your own again: a
    file alone does not make its module run."""
    policy: str | None = None
    """Of a policy of your own: its package.module:Class again, for the same reason."""
    episode_length: int | None = None
    """Time limit; the one it was trained with, if not given."""
    seed: int = 0
    """Seed of the episode."""
    out: Path | None = None
    """Where to write, without suffix; beside the policy if not given."""
    generation: int | None = None
    """Play nothing, but show what the run's --render_every drew at this generation."""
    open: bool = dataclasses.field(default_factory=has_screen)
    """Open the file in a browser; by default on a terminal with a display."""


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
        drawn = play(config) if config.generation is None else stored(config.run, config.generation)
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


def play(config: PlayConfig) -> Path:
    """Play one episode; return the path of what was drawn."""
    startup.prepare()
    import jax

    from ternevo import envs
    from ternevo.machine import devices
    from ternevo.policies import policy_file
    from ternevo.rollouts import episode

    devices.check_there_are_some()
    enable_compilation_cache()
    path = run_folder.policy_of(config.run, config.which)
    saved = policy_file.load(path, trust=config.policy or False)
    env_id = policy_file.env_id_of(saved, path, config.env)
    trained_length = saved.episode_length if env_id == saved.env_id else None
    env = envs.remake(env_id, saved.wrappers, trained_length, config.episode_length)
    recorded = episode.record(saved, env, jax.random.key(config.seed))
    ending = "terminated" if recorded.terminated else "reached the time limit"
    print(f"return {recorded.total:.2f} in {len(recorded.rewards)} steps, {ending}", flush=True)
    return envs.render(env.id, recorded.states, config.out or path.with_name("play"))


if __name__ == "__main__":
    main()
