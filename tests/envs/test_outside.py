"""Environments outside JAX for learners: `reset` and `step` call out, and keep episodes apart."""

import fake_suite
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import ternevo
from ternevo.envs import outside
from ternevo.host.scoring import HostError
from ternevo.host.showing import Picture
from ternevo.machine import callbacks, devices
from ternevo.policies import contract
from ternevo.rollouts.lanes import begin_episode
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES

STEPS = 12
COUNT = 5


@pytest.fixture
def drift():
    return fake_suite.drift(episode_length=STEPS)


def begun(env, key=0):
    return jax.jit(jax.vmap(lambda key: begin_episode(env, key)))(
        jax.random.split(jax.random.key(key), COUNT)
    )


def alone(seed, actions):
    """Return observations, rewards and endings of an episode of the simulator itself."""
    worlds, row = fake_suite.FakeWorlds("drift", 1), np.zeros(1, int)
    found = [(worlds.reset(row, np.array([seed]))[0], 0.0, False)]
    for action in actions:
        obs, reward, terminated = worlds.step(row, np.array([action]))
        found.append((obs[0], np.float32(reward[0]), bool(terminated[0])))
        if terminated[0]:
            break
    return found


def test_steps_of_a_batch_are_those_of_each_episode_alone(drift):
    actions = np.random.default_rng(0).integers(0, 2, (STEPS, COUNT)).astype(np.int32)
    state, obs = begun(drift)
    first = np.asarray(obs)
    step = jax.jit(jax.vmap(lambda state, action: drift.step(jax.random.key(0), state, action)))
    found = []
    for row in actions:
        state, timestep = step(state, jnp.asarray(row))
        found.append(jax.tree.map(np.asarray, timestep))
    assert np.all(found[-1].truncated | found[-1].terminated | True)
    for i in range(COUNT):
        expected = alone(int(state.seed[i]), actions[:, i])
        np.testing.assert_array_equal(first[i], expected[0][0])
        for timestep, (own, reward, terminated) in zip(found, expected[1:], strict=False):
            np.testing.assert_array_equal(timestep.obs[i], own)
            assert (timestep.reward[i], timestep.terminated[i]) == (reward, terminated)
        if len(expected) == STEPS + 1 and not expected[-1][2]:
            assert found[-1].truncated[i]


def test_an_episode_can_be_stepped_again_from_its_start(drift):
    state, _ = begun(drift)
    step = jax.jit(jax.vmap(lambda state, action: drift.step(jax.random.key(0), state, action)))
    actions = jnp.ones(COUNT, jnp.int32)
    after, once = step(state, actions)
    step(after, actions)
    again = step(state, actions)[1]
    np.testing.assert_array_equal(once.obs, again.obs)


def test_an_unknown_episode_begins_anew_and_says_so(drift, capfd):
    state, _ = begun(drift)
    later = state._replace(step=state.step + 3)
    _, timestep = jax.vmap(lambda state: drift.step(jax.random.key(0), state, jnp.int32(1)))(later)
    jax.block_until_ready(timestep)
    assert "the episodes of fake/drift that were interrupted begin anew" in capfd.readouterr().out


def test_an_error_is_kept_and_the_program_gets_nan():
    env = fake_suite.raises()
    state, _ = begun(env)
    step = jax.jit(jax.vmap(lambda state: env.step(jax.random.key(0), state, jnp.int32(1))))
    for _ in range(fake_suite.FAILS_AT):
        state, timestep = step(state)
    assert np.isnan(timestep.obs).all()
    with pytest.raises(ArithmeticError, match="the drift is lost"):
        callbacks.raise_error()


def test_an_animation_has_the_speed_of_the_task(tmp_path):
    """Ten steps a second, of which every fourth is shown: 40 steps in 11 pictures."""
    shown = [Picture(4 * i, np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(11)]
    path = outside.render("fake_suite", "drift", shown, tmp_path / "drift")
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["duration"]) == (11, 360)


LEARNERS = {
    "ppo": {"num_envs": 4, "num_steps": 16, "num_minibatches": 2, "num_epochs": 2},
    "dqn": {
        **{"steps_per_generation": 64, "buffer_size": 512, "batch_size": 16},
        **{"learning_starts": 64, "critic_hidden_sizes": [8]},
    },
}
TINY = {
    **{"num_generations": 3, "hidden_sizes": [4], "num_devices": 1, "eval_every": 3},
    **{"num_eval_episodes": 2, "num_final_episodes": 2},
}


def test_a_learner_takes_its_steps_outside(drift):
    policy = contract.build(MLP((4,)), drift.obs, drift.action)
    strategy = STRATEGIES["ppo"].of(**LEARNERS["ppo"]).build(drift, policy, "ternary", 2)
    with devices.on_one_device():
        state, step = jax.jit(strategy.init)(jax.random.key(0)), jax.jit(strategy.step)
        for t in range(2):
            state, metrics = step(jax.random.key(t), state)
    assert int(metrics["episode/steps"]) == 4 * 16
    assert 0 < float(metrics["return/mean"]) <= STEPS
    assert np.isfinite(float(metrics["loss/policy"]))
    assert callbacks.take_error() is None


@pytest.mark.slow
@pytest.mark.parametrize("strategy", LEARNERS)
def test_learners_run(strategy):
    rows = []
    ternevo.train("fake_suite:drift", strategy, **TINY, **LEARNERS[strategy], callback=rows.extend)
    assert len(rows) == 3 and np.isfinite(rows[-1]["eval/return"])


def test_a_step_that_fails_is_kept_for_whoever_asks():
    """A compiled program cannot raise. A run asks after each chunk: tests/problems/test_host.py."""
    env = fake_suite.raises(episode_length=STEPS)
    state, _ = begun(env)
    step = jax.jit(jax.vmap(lambda state, action: env.step(jax.random.key(0), state, action)))
    for _ in range(STEPS):
        state, timestep = step(state, jnp.zeros(COUNT, jnp.int32))
    jax.block_until_ready(timestep)
    assert "the drift is lost" in str(callbacks.take_error())


@pytest.mark.slow  # what a learner steps is the environment of the test above
@pytest.mark.parametrize("strategy", LEARNERS)
def test_learners_report_a_failure(strategy):
    with pytest.raises(HostError, match="the drift is lost"):
        ternevo.train("fake_suite:raises", strategy, **TINY, **LEARNERS[strategy])
