"""The shared types of ternevo: interfaces, each a tuple of pure functions, and their records.

Interfaces and records are `NamedTuple`s, the states of evosax algorithms are
flax dataclasses, as evosax requires, and configuration is a frozen dataclass. This module
does not import any other module of the package.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int8, Int32, Shaped, UInt8, UInt32

Key = jax.Array
"""A PRNG key, `jax.random.key(seed)`. Use each key only once."""

Memory = Any
"""A pytree that a policy carries from step to step, such as hidden units; `()` for an MLP."""

Task = Any
"""A pytree that describes the task of an episode; `()` if the environment has only one task."""

EnvState = Any
"""The state of one environment, a pytree."""

State = Any
"""The state of a strategy, a pytree."""

Leaf = Any
"""An array in a flax dataclass; not type-checked, as JAX rebuilds these with placeholders."""

Number = float | Float[Array, ""]
"""A number of the settings: a Python number, or a traced scalar of a compiled program."""

Metrics = dict[str, jax.Array]
"""Scalars under "group/name" keys, the same keys in every generation."""

LEFT_OUT = "search/left_out"
"""The metric that is 1 if a generation's update was not finite and was therefore skipped."""


class Tensor(NamedTuple):
    """One weight or bias tensor of a policy; it stands for `values * 2**-exponent`.

    In a ternary policy `values` are int8 trits in {-1, 0, +1}; in a binary policy they are
    int8 in {-1, +1}. The float twin holds float32 values and exponent 0. There is either a single
    exponent or one per entry of the last axis, that is, per output of a layer.
    """

    values: Shaped[Array, "*shape"]
    exponent: Int8[Array, "*population_and_outputs"]


Params = Any
"""A pytree of `Tensor`s. All its arrays are int8, except in a float twin."""


class ObservationMoments(NamedTuple):
    """How often each component of an observation was finite so far, and its moments.

    They hold the standard deviation, not the variance, because the variance leaves the range of
    float32 at deviations of 1e-19 and 1e19.
    """

    count: Float32[Array, "*batch obs"]
    mean: Float32[Array, "*batch obs"]
    deviation: Float32[Array, "*batch obs"]


class PolicyParams(NamedTuple):
    """What a strategy would ship: int8 weights, and the moments for the observation quantiser."""

    weights: Params
    moments: ObservationMoments


ObsKind = Literal["floats", "integers", "bits", "pixels", "planes"]
"""How observations become integers; see `ObsSpec`."""


class ObsSpec(NamedTuple):
    """The observations of an environment: flat float32 vectors of `size` numbers.

    Attributes:
      shape: the shape to which a policy may reshape the vector, such as (27,) or (10, 10, 4).
      kind: how observations become integers (`arithmetic.observation.freeze`). "floats" and
        "bits", 0 or 1, are scaled by their moments. The other kinds need none: "integers" in
        [-127, 127] stay as they are, and 128 is subtracted from "pixels" of 0 to 255. "planes" are
        bits that stay 0 or 1, because the policy wants them so (`PolicySettings.sees`).
    """

    shape: tuple[int, ...]
    kind: ObsKind = "floats"

    @property
    def size(self) -> int:
        """Return the number of components."""
        return math.prod(self.shape)


class ActionSpec(NamedTuple):
    """The actions of an environment.

    `discrete`: an int32 scalar in [0, size). `continuous`: a float32 vector of
    length `size`, with bounds `low` and `high` for each component.
    """

    kind: Literal["discrete", "continuous"]
    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Timestep(NamedTuple):
    """The result of a step: `terminated` by the task, `truncated` by the time limit.

    `reward` counts towards the return. `feedback` is the reward that a policy is told, and defaults
    to `reward`. `is_first` says whether an inner episode begins with this observation, and
    defaults to False.
    """

    obs: Float[Array, "*batch obs"]
    reward: Float[Array, "*batch"]
    terminated: Shaped[Array, "*batch"]
    truncated: Shaped[Array, "*batch"]
    feedback: Float[Array, "*batch"] | None = None
    is_first: Shaped[Array, "*batch"] | None = None


def no_task(key: Key) -> Task:
    """Return the task of an environment with only one task."""
    del key
    return ()


class Examples(NamedTuple):
    """Labelled examples behind a one-step environment: the reward is 1 for the right label.

    The last `num_test` examples are held out for testing; the others are for training. The state
    of the environment is the index of the example. Inputs may be held as bytes, as the 60,000
    images of MNIST would take 188 MB as floats.
    """

    inputs: Float32[Array, "examples obs"] | UInt8[Array, "examples obs"]
    labels: Int32[Array, " examples"]
    num_test: int

    def shown(self, index: Int32[Array, ""]) -> Float32[Array, " obs"]:
        """Return an input as an observation."""
        return self.inputs[index].astype(np.float32)


