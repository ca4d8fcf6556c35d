"""What ternevo is measured against: evosax, the physics alone, the forward pass alone, memory.

Lanes are population x episodes. Work that splits over members is split over all
devices, like our own evaluation; evosax runs as its users would run it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ternevo.arithmetic.observation import Quantiser
from ternevo.bench.cases import Evaluation, LoopBesideEvosax
from ternevo.bench.contest import CaseError, Contestant
from ternevo.bench.measure import compiled
from ternevo.envs.brax import quiet
from ternevo.rollouts.lanes import begin_episode
from ternevo.rollouts.population import choose_lanes
from ternevo.types import ActionSpec, Env, Inputs, Key, Params, Policy


class Job(NamedTuple):
    """The inputs of our evaluation of a population."""

    policy: Policy
    env: Env
    weights: Params
    quantiser: Quantiser
    keys: Key

    @property
    def population_size(self) -> int:
        """Return the number of members."""
        return jax.tree.leaves(self.weights)[0].shape[0]


NUM_DRAWN = 32
"""Number of steps of random actions, which are then reused: drawing them is not physics."""

MEMBERS = PartitionSpec("population")


def split_over_devices(
    function: Callable, population_size: int, in_specs: Any, out_specs: Any
) -> Any:
    """Return the jitted `function`, split over as many devices as divide the population evenly.

    Args:
      function: works on any number of rows, which are independent.
      population_size: total number of members.
      in_specs: `MEMBERS` for arguments whose rows are members, or equal groups of members.
      out_specs: the same for results.
    """
    mesh = _mesh(population_size)
    split = partial(jax.shard_map, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return jax.jit(split(function, check_vma=False))


def _mesh(population_size: int) -> Mesh:
    count = math.gcd(population_size, jax.device_count())
    return Mesh(np.array(jax.devices()[:count]), ("population",))


def placed(rows: Any, population_size: int) -> Any:
    """Put each member on its device: in training, members are drawn where they are evaluated."""
    return jax.device_put(rows, NamedSharding(_mesh(population_size), MEMBERS))


def physics(job: Job, num_steps: int) -> Contestant:
    """Return the environment alone: `num_steps` random actions in each lane, no policy.

    Groups of members run one after another, each as large as in our evaluation. Lanes do not
    stop at the end of an episode.
    """
    size, num_episodes = job.population_size, job.keys.shape[1]
    at_once = _members_at_once(job)
    env = job.env
    drawn = _draw_actions(env.action, (NUM_DRAWN, at_once, num_episodes))

    def group(number: jax.Array, keys: Key, drawn: jax.Array) -> tuple:
        # Each group gets different keys, or the compiler might run one group for all.
        keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        return _step_randomly(env, num_steps, keys, drawn)

    def run_groups(numbers: jax.Array, keys: Key, drawn: jax.Array) -> tuple:
        return jax.lax.map(lambda number: group(number, keys, drawn), numbers)

    nothing = PartitionSpec()
    function = split_over_devices(run_groups, size, (MEMBERS, nothing, nothing), MEMBERS)
    arguments = jnp.arange(size // at_once), job.keys[0], drawn
    contestant = compiled("physics", function, *arguments, run=lambda: function(*arguments))
    return contestant._replace(env_steps=size * num_episodes * num_steps)


def _members_at_once(job: Job) -> int:
    """Return the number of members a device runs at once: as in our evaluation, in equal groups."""
    num_episodes = job.keys.shape[1]
    here = job.population_size // _mesh(job.population_size).size
    fitting = max(1, choose_lanes(job.policy, job.env, num_episodes) // num_episodes)
    return max(size for size in range(1, min(fitting, here) + 1) if here % size == 0)


def _draw_actions(action: ActionSpec, shape: tuple[int, ...]) -> jax.Array:
    key = jax.random.key(0)
    if action.kind == "discrete":
        return jax.random.randint(key, shape, 0, action.size)
    low, high = jnp.asarray(action.low), jnp.asarray(action.high)
    return jax.random.uniform(key, (*shape, action.size), minval=low, maxval=high)


def _step_randomly(env: Env, num_steps: int, keys: Key, drawn: jax.Array) -> tuple:
    """Return the last observations and the sums of rewards, so that both are computed."""
    members = drawn.shape[1]
    env_state, obs = jax.vmap(partial(begin_episode, env))(keys)
    env_state, obs = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (members, *x.shape)), (env_state, obs)
    )
    step_all = jax.vmap(jax.vmap(env.step), (None, 0, 0))

    def step(count: jax.Array, carry: tuple) -> tuple:
        env_state, _, rewards = carry
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, count))(keys)
        env_state, timestep = step_all(step_keys, env_state, drawn[count % NUM_DRAWN])
        return env_state, timestep.obs, rewards + timestep.reward

    rewards = jnp.zeros((members, keys.shape[0]))
    _, obs, rewards = jax.lax.fori_loop(0, num_steps, step, (env_state, obs, rewards))
    return obs, rewards


def forward(job: Job, num_steps: int) -> Contestant:
    """Return the policy alone: `num_steps` forward passes in each lane, on fixed observations.

    As many members run at once as in our evaluation, packed in the same way.
    """
    size, num_episodes = job.population_size, job.keys.shape[1]
    at_once = _members_at_once(job)
    shape = at_once, num_episodes, job.env.obs.size
    obs = jax.random.randint(jax.random.key(0), shape, -127, 128).astype(jnp.float32)
    apply_often = partial(_apply_often, job.policy, num_steps)

    def run_groups(weights: Params, obs: jax.Array) -> jax.Array:
        groups = jax.tree.map(lambda x: x.reshape(-1, at_once, *x.shape[1:]), weights)
        return jax.lax.map(lambda group: apply_often(group, obs), groups)

    function = split_over_devices(run_groups, size, (MEMBERS, PartitionSpec()), MEMBERS)
    arguments = job.weights, obs
    contestant = compiled("forward", function, *arguments, run=lambda: function(*arguments))
    return contestant._replace(env_steps=size * num_episodes * num_steps)


def _apply_often(policy: Policy, num_steps: int, weights: Params, obs: jax.Array) -> jax.Array:
    """Return the sums of outputs."""
    packed = jax.vmap(policy.packing(obs.shape[1]).pack)(weights)
    apply_all = jax.vmap(jax.vmap(policy.apply, (None, 0, 0)))
    keys = jax.random.split(jax.random.key(0), obs.shape[:2])
    memory = jax.vmap(jax.vmap(policy.reset, (None, 0)))(packed, keys)
    told = jnp.zeros(obs.shape[:2]), jnp.zeros(obs.shape[:2], bool)

    def step(count: jax.Array, carry: tuple) -> tuple:
        memory, total = carry
        # The sign alternates, or the compiler would compute the outputs once, before the loop.
        inputs = Inputs(jnp.where(count % 2, obs, -obs), *told)
        memory, output = apply_all(packed, memory, inputs)
        return memory, total + output

    _, outputs = jax.eval_shape(apply_all, packed, memory, Inputs(obs, *told))
    start = memory, jnp.zeros(outputs.shape, outputs.dtype)
    return jax.lax.fori_loop(0, num_steps, step, start)[1]


def memory_read(num_bytes: int) -> Contestant:
    """Return a sum over an array of `num_bytes`, which measures the memory bandwidth."""
    count = jax.device_count()
    function = split_over_devices(lambda x: jnp.sum(x, axis=1), count, MEMBERS, MEMBERS)
    rows = jnp.ones((count, num_bytes // 4 // count))
    rows = placed(rows, count)
    contestant = compiled("memory read", function, rows, run=lambda: function(rows))
    return contestant._replace(bytes_read=rows.nbytes)


def evosax_problem(setting: Evaluation | LoopBesideEvosax, action: ActionSpec) -> Any:
    """Return evosax's problem for the same environment, time limit, episodes and layers.

    Other arguments have evosax's defaults.

    Raises:
      CaseError: evosax has no problem for such an environment.
    """
    from evosax.problems import BraxProblem, GymnaxProblem

    network = evosax_network((*setting.hidden_sizes, action.size), action)
    arguments: dict[str, Any] = {
        "episode_length": setting.episode_length,
        "num_rollouts": getattr(setting, "num_episodes", 1),
    }
    suite, name = setting.env.split("/")
    if suite == "gymnax":
        return GymnaxProblem(name, network, **arguments)
    if suite != "brax":
        raise CaseError(f"evosax has no problem for {setting.env}")
    name, backend = name.split("@")
    with quiet():
        return BraxProblem(name, network, env_kwargs={"backend": backend}, **arguments)


class Flattened(NamedTuple):
    """A flax module that flattens images; evosax's MLP would map each pixel separately."""

    module: Any

    def init(self, key: Key, obs: jax.Array, policy_key: Key) -> Any:
        """Draw parameters."""
        return self.module.init(key, obs.ravel(), policy_key)

    def apply(self, params: Any, obs: jax.Array, key: Key) -> jax.Array:
        """Return the action."""
        return self.module.apply(params, obs.ravel(), key)


