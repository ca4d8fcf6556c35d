"""Genomes of NEAT (Stanley and Miikkulainen 2002): graphs whose genes know their history.

A genome is a matrix of links between slots, [sources, nodes]. Sources are the observations, a bias
and the nodes; the nodes are the outputs and then hidden ones. A hidden slot holds a node with an
id, and a link has an innovation number: the same number in two genomes is the same mutation in
their history. So slots differ between genomes, and `aligned` finds the same node and link in
another genome. All functions are of single genomes, for `vmap`, with static shapes.

A child has the topology of its fitter parent, so circles and depth can only arise in `candidates`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8, Int32, Shaped

from ternevo.algorithms import draws
from ternevo.types import Key, Number, Params, Topology

MIN_GAIN, MAX_GAIN = -2, 6
"""Gains are 2**MIN_GAIN to 2**MAX_GAIN: a gain of 1 passes the full scale of numbers on."""


class Genome(NamedTuple):
    """A graph, with slots for links and hidden nodes that may be empty.

    Attributes:
      node: ids of the hidden nodes, 0 in an empty slot.
      innovation: innovation numbers of the links, 0 where there is no link.
      weight: weights of the links, float32 or trits in int8.
      is_on: whether a link is used; one that is off stays in the history.
      gain: logarithms of the gains of nodes to base 2.
      function: numbers of the functions of nodes.
    """

    node: Int32[Array, "*population hidden"]
    innovation: Int32[Array, "*population sources nodes"]
    weight: Shaped[Array, "*population sources nodes"]
    is_on: Bool[Array, "*population sources nodes"]
    gain: Int8[Array, "*population nodes"]
    function: Int8[Array, "*population nodes"]


class Graph(NamedTuple):
    """The sizes of a policy's graphs, whether its weights are floats, and what is the same gene.

    Attributes:
      topology: of the policy.
      is_float: whether weights are floats, not trits.
      by_history: whether genes of two genomes are the same if their history is, and not if they are
        in the same slot, which is the ablation.
    """

    topology: Topology
    is_float: bool
    by_history: bool = True

    @property
    def first(self) -> int:
        """The source that is the first node."""
        return self.topology.num_inputs + 1


def from_params(graph: Graph, params: Params) -> Genome:
    """Return the genome of a policy's params; the same links have the same innovation numbers.

    There is a link wherever a weight is not 0, and from each observation and the bias to each
    output. A hidden node exists if it has a link. Ids and numbers are those of slots, from 1.
    """
    topology = graph.topology
    weight, gain, function = topology.links(params)
    source = jnp.arange(topology.num_sources)[:, None]
    target = jnp.arange(topology.num_nodes)
    is_first = (source < graph.first) & (target < topology.num_outputs)
    has_link = (weight != 0) | is_first
    slots = jnp.arange(has_link.size, dtype=jnp.int32).reshape(has_link.shape)
    of_nodes = jnp.any(has_link, 0) | jnp.any(has_link[graph.first :], 1)
    hidden = of_nodes[topology.num_outputs :]
    return Genome(
        jnp.where(hidden, jnp.arange(hidden.size, dtype=jnp.int32) + 1, 0),
        jnp.where(has_link, slots + 1, 0),
        weight,
        has_link,
        gain,
        function,
    )


def to_params(graph: Graph, genome: Genome) -> Params:
    """Return the policy's params that a genome stands for."""
    weight = jnp.where(genome.is_on, genome.weight, 0).astype(genome.weight.dtype)
    return graph.topology.params(weight, genome.gain, genome.function)


def nodes_in_use(graph: Graph, genome: Genome) -> Bool[Array, " nodes"]:
    """Return which slots hold a node: all outputs, and the hidden nodes that exist."""
    return jnp.concatenate([jnp.ones(graph.topology.num_outputs, bool), genome.node > 0])


def num_links(genome: Genome) -> Int32[Array, ""]:
    """Return the number of links, on or off."""
    return jnp.sum(genome.innovation > 0)


# ------------------------------------------------------------------------------ two genomes


class Alignment(NamedTuple):
    """Another genome in the slots of the first one.

    Attributes:
      has_link: where the other has the same link.
      weight: its weight there.
      is_on: whether it is on there.
      has_node: where the other has the same node.
      gain: the logarithm of its gain there.
      function: the number of its function there.
    """

    has_link: Bool[Array, "sources nodes"]
    weight: Shaped[Array, "sources nodes"]
    is_on: Bool[Array, "sources nodes"]
    has_node: Bool[Array, " nodes"]
    gain: Int8[Array, " nodes"]
    function: Int8[Array, " nodes"]