class Host(NamedTuple):
    """A simulator outside JAX, see `ternevo/host`.

    Attributes:
      suite: its suite.
      name: its name in the suite.
      num_workers: number of processes that simulate when a population is scored.
    """

    suite: str
    name: str
    num_workers: int


class Descriptor(NamedTuple):
    """How an episode went, as numbers by which a diversity search tells behaviours apart.

    Attributes:
      names: what the numbers mean, with units.
      low: their least values; what is below counts as this.
      high: their largest values.
      of: maps the last state of an episode to the numbers, float32 [size]. What counts steps, such
        as shares of contacts, is added up in the state.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    of: Callable[[EnvState], jax.Array]

    @property
    def size(self) -> int:
        """Return how many numbers they are."""
        return len(self.low)


class TaskSpace(NamedTuple):
    """Tasks that are vectors of numbers, so that a search for environments can change them.

    `Env.reset` takes any such vector, float32 [size], as its task.

    Attributes:
      names: what the numbers mean, with units.
      low: their least values, which are the easiest.
      high: their largest values.
      start: an easy task to begin at.
      step: by how much a mutation changes each number at most.
      id_of: returns the id under which `envs.make` makes the environment with one task; None if
        there is no such id.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    start: tuple[float, ...]
    step: tuple[float, ...]
    id_of: Callable[[Sequence[float]], str] | None = None

    @property
    def size(self) -> int:
        """Return how many numbers a task has."""
        return len(self.low)


Tells = Literal["rewards", "labels"]
"""What an environment tells of a step: what it was worth, or what was right."""


class Env(NamedTuple):
    """An environment as pure functions, without auto-reset. See `ternevo.envs.make`.

    `reset(key, task)` begins an episode of a task drawn by `draw_task(key)`. `examples` is set
    if an episode is a single labelled example, so that no episode loop is needed. `host` is set if
    the simulator is outside JAX; `reset` and `step` then call out of the program. `wrappers`
    describes the wrappers around the environment, in the form that a policy file stores.

    `obs_names` and `action_names` say what the numbers mean, with units where there are any, such
    as "pole angle (rad)"; `()` where nobody has said. There is a name for each component of an
    observation, or, if it has several axes, one for each entry of the last axis (the channels of
    an image); and a name for each discrete action, or each component of a continuous one.
    `descriptor` says how an episode went, for searches for diversity; None if nobody has said.
    `task_space` is set if tasks are vectors of numbers that a search may choose. `tells` says what
    `Timestep.feedback` is: rewards, or the right values of what a policy predicts.
    """

    id: str
    obs: ObsSpec
    action: ActionSpec
    episode_length: int
    reset: Callable[[Key, Task], tuple[EnvState, jax.Array]]
    step: Callable[[Key, EnvState, jax.Array], tuple[EnvState, Timestep]]
    draw_task: Callable[[Key], Task] = no_task
    examples: Examples | None = None
    host: Host | None = None
    wrappers: str = ""
    obs_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    descriptor: Descriptor | None = None
    task_space: TaskSpace | None = None
    tells: Tells = "rewards"


class Packing(NamedTuple):
    """How a rollout holds params: `pack(params)`, one for each `together` episodes of a member."""

    pack: Callable[[Params], Any]
    together: int


class Inputs(NamedTuple):
    """The inputs of a policy at a step.

    Attributes:
      obs: integers in [-127, 127] held in float32, in the shape of `ObsSpec`.
      feedback: the reward of the previous step, if the policy is told it; 0 at the first step.
      is_first: whether an episode begins, including one within a lifetime.
    """

    obs: Float[Array, "*shape"]
    feedback: Float[Array, ""]
    is_first: Bool[Array, ""]


class Topology(NamedTuple):
    """What a search over topologies needs to know of a policy that is a graph.

    Sources of links are the observations, a bias that is always on, and the nodes; targets are the
    nodes, of which the first are the outputs and the others hidden.

    Attributes:
      num_inputs: number of observations.
      num_outputs: number of outputs.
      num_hidden: largest number of hidden nodes.
      max_depth: largest number of links from an observation to an output, without circles; None
        if links may form circles, because nodes remember.
      start_gain: the logarithm of the gain of a new output, or of any node of a float policy. A
        number goes through a node with a gain of 2**0 and a link of weight 1 unchanged.
      params: maps the weights [sources, nodes], 0 where there is no link, the logarithms int8
        [nodes] of the gains of nodes, and the numbers int8 [nodes] of their functions to params. A
        float policy has no gains and ignores them.
      links: the inverse of `params`.
      functions: names of the functions that a node may compute; empty if all compute the same.
      input_names: names of the observations; empty if they are those of the environment.
    """

    num_inputs: int
    num_outputs: int
    num_hidden: int
    max_depth: int | None
    start_gain: int
    params: Callable[[Array, Array, Array], Params]
    links: Callable[[Params], tuple[Array, Array, Array]]
    functions: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()

    @property
    def num_nodes(self) -> int:
        """Number of outputs and hidden nodes."""
        return self.num_outputs + self.num_hidden

    @property
    def num_sources(self) -> int:
        """Number of observations, the bias and all nodes."""
        return self.num_inputs + 1 + self.num_nodes


