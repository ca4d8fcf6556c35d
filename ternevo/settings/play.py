"""The options of `python -m ternevo.play`."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro


def has_screen() -> bool:
    """Return whether output goes to a terminal and a browser has a display."""
    has_display = sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return sys.stdout.isatty() and bool(has_display)


@dataclasses.dataclass(frozen=True)
class PlayConfig:
    """Play and render one episode of a saved policy (HTML for brax, GIF or PNG for gymnax)."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder, a policy file, or hub:NAME, a policy that comes with the package."""
    which: Literal["best", "last"] = "best"
    """Which policy of the run to play."""
    env: str | None = None
    """Environment to play in; defaults to the one used in training. Repeat the name of your own
    environment: its module is never imported just because a file names it."""
    resolution: int | None = None
    """Pixels of a side of the pictures, for --policy hyperneat, such as 33 in vision/boxes."""
    policy: str | None = None
    """package.module:Class of a policy of your own, for the same reason."""
    episode_length: int | None = None
    """Time limit of the episode, in steps; defaults to the one used in training."""
    seed: int = 0
    """Seed of the episode."""
    to: Literal["picture", "page"] = "picture"
    """What to write. picture: the episode, rendered. page: a web page with the episode and, beside
    it, what the policy's layers make of it; for games whose observations are bits, such as MinAtar
    (python -m ternevo.export --to html writes pages for the others)."""
    out: Path | None = None
    """Output file without its suffix; defaults to a file next to the policy. The network of a graph
    is drawn beside it, into OUT_network.png."""
    generation: int | None = None
    """Show the episode that --render_every drew at this generation, instead of playing one."""
    open: bool = dataclasses.field(default_factory=has_screen)
    """Open the file in a browser; defaults to True on a terminal with a display."""
