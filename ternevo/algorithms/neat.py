"""NEAT: evolution of topologies in species (Stanley and Miikkulainen 2002), vectorised.

Every member of a generation is a child of the last one. Children are told apart into species by
the distance of their genomes, and a species gets children in proportion to the mean score of its
members. Constants and rules are those of the authors' C++ code, version 1.2, but:

- A score is a return minus the least return of the generation, as returns may be negative.
- A population without progress goes on as it is, instead of with its two best species.
- A node that splits a link passes numbers on unchanged; of trits, every second one is steeper.
- Among equal scores, chance decides who is fitter; integers have equal scores often.
- Trits are redrawn, and a node has a gain of 2**k that is mutated by itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from ternevo.algorithms import draws, genomes
from ternevo.algorithms.genomes import Genome, Graph, Growth, New
from ternevo.arithmetic.ternary import WeightName
from ternevo.machine import devices
from ternevo.settings.strategies.neat import NEAT
from ternevo.types import Key, Metrics, Params, Policy, Search

STALE_SHARE = 0.01
"""A species without progress gets this share of its children, unless it is the best one."""
ELITE_FROM = 5
"""A species with more children than this keeps its best member unchanged."""
UNCHANGED = 0.2
"""Share of crossovers that are not mutated too."""
LOWEST = -1e30
"""Below any score; not infinite, as a state must stay finite."""
THRESHOLD_FACTOR, LEAST_THRESHOLD = 1.1, 0.3
"""How the threshold moves towards a number of species, and where it stops."""


class Species(NamedTuple):
    """The species, each in a slot; a slot whose species died out is free.

    Attributes:
      first: the genome to which others are compared.
      is_alive: whether there is a species.
      best: its best score ever.
      stale: generations since then.
    """

    first: Genome
    is_alive: Bool[Array, " species"]
    best: Float32[Array, " species"]
    stale: Int32[Array, " species"]


class State(NamedTuple):
    """The last generation that was scored, and what its children need.

    Attributes:
      population: its members.
      score: their returns; higher is better.
      species_of: the slot of the species of each.
      species: all species.
      threshold: the distance at which another species begins.
      next_node: the id of the next new node.
      next_number: the next innovation number.
      champion: the best member, which ships.
      is_first: whether no generation was scored yet.
    """

    population: Genome
    score: Float32[Array, " population"]
    species_of: Int32[Array, " population"]
    species: Species
    threshold: Float32[Array, ""]
    next_node: Int32[Array, ""]
    next_number: Int32[Array, ""]
    champion: Genome
    is_first: Bool[Array, ""]


def search(
    settings: NEAT, policy: Policy, weights: WeightName
) -> tuple[Search, Callable[[Genome], Params]]:
    """Return the search over genomes, and what turns a genome into params.

    Args:
      settings: its settings; numbers may be traced.
      policy: a graph.
      weights: the kind of its weights.

    Raises:
      ValueError: the policy is not a graph.
    """
    if policy.topology is None:
        raise ValueError(
            "--strategy neat searches the topology of a graph; add --policy graph, or use another "
            "strategy, such as ternary_ga, for a network of layers"
        )
    graph = Graph(policy.topology, weights == "float", settings.same_gene == "history")

    def init(key: Key) -> State:
        return _start(settings, graph, policy, key)

    def ask(key: Key, state: State) -> tuple[Genome, State]:
        children, asked = jax.lax.cond(
            state.is_first,
            lambda: (state.population, state),
            lambda: _children(settings, graph, key, state),
        )
        return devices.replicated(children), asked

    def tell(key: Key, population: Genome, fitness: jax.Array, state: State) -> State:
        del key
        return _told(settings, graph, population, -fitness, state)

    found = Search(
        init,
        ask,
        tell,
        lambda state: state.champion,
        lambda state: _metrics(graph, state),
        settings.population_size,
        "NEAT",
    )
    return found, lambda genome: genomes.to_params(graph, genome)


def _start(settings: NEAT, graph: Graph, policy: Policy, key: Key) -> State:
    """Return the state before the first generation, whose members the policy draws."""
    size, slots = settings.population_size, settings.max_species
    drawn = jax.vmap(policy.init)(jax.random.split(key, size))
    population = jax.vmap(lambda params: genomes.from_params(graph, params))(drawn)
    champion = jax.tree.map(lambda x: x[0], population)
    species = Species(
        jax.tree.map(lambda x: jnp.repeat(x[None], slots, 0), champion),
        jnp.zeros(slots, bool),
        jnp.full(slots, LOWEST),
        jnp.zeros(slots, jnp.int32),
    )
    return State(
        population,
        jnp.zeros(size),
        jnp.zeros(size, jnp.int32),
        species,
        jnp.asarray(settings.species_threshold, jnp.float32),
        jnp.asarray(graph.topology.num_hidden + 1, jnp.int32),
        jnp.asarray(graph.topology.num_sources * graph.topology.num_nodes + 1, jnp.int32),
        champion,
        jnp.asarray(True),
    )


def _metrics(graph: Graph, state: State) -> Metrics:
    links = jax.vmap(genomes.num_links)(state.population)
    return {
        "search/species": jnp.sum(state.species.is_alive),
        "search/threshold": state.threshold,
        "search/hidden": jnp.mean(jnp.sum(state.population.node > 0, 1)),
        "search/links": jnp.mean(links),
        "search/champion_hidden": jnp.sum(state.champion.node > 0),
        "search/champion_links": jnp.sum(
            state.champion.is_on & (state.champion.weight != 0) & (state.champion.innovation > 0)
        ),
    }


# ------------------------------------------------------------------------------- speciation


def _told(
    settings: NEAT, graph: Graph, population: Genome, score: jax.Array, state: State
) -> State:
    """Return the state after a generation was scored."""
    species_of = speciate(settings, graph, population, state.species, state.threshold)
    species = _updated(settings, population, score, species_of, state.species)
    towards = jnp.sign(jnp.sum(species.is_alive) - settings.target_species)
    moved = state.threshold * THRESHOLD_FACTOR ** towards.astype(jnp.float32)
    moved = jnp.maximum(moved, LEAST_THRESHOLD)
    return state._replace(
        population=population,
        score=score,
        species_of=species_of,
        species=species,
        threshold=moved if settings.target_species else state.threshold,
        champion=jax.tree.map(lambda x: x[jnp.argmax(score)], population),
        is_first=jnp.asarray(False),
    )


def speciate(
    settings: NEAT, graph: Graph, population: Genome, species: Species, threshold: jax.Array
) -> Int32[Array, " population"]:
    """Return the species of each member: the first one whose first member is near enough.

    The first member that belongs nowhere begins a species in a free slot. Without a free slot, all
    that are left join the species that is nearest.
    """
    order = jnp.argsort(~species.is_alive, stable=True)
    size = settings.population_size
    far = jnp.full(size, jnp.inf)

    def is_going_on(carry: tuple) -> jax.Array:
        return (carry[0] < settings.max_species) & jnp.any(carry[1] < 0)

    def visit(carry: tuple) -> tuple:
        at, found, nearest, least = carry
        slot = order[at]
        begins = jnp.argmax(found < 0)
        is_new = ~species.is_alive[slot]
        first = jax.tree.map(
            lambda old, new: jnp.where(is_new, new[begins], old[slot]), species.first, population
        )
        apart = jax.vmap(
            lambda genome: genomes.distance(
                graph, genome, first, settings.gene_distance, settings.weight_distance
            )
        )(population)
        joins = (apart < threshold) | (is_new & (jnp.arange(size) == begins))
        return (
            at + 1,
            jnp.where((found < 0) & joins, slot, found),
            jnp.where(apart < least, slot, nearest),
            jnp.minimum(apart, least),
        )

    nobody = jnp.full(size, -1, jnp.int32)
    start = (jnp.zeros((), jnp.int32), nobody, jnp.zeros(size, jnp.int32), far)
    _, found, nearest, _ = jax.lax.while_loop(is_going_on, visit, start)
    return jnp.where(found < 0, nearest, found)


def _updated(
    settings: NEAT, population: Genome, score: jax.Array, species_of: jax.Array, species: Species
) -> Species:
    """Return the species after a generation; one without members is no more."""
    is_member = species_of == jnp.arange(settings.max_species)[:, None]
    is_alive = jnp.any(is_member, 1)
    first = jnp.argmax(is_member, 1)
    now = jnp.max(jnp.where(is_member, score, LOWEST), 1)
    before = jnp.where(species.is_alive & is_alive, species.best, LOWEST)
    stale = jnp.where(now > before, 0, species.stale + 1)
    return Species(
        jax.tree.map(lambda x: x[first], population), is_alive, jnp.maximum(now, before), stale
    )


# ---------------------------------------------------------------------------- reproduction


def num_children(
    score: jax.Array, species_of: jax.Array, species: Species, stagnation: int
) -> Int32[Array, " species"]:
    """Return how many children each species has: in proportion to its mean score.

    Args:
      score: the returns of all members.
      species_of: the species of each.
      species: all species.
      stagnation: generations without progress after which a species counts as stale.
    """
    size, slots = score.size, species.stale.size
    span = jnp.max(score) - jnp.min(score)
    above = jnp.where(span > 0, (score - jnp.min(score)) / jnp.where(span > 0, span, 1), 1.0)
    is_member = species_of == jnp.arange(slots)[:, None]
    members = jnp.sum(is_member, 1)
    mean = jnp.sum(jnp.where(is_member, above, 0), 1) / jnp.maximum(members, 1)
    freshest = jnp.lexsort((species.stale, -species.best, ~species.is_alive))[0]
    is_stale = (species.stale > stagnation) & (jnp.arange(slots) != freshest)
    mean = jnp.where(is_stale, STALE_SHARE * mean, mean)
    total = jnp.sum(mean)
    shares = jnp.where(total > 0, mean / jnp.where(total > 0, total, 1), members / size)
    return _in_proportion(shares, size)


def _in_proportion(shares: jax.Array, size: int) -> Int32[Array, " species"]:
    """Return whole numbers in proportion to shares, which sum to `size`: largest remainders."""
    exact = shares * size
    whole = jnp.floor(exact).astype(jnp.int32)
    rank = jnp.argsort(jnp.argsort(whole - exact))
    return whole + (rank < size - jnp.sum(whole))


class Parents(NamedTuple):
    """The parents of each child: places in the population, the fitter one first.

    Attributes:
      fitter: the fitter parent, or the only one.
      other: the other one.
      is_crossed: whether there are two.
      is_kept: whether the child is its parent, unchanged.
    """

    fitter: Int32[Array, " population"]
    other: Int32[Array, " population"]
    is_crossed: Bool[Array, " population"]
    is_kept: Bool[Array, " population"]


def parents(settings: NEAT, key: Key, state: State) -> Parents:
    """Draw the parents of all children; among equal scores, chance decides who is fitter.

    Integers have equal scores often, and a rule such as the smaller genome would stop growth.
    """
    size, species = settings.population_size, state.species
    drawn_of = draws.uniforms(key, *[(size,)] * 7)
    counts = num_children(state.score, state.species_of, species, settings.stagnation)
    ends = jnp.cumsum(counts)
    slot = jnp.searchsorted(ends, jnp.arange(size), side="right")
    place = jnp.arange(size) - (ends - counts)[slot]
    order = jnp.lexsort((drawn_of[6], -state.score, state.species_of))
    members = jnp.sum(state.species_of == jnp.arange(counts.size)[:, None], 1)
    starts = jnp.cumsum(members) - members
    allowed = jnp.floor(settings.survival_ratio * members).astype(jnp.int32) + 1
    allowed = jnp.minimum(allowed, members)

    def drawn(uniform: jax.Array) -> jax.Array:
        rank = jnp.floor(uniform * allowed[slot]).astype(jnp.int32)
        return order[starts[slot] + jnp.minimum(rank, allowed[slot] - 1)]

    is_kept = (place == 0) & (counts[slot] > ELITE_FROM)
    first = jnp.where(is_kept, order[starts[slot]], drawn(drawn_of[0]))
    stranger = order[starts[state.species_of[draws.below(drawn_of[1], size)]]]
    is_strange = drawn_of[2] < settings.interspecies_rate
    second = jnp.where(is_strange, stranger, drawn(drawn_of[3]))
    is_crossed = ~is_kept & (drawn_of[4] < settings.crossover_share)
    better = state.score[second] - state.score[first]
    is_second = (better > 0) | ((better == 0) & (drawn_of[5] < 0.5))
    is_second = is_second & is_crossed
    return Parents(
        jnp.where(is_second, second, first),
        jnp.where(is_second, first, second),
        is_crossed,
        is_kept,
    )


def _children(settings: NEAT, graph: Graph, key: Key, state: State) -> tuple[Genome, State]:
    """Return the next generation, and the state with the numbers of what is new in it."""
    size, keys = settings.population_size, jax.random.split(key, 5)
    drawn = parents(settings, keys[0], state)
    fitter, other = (
        jax.tree.map(lambda x, at=at: x[at], state.population) for at in (drawn.fitter, drawn.other)
    )
    crossed = jax.vmap(lambda *pair: genomes.crossed(graph, *pair))(
        jax.random.split(keys[1], size), fitter, other
    )
    children = _where(drawn.is_crossed, crossed, fitter)
    is_plain = drawn.is_crossed & (drawn.fitter != drawn.other)
    is_plain = is_plain & (jax.random.uniform(keys[2], (size,)) < UNCHANGED)
    is_mutated = ~drawn.is_kept & ~is_plain
    growth = jax.vmap(lambda *own: _growth(settings, graph, *own))(
        jax.random.split(keys[3], size), children, is_mutated
    )
    rank = same_history(jax.vmap(lambda *own: genomes.history_of(graph, *own))(children, growth))
    key_new, key_change = jax.random.split(keys[4])
    new = _new(graph, key_new, size)._replace(
        node=state.next_node + rank, number=state.next_number + 2 * rank
    )
    grown = jax.vmap(lambda *own: genomes.grown(graph, *own))(children, growth, new)
    changed = jax.vmap(lambda *own: _changed(settings, graph, *own))(
        jax.random.split(key_change, size), children
    )
    is_grown = growth.is_node | growth.is_link
    children = _where(is_grown, grown, _where(is_mutated, changed, children))
    count = jnp.max(jnp.where(is_grown, rank + 1, 0))
    return children, state._replace(
        next_node=state.next_node + count,
        next_number=state.next_number + 2 * count,
    )


def _where(mask: jax.Array, one: Genome, other: Genome) -> Genome:
    """Return members of one population where the mask says so, and of the other elsewhere."""
    return jax.tree.map(
        lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), one, other
    )


def same_history(history: Int32[Array, "population 3"]) -> Int32[Array, " population"]:
    """Return a number from 0 for each different row, the same for equal rows.

    Rows that begin with 0 stand for no mutation; they get some number too.
    """
    order = jnp.lexsort((history[:, 2], history[:, 1], -history[:, 0]))
    rows = history[order]
    is_next = jnp.any(rows[1:] != rows[:-1], 1).astype(jnp.int32)
    rank = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(is_next)])
    return jnp.zeros_like(rank).at[order].set(rank)


# -------------------------------------------------------------------------------- mutations


def _growth(
    settings: NEAT, graph: Graph, key: Key, genome: Genome, is_mutated: jax.Array
) -> Growth:
    """Draw what a genome adds, if anything."""
    (drawn,) = draws.uniforms(key, (4,))
    found = genomes.candidates(graph, genome)
    to_add = drawn[0] < settings.add_node_rate
    to_link = ~to_add & (drawn[1] < settings.add_link_rate)
    places = jnp.where(drawn[2] < settings.circle_share, found.circle, found.forward)
    allowed = jnp.where(to_add, found.split, places)
    at = draws.place(drawn[3], allowed.ravel())
    source, target = jnp.unravel_index(at, allowed.shape)
    is_possible = is_mutated & jnp.any(allowed)
    return Growth(
        is_possible & to_add,
        is_possible & to_link,
        source.astype(jnp.int32),
        target.astype(jnp.int32),
    )


def _new(graph: Graph, key: Key, size: int) -> New:
    """Draw the weights of new links, and the functions and gains of new nodes.

    A gain is 1, or that of a new output.
    """
    drawn = draws.uniforms(key, *[(size,)] * 3)
    none = jnp.zeros(size, jnp.int32)
    function = _functions(graph, drawn[2])
    if graph.is_float:
        gain = jnp.full(size, graph.topology.start_gain, jnp.int8)
        return New(none, none, 2 * drawn[0] - 1, gain, function)
    gain = jnp.where(drawn[1] < 0.5, graph.topology.start_gain, 0).astype(jnp.int8)
    return New(none, none, draws.sign(drawn[0]), gain, function)


def _functions(graph: Graph, uniform: jax.Array) -> jax.Array:
    """Return the number of a function for each uniform number."""
    return draws.below(uniform, max(1, len(graph.topology.functions))).astype(jnp.int8)


def _changed(settings: NEAT, graph: Graph, key: Key, genome: Genome) -> Genome:
    """Return a genome with other weights, gains or links that are on, and the same topology."""
    keys = jax.random.split(key)
    (drawn,) = draws.uniforms(keys[0], (10,))
    has_link = genome.innovation > 0
    change = _changed_floats if graph.is_float else _redrawn_trits
    weight = jnp.where(has_link, change(settings, keys[1], genome), genome.weight)
    weight = jnp.where(drawn[0] < settings.weight_rate, weight, genome.weight)
    node = draws.place(drawn[1], genomes.nodes_in_use(graph, genome))
    gain, function = genome.gain, genome.function
    if not graph.is_float:
        moved = gain.at[node].add(draws.sign(drawn[2]))
        moved = jnp.clip(moved, genomes.MIN_GAIN, genomes.MAX_GAIN)
        gain = jnp.where(drawn[3] < settings.gain_rate, moved, gain)
    if graph.topology.functions:
        at = draws.place(drawn[4], genomes.nodes_in_use(graph, genome))
        other = function.at[at].set(_functions(graph, drawn[5]))
        function = jnp.where(drawn[6] < settings.function_rate, other, function)
    return genome._replace(
        weight=weight, gain=gain, function=function, is_on=_turned(settings, drawn[7:], genome)
    )


def _turned(settings: NEAT, drawn: jax.Array, genome: Genome) -> jax.Array:
    """Return which links are on, after one was turned on or off and the oldest one was turned on.

    Args:
      settings: the rates.
      drawn: three uniform numbers.
      genome: whose links.
    """
    is_on, flat = genome.is_on.ravel(), genome.innovation.ravel() > 0
    place = draws.place(drawn[0], flat)
    toggled = is_on.at[place].set(~is_on[place])
    is_on = jnp.where(drawn[1] < settings.toggle_rate, toggled, is_on)
    oldest = jnp.argmin(
        jnp.where(flat & ~is_on, genome.innovation.ravel(), jnp.iinfo(jnp.int32).max)
    )
    enabled = is_on.at[oldest].set(is_on[oldest] | flat[oldest])
    is_on = jnp.where(drawn[2] < settings.enable_rate, enabled, is_on)
    return is_on.reshape(genome.is_on.shape)


def _changed_floats(settings: NEAT, key: Key, genome: Genome) -> jax.Array:
    """Return changed weights: half of the genomes change severely, in the others all weights move.

    A severe change moves 70% of the weights and draws 20% anew. If it is not severe, the newest
    fifth of ten or more links behaves as 50% and 20%.
    """
    shape, power = genome.weight.shape, settings.weight_power
    severe, drawn, by = draws.uniforms(key, (), shape, shape)
    is_severe, by = severe < 0.5, 2 * by - 1
    numbers = jnp.sort(genome.innovation.ravel())
    count = genomes.num_links(genome)
    newest = numbers[numbers.size - jnp.maximum(count // 5, 1)]
    is_new = (genome.innovation >= newest) & (count >= 10)
    moves = jnp.where(is_severe, 0.7, jnp.where(is_new, 0.5, 1.0))
    stays = jnp.where(is_severe, 0.1, jnp.where(is_new, 0.3, 0.0))
    moved = jnp.where(drawn < moves, genome.weight + power * by, power * by)
    weight = jnp.where(drawn >= 1 - stays, genome.weight, moved)
    return jnp.clip(weight, -settings.weight_limit, settings.weight_limit)


def _redrawn_trits(settings: NEAT, key: Key, genome: Genome) -> jax.Array:
    """Return trits of which an expected number became another one of the three."""
    drawn, signs = draws.uniforms(key, genome.weight.shape, genome.weight.shape)
    is_redrawn = drawn * jnp.maximum(genomes.num_links(genome), 1) < settings.redraws
    step = draws.sign(signs)
    other = (genome.weight + 1 + step) % 3 - 1  # one of the two others, each with probability 1/2
    return jnp.where(is_redrawn, other, genome.weight).astype(jnp.int8)
