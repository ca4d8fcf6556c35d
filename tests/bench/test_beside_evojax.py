"""What EvoJAX is timed on is our task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.bench.cases import BesideEvoJAX
from ternevo.envs import swing_up

pytest.importorskip("evojax")
from evojax.task import cartpole

from ternevo.bench import evojax_runner


def test_poles_swing_alike():
    rng = np.random.default_rng(0)
    states = jnp.asarray(rng.normal(size=(50, 4)), jnp.float32)
    actions = jnp.asarray(rng.uniform(-2, 2, (50, 1)), jnp.float32)
    force = swing_up.FORCE * jnp.clip(actions[:, 0], -1, 1)
    ours = jax.vmap(swing_up.moved)(states, force)
    theirs = jax.vmap(cartpole.update_state)(actions, states)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("is_hard", [False, True])
def test_steps_pay_and_end_alike(is_hard):
    kind = "hard" if is_hard else "easy"
    env = envs.make(f"control/cartpole_swing_up_{kind}", 50)
    task = cartpole.CartPoleSwingUp(50, harder=is_hard)
    theirs = task.reset(jax.random.split(jax.random.key(0), 8))
    state, obs = jax.vmap(env.reset, (None, 0))(jax.random.key(0), theirs.state)
    np.testing.assert_allclose(obs, theirs.obs, atol=1e-6)
    action, step = jnp.ones((8, 1)), jax.jit(jax.vmap(env.step, (None, 0, 0)))
    going = np.ones(8, bool)
    for _ in range(50):
        state, timestep = step(jax.random.key(0), state, action)
        theirs, reward, done = task.step(theirs, action)
        np.testing.assert_allclose(timestep.reward[going], reward[going], atol=1e-4)
        is_over = np.asarray(timestep.terminated | timestep.truncated)
        assert np.array_equal(is_over[going], np.asarray(done).astype(bool)[going])
        going &= ~is_over
    assert not going.any()


def test_a_run_ends_with_a_policy():
    setting = BesideEvoJAX("control/cartpole_swing_up_easy", 10, 4, 1, 1, (3,), all_generations=2)
    found = evojax_runner.final(setting, 0)(jnp.zeros(5))
    assert found.shape == (1,)
    assert jnp.all(jnp.abs(found) <= 1)
