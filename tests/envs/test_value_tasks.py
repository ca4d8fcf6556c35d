"""The tasks of NEAT+Q: the car is gymnax's in bins, and a server does every job once."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from ternevo import envs
from ternevo.envs import value_tasks

KEY = jax.random.key(0)


def test_the_car_moves_as_in_gymnax_and_is_shown_in_one_bin_each():
    env, (other, params) = envs.make("control/mountain_car_bins"), gymnax.make("MountainCar-v0")
    state, _ = env.reset(KEY, ())
    other_state = other.reset(KEY, params)[1]
    other_state = other_state.replace(position=state.position, velocity=state.velocity)
    step, other_step = jax.jit(env.step), jax.jit(other.step_env)
    for action in [0] * 30 + [2] * 60 + [1] * 5:
        state, timestep = step(KEY, state, jnp.int32(action))
        other_state = other_step(KEY, other_state, action, params)[1]
        found = float(state.position), float(state.velocity)
        there = float(other_state.position), float(other_state.velocity)
        np.testing.assert_allclose(found, there, atol=1e-5)
        bins = np.asarray(timestep.obs).reshape(2, 10)
        assert (bins.sum(1) == 127).all()
        shares = (found[0] + 1.2) / 1.8, (found[1] / 0.07 + 1) / 2
        assert abs(bins.argmax(1) + 0.5 - 10 * np.array(shares)).max() <= 0.51


def test_pushing_along_with_the_motion_reaches_the_top():
    env = envs.make("control/mountain_car_bins")
    state, _ = env.reset(KEY, ())
    step, count = jax.jit(env.step), 0
    is_there = False
    while not is_there and count < 200:
        state, timestep = step(KEY, state, jnp.where(state.velocity < 0, 0, 2))
        is_there, count = bool(timestep.terminated), count + 1
    assert 80 < count < 150


def served(choose):
    """Return all timesteps and states; `choose` maps counts of jobs to an action."""
    env = envs.make("control/job_scheduling")

    def one(carry, _):
        state, obs = carry
        state, timestep = env.step(KEY, state, choose(obs))
        return (state, timestep.obs), (timestep, state)

    return jax.jit(lambda: jax.lax.scan(one, env.reset(KEY, ()), None, 200)[1])()


def test_a_server_does_each_job_once_and_ends_with_the_last():
    steps, states = served(lambda obs: jnp.argmax(obs))
    assert np.asarray(states.is_done.sum(1)).tolist() == list(range(1, 201))
    assert steps.terminated.tolist() == [False] * 199 + [True]
    waiting = np.asarray(steps.obs).sum(1)
    assert waiting[0] == 100 and waiting[98] == 100 and waiting[-1] == 0
    assert (np.asarray(steps.obs)[:49, 1::4] == 0).all()  # none is 50 steps old yet


def test_the_first_job_of_the_chosen_group_is_paid_by_its_utility():
    """Type 3 last and only when it is about to lose all; the others by hand."""
    env = envs.make("control/job_scheduling")
    state, _ = env.reset(KEY, ())
    chosen = int(np.argmax(np.asarray(state.type[:100]) == 2))
    after, timestep = env.step(KEY, state._replace(time=jnp.int32(120)), jnp.int32(2 * 4 + 2))
    assert np.flatnonzero(np.asarray(after.is_done)).tolist() == [chosen]
    np.testing.assert_allclose(timestep.reward, -(2 * 120 / 200 - 1), rtol=1e-6)


def test_utilities_fall_from_0_to_minus_1():
    ages = jnp.arange(201)
    for kind in range(4):
        paid = np.asarray(value_tasks.utility(jnp.full(201, kind), ages))
        assert paid[0] == 0 and abs(paid[-1] + 1) < 1e-6 and (np.diff(paid) <= 1e-7).all()
    halfway = [float(value_tasks.utility(jnp.int32(kind), jnp.int32(100))) for kind in range(4)]
    np.testing.assert_allclose(halfway, [-0.5, -0.8, 0, 0], atol=1e-6)
