"""A graph of action values that learns them within its life, by Q-learning in its memory.

Whiteson and Stone 2006. A node computes a tanh of its sum times a gain, an output the sum itself,
and an output times `q_scale` is the value of an action. Actions are greedy. Each step corrects the
value of the step before by its temporal difference, with the reward and the observation that
followed. Where an episode begins, the one before has ended, and its last value is the reward.

What is learned lives in the memory, so `--lifetime` decides for how long, and params never change.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int8, Int32, Shaped

from ternevo.settings.policies.q_learner import QLearner
from ternevo.types import ActionSpec, Inputs, Key, ObsSpec, Params, Policy, Tensor, Topology

FULL_SCALE = 127
"""The integer of an observation that is 1."""


class Learned(NamedTuple):
    """The numbers of a graph, all of which may be learned.

    Attributes:
      weight: of the links, from observations, a bias and nodes.
      gain: logarithms of the gains of nodes to base 2.
      bias: of nodes.
    """

    weight: Float32[Array, "sources nodes"]
    gain: Float32[Array, " nodes"]
    bias: Float32[Array, " nodes"]


class Life(NamedTuple):
    """What a learner remembers.

    Attributes:
      learned: its numbers now.
      trace: how much each of them had to do with the values of the last steps.
      obs: the observation before.
      action: what it did there.
      is_alive: whether there was one.
      count: steps so far.
    """

    learned: Learned
    trace: Learned
    obs: Float32[Array, " obs"]
    action: Int32[Array, ""]
    is_alive: Bool[Array, ""]
    count: Int32[Array, ""]


class Sizes(NamedTuple):
    """The numbers of observations, actions and nodes."""

    obs: int
    actions: int
    nodes: int


def build(settings: QLearner, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and `action.size` actions.

    Raises:
      ValueError: actions are continuous.
    """
    if action.kind != "discrete":
        raise ValueError(
            "--policy q_learner has a value for each action, and actions are continuous; use "
            "--policy graph"
        )
    sizes = Sizes(obs.size, action.size, action.size + settings.max_hidden)
    topology = _topology(settings, sizes)

    def reset(params: Params, key: Key) -> Life:
        del key
        weight, gain, _ = topology.links(params)
        learned = Learned(
            weight.astype(jnp.float32), gain.astype(jnp.float32), jnp.zeros(sizes.nodes)
        )
        nothing = jax.tree.map(jnp.zeros_like, learned)
        zero = jnp.zeros((), jnp.int32)
        return Life(learned, nothing, jnp.zeros(sizes.obs), zero, jnp.asarray(False), zero)

    def apply(params: Params, memory: Life, inputs: Inputs) -> tuple[Life, jax.Array]:
        is_free = _may_learn(settings, topology, params)
        seen = inputs.obs.ravel() / FULL_SCALE
        life = corrected(settings, sizes, memory, is_free, (seen, inputs))
        found = values(settings, sizes, life.learned, seen)
        acted = life._replace(
            obs=seen,
            action=jnp.argmax(found).astype(jnp.int32),
            is_alive=jnp.asarray(True),
            count=life.count + 1,
        )
        return acted, found

    return Policy(lambda key: _start(settings, sizes, key), reset, apply, topology=topology)


def values(
    settings: QLearner, sizes: Sizes, learned: Learned, seen: Float[Array, " obs"]
) -> Float[Array, " actions"]:
    """Return the values of all actions, divided by `q_scale`."""
    first = sizes.obs + 1
    given = seen @ learned.weight[: sizes.obs] + learned.weight[sizes.obs]
    nodes, is_output = jnp.zeros(sizes.nodes), jnp.arange(sizes.nodes) < sizes.actions
    for _ in range(settings.max_depth):
        sums = given + nodes @ learned.weight[first:]
        sums = sums * jnp.exp2(learned.gain) + learned.bias
        nodes = jnp.where(is_output, sums, jnp.tanh(sums))
    return nodes[: sizes.actions]


