"""A ternary network whose weights are drawn by a small graph of coordinates (HyperNEAT).

Stanley, D'Ambrosio and Gauci 2009. Every node of the network has a place on a sheet, [-1, 1] in
both directions. The small graph, a CPPN, sees the places of two nodes, and its output is the weight
between them: its sign, or 0 if it is below a threshold. There is an output for each layer. So the
threshold is what makes trits, and the network has the same geometry at any resolution.

Params are those of the graph. `draw` turns them into those of the network, once for each member
(`Policy.packing`); both kinds are accepted wherever params are.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8, Shaped

from ternevo.policies import layers
from ternevo.policies.graph import codes_of, one_hot
from ternevo.policies.layers import ACTIVATIONS, BitPlanes, Dense, Network, Product
from ternevo.settings.policies.hyperneat import HyperNEAT
from ternevo.types import (
    ActionSpec,
    Inputs,
    Key,
    Memory,
    ObsSpec,
    Packing,
    Params,
    Policy,
    Tensor,
    Topology,
)

COORDINATES = ("x1", "y1", "x2", "y2", "x2 - x1", "y2 - y1", "distance")
"""What the graph sees of two nodes."""
FUNCTIONS = ("linear", "tanh", "gaussian", "sine", "absolute")
"""What a node may make of the sum of its links."""
SOURCES_AT_ONCE = 64
"""Nodes whose outgoing weights are drawn together: memory for all pairs would be too much."""


class Sizes(NamedTuple):
    """The numbers of outputs and nodes of the graph, and of its updates."""

    outputs: int
    nodes: int
    depth: int


def build(settings: HyperNEAT, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: observations have channels, which have no place on a sheet, or the network does
        not fit into a policy file.
    """
    net, sizes = network(settings, obs, action), sizes_of(settings)
    places = sheets(settings, obs, action)
    inner = layers.policy(settings.layered, net)

    def drawn(params: Params) -> Params:
        return draw(settings, places, params) if is_graph(params) else params

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        is_packed = isinstance(params[0], Product | BitPlanes)
        return inner.apply(params if is_packed else drawn(params), memory, inputs)

    def packing(num_episodes: int) -> Packing:
        plain = inner.packing(num_episodes)
        return plain._replace(pack=lambda params: plain.pack(drawn(params)))

    return Policy(
        lambda key: _start(settings, sizes, key),
        inner.reset,
        apply,
        packing,
        inner.memory_scale,
        topology=_topology(settings, sizes),
    )


def sizes_of(settings: HyperNEAT) -> Sizes:
    """Return the sizes of the graph, which has an output for each layer of the network."""
    outputs = len(settings.hidden_sizes) + 1
    return Sizes(outputs, outputs + settings.max_hidden, settings.max_depth)


