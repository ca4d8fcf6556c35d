"""Animations of an episode, for environments whose steps are pictures."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ternevo.envs import traces

MAX_FRAMES = 250
"""Largest number of frames of an animation."""

PALETTE_FRAMES = 16
"""Number of frames from which the colours of an animation are chosen."""


def evenly(sequence: Any) -> Any:
    """Return at most MAX_FRAMES items, evenly spaced, including the first and the last."""
    count = min(len(sequence), MAX_FRAMES)
    return [sequence[i] for i in np.linspace(0, len(sequence) - 1, count).round().astype(int)]


def save_gif(frames: Iterator[Image.Image], seconds: float, stem: Path) -> Path:
    """Write frames, each shown for `seconds`, to `<stem>.gif`."""
    shown = list(frames)
    palette = _palette(shown)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    buffer = io.BytesIO()
    # A GIF counts hundredths of a second, and browsers slow down what is shorter than two.
    milliseconds = 10 * max(2, round(100 * seconds))
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return traces.write(stem, ".gif", buffer.getvalue())


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """Return 64 colours for all frames; choosing them for each takes most of the time of a GIF."""
    step = -(-len(frames) // PALETTE_FRAMES)
    chosen = frames[::step]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for row, frame in enumerate(chosen):
        sheet.paste(frame, (0, row * height))
    return sheet.quantize(64)
