"""The options of `python -m ternevo.play`."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro


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
