"""The picture of a graph: its nodes in layers, the signs of its links, the gains of its nodes."""

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.path import Path as Curve
from numpy.typing import NDArray

from ternevo.files import replacing
from ternevo.policies.graph import in_floats
from ternevo.policies.policy_file import SavedPolicy
from ternevo.runs import plots
from ternevo.settings.policies import Graph
from ternevo.types import Env

COLOURS = {1: "#2166ac", -1: "#b2182b"}
"""Of links with positive and negative weights."""
DASHES: dict[int, Any] = {1: "-", -1: (0, (4, 1.5))}
"""Their lines: the sign can be seen without colours."""
MOST_INPUTS = 40
"""Names of more observations would not be legible; of these, only what has links is drawn."""
RADIUS, ROW, COLUMN, MARGIN = 0.22, 0.64, 1.6, 0.7
"""Inches: the size of a node, what is between two nodes and two columns, and around them."""
MOST_INCHES = 10
"""The greatest height of a column; nodes of one with more are smaller."""
INCHES_PER_LETTER = 0.07
"""Of names."""

Point = tuple[float, float]
Route = tuple["Place", ...]


class Links(NamedTuple):
    """The links of a graph, see `ternevo.types.Topology`.

    Attributes:
      weights: [sources, nodes]; sources are observations, a bias, and the nodes.
      notes: what is written in each node, such as its gain.
      num_outputs: number of outputs, the first nodes.
      names: of the observations, or none.
      actions: names of the outputs, or none.
      noted: what the notes are; empty if there are none.
    """

    weights: NDArray
    notes: tuple[str, ...]
    num_outputs: int
    names: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    noted: str = ""

    @property
    def num_inputs(self) -> int:
        """Number of observations."""
        return len(self.weights) - 1 - self.weights.shape[1]


class Place(NamedTuple):
    """Where something is drawn: a source, or its links of one sign as they pass a column by."""

    column: int
    source: int
    sign: int = 0


def of_policy(saved: SavedPolicy, env: Env) -> Links | None:
    """Return the links of a policy, with the names of an environment; None if it is no graph."""
    graph, weights = saved.policy.topology, saved.weights
    if isinstance(saved.settings, Graph) and saved.settings.weights == "int8":
        settings, weights = in_floats(saved.settings, weights)
        graph = settings.build(saved.obs, saved.action).topology
    if graph is None:
        return None
    matrix, gains, functions = map(np.asarray, graph.links(weights))
    told = {
        "function": [graph.functions[function] for function in functions if graph.functions],
        "gain": [rf"$\times 2^{{{gain}}}$" for gain in gains if matrix.dtype == np.int8],
    }
    told = {what: of_nodes for what, of_nodes in told.items() if of_nodes}
    notes = tuple(map("\n".join, zip(*told.values(), strict=True))) or ("",) * len(gains)
    noted = " and ".join(told)
    if graph.input_names:
        return Links(matrix, notes, graph.num_outputs, graph.input_names, (), noted)
    copies = env.obs.size // graph.num_inputs
    names = env.obs_names[::copies] if len(env.obs_names) == env.obs.size else ()
    return Links(matrix, notes, graph.num_outputs, names, env.action_names, noted)


def used_nodes(links: Links) -> NDArray[np.bool_]:
    """Return which nodes matter: the outputs, and those from which links lead to an output."""
    between = links.weights[links.num_inputs + 1 :] != 0
    used = np.arange(links.weights.shape[1]) < links.num_outputs
    for _ in used:
        used = used | (between[:, used]).any(1)
    return used


def layers_of(links: Links) -> NDArray[np.int_]:
    """Return the layer of each node that is drawn: the most links on a way to it, without circles.

    In a circle, a link leads on where its end is farther from the observations, by the fewest
    links, than its start. Outputs are in a layer of their own, after all hidden nodes.
    """
    size = links.weights.shape[1]
    has_link = links.weights[links.num_inputs + 1 :] != 0
    has_link[: links.num_outputs] = False  # what an output remembers leads back
    fewest = _fewest_links(links, has_link)
    reaches = has_link.copy()
    for node in range(size):
        reaches |= reaches[:, node, None] & reaches[node]
    leads_on = has_link & (~reaches.T | (fewest[:, None] < fewest))
    layer = np.ones(size, int)
    for _ in range(size):
        layer = np.maximum(1, np.where(leads_on, layer[:, None] + 1, 0).max(0, initial=0))
    hidden = layer[links.num_outputs :][used_nodes(links)[links.num_outputs :]]
    layer[: links.num_outputs] = (hidden.max() if hidden.size else 0) + 1
    return layer


