"""Populations scored outside JAX: the deployed policy's returns, the moments, runs and failures."""

import chex
import fake_suite
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ternevo
from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.deploy.runtime import Policy
from ternevo.host import scoring
from ternevo.host.scoring import HostError, Job, Terms
from ternevo.host.workers import Workers
from ternevo.machine import callbacks, devices
from ternevo.policies import contract
from ternevo.problems import Plan
from ternevo.problems.episodes import keys_of
from ternevo.problems.host import seeds_of
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.training import loop, setup
from ternevo.types import Host, Population

TINY = {
    **{"num_generations": 4, "population_size": 8, "hidden_sizes": [4], "num_episodes": 2},
    **{"eval_every": 2, "num_eval_episodes": 3, "num_final_episodes": 4, "render": False},
}


@pytest.fixture(scope="module")
def drift():
    return fake_suite.drift()


def one_device():
    return devices.on_one_device()


def test_returns_are_those_of_the_deployed_policies(drift):
    policy = contract.build(MLP((4,)), drift.obs, drift.action)
    params = jax.vmap(policy.init)(jax.random.split(jax.random.key(3), 6))
    plan, key = Plan(2), jax.random.key(5)
    problem = problems.of(policy, drift, plan)
    zero, members = jnp.int32(0), range(6)
    moments = observation.of_all(np.random.default_rng(0).normal(size=(50, 2)))
    with one_device():
        scores = jax.jit(lambda params: problem.evaluate(key, Population(params), moments, zero))(
            params
        )
    seeds = np.asarray(seeds_of(keys_of(key, Population(params), plan)))
    quantiser = jax.tree.map(np.asarray, observation.freeze(moments))
    encode = policy.encoder()
    files = [
        encode(jax.tree.map(lambda x, i=i: np.asarray(x[i]), params), quantiser) for i in members
    ]
    jobs = [Job(i, int(seed)) for i in members for seed in seeds[0]]
    terms = Terms(fake_suite.spec("drift"), 40, np.asarray(quantiser.mean, np.float64))
    worlds = fake_suite.FakeWorlds("drift", 12)
    found = scoring.score(worlds, 12, [*map(Policy.from_bytes, files)], jobs, terms)
    np.testing.assert_array_equal(scores.returns.ravel(), found.returns.astype(np.float32))
    np.testing.assert_array_equal(scores.lengths.ravel(), found.lengths)
    count, first, second = found.sums.sum(0)
    np.testing.assert_allclose(scores.moments.count, count)
    np.testing.assert_allclose(scores.moments.mean, quantiser.mean + first / count, rtol=1e-6)
    deviation = np.sqrt(second / count - (first / count) ** 2)
    np.testing.assert_allclose(scores.moments.deviation, deviation, rtol=1e-5)


def test_of_the_episodes_of_a_test_only_those_asked_for_are_run(drift, monkeypatch):
    policy = contract.build(MLP((4,)), drift.obs, drift.action)
    problem = problems.of(policy, drift)
    weights, quantiser = policy.init(jax.random.key(3)), observation.freeze(observation.empty(2))
    test = jax.jit(problem.test, static_argnums=3)
    with one_device():
        whole = test(jax.random.key(1), weights, quantiser, 6)
        part = test(jax.random.key(1), weights, quantiser, 6, 2)
        monkeypatch.setattr(Workers, "score", None)  # calling it fails
        none = test(jax.random.key(1), weights, quantiser, 6, 0)
    callbacks.raise_error()
    assert np.all(np.asarray(whole.lengths) > 0)
    np.testing.assert_array_equal(part.returns[0], [*whole.returns[0, :2], 0, 0, 0, 0])
    np.testing.assert_array_equal(part.lengths[0], [*whole.lengths[0, :2], 0, 0, 0, 0])
    assert not np.any(none.returns) and not np.any(none.lengths)


@pytest.mark.parametrize(
    ("env_id", "needs"),
    [
        ("fake_suite:drift", "numpy"),
        pytest.param("mujoco/Swimmer-v5", "mujoco", marks=pytest.mark.slow),
        pytest.param("box2d/LunarLander-v3", "Box2D", marks=pytest.mark.slow),
        pytest.param("atari/pong", "ale_py", marks=pytest.mark.slow),
    ],
)
def test_a_generation_depends_on_its_state_and_on_nothing_outside(env_id, needs):
    """What a run that is resumed takes for granted: each suite is deterministic given its seed."""
    pytest.importorskip(needs)
    env = envs.make(env_id, 12)
    policy = contract.build(MLP((4,)), env.obs, env.action)
    strategy = STRATEGIES["ternary_nes"].of(population_size=8, num_episodes=2)
    strategy = strategy.build(env, policy, "ternary", 4)
    with one_device():
        chunks = loop.train(strategy, loop.start(jax.random.key(0), strategy), 4, 2)
        half = jax.tree.map(jnp.copy, next(chunks).state)
        whole = next(chunks).state
        other = loop.start(jax.random.key(1), strategy)
        assert [int(chunk.state.generation) for chunk in loop.train(strategy, other, 1)] == [1]
        (again,) = loop.train(strategy, half, 4, 2)
    chex.assert_trees_all_equal(again.state, whole)


@pytest.mark.slow
def test_a_run_is_the_same_when_it_is_resumed(tmp_path):
    def run(name, **options):
        ternevo.train("fake_suite:drift", **TINY | options, name=name, runs_dir=tmp_path)
        (policy,) = [path for path in tmp_path.rglob("policy.tvp") if path.parent.name == name]
        return policy.read_bytes()

    once = run("once", num_devices=1)
    run("twice", num_devices=1, num_generations=2)
    assert run("twice", num_devices=1, resume=True) == once


@pytest.mark.wide  # returns are those of policies, above
def test_search_finds_the_policy_that_keeps_near_zero():
    policy = ternevo.train("fake_suite:drift", **TINY | {"num_generations": 20}, num_devices=1)
    assert ternevo.evaluate(policy, "fake_suite:drift", num_episodes=20).mean > 39
    with pytest.raises(HostError, match="the drift is lost"):
        ternevo.evaluate(policy, "fake_suite:raises", num_episodes=2)
    assert callbacks.take_error() is None


@pytest.mark.wide  # the message is in test_workers.py
def test_a_failing_simulator_ends_the_run_with_its_message(tmp_path):
    with pytest.raises(HostError, match=r"the drift is lost.*there is no checkpoint yet"):
        ternevo.train("fake_suite:raises", **TINY, num_devices=1, runs_dir=tmp_path)
    failures = [*tmp_path.rglob("failure.txt")]
    assert len(failures) == 1 and "the drift is lost" in failures[0].read_text()
    assert callbacks.take_error() is None


def test_wrappers_and_policies_without_a_file_are_refused(drift):
    with pytest.raises(ValueError, match="drift takes no wrappers, as it runs outside JAX"):
        ternevo.train("fake_suite:drift", **TINY, frame_stack=2)
    own = contract.build(MLP((4,)), drift.obs, drift.action)._replace(encoder=None)
    with pytest.raises(ValueError, match=r"policies run from their \.tvp file"):
        problems.of(own, drift)


def test_several_hosts_and_more_processes_than_cores_are_refused():
    with pytest.raises(SystemExit):
        parse(["--env", "box2d/LunarLander-v3", "--distributed"])
    assert setup._in_processes(Host("box2d", "LunarLander-v3", 4), 3).num_workers == 3
    with pytest.raises(ValueError, match=r"num_devices must be at most 4, .* got 99: box2d/LunarL"):
        setup._in_processes(Host("box2d", "LunarLander-v3", 4), 99)
