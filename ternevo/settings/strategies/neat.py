"""`--strategy neat`: evolves the topology of a graph with its weights."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, FRACTION, NOT_NEGATIVE, SHARE, at_least, option
from ternevo.settings.policies.settings import WeightName
from ternevo.settings.strategies.evolution import Evolution


@dataclasses.dataclass(frozen=True)
class NEAT(Evolution):
    """Topologies and weights of `--policy graph`, in species (Stanley, Miikkulainen 2002).

    The defaults are those of the original for XOR.
    """

    built_by: ClassVar[str] = "ternevo.strategies.from_settings:neat"
    searches: ClassVar[tuple[WeightName, ...]] = ("ternary", "float")

    population_size: int = option(150, at_least(2), costs_memory=True)
    """Number of members per generation, at least 2."""
    add_node_rate: float = option(0.03, FRACTION, is_data=True)
    """Share of mutations that split a link by a new hidden node."""
    add_link_rate: float = option(0.05, FRACTION, is_data=True)
    """Share of the other mutations that add a link."""
    circle_share: float = option(0.0, FRACTION, is_data=True)
    """Share of new links that close a circle; a graph with --update feed_forward has none."""
    weight_rate: float = option(0.9, FRACTION, is_data=True)
    """Share of the mutations that leave the topology alone that change weights."""
    weight_power: float = option(2.5, NOT_NEGATIVE, shortens_steps=True, is_data=True)
    """Largest change of a weight in a mutation; float weights only."""
    weight_limit: float = option(8.0, NOT_NEGATIVE, is_data=True)
    """Largest size of a weight; float weights only."""
    redraws: float = option(1.0, NOT_NEGATIVE, is_data=True)
    """Expected number of trits that a mutation of weights redraws; ternary weights only."""
    gain_rate: float = option(0.5, FRACTION, is_data=True)
    """Share of the mutations that leave the topology alone that double or halve the gain of a
    node; ternary weights only."""
    function_rate: float = option(0.1, FRACTION, is_data=True)
    """Share of the mutations that leave the topology alone that draw the function of a node anew;
    only for --policy hyperneat, and graph with several --node_functions."""
    toggle_rate: float = option(0.0, FRACTION, is_data=True)
    """Share of these mutations that turn a link on or off."""
    enable_rate: float = option(0.0, FRACTION, is_data=True)
    """Share of these mutations that turn on the oldest link that is off."""
    crossover_share: float = option(0.75, FRACTION, is_data=True)
    """Share of children that have two parents; the others are mutated copies."""
    interspecies_rate: float = option(0.001, FRACTION, is_data=True)
    """Share of second parents from another species."""
    survival_ratio: float = option(0.2, SHARE, is_data=True)
    """Share of a species that may become parents."""
    species_threshold: float = option(3.0, NOT_NEGATIVE, is_data=True)
    """Distance from the first member of a species at which another species begins."""
    gene_distance: float = option(1.0, NOT_NEGATIVE, is_data=True)
    """Distance for each link that only one of two members has."""
    weight_distance: float = option(0.4, NOT_NEGATIVE, is_data=True)
    """Distance for each unit of the mean difference of weights of common links."""
    max_species: int = option(32, COUNT, costs_memory=True)
    """Largest number of species; 1 turns speciation off. Further members join the nearest one."""
    target_species: int = option(10, NOT_NEGATIVE)
    """Number of species towards which the threshold moves by a tenth a generation; 0 keeps it."""
    same_gene: Literal["history", "slot"] = "history"
    """What makes links of two members the same: history, their innovation numbers; or slot, only
    where they are in memory, which turns the alignment of the original off, to compare."""
    stagnation: int = option(15, COUNT)
    """Generations without progress after which a species has hardly any children."""
