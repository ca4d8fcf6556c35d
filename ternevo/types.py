"""What flows through ternevo: three nouns, each a tuple of pure functions, and their records.

Behaviour and records are `NamedTuple`s, the states of evosax algorithms are
flax dataclasses as evosax wants them, configuration is a frozen dataclass. This module
imports no other module of the package.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Float, Float32, Int, Int8, Shaped

Key = jax.Array
"""A PRNG key, `jax.random.key(seed)`. A key is used once."""

Memory = Any
"""What a policy remembers within an episode, a pytree; `()` for an MLP."""

EnvState = Any
"""The state of one environment, a pytree."""

State = Any
"""The state of a strategy, a pytree."""

Leaf = Any
"""An array in a flax dataclass; JAX rebuilds those with placeholders, so it is not type-checked."""

Metrics = dict[str, jax.Array]
"""Scalars under "group/name" keys, the same keys in every generation."""

LEFT_OUT = "search/left_out"
"""The metric that is 1 where a generation's update was not finite, and so was left out."""


class Tensor(NamedTuple):
    """One weight or bias tensor of a policy; it stands for `values * 2**-exponent`.

    In a ternary policy `values` are int8 trits in {-1, 0, +1} and in a binary
    one int8 in {-1, +1}. The float twin holds float32 values and exponent 0. There is one exponent,
    or one for each place of the last axis: for each output of a layer.
    """

    values: Shaped[Array, "*shape"]
    exponent: Int8[Array, "*population_and_outputs"]


Params = Any
"""A pytree whose nodes are `Tensor`s: everything in it is int8, unless it is a float twin."""


class ObservationMoments(NamedTuple):
    """How often each component of an observation was finite so far, and its moments.

    The standard deviation and not its square, which leaves float32's range at 1e-19 and 1e19.
    """

    count: Float32[Array, "*batch obs"]
    mean: Float32[Array, "*batch obs"]
    deviation: Float32[Array, "*batch obs"]


class PolicyParams(NamedTuple):
    """What would be shipped: int8 weights, and the moments that the observation quantiser uses."""

    weights: Params
    moments: ObservationMoments


class ActionSpec(NamedTuple):
    """What an environment accepts.

    `discrete`: an int32 scalar in [0, size). `continuous`: a float32 vector of
    length `size` between `low` and `high`, given for each component.
    """

    kind: Literal["discrete", "continuous"]
    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Timestep(NamedTuple):
    """What a step returns: `terminated` by the task, `truncated` by the time limit."""

    obs: Float[Array, "*batch obs"]
    reward: Float[Array, "*batch"]
    terminated: Shaped[Array, "*batch"]
    truncated: Shaped[Array, "*batch"]


class Env(NamedTuple):
    """An environment as two pure functions, without auto-reset. See `ternevo.envs.make`."""

    id: str
    obs_size: int
    action: ActionSpec
    episode_length: int
    reset: Callable[[Key], tuple[EnvState, jax.Array]]
    step: Callable[[Key, EnvState, jax.Array], tuple[EnvState, Timestep]]


class Packing(NamedTuple):
    """How a rollout holds params: `pack(params)`, one for each `together` episodes of a member."""

    pack: Callable[[Params], Any]
    together: int


class Policy(NamedTuple):
    """A policy as pure functions.

    `init` draws a random network, `reset` gives the memory at the start of an
    episode, `apply` maps (params, memory, observation integers) to the new
    memory and the raw output (see `ternevo.arithmetic.actions`). `packing` says how to run
    some episodes of each member fast: `pack` works out once what depends on the
    params only. `apply` takes packed params as well, and returns the same.
    """

    init: Callable[[Key], Params]
    reset: Callable[[], Memory]
    apply: Callable[[Params, Memory, jax.Array], tuple[Memory, jax.Array]]
    packing: Callable[[int], Packing] = lambda episodes: Packing(lambda params: params, episodes)


class Strategy(NamedTuple):
    """Whatever `--strategy` names, evolution and gradients alike; all that the loop knows."""

    init: Callable[[Key], State]
    step: Callable[[Key, State], tuple[State, Metrics]]
    params: Callable[[State], PolicyParams]


class Layout(NamedTuple):
    """What a pytree is built of; where two are equal, a loop can go on with either."""

    structure: Any
    leaves: tuple[str, ...]

    def __str__(self) -> str:
        """Return dtype and shape of the leaves, with the structure around them if there is any."""
        words = ", ".join(self.leaves)
        is_leaf = self.structure == jax.tree.structure(0)
        return words if is_leaf else f"{self.structure} of {words or 'nothing'}"


def layout(tree: Any) -> Layout:
    """Return the layout of a pytree of arrays, whose nodes need no `==` and no text for it."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple(f"{x.dtype}{list(x.shape)}" for x in leaves))


class TrainState(NamedTuple):
    """All that a resumed run needs. `generation` counts the finished generations."""

    key: Key
    generation: Int[Array, ""]
    strategy: State