def corrected(
    settings: QLearner,
    sizes: Sizes,
    life: Life,
    is_free: Learned,
    now: tuple[jax.Array, Inputs],
) -> Life:
    """Return a life in which the value of the last step is nearer to what followed.

    Args:
      settings: of the policy.
      sizes: of the graph.
      life: before.
      is_free: 1 for the numbers that may change, else 0.
      now: the observation that followed, and all inputs.
    """
    seen, inputs = now
    if settings.learns == "nothing":
        return life
    value, slope = jax.value_and_grad(
        lambda learned: values(settings, sizes, learned, life.obs)[life.action]
    )(life.learned)
    after = jnp.max(values(settings, sizes, life.learned, seen))
    target = inputs.feedback / settings.q_scale
    target = target + settings.q_discount * jnp.where(inputs.is_first, 0.0, after)
    rate = jnp.where(life.is_alive, settings.q_rate, 0.0)
    if settings.q_steps:
        rate = rate * jnp.maximum(0.0, 1 - life.count / settings.q_steps)
    decay = settings.q_discount * settings.q_trace
    trace = jax.tree.map(lambda old, new: decay * old + new, life.trace, slope)
    step = rate * (target - value)
    learned = jax.tree.map(lambda x, own, free: x + step * own * free, life.learned, trace, is_free)
    kept = jnp.where(inputs.is_first | ~life.is_alive, 0.0, 1.0)
    return life._replace(learned=learned, trace=jax.tree.map(lambda x: x * kept, trace))


def inherited(topology: Topology, params: Params, life: Life) -> Params:
    """Return params with the weights that a life learned, for Lamarckian evolution of floats.

    Raises:
      ValueError: weights are trits; what a life learns of them has no place in params.
    """
    weight, gain, function = topology.links(params)
    if not jnp.issubdtype(weight.dtype, jnp.floating):
        raise ValueError(
            "only floats are inherited: a life with --weights ternary learns gains and biases, "
            "which its params have no place for"
        )
    return topology.params(life.learned.weight, gain, function)


def _may_learn(settings: QLearner, topology: Topology, params: Params) -> Learned:
    """Return 1 for what learning may change: links that are there, or gains and biases."""
    weight, gain, _ = topology.links(params)
    of_links = (weight != 0).astype(jnp.float32) * (settings.learns == "weights")
    of_nodes = jnp.full(gain.shape, float(settings.learns == "gains"))
    return Learned(of_links, of_nodes, of_nodes)


def _start(settings: QLearner, sizes: Sizes, key: Key) -> Params:
    """Draw a graph in which observations are linked to outputs, and nothing else."""
    shape = sizes.obs, sizes.actions
    if settings.weights == "float":
        drawn = 0.1 * jax.random.normal(key, shape)
    else:
        drawn = jax.random.randint(key, shape, -1, 2).astype(jnp.float32)
    weight = jnp.zeros((sizes.obs + 1 + sizes.nodes, sizes.nodes))
    weight = weight.at[: sizes.obs, : sizes.actions].set(drawn)
    zeros = jnp.zeros(sizes.nodes, jnp.int8)
    return _topology(settings, sizes).params(weight, zeros, zeros)


def _topology(settings: QLearner, sizes: Sizes) -> Topology:
    is_float = settings.weights == "float"

    def params(
        matrix: Shaped[Array, "sources nodes"],
        gain: Int8[Array, " nodes"],
        function: Int8[Array, " nodes"],
    ) -> Params:
        del function  # all hidden nodes compute the same
        exponent = jnp.zeros((), jnp.int8) if is_float else (-gain).astype(jnp.int8)
        dtype = jnp.float32 if is_float else jnp.int8
        return ({"weight": Tensor(matrix.astype(dtype), exponent)},)

    def links(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
        matrix, exponent = params[0]["weight"]
        zeros = jnp.zeros(sizes.nodes, jnp.int8)
        return matrix, zeros if is_float else (-exponent).astype(jnp.int8), zeros

    hidden = sizes.nodes - sizes.actions
    return Topology(sizes.obs, sizes.actions, hidden, settings.max_depth, 0, params, links)
