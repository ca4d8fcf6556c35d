"""A network of any topology, computed by the layers of `ternevo.policies.layers`.

Its nodes are the outputs, one for each component of the action, and then hidden ones. One matrix
[observations + nodes, nodes] holds all links, 0 where there is none, so params are a single
{"weight", "bias"} dict. A recurrent graph is Elman's cell and a layer that selects the
outputs. One without memory is `max_depth` dense layers of the same links, which pass observations
on unchanged, and the same selection. So a graph needs no arithmetic, no place in a file and no
runtime of its own.

Where nodes have functions, "function" in the dict has a row for each of `FUNCTIONS` and a 1 in the
row of a node's own, as params are weights to a search. Of other numbers the largest counts.
"""

import dataclasses
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int8, Shaped

from ternevo.policies import deployed, layers
from ternevo.policies.layers import ACTIVATIONS, OUTPUT, BitPlanes, Dense, Elman, Network, Product
from ternevo.settings.policies.graph import OBSERVATION_SHIFT, Graph
from ternevo.settings.policies.settings import FUNCTIONS, exponent_spread
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

FLOAT_BIAS = 2.0**-OBSERVATION_SHIFT
"""Size of the input that a float bias is: one standard deviation of an observation. A trit as bias
adds one unit, which saturates a node by itself, whatever the gain."""
START_GAIN = OBSERVATION_SHIFT
"""The gain of a new node is 2**START_GAIN: of floats and trits the same."""


class Sizes(NamedTuple):
    """The numbers of observations, outputs and nodes, and what links are scaled by.

    Attributes:
      obs: number of observations, of which copies count as one.
      outputs: number of outputs, the first nodes.
      nodes: number of nodes.
      shift: a trit with the exponent `shift` passes an observation on to a node unchanged.
      depth: number of updates in a step of a graph without memory; None for a recurrent one.
      copies: number of consecutive observations that share their links.
      most_passed: largest exponent of the weight 2**n that passes an observation on.
    """

    obs: int
    outputs: int
    nodes: int
    shift: int
    depth: int | None
    copies: int = 1
    most_passed: int = 0


