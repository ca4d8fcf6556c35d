"""The swing-up of EvoJAX: its motion from Lagrange's equations, and what it pays."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st

from ternevo import envs
from ternevo.envs import swing_up

numbers = st.floats(-3, 3, width=32)


@given(numbers, numbers, numbers, st.floats(-10, 10, width=32))
@settings(max_examples=30, deadline=None)
def test_accelerations_solve_the_equations_of_lagrange(velocity, angle, rate, force):
    """A rod of mass m and length l on a cart: two equations, linear in both accelerations."""
    m, length, g = 0.5, 0.6, 9.82
    sin, cos = np.sin(angle), np.cos(angle)
    left = np.array([[1.0, -m * length / 2 * cos], [-m * length / 2 * cos, m * length**2 / 3]])
    right = [force - 0.1 * velocity - m * length / 2 * rate**2 * sin, m * g * length / 2 * sin]
    x = jnp.asarray([0.3, velocity, angle, rate], jnp.float32)
    found = swing_up.accelerations(x, jnp.float32(force))
    np.testing.assert_allclose(found, np.linalg.solve(left, right), rtol=2e-4, atol=2e-4)


def test_a_step_pays_one_upright_in_the_middle_and_nothing_at_the_ends_or_hanging():
    env = envs.make("control/cartpole_swing_up_easy")
    pays = []
    for x, angle in ((0.0, 0.0), (0.0, np.pi), (2.39, 0.0), (1.2, 0.0)):
        state, _ = env.reset(jax.random.key(0), jnp.asarray([x, 0, angle, 0], jnp.float32))
        pays.append(float(env.step(jax.random.key(0), state, jnp.zeros(1))[1].reward))
    np.testing.assert_allclose(pays, [1, 0, 0, np.cos(np.pi / 4)], atol=0.01)


def test_the_end_of_the_track_terminates_and_the_time_limit_truncates():
    env = envs.make("control/cartpole_swing_up_hard", 1)
    for x, is_off in ((2.399, True), (0.0, False)):
        state, _ = env.reset(jax.random.key(0), jnp.asarray([x, 1.0, 0, 0], jnp.float32))
        timestep = env.step(jax.random.key(0), state, jnp.ones(1))[1]
        assert (bool(timestep.terminated), bool(timestep.truncated)) == (is_off, not is_off)


def test_starts_are_around_hanging_or_anywhere():
    easy, hard = (envs.make(f"control/cartpole_swing_up_{name}") for name in ("easy", "hard"))
    keys = jax.random.split(jax.random.key(0), 4000)
    near, far = (np.asarray(jax.vmap(env.draw_task)(keys)) for env in (easy, hard))
    np.testing.assert_allclose(near.mean(0), [0, 0, np.pi, 0], atol=0.02)
    np.testing.assert_allclose(near.std(0), 0.2, atol=0.02)
    half = np.abs(far - [0, 0, np.pi, 0]).max(0)
    np.testing.assert_allclose(half, [2.4, 10, np.pi / 2, 10], rtol=0.01)