def network(settings: HyperNEAT, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the network that is drawn: dense layers.

    Raises:
      ValueError: it does not fit into a policy file.
    """
    sizes = (*settings.hidden_sizes, action.size)
    grid = layers.observation_grid(settings.layered, obs)
    try:
        hidden = ACTIVATIONS[settings.activation]
        return layers.network(tuple(map(Dense, sizes)), obs.shape, grid, hidden, weight_bytes=1)
    except ValueError as error:
        raise ValueError(f"{error}; change --hidden_sizes, or see smaller pictures") from error


def sheets(
    settings: HyperNEAT, obs: ObsSpec, action: ActionSpec
) -> tuple[Float32[np.ndarray, "_ 2"], ...]:
    """Return the places (x, y) of observations, of hidden nodes and of outputs.

    A picture is a sheet of its own shape. As many outputs as the picture has pixels lie as these
    do, and a square number of hidden nodes is a square. All others are on a line.

    Raises:
      ValueError: a picture has more than one channel.
    """
    *image, channels = obs.shape if len(obs.shape) == 3 else (*obs.shape, 1)
    if len(obs.shape) > 3 or channels != 1:
        raise ValueError(
            f"--policy hyperneat places nodes on a sheet, and observations {obs.shape} have "
            f"{channels} channels at each place; must be 1. Use --policy conv"
        )
    is_image = len(image) == 2

    def shape_of(size: int) -> tuple[int, int]:
        side = math.isqrt(size)
        if is_image and size == obs.size:
            return image[0], image[1]
        return (side, side) if is_image and side * side == size else (1, size)

    sizes = obs.size, *settings.hidden_sizes, action.size
    return tuple(_sheet(*shape_of(size)) for size in sizes)


def _sheet(height: int, width: int) -> Float32[np.ndarray, "nodes 2"]:
    """Return the centres of pixels, row after row."""
    y, x = np.meshgrid(
        *((2 * np.arange(size) + 1) / size - 1 for size in (height, width)), indexing="ij"
    )
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


# ---------------------------------------------------------------------------------- drawing


def is_graph(params: Params) -> bool:
    """Return whether params are those of the graph, not of the network that it draws."""
    return "function" in params[0]


def draw(
    settings: HyperNEAT, places: tuple[Float32[np.ndarray, "_ 2"], ...], params: Params
) -> Params:
    """Return the params of the network: its trits, and a scale for each layer.

    A scale keeps the size of numbers: it is that of the root of the mean number of links to a node.

    Args:
      settings: of the policy.
      places: of its nodes, see `sheets`.
      params: of the graph.
    """
    (graph,) = params
    found = []
    for number, (before, after) in enumerate(itertools.pairwise(places)):
        trits = _trits(settings, graph, number, (jnp.asarray(before), jnp.asarray(after)))
        mean = jnp.sum(jnp.abs(trits), dtype=jnp.int32) / len(after)
        exponent = jnp.round(jnp.log2(jnp.maximum(mean, 1)) / 2).astype(jnp.int8)
        found.append({"weight": Tensor(trits, exponent)})
    return tuple(found)


def _trits(
    settings: HyperNEAT, graph: dict[str, Tensor], number: int, places: tuple[jax.Array, jax.Array]
) -> Int8[Array, "sources targets"]:
    """Return the weights of a layer from the sheet before it to the sheet after it."""
    before, after = places

    def of_source(source: jax.Array) -> jax.Array:
        value = respond(graph, coordinates(source, after), settings.max_depth)[:, number]
        is_expressed = jnp.abs(value) > settings.expression_threshold
        return jnp.where(is_expressed, jnp.sign(value), 0).astype(jnp.int8)

    return jax.lax.map(of_source, before, batch_size=min(SOURCES_AT_ONCE, len(before)))


def coordinates(source: Float[Array, "2"], targets: Float[Array, "n 2"]) -> Float[Array, "n 7"]:
    """Return what the graph sees of a node and of others, in the order of `COORDINATES`."""
    apart = targets - source
    own = jnp.broadcast_to(source, targets.shape)
    return jnp.concatenate([own, targets, apart, jnp.linalg.norm(apart, axis=1)[:, None]], 1)


def respond(graph: dict[str, Tensor], seen: Float[Array, "n 7"], depth: int) -> jax.Array:
    """Return what all nodes of the graph compute [n, nodes], after `depth` updates from 0."""
    (values, exponent), bias = graph["weight"], graph["bias"].values
    weight = values.astype(jnp.float32)
    given = seen @ weight[: len(COORDINATES)] + bias.astype(jnp.float32)
    between, size = weight[len(COORDINATES) :], jnp.exp2(-exponent.astype(jnp.float32))
    share = graph["function"].values.astype(jnp.float32)
    nodes = jnp.zeros_like(given)
    for _ in range(depth):
        sums = (given + nodes @ between) * size
        found = sums, jnp.tanh(sums), jnp.exp(-(sums**2)), jnp.sin(sums), jnp.abs(sums)
        nodes = sum(own * one for own, one in zip(share, found, strict=True))
    return jnp.asarray(nodes)


# ------------------------------------------------------------------------ what a search sees


def _start(settings: HyperNEAT, sizes: Sizes, key: Key) -> Params:
    """Draw a graph whose coordinates are linked to its outputs, and nothing else."""
    keys, count = jax.random.split(key, 3), len(COORDINATES)
    weight = jnp.zeros((count + 1 + sizes.nodes, sizes.nodes))
    shape = count, sizes.outputs
    if settings.weights == "float":
        drawn = jax.random.normal(keys[0], shape)
    else:
        drawn = jax.random.randint(keys[1], shape, -1, 2).astype(jnp.float32)
    weight = weight.at[:count, : sizes.outputs].set(drawn)
    function = jax.random.randint(keys[2], (sizes.nodes,), 0, len(FUNCTIONS), jnp.int8)
    gain = jnp.zeros(sizes.nodes, jnp.int8)
    return _topology(settings, sizes).params(weight, gain, function)


def _topology(settings: HyperNEAT, sizes: Sizes) -> Topology:
    is_float, count = settings.weights == "float", len(COORDINATES)
    dtype = jnp.float32 if is_float else jnp.int8

    def params(
        matrix: Shaped[Array, "sources nodes"],
        gain: Int8[Array, " nodes"],
        function: Int8[Array, " nodes"],
    ) -> Params:
        rows, none = matrix.astype(dtype), jnp.zeros((), jnp.int8)
        exponent = none if is_float else -gain
        links = jnp.concatenate([rows[:count], rows[count + 1 :]])
        return (
            {
                "weight": Tensor(links, exponent),
                "bias": Tensor(rows[count], none),
                "function": one_hot(function, len(FUNCTIONS), dtype),
            },
        )

    def links(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
        (graph,) = params
        values, exponent = graph["weight"]
        rows = values[:count], graph["bias"].values[None], values[count:]
        gain = jnp.zeros(sizes.nodes, jnp.int8) if is_float else -exponent
        return jnp.concatenate(rows), gain, codes_of(jnp, graph["function"])

    return Topology(
        count,
        sizes.outputs,
        settings.max_hidden,
        sizes.depth,
        0,
        params,
        links,
        FUNCTIONS,
        COORDINATES,
    )
