"""Archives of behaviours in a run's folder: what they hold, and a picture. No JAX.

`archive/archive.json` lists the occupied cells, and `archive/cell_37.tvp` is the policy of cell 37,
which `play` and `export` take as any policy file.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ternevo.files import replace_text, replacing
from ternevo.runs import plots
from ternevo.runs.run_folder import RunFolder


class Listed(NamedTuple):
    """The occupied cells of an archive, in the order of their numbers.

    Attributes:
      names: what the numbers of a behaviour mean.
      low: their least values.
      high: their largest values.
      num_cells: number of cells, occupied or not.
      cells: the numbers of the occupied cells [members].
      centres: the middles of these [members, size].
      descriptors: the behaviours of their members [members, size].
      returns: the returns with which these entered [members].
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    num_cells: int
    cells: NDArray[np.int_]
    centres: NDArray[np.floating]
    descriptors: NDArray[np.floating]
    returns: NDArray[np.floating]


def path_of_cell(folder: RunFolder, cell: int, suffix: str = ".tvp") -> Path:
    """Return the policy file of a cell."""
    return folder.archive / f"cell_{cell}{suffix}"


def write(folder: RunFolder, listed: Listed) -> None:
    """Write the list of an archive and its picture."""
    of_ranges = {"names": listed.names, "low": listed.low, "high": listed.high}
    rows: list[dict[str, Any]] = [
        {
            "cell": int(cell),
            "return": float(value),
            "descriptor": [float(x) for x in descriptor],
            "centre": [float(x) for x in centre],
        }
        for cell, value, descriptor, centre in zip(
            listed.cells, listed.returns, listed.descriptors, listed.centres, strict=True
        )
    ]
    content = {**of_ranges, "num_cells": listed.num_cells, "members": rows}
    folder.archive.mkdir(parents=True, exist_ok=True)
    replace_text(folder.archive / "archive.json", json.dumps(content, indent=1) + "\n")
    with replacing(folder.archive / "archive.png") as temporary:
        temporary.write_bytes(plots.png(picture({"": listed})))


def read(folder: RunFolder) -> Listed | None:
    """Return the archive of a run, None if it has none."""
    path = folder.archive / "archive.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    rows = content["members"]
    centres, descriptors = (
        np.array([row[name] for row in rows]).reshape(-1, len(content["names"]))
        for name in ("centre", "descriptor")
    )
    return Listed(
        names=tuple(content["names"]),
        low=tuple(content["low"]),
        high=tuple(content["high"]),
        num_cells=content["num_cells"],
        cells=np.array([row["cell"] for row in rows], int),
        centres=centres,
        descriptors=descriptors,
        returns=np.array([row["return"] for row in rows], float),
    )


def picture(archives: dict[str, Listed]) -> Figure:
    """Draw archives, a panel each: a mark in each occupied cell, in the colour of its return.

    Of behaviours with more than two numbers, the first two are shown, and of cells that are alike
    in these the one with the highest return.
    """
    figure = Figure(figsize=(4.6 * len(archives), 4), layout="constrained")
    panels = figure.subplots(1, len(archives), squeeze=False)[0]
    for (title, listed), axes in zip(archives.items(), panels, strict=True):
        _draw(axes, listed)
        share = len(listed.cells) / listed.num_cells
        axes.set_title(
            f"{title}\n{share:.0%} of {listed.num_cells} cells".strip(), fontsize="small"
        )
    return figure


def _draw(axes: Axes, listed: Listed) -> None:
    x = listed.centres[:, 0]
    axes.set(xlabel=listed.names[0], xlim=(listed.low[0], listed.high[0]))
    if len(listed.names) == 1:
        axes.plot(x, listed.returns, "o", ms=3)
        axes.set_ylabel("return")
        return
    inches = 3.2 / listed.num_cells ** (1 / len(listed.names))  # of a cell, if they fill a cube
    best_last = np.argsort(listed.returns, kind="stable")
    shown = axes.scatter(
        *(x[best_last], listed.centres[best_last, 1]),
        c=listed.returns[best_last],
        marker="s",
        s=(inches * 72) ** 2,
        linewidths=0,
    )
    axes.set(ylabel=listed.names[1], ylim=(listed.low[1], listed.high[1]))
    if axes.figure:
        axes.figure.colorbar(shown, ax=axes, label="return")
