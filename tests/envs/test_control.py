"""The tasks of NEAT: what XOR pays, and the motion of two poles against float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import contract, control

KEY = jax.random.key(0)


def played(env, act, num_steps, task=None):
    """Return the states and the timesteps of an episode: act maps an observation to an action."""
    state, obs = env.reset(KEY, env.draw_task(KEY) if task is None else task)

    def one(carry, _):
        state, obs = carry
        state, timestep = env.step(KEY, state, jnp.atleast_1d(act(obs)))
        return (state, timestep.obs), (state, timestep)

    return jax.jit(lambda: jax.lax.scan(one, (state, obs), None, num_steps)[1])()


@pytest.mark.parametrize("name", control.names())
def test_tasks_keep_the_contract(name):
    env = contract.check(envs.make(f"control/{name}"))
    assert len(env.obs_names) == env.obs.size


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(answers, marks=[pytest.mark.wide] * (i % 5 > 0))
        for i, answers in enumerate([*itertools.product((-1.0, 0.5, 1.0), repeat=4)][::5])
    ],
)
def test_xor_pays_the_square_of_what_is_right(answers):
    """Of all tables of answers; in whatever order the cases come."""
    env = envs.make("control/xor")
    table = jnp.array(answers)
    _, steps = played(env, lambda obs: table[jnp.int32((obs[0] > 0) * 2 + (obs[1] > 0))], 4)
    errors = np.abs(np.array(answers) - [-1, 1, 1, -1]) / 2
    np.testing.assert_allclose(steps.reward.sum(), (4 - errors.sum()) ** 2 / 16, rtol=1e-6)
    np.testing.assert_array_equal(steps.terminated, [False, False, False, True])


def rates(x, force):
    """Return the rates of change by Wieland's equations, in float64, one pole after the other."""
    forces = masses = 0.0
    poles = []
    for angle, rate, half, mass in ((x[2], x[3], 0.5, 0.1), (x[4], x[5], 0.05, 0.01)):
        friction = 2e-6 * rate / (mass * half)
        weight = -9.8 * np.sin(angle)
        forces += mass * half * rate**2 * np.sin(angle)
        forces += 0.75 * mass * np.cos(angle) * (friction + weight)
        masses += mass * (1 - 0.75 * np.cos(angle) ** 2)
        poles.append((angle, rate, half, friction + weight))
    speeding = (force + forces) / (1.0 + masses)
    turns = [-0.75 * (speeding * np.cos(a) + pull) / half for a, _, half, pull in poles]
    return np.array([x[1], speeding, x[3], turns[0], x[5], turns[1]])


def exact(x, force):
    """Return two poles after two steps of Runge and Kutta's method of 0.01 s, in float64."""
    for _ in range(2):
        a = rates(x, force)
        b = rates(x + 0.005 * a, force)
        c = rates(x + 0.005 * b, force)
        d = rates(x + 0.01 * c, force)
        x = x + 0.01 / 6 * (a + 2 * b + 2 * c + d)
    return x


def test_two_poles_move_as_the_equations_say():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, force = rng.normal(size=6) * [1, 1, 0.2, 1, 0.2, 1], rng.uniform(-10, 10)
        found = control.moved(jnp.asarray(x, jnp.float32), jnp.float32(force))
        np.testing.assert_allclose(found, exact(x, force), rtol=1e-4, atol=1e-5)


def test_poles_fall_from_the_start_and_each_step_before_pays_one():
    env = envs.make("control/double_pole")
    states, steps = played(env, lambda obs: 0.0, 200)
    x, count = np.array([0, 0, 0.07, 0, 0, 0.0]), 0
    while np.abs(x[0]) <= 2.4 and np.abs(x[2::2]).max() <= np.deg2rad(36):
        x, count = exact(x, 0.0), count + 1
    assert int(np.argmax(steps.terminated)) == count - 1
    assert float(steps.reward[:count].sum()) == count - 1
    np.testing.assert_allclose(states.x[count - 1], x, rtol=1e-3)


def test_without_velocities_standing_still_pays_most():
    """At rest in the middle nothing moves, and a short limit cuts the episode there."""
    env = envs.make("control/double_pole_no_velocity", 120)
    assert env.obs.size == 12
    states, steps = played(env, lambda obs: 0.0, 120, jnp.zeros(6).at[0].set(0.01))
    still = np.abs(np.asarray(states.x)[-100:, :4]).sum()
    np.testing.assert_allclose(steps.reward[:-1], 0.1 / 120, rtol=1e-6)
    np.testing.assert_allclose(steps.reward[-1], 0.1 / 120 + 0.9 * 0.75 / still, rtol=1e-4)
    assert bool(steps.truncated[-1]) and not bool(steps.terminated.any())


def test_625_starts():
    starts = np.stack([control.start_of(x) for x in itertools.product(control.LEVELS, repeat=4)])
    assert len(np.unique(starts, axis=0)) == 625
    np.testing.assert_allclose(np.abs(starts).max(0)[:4], 0.9 * np.array(control.RANGES), rtol=1e-6)
    np.testing.assert_array_equal(control.start_of((0.5, 0.5, 0.5, 0.5)), 0)


def test_readings_of_a_number_add_up_to_a_finer_one():
    """Hermite's identity, where no reading is at its limit."""
    shares = np.linspace(-1.2, 1.2, 4001).astype(np.float32)
    readings = np.asarray(control.staggered(jnp.asarray(shares), 4)).reshape(-1, 4)
    steps = np.asarray(127 * jnp.asarray(shares))  # as float32 rounds
    inside = np.abs(steps) < 126
    np.testing.assert_array_equal(readings[inside].sum(1), np.floor(4 * steps[inside]))
    assert np.abs(readings).max() == 127 and (np.diff(readings[inside]) >= 0).all()
