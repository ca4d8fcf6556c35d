"""What flows through ternevo: nouns, each a tuple of pure functions, and their records.

Behaviour and records are `NamedTuple`s, the states of evosax algorithms are
flax dataclasses as evosax wants them, configuration is a frozen dataclass. This module
imports no other module of the package.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Float32, Int, Int8, Int32, Shaped, UInt32

Key = jax.Array
"""A PRNG key, `jax.random.key(seed)`. A key is used once."""

Memory = Any
"""What a policy carries from step to step, a pytree, such as hidden units; `()` for an MLP."""

Task = Any
"""What one episode of a family of tasks is about, a pytree; `()` where there is one task only."""

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


class ObsSpec(NamedTuple):
    """What an environment shows: a flat float32 vector of `size` numbers, and what they mean.

    Attributes:
      shape: how a policy may look at the vector, such as (27,) or (10, 10, 4).
      kind: which integers a policy is shown (`arithmetic.observation.freeze`). "floats" are scaled
        by their moments; the others need none: "integers" in [-127, 127] as they are, "bits" 0 or
        1 as 0 or 127, "pixels" 0 to 255 less 128.
    """

    shape: tuple[int, ...]
    kind: Literal["floats", "integers", "bits", "pixels"] = "floats"

    @property
    def size(self) -> int:
        """Return the number of components."""
        return math.prod(self.shape)


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
    """What a step returns: `terminated` by the task, `truncated` by the time limit.

    `reward` is what counts. `feedback` is the reward that a policy is told of, and `is_first` says
    that an inner episode begins with this observation; without them they are the reward and False.
    """

    obs: Float[Array, "*batch obs"]
    reward: Float[Array, "*batch"]
    terminated: Shaped[Array, "*batch"]
    truncated: Shaped[Array, "*batch"]
    feedback: Float[Array, "*batch"] | None = None
    is_first: Shaped[Array, "*batch"] | None = None


def no_task(key: Key) -> Task:
    """Return the task of an environment that has one task only."""
    del key
    return ()


class Examples(NamedTuple):
    """Labelled examples behind an environment of one step: the reward is 1 for the right label.

    The first are for training; the last `num_test` are kept back for tests. The state of the
    environment is the index of the example.
    """

    inputs: Float32[Array, "examples obs"]
    labels: Int32[Array, " examples"]
    num_test: int


class Env(NamedTuple):
    """An environment as pure functions, without auto-reset. See `ternevo.envs.make`.

    `reset(key, task)` begins an episode of a task that `draw_task(key)` drew. `examples` are
    there where an episode is one labelled example, so that no episode loop is needed. `wrappers`
    says what is around it, as a policy file has it.
    """

    id: str
    obs: ObsSpec
    action: ActionSpec
    episode_length: int
    reset: Callable[[Key, Task], tuple[EnvState, jax.Array]]
    step: Callable[[Key, EnvState, jax.Array], tuple[EnvState, Timestep]]
    draw_task: Callable[[Key], Task] = no_task
    examples: Examples | None = None
    wrappers: str = ""


class Packing(NamedTuple):
    """How a rollout holds params: `pack(params)`, one for each `together` episodes of a member."""

    pack: Callable[[Params], Any]
    together: int


class Inputs(NamedTuple):
    """What a policy takes in at a step.

    Attributes:
      obs: integers in [-127, 127] held in float32, in the shape of `ObsSpec`.
      feedback: the reward of the step before, as far as a policy is told of it; 0 at first.
      is_first: whether an episode begins, also one inside a lifetime.
    """

    obs: Float[Array, "*shape"]
    feedback: Float[Array, ""]
    is_first: Bool[Array, ""]


class Policy(NamedTuple):
    """A policy as pure functions.

    `init(key)` draws a random network, `reset(params, key)` gives the memory at the start of an
    episode, `apply(params, memory, inputs)` returns the new memory and the raw output (see
    `arithmetic.actions`). `packing` says how to run some episodes of each member fast: `pack`
    works out once what depends on the params only. `reset` and `apply` take packed params as
    well, and return the same.
    """

    init: Callable[[Key], Params]
    reset: Callable[[Params, Key], Memory]
    apply: Callable[[Params, Memory, Inputs], tuple[Memory, jax.Array]]
    packing: Callable[[int], Packing] = lambda episodes: Packing(lambda params: params, episodes)


def no_memory(params: Params, key: Key) -> Memory:
    """Return the memory of a policy that remembers nothing."""
    del params, key
    return ()


class Population(NamedTuple):
    """Members to be scored: params with a leading population axis, and how they are arranged.

    Attributes:
      params: [population, ...].
      pairs_are_adjacent: whether the members 2 i and 2 i + 1 are an antithetic pair, or else
        i and i + population / 2.
      is_spread: whether each device of the mesh holds its own members only.
    """

    params: Params
    pairs_are_adjacent: bool = False
    is_spread: bool = False


class StepCount(NamedTuple):
    """The number `high * 2**32 + low`, element by element: devices have integers of 32 bits."""

    low: UInt32[Array, "*batch"]
    high: UInt32[Array, "*batch"]


class Scores(NamedTuple):
    """What the members of a population did.

    Attributes:
      returns: what is maximised, of each episode.
      lengths: steps of each episode.
      moments: of the observations of all episodes.
      steps: environment steps that this took.
      descriptors: [population, ...], what a search for diversity tells members apart by.
    """

    returns: Float[Array, "population episodes"]
    lengths: Int32[Array, "population episodes"]
    moments: ObservationMoments
    steps: StepCount
    descriptors: Array | None = None


class Problem(NamedTuple):
    """What a population is scored on.

    Attributes:
      obs: what policies are shown.
      evaluate: from a key, a population, the moments of observations so far and the number of
        generations done to scores.
      test: from a key, the params and the frozen quantiser of one policy and a number of
        episodes to scores [1, episodes], on episodes kept apart from those of `evaluate`.
      is_steady: whether scores of different generations can be compared.
    """

    obs: ObsSpec
    evaluate: Callable[[Key, Population, ObservationMoments, jax.Array], Scores]
    test: Callable[[Key, Params, Any, int], Scores]
    is_steady: bool = True


class Search(NamedTuple):
    """Ask and tell over solutions, complete: evosax, or anything else that proposes populations.

    Attributes:
      init: from a key to a state.
      ask: from a key and a state to a population of solutions [population, ...] and the state.
      tell: from a key, that population, its fitness [population] (which is minimised) and the
        state that `ask` returned to the next state.
      solution: from a state to the solution that it would ship.
      metrics: from a state to metrics of its own.
      population_size: members of a population.
      name: for messages.
      pairs_are_adjacent: see `Population`.
      is_spread: see `Population`.
      remembers_fitness: whether the state keeps fitness over generations, as archives do.
    """

    init: Callable[[Key], Any]
    ask: Callable[[Key, Any], tuple[Any, Any]]
    tell: Callable[[Key, Any, jax.Array, Any], Any]
    solution: Callable[[Any], Any]
    metrics: Callable[[Any], Metrics]
    population_size: int
    name: str
    pairs_are_adjacent: bool = False
    is_spread: bool = False
    remembers_fitness: bool = True


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


class Buffer(NamedTuple):
    """A large part of a strategy's state that is not shipped, such as a replay buffer.

    It is neither copied to read a policy nor made equal on all devices, a checkpoint may leave it
    out, and it belongs to one seed: `across_seeds` refuses several.
    """

    data: Any


def is_buffer(node: Any) -> bool:
    """Return whether a node of a pytree is a `Buffer`, for `jax.tree.map`."""
    return isinstance(node, Buffer)


class TrainState(NamedTuple):
    """All that a resumed run needs. `generation` counts the finished generations."""

    key: Key
    generation: Int[Array, ""]
    strategy: State