class Inheritance(NamedTuple):
    """How children inherit what a policy learned in its life.

    Attributes:
      learned: maps the memory at the end of a life to one vector, [weights].
      write: maps params and such a vector to params that begin with it, of the same dtypes.
    """

    learned: Callable[[Memory], Array]
    write: Callable[[Params, Array], Params]


class Policy(NamedTuple):
    """A policy as pure functions.

    `init(key)` draws a random network, `reset(params, key)` gives the memory at the start of an
    episode, `apply(params, memory, inputs)` returns the new memory and the raw output (see
    `arithmetic.actions`). `packing(num_episodes)` says how to run that many episodes of each member
    fast: `pack` computes once what depends only on the params. `reset` and `apply` also accept
    packed params, and return the same results for them. `memory_scale` is the full scale of the
    numbers in the memory; a learner divides by it what it shows to a critic. `encoder()`
    returns a function from params and a quantiser, both of NumPy arrays, to the bytes of a policy
    file, which does not call JAX; None if the policy has no such file. `topology` is set if the
    policy is a graph whose links can be searched. `credit(memory)` is what the memory at the end of
    an episode is worth to a member, beside the return, while a population is scored in JAX; None
    for nothing. `inheritance` is set if params have a place for what a life learns.
    """

    init: Callable[[Key], Params]
    reset: Callable[[Params, Key], Memory]
    apply: Callable[[Params, Memory, Inputs], tuple[Memory, jax.Array]]
    packing: Callable[[int], Packing] = lambda episodes: Packing(lambda params: params, episodes)
    memory_scale: float = 1.0
    encoder: Callable[[], Callable[[Params, Any], bytes]] | None = None
    topology: Topology | None = None
    credit: Callable[[Memory], jax.Array] | None = None
    inheritance: Inheritance | None = None


def no_memory(params: Params, key: Key) -> Memory:
    """Return the memory of a policy without memory."""
    del params, key
    return ()


class Population(NamedTuple):
    """Members to score: params with a leading population axis, and their arrangement.

    Attributes:
      params: [population, ...]; for `problems.of_keys` the keys [population] that they come from.
      pairs_are_adjacent: whether members 2 i and 2 i + 1 form an antithetic pair; otherwise
        members i and i + population / 2 do.
      is_spread: whether each device of the mesh holds only its own members.
    """

    params: Params
    pairs_are_adjacent: bool = False
    is_spread: bool = False


class StepCount(NamedTuple):
    """The number `high * 2**32 + low`, elementwise, as devices have only 32-bit integers."""

    low: UInt32[Array, "*batch"]
    high: UInt32[Array, "*batch"]


class Scores(NamedTuple):
    """The results of a population.

    Attributes:
      returns: the return of each episode, which is maximised.
      lengths: the number of steps of each episode.
      moments: the moments of the observations of all episodes.
      steps: the number of environment steps taken.
      descriptors: the mean `Descriptor` of the episodes of each member, if there is one.
      learned: what each member learned in the first of its episodes, see `Inheritance`; None if it
        was not kept.
    """

    returns: Float[Array, "population episodes"]
    lengths: Int32[Array, "population episodes"]
    moments: ObservationMoments
    steps: StepCount
    descriptors: Float[Array, "population size"] | None = None
    learned: Shaped[Array, "population weights"] | None = None


class Problem(NamedTuple):
    """The problem on which a population is scored.

    Attributes:
      obs: the observations that policies see.
      evaluate: maps a key, a population, the moments of observations so far and the number of
        completed generations to scores.
      test: maps a key, the params and the frozen quantiser of one policy, and a number of
        episodes to scores [1, episodes], whose moments mean nothing, on episodes that `evaluate`
        does not use. A further argument says how many of the episodes to run; it may be traced,
        so that one program serves several numbers.
      is_steady: whether scores of different generations are comparable.
      num_tests: the number of episodes that `test` runs whatever it is asked for; 0 if it does as
        it is asked.
    """

    obs: ObsSpec
    evaluate: Callable[[Key, Population, ObservationMoments, jax.Array], Scores]
    test: Callable[..., Scores]
    is_steady: bool = True
    num_tests: int = 0


