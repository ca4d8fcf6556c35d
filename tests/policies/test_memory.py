"""Policies with a memory act the same wherever they act: lanes, recordings, files, Gymnasium."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from remembering_policies import Plastic, Recurrent

from ternevo import envs, gym, play, problems, run
from ternevo.arithmetic.observation import Quantiser
from ternevo.deploy import runtime
from ternevo.keys import MEMORY
from ternevo.policies import acting, contract, policy_file
from ternevo.policies.acting import Actor
from ternevo.problems import Plan
from ternevo.rollouts import transitions
from ternevo.rollouts.episode import recorder
from ternevo.rollouts.lanes import begin_episode
from ternevo.rollouts.population import Rollout, episode_keys, evaluate
from ternevo.rollouts.transitions import Agent, Yardsticks
from ternevo.settings.policies import MLP, Recurrent as BuiltIn, file_suffix
from ternevo.settings.wrappers import Wrappers
from ternevo.types import ObservationMoments, PolicyParams, Population

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SETTINGS = {
    "recurrent": Recurrent(),
    "plastic": Plastic(),
    "elman": BuiltIn((3,), "sign", cell="elman", memory_size=5),
    "gated": BuiltIn(memory_size=5, scales="output"),
}
CARTPOLE = envs.make("gymnax/CartPole-v1", 40)
UNITS = Quantiser(jnp.zeros(4), jnp.full(4, 32.0))
QUICK = ("plastic", "gated")
"""One of a user's own, and one that comes with ternevo."""
each_policy = pytest.mark.parametrize(
    "settings",
    wide(
        [
            pytest.param(settings, id=name, marks=() if name in QUICK else pytest.mark.slow)
            for name, settings in SETTINGS.items()
        ],
        keep=["gated"],
    ),
)


@each_policy
def test_lanes_return_what_a_recording_returns(settings):
    policy = contract.build(settings, CARTPOLE.obs, CARTPOLE.action)
    params = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 6))
    keys = episode_keys(jax.random.key(1), 2, 6, "none")
    scores = quick_jit(evaluate, static_argnums=0)(Rollout(policy, CARTPOLE), params, keys, UNITS)
    record = recorder(policy, CARTPOLE)
    for i in range(6):
        member = jax.tree.map(lambda x, i=i: x[i], params)
        for j in range(2):
            episode = record(member, UNITS, keys[i, j])
            assert episode.total == float(scores.returns[i, j])
    assert len(np.unique(scores.lengths)) > 1


def test_what_is_learned_within_a_life_solves_every_task():
    """The best return of the last episode is 1 in each task; without a memory it is 1/2."""
    found = {}
    for name, settings in {"plastic": Plastic(), "mlp": MLP(())}.items():
        env = envs.make("probe/hidden_arm", None, Wrappers(lifetime=2))
        policy = settings.build(env.obs, env.action)
        params = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), policy.init(KEY))
        problem = problems.of(policy, env, Plan(64))
        moments = ObservationMoments(jnp.ones(1), jnp.zeros(1), jnp.ones(1))
        scores = problem.evaluate(KEY, Population(params), moments, jnp.zeros((), jnp.int32))
        found[name] = np.asarray(scores.returns[0])
    np.testing.assert_array_equal(found["plastic"], 1)
    assert 0 < found["mlp"].mean() < 1 and set(found["mlp"]) == {0, 1}


KEY = jax.random.key(0)


@each_policy
def test_transitions_carry_the_memory_that_was_acted_with(settings):
    """PPO's collection, replayed: memories go on as `apply` says, and begin anew in an episode."""
    env = envs.make("probe/countdown", 5)
    policy = settings.build(env.obs, env.action)
    params = policy.init(KEY)
    quantiser = Quantiser(jnp.zeros(1), jnp.full(1, 64.0))

    def act(key, taken):
        memory, output = jax.vmap(policy.apply, (None, 0, 0))(params, taken.memory, taken.inputs())
        return memory, output, jnp.argmax(output, axis=-1)

    agent = Agent(params, act, lambda raw: raw, lambda obs, memory: obs[:, 0])
    slots = transitions.begin(env, policy, params, jax.random.key(1), 3)
    unit = Quantiser(jnp.zeros(1), jnp.ones(1))
    key = jax.random.key(2)
    collect = quick_jit(
        lambda slots: transitions.collect(
            env, policy, agent, quantiser, Yardsticks(quantiser, unit), 0.9, key, slots, 12
        )
    )
    _, found, _ = collect(slots)
    for t in range(11):
        taken = jax.tree.map(lambda x, t=t: x[t], found.taken)
        after = jax.tree.map(lambda x, t=t: x[t + 1], found.taken)
        went_on, output = jax.vmap(policy.apply, (None, 0, 0))(params, taken.memory, taken.inputs())
        np.testing.assert_array_equal(output, found.output[t])
        np.testing.assert_array_equal(after.is_first, found.truncated[t])
        np.testing.assert_array_equal(after.feedback, jnp.where(found.truncated[t], 0, 1))
        if not bool(found.truncated[t].any()):
            chex.assert_trees_all_equal(after.memory, went_on)
    assert bool(found.truncated.any())


