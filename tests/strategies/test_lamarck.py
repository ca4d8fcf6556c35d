"""Children that inherit what a member learned: beside lives in a plain scan, and who may not."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.envs import probe
from ternevo.keys import MEMORY
from ternevo.names import UnknownName
from ternevo.policies import contract
from ternevo.policies.acting import Actor, seen_after, seen_first
from ternevo.rollouts.lanes import begin_episode
from ternevo.rollouts.population import episode_keys
from ternevo.settings.policies import MLP, ESLearner, GradientLearner, HillClimber
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.ternary_ga import TernaryGA
from ternevo.settings.wrappers import Wrappers
from ternevo.strategies.latents import template_of
from ternevo.strategies.numbered import unwrapped
from ternevo.types import Host

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
GA = TernaryGA.of(population_size=6, num_survivors=2, num_episodes=2)
LAMARCK = TernaryGA.of(population_size=6, num_survivors=2, num_episodes=2, lamarckian=True)
LEARNERS = {
    "hill_climber": HillClimber(num_trials=2),
    "gradient_learner": GradientLearner(num_gradient_steps=3, rate=-2),
    "es_learner": ESLearner(queries=2, trial_noise=2.0, step_size=2.0),
}


@functools.cache
def world():
    return envs.make("meta/hidden_direction", 4, Wrappers(lifetime=4))


def memory_after(env, policy, params, key):
    """Return the memory at the end of a life, with no lanes."""
    actor = Actor(policy, env.obs, env.action)
    quantiser = observation.freeze(observation.empty(env.obs.size), env.obs.kind)

    def step(carry, number):
        state, seen, memory, alive = carry
        after, action = actor.act(params, quantiser, memory, seen)
        state, timestep = env.step(jax.random.fold_in(key, number), state, action)
        memory = jax.tree.map(lambda new, old: jnp.where(alive, new, old), after, memory)
        alive &= ~(timestep.terminated | timestep.truncated)
        return (state, seen_after(timestep), memory, alive), None

    state, obs = begin_episode(env, key)
    memory = policy.reset(params, jax.random.fold_in(key, MEMORY))
    start = state, seen_first(obs), memory, jnp.asarray(True)
    return jax.lax.scan(step, start, 1 + jnp.arange(env.episode_length))[0][2]


def generation(settings, env, policy):
    """Return the members before and after a first generation, and what then ships."""
    strategy = settings.build(env, policy, "ternary", 3)
    algorithm, _ = settings.search_algorithm(template_of(policy), "ternary", 3)

    @quick_jit
    def go():
        state = strategy.init(KEY)
        after, _ = strategy.step(jax.random.key(1), state)
        members = [algorithm.get_population(unwrapped(x).search.algorithm) for x in (state, after)]
        return *members, strategy.params(after).weights

    return go()


@pytest.mark.parametrize(
    "name",
    ["hill_climber", *(pytest.param(x, marks=pytest.mark.slow) for x in list(LEARNERS)[1:])],
)
def test_what_the_search_is_told_is_what_a_plain_life_learned(name):
    """Of the first of two lives; masks stay, and what ships is a learned start."""
    env = world()
    policy = contract.build(LEARNERS[name], env.obs, env.action)
    members, found, shipped = generation(LAMARCK, env, policy)
    key = episode_keys(jax.random.split(jax.random.key(1), 3)[1], 2, 1)[0, 0]

    @quick_jit
    @jax.vmap
    def wanted(params):
        memory = memory_after(env, policy, params, key)
        return policy.inheritance.write(params, policy.inheritance.learned(memory))

    expected = wanted(members)
    chex.assert_trees_all_equal(found, expected, strict=True)
    chex.assert_trees_all_equal(found[0]["weight_mask"], members[0]["weight_mask"])
    flat = jax.vmap(lambda member: ravel_pytree(member)[0])
    assert not np.array_equal(flat(found), flat(members))
    assert np.any(np.all(flat(found) == ravel_pytree(shipped)[0], axis=1))


def test_programs_without_it_are_those_of_a_policy_that_has_none():
    """Only the option makes rollouts carry what is learned, not a policy that could tell it."""
    env = world()
    policy = contract.build(LEARNERS["gradient_learner"], env.obs, env.action)

    def lowered(settings, policy):
        strategy = settings.build(env, policy, "ternary", 3)
        return jax.jit(strategy.step).lower(KEY, jax.eval_shape(strategy.init, KEY)).as_text()

    plain = lowered(GA, policy)
    assert plain == lowered(GA, policy._replace(inheritance=None))
    assert plain != lowered(LAMARCK, policy)


HOST = Host("gymnasium", "CartPole-v1", 1)
REFUSED = {
    "learns nothing": (MLP(()), {}, "needs a policy that learns weights in its life"),
    "random starts": (GradientLearner(start="random"), {}, "with --start evolved"),
    "random climbers": (HillClimber(start="random"), {}, "with --start evolved"),
    "outside JAX": (HillClimber(), {"host": HOST}, "needs lives in JAX"),
}


@pytest.mark.parametrize("policy, changes, message", REFUSED.values(), ids=REFUSED)
def test_what_no_life_can_tell_is_refused(policy, changes, message):
    env = world()._replace(**changes)
    with pytest.raises(ValueError, match=message):
        LAMARCK.build(env, contract.build(policy, env.obs, env.action), "ternary", 3)


def test_the_twin_and_other_strategies_do_not_have_it():
    env = probe.sign()
    policy = MLP((), weights="float").build(env.obs, env.action)
    with pytest.raises(ValueError, match="SimpleGA of evosax, which ignores --lamarckian"):
        LAMARCK.build(env, policy, "float", 3)
    with pytest.raises(UnknownName, match="unknown option of CEM 'lamarckian'"):
        STRATEGIES["cem"].of(lamarckian=True)