class Search(NamedTuple):
    """A complete ask-and-tell search over solutions: evosax, or any other population-based search.

    Attributes:
      init: maps a key to a state.
      ask: maps a key and a state to a population of solutions [population, ...] and the state.
      tell: maps a key, that population, its fitness [population] (which is minimised) and the
        state returned by `ask` to the next state.
      solution: maps a state to the solution that it would ship.
      metrics: maps a state to the metrics of the search.
      population_size: the number of members in a population.
      name: the name used in messages.
      pairs_are_adjacent: see `Population`.
      is_spread: returns whether populations are spread, see `Population`. It is called while a
        generation is traced, as it depends on the mesh.
      remembers_fitness: whether the state keeps fitness across generations, as archives do.
    """

    init: Callable[[Key], Any]
    ask: Callable[[Key, Any], tuple[Any, Any]]
    tell: Callable[[Key, Any, jax.Array, Any], Any]
    solution: Callable[[Any], Any]
    metrics: Callable[[Any], Metrics]
    population_size: int
    name: str
    pairs_are_adjacent: bool = False
    is_spread: Callable[[], bool] = lambda: False
    remembers_fitness: bool = True


class Archive(NamedTuple):
    """The best member found for each cell of a space of behaviours; arrays [cells, ...].

    Attributes:
      members: params; those of empty cells mean nothing.
      fitness: mean return of each, far below any return in empty cells.
      descriptors: the behaviour of each.
      is_occupied: whether a cell has a member.
      centres: the middle of each cell.
    """

    members: Params
    fitness: Float32[Array, "*cells"]
    descriptors: Float32[Array, "*cells_and_size"]
    is_occupied: Bool[Array, "*cells"]
    centres: Float32[Array, "*cells_and_size"]


class Kept(NamedTuple):
    """How to read the archive that a strategy keeps, and what the numbers in it mean.

    Attributes:
      read: maps a state to the archive.
      names: what the numbers of `Archive.descriptors` mean, with units.
      low: their least values.
      high: their largest values.
      id_of: returns the id of the environment of a member's numbers, if each has one of its own.
    """

    read: Callable[[State], Archive]
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    id_of: Callable[[Sequence[float]], str] | None = None


class Strategy(NamedTuple):
    """Any method that `--strategy` names, evolutionary or gradient-based, as the loop sees it.

    Attributes:
      init: maps a key to a state. It also takes what `numbers` returns, as further arguments.
      step: maps the key of a generation and a state to the next state and metrics.
      params: maps a state to the policy that would ship.
      numbers: returns the numbers of the settings that are data of the compiled program: nothing,
        or one pytree; see `ternevo/strategies/numbered.py`. `init` without them has constants.
      archive: the archive that a run also saves; None if there is none.
    """

    init: Callable[..., State]
    step: Callable[[Key, State], tuple[State, Metrics]]
    params: Callable[[State], PolicyParams]
    numbers: Callable[[], tuple[Any, ...]] = tuple
    archive: Kept | None = None


class Layout(NamedTuple):
    """The structure, shapes and dtypes of a pytree; pytrees with equal layouts can be swapped."""

    structure: Any
    leaves: tuple[str, ...]

    def __str__(self) -> str:
        """Return the dtype and shape of each leaf, and the structure around them if any."""
        words = ", ".join(self.leaves)
        is_leaf = self.structure == jax.tree.structure(0)
        return words if is_leaf else f"{self.structure} of {words or 'nothing'}"


def layout(tree: Any) -> Layout:
    """Return the layout of a pytree of arrays, without using `==` or `str` of its nodes."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple(f"{x.dtype}{list(x.shape)}" for x in leaves))


class Buffer(NamedTuple):
    """A large part of a strategy's state that is not shipped, such as a replay buffer.

    It is not copied when a policy is read, and may differ between devices. A checkpoint may omit
    it. With several seeds each has its own.
    """

    data: Any


def is_buffer(node: Any) -> bool:
    """Return whether a node of a pytree is a `Buffer`, for `jax.tree.map`."""
    return isinstance(node, Buffer)


class Best(NamedTuple):
    """The policy with the highest mean return in an evaluation so far, with its generation.

    With several seeds, each array has an axis of seeds.
    """

    policy: PolicyParams
    generation: Int32[Array | np.ndarray, "*seeds"]
    mean_return: Float32[Array | np.ndarray, "*seeds"]


class TrainState(NamedTuple):
    """Everything a resumed run needs. `generation` is the number of finished generations.

    `best` is kept by `ternevo.training.evaluation`; None in a loop without evaluations.
    """

    key: Key
    generation: Int[Array, ""]
    strategy: State
    best: Best | None = None
