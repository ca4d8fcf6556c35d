"""What neat-python is timed on is our tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import control

pytest.importorskip("neat")
from ternevo.bench import neat_python


def test_two_poles_move_alike():
    rng = np.random.default_rng(0)
    starts = rng.uniform(-0.5, 0.5, (20, 6)).astype(np.float32)
    forces = rng.uniform(-10, 10, 20).astype(np.float32)
    ours = jax.jit(jax.vmap(control.moved))(starts, forces)
    pairs = zip(starts.tolist(), forces.tolist(), strict=True)
    theirs = [neat_python.moved(x, force) for x, force in pairs]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def played(env_id: str, answer):
    """Return the return and the number of steps of an answer in our environment."""
    env = envs.make(env_id)
    state, obs = env.reset(jax.random.key(0), env.draw_task(jax.random.key(1)))
    step, total, count, done = jax.jit(env.step), 0.0, 0, False
    while not done:
        action = jnp.asarray(answer(np.asarray(obs).tolist()))
        state, timestep = step(jax.random.key(0), state, action)
        obs, done = timestep.obs, bool(timestep.terminated | timestep.truncated)
        total, count = total + float(timestep.reward), count + 1
    return total, count


@pytest.mark.parametrize(
    ("env_id", "answer"),
    [
        ("control/xor", lambda x: [0.75 * x[0] - 0.125]),
        ("control/double_pole", lambda x: [0.5 * x[1] + 8 * x[2] + x[3]]),
    ],
)
def test_tasks_pay_alike(env_id, answer):
    play, num_inputs = neat_python.TASKS[env_id]
    score, count = play(answer, 1000)
    assert num_inputs == envs.make(env_id).obs.size
    assert (pytest.approx(score, rel=1e-5), count) == played(env_id, answer)
