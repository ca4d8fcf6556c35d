"""MuJoCo Playground, where it is installed: its tasks, and one of them stepped and drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import playground
from ternevo.installation import MissingExtra
from ternevo.rollouts.lanes import begin_episode
from ternevo.settings.environments import ENVIRONMENTS

SHOWN = {"floats": "float", "continuous": "continuous"}


@pytest.fixture(scope="module")
def package():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        return pytest.importorskip("mujoco_playground")


def test_names_are_those_of_the_package(package):
    theirs = set(package.dm_control_suite.ALL_ENVS)
    assert theirs == {*playground.NAMES, *playground.LEFT_OUT}


@pytest.mark.slow
@pytest.mark.parametrize("name", playground.NAMES)
def test_each_task_is_as_it_is_listed(package, name):
    env = envs.make(f"playground/{name}")
    count = env.obs.size
    shown = f"{count} floats", f"{env.action.size} continuous"
    assert ENVIRONMENTS[f"playground/{name}"] == shown
    state, obs = jax.eval_shape(lambda key: begin_episode(env, key), jax.random.key(0))
    action = jax.ShapeDtypeStruct((env.action.size,), jnp.float32)
    after, timestep = jax.eval_shape(env.step, jax.random.key(0), state, action)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert timestep.obs.shape == obs.shape == (count,)


def test_an_episode_is_stepped_and_drawn(package, tmp_path):
    env = envs.make("playground/PendulumSwingup", 3)
    state, obs = jax.jit(lambda key: begin_episode(env, key))(jax.random.key(1))
    step, states, cut = jax.jit(env.step), [state], []
    for _ in range(3):
        state, timestep = step(jax.random.key(0), state, jnp.ones(1))
        states.append(state)
        cut.append(bool(timestep.truncated))
    assert cut == [False, False, True]
    assert np.isfinite(timestep.obs).all() and not np.array_equal(timestep.obs, obs)


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr("ternevo.installation._is_installed", lambda name: False)
    playground._load.cache_clear()
    with pytest.raises(MissingExtra, match=r"playground: .*\[playground\]"):
        envs.make("playground/CheetahRun")