@each_policy
def test_a_saved_policy_steps_as_it_was_recorded(settings, tmp_path, monkeypatch):
    policy = settings.build(CARTPOLE.obs, CARTPOLE.action)
    moments = ObservationMoments(jnp.ones(4), jnp.zeros(4), jnp.full(4, 0.5))
    is_built_in = isinstance(settings, BuiltIn)
    name = "recurrent" if is_built_in else f"remembering_policies:{type(settings).__name__}"
    path = tmp_path / f"policy{file_suffix(name)}"
    params = PolicyParams(policy.init(KEY), moments)
    policy_file.save(path, CARTPOLE, name, settings, params)
    saved = policy_file.load(path, trust=name)
    assert saved.policy_name == name
    key = jax.random.key(5)
    recorded = recorder(policy, CARTPOLE)(saved.weights, saved.quantiser, key)
    state, obs = begin_episode(CARTPOLE, key)
    memory = saved.reset(jax.random.fold_in(key, MEMORY))
    feedback, rewards = 0.0, []
    for t in range(len(recorded.rewards)):
        memory, action = saved.step(memory, obs, feedback, is_first=t == 0)
        state, timestep = CARTPOLE.step(jax.random.fold_in(key, t + 1), state, jnp.asarray(action))
        obs, feedback = timestep.obs, float(timestep.reward)
        rewards.append(feedback)
    np.testing.assert_array_equal(rewards, recorded.rewards)
    assert bool(timestep.terminated) == recorded.terminated
    with pytest.raises(ValueError, match=r"has a memory: call reset\(\) and step"):
        saved.act(obs)


@pytest.mark.wide  # a policy of a user is in test_extending.py
def test_a_policy_that_learns_is_trained_played_and_taken_to_gymnasium(tmp_path, capsys):
    """The whole way of a user: three commands on a policy of a module of their own."""
    toy = ["--policy", "remembering_policies:Recurrent"]
    run.main(
        [
            *(*toy, "--env", "gymnax/CartPole-v1", "--episode_length", "30"),
            *("--strategy", "ternary_ga", "--population_size", "8", "--num_generations", "2"),
            *("--num_eval_episodes", "2", "--num_final_episodes", "2", "--render", "False"),
            *("--runs_dir", str(tmp_path), "--num_devices", "1"),
        ]
    )
    folder = tmp_path / "gymnax/CartPole-v1/ternary_ga/seed0"
    play.main([str(folder), *toy, "--open", "False", "--episode_length", "10"])
    assert " steps, " in capsys.readouterr().out
    gym.main([str(folder), *toy, "--episodes", "3", "--num_envs", "2"])
    assert capsys.readouterr().out.startswith("CartPole-v1: return ")


def test_gymnasium_is_stepped_with_the_memory_of_each_episode():
    """Two lanes for three episodes return what one lane does: memories do not mix."""
    policy = Recurrent().build(CARTPOLE.obs, CARTPOLE.action)
    params = policy.init(jax.random.key(3))
    actor = Actor(policy, CARTPOLE.obs, CARTPOLE.action)

    @jax.jit
    def step(memory, obs, feedback, is_first):
        seen = acting.Seen(obs, feedback, is_first)
        return actor.act(params, UNITS, memory, seen)

    empty = np.zeros(0, np.float32)
    stepped = gym.Stepped(
        gym.Interface(4, 2, "discrete", empty, empty, {}),
        lambda episode: policy.reset(params, jax.random.key(episode)),
        step,
    )
    alone = gym.evaluate(stepped, "CartPole-v1", 3, seed=7, num_envs=1)
    together = gym.evaluate(stepped, "CartPole-v1", 3, seed=7, num_envs=2)
    np.testing.assert_array_equal(alone.returns, together.returns)


@pytest.mark.parametrize("name", [pytest.param("elman", marks=pytest.mark.slow), "gated"])
def test_what_ships_keeps_the_memory_of_each_episode(name):
    """The runtime in three lanes, in one, and JAX step by step have the same returns."""
    settings = SETTINGS[name]
    policy = settings.build(CARTPOLE.obs, CARTPOLE.action)
    moments = ObservationMoments(jnp.ones(4), jnp.zeros(4), jnp.full(4, 0.5))
    params = PolicyParams(policy.init(jax.random.key(2)), moments)
    record = policy_file.record_of(settings, CARTPOLE.obs, CARTPOLE.action, params)
    shipping, saved = runtime.Policy(record), policy_file.from_record(record)
    interface = gym.Interface(4, 2, "discrete", record.low, record.high, {})
    stepped = gym.Stepped(interface, *saved.compiled())
    found = [
        gym.evaluate(shipping, "CartPole-v1", 3, seed=7, num_envs=3),
        gym.evaluate(shipping, "CartPole-v1", 3, seed=7, num_envs=1),
        gym.evaluate(stepped, "CartPole-v1", 3, seed=7, num_envs=2),
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].returns, other.returns)
