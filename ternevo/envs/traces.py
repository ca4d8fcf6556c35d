"""A picture of observations over time, for environments without a renderer."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ternevo.files import replacing

MAX_LINES = 12
"""Largest number of components drawn as lines; more are drawn as an image."""


def draw(title: str, observations: np.ndarray, stem: Path) -> Path:
    """Draw observations [steps, obs] over time into `<stem>.png` and return its path."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    if observations.shape[1] <= MAX_LINES:
        lines = axes.plot(observations, marker="." if len(observations) < 30 else "")
        labels = [str(component) for component in range(len(lines))]
        axes.legend(lines, labels, title="component", loc="upper right", fontsize="small")
        axes.set_ylabel("observation")
    else:
        low, high = observations.min(0), observations.max(0)
        shares = (observations - low) / np.where(high > low, high - low, 1)
        image = axes.imshow(shares.T, aspect="auto", interpolation="nearest", vmin=0, vmax=1)
        figure.colorbar(image, label="observation, from the component's minimum to its maximum")
        axes.set_ylabel("component")
    axes.set(title=title, xlabel="step")
    return write_figure(figure, stem)


def draw_image(image: np.ndarray, stem: Path) -> Path:
    """Draw an image [height, width] in grey into `<stem>.png` and return its path."""
    figure = Figure(figsize=(3, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, cmap="gray_r", interpolation="nearest")
    axes.set_axis_off()
    return write_figure(figure, stem)


def write_figure(figure: Figure, stem: Path) -> Path:
    """Write a figure as `<stem>.png`, and return its path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return write(stem, ".png", buffer.getvalue())


def write(stem: Path, suffix: str, content: bytes) -> Path:
    """Write `<stem><suffix>` atomically, and return its path."""
    path = stem.with_name(stem.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
