"""The picture of a graph: its nodes in layers, the signs of its links, the gains of its nodes."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ternevo.files import replacing

COLOURS = {1: "#2166ac", -1: "#b2182b"}
"""Of links with positive and negative weights."""
MOST_INPUTS = 40
"""Names of more observations would not be legible."""


class Links(NamedTuple):
    """The links of a graph, see `ternevo.types.Topology`.

    Attributes:
      weights: [sources, nodes]; sources are observations, a bias, and the nodes.
      notes: what is written below each node, such as its gain.
      num_outputs: number of outputs, the first nodes.
    """

    weights: NDArray
    notes: tuple[str, ...]
    num_outputs: int

    @property
    def num_inputs(self) -> int:
        """Number of observations."""
        return len(self.weights) - 1 - self.weights.shape[1]


def used_nodes(links: Links) -> NDArray[np.bool_]:
    """Return which nodes matter: the outputs, and those from which links lead to an output."""
    between = links.weights[links.num_inputs + 1 :] != 0
    used = np.arange(links.weights.shape[1]) < links.num_outputs
    for _ in used:
        used = used | (between[:, used]).any(1)
    return used


def layers_of(links: Links) -> NDArray[np.int_]:
    """Return the layer of each node that is drawn: the fewest links from an observation or bias.

    Outputs are in a layer of their own, after all hidden nodes.
    """
    size, first = links.weights.shape[1], links.num_inputs + 1
    has_link, layer = links.weights != 0, np.full(size, size + 1)
    layer[has_link[:first].any(0)] = 1
    for _ in range(size):
        after = np.where(has_link[first:], layer[:, None] + 1, size + 1)
        layer = np.minimum(layer, after.min(0, initial=size + 1))
    hidden = layer[links.num_outputs :][used_nodes(links)[links.num_outputs :]]
    layer[: links.num_outputs] = (hidden.max() if hidden.size else 0) + 1
    return layer


def draw(links: Links, names: tuple[str, ...], actions: tuple[str, ...], path: Path) -> Path:
    """Draw a graph into a PNG and return its path.

    Args:
      links: its links; what leads nowhere is left out.
      names: of the observations, or none.
      actions: names of the outputs, or none.
      path: of the picture.
    """
    used, layer = used_nodes(links), layers_of(links)
    places = _places(links, used, layer)
    figure = Figure(figsize=(2.5 + 2 * (layer[used].max() + 1), 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    for source, target in np.argwhere(links.weights != 0).tolist():
        if used[target] and source in places:
            _draw_link(axes, places, links, source, target)
    for source, (x, y) in places.items():
        axes.scatter([x], [y], s=220, color="white", edgecolors="black", zorder=3)
        label, side = _label(links, source, names, actions)
        offset = {"left": (-14, -3), "right": (14, -3), "centre": (0, -20)}[side]
        where = {"left": "right", "right": "left", "centre": "center"}[side]
        axes.annotate(label, (x, y), offset, textcoords="offset points", ha=where, fontsize=8)
    axes.margins(0.25, 0.12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def _places(
    links: Links, used: NDArray[np.bool_], layer: NDArray[np.int_]
) -> dict[int, tuple[float, float]]:
    """Return where sources are drawn: inputs at the left, a column for each layer."""
    first = links.num_inputs + 1
    columns: dict[int, list[int]] = {0: []}
    for source in range(first):
        if (links.weights[source, used] != 0).any() or source < first - 1:
            columns[0].append(source)
    for node in np.flatnonzero(used):
        columns.setdefault(int(layer[node]), []).append(first + int(node))
    return {
        source: (float(x), -(place + 0.5) / len(column) + 0.06 * (x % 2))
        for x, column in columns.items()
        for place, source in enumerate(column)
    }


def _draw_link(axes, places: dict, links: Links, source: int, target: int) -> None:
    weight = float(links.weights[source, target])
    end = places[links.num_inputs + 1 + target]
    start, is_loop = places[source], places[source] == end
    bend = 2.0 if is_loop else 0.05 if end[0] - start[0] == 1 else 0.3  # around what is between
    style = {"color": COLOURS[int(np.sign(weight))], "lw": 0.8 + min(abs(weight), 4) / 2}
    style |= {"arrowstyle": "-|>", "shrinkA": 8, "shrinkB": 8}
    style["connectionstyle"] = f"arc3,rad={bend}"
    start = (start[0], start[1] + 0.001) if is_loop else start
    axes.annotate("", end, start, arrowprops=style, zorder=2)


def _label(
    links: Links, source: int, names: tuple[str, ...], actions: tuple[str, ...]
) -> tuple[str, str]:
    """Return the text of a node, and the side on which it stands."""
    node = source - links.num_inputs - 1
    if node < -1:
        name = names[source] if source < len(names) else f"observation {source}"
        return ("" if links.num_inputs > MOST_INPUTS else name), "left"
    if node == -1:
        return "bias", "left"
    note = links.notes[node]
    if node >= links.num_outputs:
        return note, "centre"
    return f"{actions[node] if node < len(actions) else f'output {node}'}\n{note}", "right"
