"""Members as lists of seeds: the key of a first network, and the keys of the mutations since.

The weights of a member are made of its list again whenever they are needed. So the state of a
search, its checkpoints and what devices send each other are as large for a million weights as for
ten. The price is time: a list is replayed from its start, and grows by a key in each generation.

References:
  Such et al., "Deep Neuroevolution: Genetic Algorithms are a Competitive Alternative for Training
  Deep Neural Networks for Reinforcement Learning", 2017, section 3.1: theta^n is theta^(n-1) plus
  noise of the seed tau_n, and theta^0 is drawn of tau_0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from ternevo.types import Key, Params


class Genomes(NamedTuple):
    """How the members of a search are written down.

    Attributes:
      first: maps a key to a random member.
      mutated: maps a key and a member to a child.
      weights: maps a member to its params.
    """

    first: Callable[[Key], Any]
    mutated: Callable[[Key, Any], Any]
    weights: Callable[[Any], Params]


class Seeds(NamedTuple):
    """A member: its first `length` keys [generations] are its ancestry, the rest means nothing."""

    keys: Key
    length: Int32[Array, "*members"]


def seed_lists(plain: Genomes, num_generations: int) -> Genomes:
    """Return members of another form as lists of seeds.

    Args:
      plain: the same members as params, which are made by the same keys.
      num_generations: the room of a list; a member of generation g, from 0, has up to g + 1 keys,
        and a longer one would lose its last.
    """

    def first(key: Key) -> Seeds:
        return Seeds(jnp.broadcast_to(key, (num_generations,)), jnp.ones((), jnp.int32))

    def mutated(key: Key, parent: Seeds) -> Seeds:
        return Seeds(parent.keys.at[parent.length].set(key), parent.length + 1)

    def weights(member: Seeds) -> Params:
        def mutate(i: jax.Array, params: Params) -> Params:
            return plain.mutated(member.keys[i], params)

        return jax.lax.fori_loop(1, member.length, mutate, plain.first(member.keys[0]))

    return Genomes(first, mutated, weights)