def build(settings: Graph, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file, `matmul` needs integers but the
        settings have floats, or observations are not made of copies.
    """
    sizes, net = sizes_of(settings, obs, action), network(settings, obs, action)
    inner = layers.policy(settings.layered, net)
    of_links = _links_only(settings, obs, sizes)

    def apply(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        is_packed = isinstance(params[0], Product | BitPlanes)
        return inner.apply(params if is_packed else unroll(jnp, sizes, params), memory, inputs)

    def packing(num_episodes: int) -> Packing:
        plain = inner.packing(num_episodes)
        return plain._replace(pack=lambda params: plain.pack(unroll(jnp, sizes, params)))

    def init(key: Key) -> Params:
        return _start(settings, sizes, layers.init(settings.layered, of_links, key))

    policy = Policy(init, inner.reset, apply, packing, inner.memory_scale)
    shapes = jax.eval_shape(init, jax.random.key(0))
    return policy._replace(
        # Of rounded links each bias has the scale of its node, which no search has to find.
        topology=None if settings.weights == "int8" else _topology(settings, sizes),
        encoder=lambda: deployed.encoder(
            settings, obs, action, shapes, lambda params: unroll(np, sizes, params)
        ),
    )


def sizes_of(settings: Graph, obs: ObsSpec, action: ActionSpec) -> Sizes:
    """Return the sizes of a graph.

    Raises:
      ValueError: the number of observations is not a multiple of the copies.
    """
    if obs.size % settings.copies:
        raise ValueError(f"--copies {settings.copies} does not divide {obs.size} observations")
    shift = ACTIVATIONS[settings.activation].bits
    shift -= layers.observation_grid(settings.layered, obs).bits
    depth = None if settings.update == "recurrent" else settings.max_depth
    num_nodes, num_obs = action.size + settings.max_hidden, obs.size // settings.copies
    most_passed = exponent_spread("int8") if settings.weights == "int8" else 0
    return Sizes(num_obs, action.size, num_nodes, shift, depth, settings.copies, most_passed)


def network(settings: Graph, obs: ObsSpec, action: ActionSpec) -> Network:
    """Return the layers that compute a graph.

    Raises:
      ValueError: they do not fit into a policy file, or observations are bits without moments.
    """
    sizes, hidden = sizes_of(settings, obs, action), ACTIVATIONS[settings.activation]
    cells = [Elman(sizes.nodes)]
    if sizes.depth is not None:
        cells = [Dense(obs.size + sizes.nodes)] * sizes.depth
    grid = layers.observation_grid(settings.layered, obs)
    try:
        own = (*cells, Dense(sizes.outputs))
        return layers.network(own, obs.shape, grid, hidden, settings.weights)
    except ValueError as error:
        raise ValueError(f"{error}; change --max_hidden or --max_depth") from error


def _links_only(settings: Graph, obs: ObsSpec, sizes: Sizes) -> Network:
    """Return a network whose only weights are those of the links."""
    shape, hidden = (sizes.obs + sizes.nodes,), ACTIVATIONS[settings.activation]
    grid = layers.observation_grid(settings.layered, obs)
    return layers.placed(((Dense(sizes.nodes), hidden),), shape, grid._replace(activate=OUTPUT[0]))


def _start(settings: Graph, sizes: Sizes, drawn: Params) -> Params:
    """Return drawn params in which observations are linked to outputs, and nothing else."""
    (layer,) = drawn
    values = layer["weight"].values
    at = jnp.arange(sizes.obs + sizes.nodes)[:, None], jnp.arange(sizes.nodes)
    values = jnp.where((at[0] < sizes.obs) & (at[1] < sizes.outputs), values, 0)
    exponent = layer["weight"].exponent
    if settings.weights == "ternary":
        exponent = jnp.full(sizes.nodes, sizes.shift - START_GAIN, jnp.int8)
        layer = {**layer, "bias": Tensor(layer["bias"].values, jnp.int8(sizes.shift))}
    elif settings.weights == "float":  # as if only the observations were the inputs of a node
        own = np.sqrt((sizes.obs + sizes.nodes) / sizes.obs) / sizes.copies
        values = values * own.astype(np.float32)
    layer = {**layer, "weight": Tensor(values, exponent)}
    if settings.has_functions:
        first = jnp.full(sizes.nodes, FUNCTIONS.index(settings.node_functions[0]))
        layer["function"] = one_hot(first, len(FUNCTIONS), values.dtype)
    return (layer,)


def one_hot(codes: jax.Array, count: int, dtype: Any) -> Tensor:
    """Return the tensor [count, nodes] of the codes [nodes] of functions."""
    rows = jnp.arange(count)[:, None]
    return Tensor((codes == rows).astype(dtype), jnp.zeros((), jnp.int8))


def codes_of(xp: ModuleType, functions: Tensor) -> Any:
    """Return the codes int8 [nodes] of functions, the inverse of `one_hot`."""
    return xp.argmax(functions.values, 0).astype(xp.int8)


def in_floats(settings: Graph, params: Params) -> tuple[Graph, Params]:
    """Return the graph of floats that computes what a graph of rounded links does."""
    (layer,) = params
    nothing = jnp.zeros((), jnp.int8)
    floats = {
        name: Tensor(values * jnp.exp2(-exponent.astype(jnp.float32)), nothing)
        for name, (values, exponent) in layer.items()
    }
    return dataclasses.replace(settings, weights="float"), (floats,)


# --------------------------------------------------------------------- layers that compute it


def unroll(xp: ModuleType, sizes: Sizes, params: Params) -> Params:
    """Return the params of the layers that compute a graph; see `network`.

    Args:
      xp: jax.numpy, or NumPy for arrays of NumPy.
      sizes: of the graph.
      params: its params.
    """
    links = _copied(xp, sizes, params[0])
    if "function" in links:
        codes = Tensor(codes_of(xp, links["function"]), xp.zeros((), xp.int8))
        links = {**links, "function": codes}
    sizes = sizes._replace(obs=sizes.obs * sizes.copies)
    selection = _selection(xp, sizes, links["weight"].values.dtype)
    if sizes.depth is None:
        return links, {"weight": selection}
    first, later = _passing(xp, sizes, links, sizes.shift), _passing(xp, sizes, links, 0)
    first["weight"] = first["weight"]._replace(values=first["weight"].values[: sizes.obs])
    return first, *[later] * (sizes.depth - 1), {"weight": selection}


def _copied(xp: ModuleType, sizes: Sizes, links: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return links from all copies of observations."""
    if sizes.copies == 1:
        return links
    values, exponent = links["weight"]
    rows = xp.repeat(values[: sizes.obs], sizes.copies, axis=0)
    return {
        **links,
        "weight": Tensor(xp.concatenate([rows, values[sizes.obs :]]), exponent),
    }


def _selection(xp: ModuleType, sizes: Sizes, dtype: Any) -> Tensor:
    """Return the weights that select the outputs, the first nodes after the observation, if any."""
    before = 0 if sizes.depth is None else sizes.obs
    values = xp.eye(before + sizes.nodes, sizes.outputs, -before, dtype)
    return Tensor(values, xp.zeros((), xp.int8))


def _passing(
    xp: ModuleType, sizes: Sizes, links: dict[str, Tensor], shift: int
) -> dict[str, Tensor]:
    """Return the links as a layer that also passes the observation on, for inputs of any grid.

    Args:
      xp: jax.numpy or NumPy.
      sizes: of the graph.
      links: the params.
      shift: of the inputs of the layer, as `Sizes.shift` is of observations.
    """
    (values, exponent), bias = links["weight"], links["bias"]
    own = xp.eye(sizes.obs + sizes.nodes, sizes.obs, dtype=values.dtype)
    other = shift - sizes.shift
    if not exponent.ndim:  # floats, which have the exponent 0
        values, own = values * 2.0**-other, own * 2.0**-shift
        bias = bias._replace(values=bias.values * 2.0**-other)
    else:
        # Exponents of a layer must be near each other, and 2**n with n more is the same as 1.
        passed = xp.clip(xp.max(exponent) - xp.int8(sizes.shift), 0, sizes.most_passed)
        own, at = own << passed, xp.full(sizes.obs, shift, xp.int8) + passed
        exponent = xp.concatenate([at, exponent + xp.int8(other)]).astype(xp.int8)
        bias = bias._replace(exponent=bias.exponent + xp.int8(other))
    weight = xp.concatenate([own, values], 1).astype(links["weight"].values.dtype)
    nothing = xp.zeros(sizes.obs, bias.values.dtype)
    padded = xp.concatenate([nothing, bias.values]).astype(links["bias"].values.dtype)
    layer = {"weight": Tensor(weight, exponent), "bias": bias._replace(values=padded)}
    if "function" in links:  # an observation that is passed on has none
        codes, none = links["function"]
        layer["function"] = Tensor(xp.concatenate([xp.zeros(sizes.obs, xp.int8), codes]), none)
    return layer


# ------------------------------------------------------------------------ what a search sees


def _topology(settings: Graph, sizes: Sizes) -> Topology:
    is_float = settings.weights == "float"
    size, share = (FLOAT_BIAS, sizes.copies) if is_float else (1, 1)
    names = settings.node_functions if settings.has_functions else ()
    codes = np.array([FUNCTIONS.index(name) for name in names], np.int8)

    def params(
        matrix: Shaped[Array, "sources nodes"],
        gain: Int8[Array, " nodes"],
        function: Int8[Array, " nodes"],
    ) -> Params:
        dtype = jnp.float32 if is_float else jnp.int8
        exponent = jnp.zeros((), jnp.int8) if is_float else (sizes.shift - gain).astype(jnp.int8)
        of_bias = jnp.int8(0 if is_float else sizes.shift)
        bias = (matrix[sizes.obs] * size).astype(dtype)
        seen = (matrix[: sizes.obs] / share).astype(dtype)  # a float is shared out among copies
        links = jnp.concatenate([seen, matrix[sizes.obs + 1 :].astype(dtype)])
        layer = {"weight": Tensor(links, exponent), "bias": Tensor(bias, of_bias)}
        if names:
            layer["function"] = one_hot(jnp.asarray(codes)[function], len(FUNCTIONS), dtype)
        return (layer,)

    def links(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
        (layer,) = params
        values, exponent = layer["weight"]
        bias = (layer["bias"].values / size).astype(values.dtype)
        rows = values[: sizes.obs] * share, bias[None], values[sizes.obs :]
        gain = jnp.full(sizes.nodes, START_GAIN) if is_float else sizes.shift - exponent
        function = jnp.zeros(sizes.nodes, jnp.int8)
        if names:  # a function that is not among the names, of a file, becomes the first
            own = codes_of(jnp, layer["function"]) == codes[:, None]
            function = jnp.argmax(own, 0).astype(jnp.int8)
        return jnp.concatenate(rows), gain.astype(jnp.int8), function

    return Topology(
        sizes.obs,
        sizes.outputs,
        settings.max_hidden,
        sizes.depth,
        START_GAIN,
        params,
        links,
        names,
    )