def aligned(graph: Graph, genome: Genome, other: Genome) -> Alignment:
    """Return another genome in the slots of the first, aligned by ids and innovation numbers.

    Without `by_history`, a link or node is the same if it is in the same slot.
    """
    topology = graph.topology
    if not graph.by_history:
        has_link = (genome.innovation > 0) & (other.innovation > 0)
        has_node = nodes_in_use(graph, genome) & nodes_in_use(graph, other)
        return Alignment(has_link, other.weight, other.is_on, has_node, other.gain, other.function)
    is_same = (genome.node[:, None] == other.node) & (genome.node[:, None] > 0)
    outputs = jnp.arange(topology.num_outputs)
    slot = jnp.concatenate([outputs, topology.num_outputs + jnp.argmax(is_same, 1)])
    has_node = jnp.concatenate([jnp.ones_like(outputs, bool), jnp.any(is_same, 1)])
    source = jnp.concatenate([jnp.arange(graph.first), graph.first + slot])

    place = source[:, None] * topology.num_nodes + slot

    def moved(x: jax.Array) -> jax.Array:
        return x.ravel()[place]

    is_link = (genome.innovation > 0) & (moved(other.innovation) == genome.innovation)
    is_link = is_link & has_node & jnp.concatenate([jnp.ones(graph.first, bool), has_node])[:, None]
    return Alignment(
        is_link,
        moved(other.weight),
        moved(other.is_on),
        has_node,
        other.gain[slot],
        other.function[slot],
    )


def distance(
    graph: Graph, genome: Genome, other: Genome, of_gene: Number, of_weight: Number
) -> Float[Array, ""]:
    """Return how different two genomes are.

    It is `of_gene` for each link that only one of them has, disjoint or excess, and `of_weight`
    times the mean difference of the weights of common links, not divided by the size of genomes.
    """
    found = aligned(graph, genome, other)
    num_common = jnp.sum(found.has_link)
    num_own = num_links(genome) + num_links(other) - 2 * num_common
    apart = jnp.abs(genome.weight.astype(jnp.float32) - found.weight.astype(jnp.float32))
    mean = jnp.sum(jnp.where(found.has_link, apart, 0)) / jnp.maximum(num_common, 1)
    return of_gene * num_own + of_weight * mean


AVERAGED = 0.4
"""Share of crossovers that average the weights of common links, of floats."""
STAYS_OFF = 0.75
"""Probability that a link is off in a child if it is off in one of the parents."""


def crossed(graph: Graph, key: Key, fitter: Genome, other: Genome) -> Genome:
    """Return a child with the topology of the fitter parent, and common genes from either."""
    found = aligned(graph, fitter, other)
    shape = fitter.weight.shape
    drawn = draws.uniforms(key, shape, shape, shape, found.gain.shape)
    from_other = found.has_link & (drawn[0] < 0.5)
    weight = jnp.where(from_other, found.weight, fitter.weight)
    if graph.is_float:
        mean = jnp.where(found.has_link, (fitter.weight + found.weight) / 2, fitter.weight)
        weight = jnp.where(drawn[1] < AVERAGED, mean, weight)
    is_off = found.has_link & ~(fitter.is_on & found.is_on)
    stays_off = is_off & (drawn[2] < STAYS_OFF)
    is_on = jnp.where(found.has_link, ~stays_off, fitter.is_on)
    of_other = found.has_node & (drawn[3] < 0.5)
    return fitter._replace(
        weight=weight,
        is_on=is_on,
        gain=jnp.where(of_other, found.gain, fitter.gain),
        function=jnp.where(of_other, found.function, fitter.function),
    )


# ------------------------------------------------------------------------ what can be added


class Candidates(NamedTuple):
    """Where a genome can grow.

    Attributes:
      split: links that a new node can split.
      forward: places for a link that closes no circle.
      circle: places for a link that closes one.
    """

    split: Bool[Array, "sources nodes"]
    forward: Bool[Array, "sources nodes"]
    circle: Bool[Array, "sources nodes"]


def candidates(graph: Graph, genome: Genome) -> Candidates:
    """Return where a genome can grow: with a limit of depth, no link closes a circle.

    Links that are off count too, as they may be turned on.
    """
    topology, first = graph.topology, graph.first
    has_link, is_used = genome.innovation > 0, nodes_in_use(graph, genome)
    exists = jnp.concatenate([jnp.ones(first, bool), is_used])[:, None] & is_used
    is_free = exists & ~has_link
    circles = jnp.concatenate(
        [jnp.zeros((first, topology.num_nodes), bool), _reaches(graph, genome).T]
    )
    not_bias = (jnp.arange(topology.num_sources) != topology.num_inputs)[:, None]
    split = has_link & genome.is_on & not_bias & jnp.any(genome.node == 0)
    forward = is_free & ~circles
    if topology.max_depth is None:
        return Candidates(split, forward, is_free & circles)
    before, after = _depths(graph, genome)
    through = jnp.concatenate([jnp.zeros(first, jnp.int32), before])[:, None] + 1 + after
    split = split & (through < topology.max_depth)
    return Candidates(split, forward & (through <= topology.max_depth), jnp.zeros_like(forward))