def _fewest_links(links: Links, has_link: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Return the fewest links from an observation or the bias to each node; without any, 1."""
    size = len(has_link)
    fewest = np.full(size, size + 1)
    fewest[(links.weights[: links.num_inputs + 1] != 0).any(0)] = 1
    for _ in range(size):
        after = np.where(has_link, fewest[:, None] + 1, size + 1)
        fewest = np.minimum(fewest, after.min(0, initial=size + 1))
    return np.where(fewest > size, 1, fewest)


def draw(links: Links, path: Path) -> Path:
    """Draw a graph into a PNG and return its path; what leads nowhere is left out."""
    data = plots.png(picture(links))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def draw_policy(saved: SavedPolicy, env: Env, path: Path) -> Path | None:
    """Draw a policy into a PNG and return its path; None if it is no graph."""
    links = of_policy(saved, env)
    return None if links is None else draw(links, path)


def picture(links: Links) -> Figure:
    """Draw a graph: observations at the left, a column for each layer, outputs at the right."""
    shown = _shown(links)
    routes = _routes(links, shown)
    columns = _columns(shown, routes)
    rows = [min(ROW, MOST_INCHES / max(1, len(column))) for column in columns]
    points = {
        place: (COLUMN * x, row * ((len(column) - 1) / 2 - i))
        for x, (row, column) in enumerate(zip(rows, columns, strict=True))
        for i, place in enumerate(column)
    }
    radii = {place: min(RADIUS, 0.45 * rows[place.column]) for place in points}
    axes = _ground(links, shown, len(columns), max(y for _, y in points.values()))
    for route, height in _entering(routes, points):
        weight = float(links.weights[route[0].source, route[-1].source - links.num_inputs - 1])
        own = [points[place] for place in route]
        _draw_link(axes, own, (radii[route[0]], radii[route[-1]]), height, weight)
    for source, column in shown.items():
        place = Place(column, source)
        _draw_node(axes, links, source, points[place], radii[place])
    return axes.figure  # pyright: ignore (no part of another)


def _shown(links: Links) -> dict[int, int]:
    """Return the column of each source that is drawn."""
    used, layer, first = used_nodes(links), layers_of(links), links.num_inputs + 1
    leads = (links.weights[:first, used] != 0).any(1)
    if links.num_inputs <= MOST_INPUTS:
        leads[: links.num_inputs] = True
    return dict.fromkeys(np.flatnonzero(leads).tolist(), 0) | {
        first + node: int(layer[node]) for node in np.flatnonzero(used).tolist()
    }


def _routes(links: Links, shown: dict[int, int]) -> list[Route]:
    """Return the places of each link: its start, one in each column that it passes, its end."""
    routes = []
    for source, node in np.argwhere(links.weights != 0).tolist():
        target = links.num_inputs + 1 + node
        if source in shown and target in shown:
            sign = int(np.sign(links.weights[source, node]))
            passed = range(shown[source] + 1, shown[target])
            between = (Place(x, source, sign) for x in passed)
            routes.append((Place(shown[source], source), *between, Place(shown[target], target)))
    return routes


def _columns(shown: dict[int, int], routes: list[Route]) -> list[list[Place]]:
    """Return the places of each column from top to bottom, each near those that lead to it."""
    before: dict[Place, list[Place]] = {Place(x, source): [] for source, x in shown.items()}
    for one, other in itertools.chain(*map(itertools.pairwise, routes)):
        before.setdefault(other, []).append(one)
    columns = [
        [place for place in before if place.column == x] for x in range(max(shown.values()) + 1)
    ]
    for last, column in itertools.pairwise(columns[:-1]):  # outputs keep their order
        height = {place: i / len(last) for i, place in enumerate(last)}
        mean = {
            place: np.mean([height[one] for one in before[place] if one in height] or [0.5])
            for place in column
        }
        column.sort(key=mean.__getitem__)
    return columns


def _entering(routes: list[Route], points: dict[Place, Point]) -> Iterator[tuple[Route, float]]:
    """Yield routes, and how high each enters its end, in radians, so that none hides another."""
    by_end = sorted(routes, key=lambda route: (route[-1], -points[route[-2]][1]))
    for _, entering in itertools.groupby(by_end, lambda route: route[-1]):
        own = list(entering)
        heights = np.linspace(1.2, -1.2, len(own) + 2)[1:-1].tolist()
        yield from zip(own, heights, strict=True)


# -------------------------------------------------------------------------------------- drawing


def _ground(links: Links, shown: Iterable[int], num_columns: int, top: float) -> Axes:
    """Return axes in inches for a picture, with the titles of columns and a legend."""
    width, height = COLUMN * (num_columns - 1), top + MARGIN
    inputs = [_name(links, source) for source in shown if source <= links.num_inputs]
    outputs = [_name(links, links.num_inputs + 1 + node) for node in range(links.num_outputs)]
    left, right = (
        max(1.6, MARGIN + INCHES_PER_LETTER * max(map(len, names), default=0))
        for names in (inputs, outputs)
    )
    figure = Figure(figsize=(left + width + right, 2 * height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(-left, width + right), ylim=(-height, height))
    titles = ["observations", *(f"layer {x}" for x in range(1, num_columns - 1)), "outputs"]
    for x, title in enumerate(titles):
        axes.text(COLUMN * x, height - 0.2, title, ha="center", color="0.4", fontsize=8)
    node: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "white", "mec": "black", "ms": 9}
    words = f"a node and its {links.noted}" if links.noted else "a node"
    handles = [
        Line2D([], [], color=COLOURS[1], ls=DASHES[1], label="positive link"),
        Line2D([], [], color=COLOURS[-1], ls=DASHES[-1], label="negative link"),
        Line2D([], [], **node, label=words),
    ]
    axes.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=8)
    return axes


def _draw_link(axes: Axes, points: list[Point], radii: Point, height: float, weight: float) -> None:
    """Draw a link: its sign as a colour and a line, its size as the width.

    Args:
      axes: of the picture.
      points: of the places that it passes, with the middles of its two nodes.
      radii: of its two nodes.
      height: where it enters the second, in radians above its left side.
      weight: of the link.
    """
    sign = int(np.sign(weight))
    arrow = FancyArrowPatch(
        path=_curve(points, radii, height),
        arrowstyle="-|>",
        mutation_scale=9,
        color=COLOURS[sign],
        ls=DASHES[sign],
        lw=0.8 + min(abs(weight), 4) / 2,
    )
    axes.add_patch(arrow)


def _curve(points: list[Point], radii: Point, height: float) -> Curve:
    """Return the line of a link, see `_draw_link`: to the right, back above nodes, or up or down.

    A link to the right is level where it passes a column and at its ends.
    """
    (x, y), (end_x, end_y), (start, end) = points[0], points[-1], radii
    if x < end_x:
        entry = end_x - end * math.cos(height), end_y + end * math.sin(height)
        vertices = [(x + start, y)]
        for (x, y), (next_x, next_y) in itertools.pairwise([*vertices, *points[1:-1], entry]):
            middle = (x + next_x) / 2
            vertices += [(middle, y), (middle, next_y), (next_x, next_y)]
    elif x == end_x and y != end_y:
        left = x - start - 0.1 - 0.2 * abs(end_y - y)
        vertices = [(x - start, y), (left, y), (left, end_y), (x - end, end_y)]
    else:
        side = 1 if x == end_x else -1  # round itself, or out to the left and into the right
        above = 0.25 + 0.2 * (x - end_x)
        vertices = [
            (x + side * 0.6 * start, y + 0.8 * start),
            (x + side * 0.3, y + start + above),
            (end_x - side * 0.3, end_y + end + above),
            (end_x - side * 0.6 * end, end_y + 0.8 * end),
        ]
    return Curve(vertices, [Curve.MOVETO, *[Curve.CURVE4] * (len(vertices) - 1)])


def _draw_node(axes: Axes, links: Links, source: int, point: Point, radius: float) -> None:
    """Draw an observation, the bias or a node, with its name or what is noted of it."""
    (x, y), node = point, source - links.num_inputs - 1
    axes.add_patch(Circle(point, radius, fc="white" if node >= 0 else "0.9", ec="black"))
    if node >= 0:
        axes.text(x, y, links.notes[node], ha="center", va="center", fontsize=6.5)
    beside, side = (x - radius, "right") if node < 0 else (x + radius, "left")
    axes.annotate(
        *(_name(links, source), (beside, y), (-4 if node < 0 else 4, 0)),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=8,
        parse_math=False,
    )


def _name(links: Links, source: int) -> str:
    """Return the name of an observation, the bias or an output, and no name of a hidden node."""
    node = source - links.num_inputs - 1
    if node < -1:
        if links.num_inputs > MOST_INPUTS:
            return ""
        return links.names[source] if links.names else f"observation {source}"
    if node == -1:
        return "bias"
    if node >= links.num_outputs:
        return ""
    return links.actions[node] if links.actions else f"output {node}"