def evosax_network(layer_sizes: tuple[int, ...], action: ActionSpec) -> Any:
    """Return evosax's MLP; its action is the argmax, or tanh if continuous."""
    from evosax.problems import MLP, tanh_output_fn

    output = _argmax if action.kind == "discrete" else tanh_output_fn
    return Flattened(MLP(layer_sizes=layer_sizes, output_fn=output))


def _argmax(output: jax.Array, key: Key | None = None) -> jax.Array:
    return jnp.argmax(output)


def evosax(setting: Evaluation, action: ActionSpec) -> Contestant:
    """Return `problem.eval` on a random population: its cost does not depend on the weights.

    It is called as its users call it. It returns the states of all steps;
    a jit around it would let XLA drop them.
    """
    problem = evosax_problem(setting, action)
    key = jax.random.key(0)
    keys = jax.random.split(key, setting.population_size)
    obs = jnp.zeros(problem.observation_shape)  # only its shape matters for drawing networks
    population = jax.jit(jax.vmap(lambda key: problem.policy.init(key, obs, key)))(keys)
    state = problem.init(key)
    contestant = compiled(
        "evosax",
        type(problem).eval,
        *(problem, key, population, state),
        run=lambda: problem.eval(key, population, state),
    )
    lanes = setting.population_size * setting.num_episodes
    return contestant._replace(env_steps=lanes * setting.episode_length)