def _reaches(graph: Graph, genome: Genome) -> Bool[Array, "nodes nodes"]:
    """Return whether links lead from a node [row] to another [column], or to itself by no link."""
    size = graph.topology.num_nodes
    reaches = (genome.innovation[graph.first :] > 0) | jnp.eye(size, dtype=bool)
    for _ in range(max(size - 1, 1).bit_length()):  # each square doubles the number of links
        steps = reaches.astype(jnp.float32)
        reaches = steps @ steps > 0
    return reaches


def _depths(graph: Graph, genome: Genome) -> tuple[Int[Array, " nodes"], Int[Array, " nodes"]]:
    """Return the most links on a way that ends at each node, and on one that begins there."""
    from_obs = jnp.any(genome.innovation[: graph.first] > 0, 0).astype(jnp.int32)
    between = genome.innovation[graph.first :] > 0
    before, after = from_obs, jnp.zeros_like(from_obs)
    for _ in range(graph.topology.max_depth or 0):
        longer = jnp.max(jnp.where(between & (before > 0)[:, None], before[:, None] + 1, 0), 0)
        before = jnp.maximum(from_obs, longer)
        after = jnp.max(jnp.where(between, after + 1, 0), 1)
    return before, after


class Growth(NamedTuple):
    """What a genome adds: a node, if `is_node`, in place of a link, or, if `is_link`, a link.

    Attributes:
      is_node: whether it is a node.
      is_link: whether it is a link.
      source: slot of the link that is split or added.
      target: slot of its target.
    """

    is_node: Bool[Array, "*population"]
    is_link: Bool[Array, "*population"]
    source: Int32[Array, "*population"]
    target: Int32[Array, "*population"]


def history_of(graph: Graph, genome: Genome, growth: Growth) -> Int32[Array, "3"]:
    """Return numbers that are equal for equal mutations, also if their slots differ.

    A node is told by the link that it splits, a link by the ids of its ends.
    """
    outputs = jnp.arange(graph.topology.num_outputs, dtype=jnp.int32)
    of_nodes = jnp.concatenate([-1 - outputs, genome.node])  # hidden ids are above 0
    of_inputs = -1 - graph.topology.num_outputs - jnp.arange(graph.first, dtype=jnp.int32)
    ids = jnp.concatenate([of_inputs, of_nodes])
    split = genome.innovation[growth.source, growth.target]
    first = jnp.where(growth.is_node, split, ids[growth.source])
    second = jnp.where(growth.is_node, 0, of_nodes[growth.target])
    kind = jnp.where(growth.is_node, 1, jnp.where(growth.is_link, 2, 0))
    return jnp.stack([kind, *(jnp.where(kind > 0, x, 0) for x in (first, second))])


class New(NamedTuple):
    """What is new of a genome that grows.

    Attributes:
      node: id of the node.
      number: innovation number of the link, or of the link into the node; the one out of it has
        the next.
      weight: of the link.
      gain: logarithm of the gain of the node, of trits.
      function: number of the function of the node.
    """

    node: Int32[Array, "*population"]
    number: Int32[Array, "*population"]
    weight: Shaped[Array, "*population"]
    gain: Int8[Array, "*population"]
    function: Int8[Array, "*population"]


def grown(graph: Graph, genome: Genome, growth: Growth, new: New) -> Genome:
    """Return a genome with the node or link that it adds, at a candidate.

    With a gain of 1, numbers go through a new node unchanged, if they are in its range, so that the
    score is not lower at once.
    """
    at = growth.source, growth.target
    linked = genome._replace(
        innovation=genome.innovation.at[at].set(new.number),
        weight=genome.weight.at[at].set(new.weight),
        is_on=genome.is_on.at[at].set(True),
    )
    free = jnp.argmax(genome.node == 0)
    slot = graph.topology.num_outputs + free
    into, out = (growth.source, slot), (graph.first + slot, growth.target)
    unit = 2.0**-graph.topology.start_gain if graph.is_float else 1
    split = Genome(
        genome.node.at[free].set(new.node),
        genome.innovation.at[into].set(new.number).at[out].set(new.number + 1),
        genome.weight.at[into].set(unit).at[out].set(genome.weight[at]),
        genome.is_on.at[at].set(False).at[into].set(True).at[out].set(True),
        genome.gain.at[slot].set(new.gain),
        genome.function.at[slot].set(new.function),
    )
    return jax.tree.map(
        lambda old, a, b: jnp.where(growth.is_node, a, jnp.where(growth.is_link, b, old)),
        genome,
        split,
        linked,
    )
