"""The hop-runner: motion against NumPy, what a way pays, courses by name, and a runner by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import hop_runner
from ternevo.envs.hop_runner import SPACE, Course

KEY = jax.random.key(0)
FLAT = Course(jnp.full(8, 99.0), jnp.full(8, 99.5), jnp.zeros(8), jnp.zeros(52))


def with_obstacle(start, end, height) -> Course:
    return FLAT._replace(
        start=FLAT.start.at[0].set(start),
        end=FLAT.end.at[0].set(end),
        height=FLAT.height.at[0].set(height),
    )


def run(course: Course, actions) -> tuple[np.ndarray, np.ndarray]:
    """Return places and velocities [steps, 2]."""

    def one(carry, action):
        place, velocity = carry
        after = hop_runner.moved(course, place, velocity, action)
        return after, after

    start = jnp.zeros(2), jnp.zeros(2)
    places, velocities = jax.lax.scan(one, start, jnp.asarray(actions, jnp.float32))[1]
    return np.asarray(places), np.asarray(velocities)


def test_a_jump_on_flat_ground_is_a_parabola_of_euler_steps():
    places, _ = run(FLAT, [[1, 1]] * 10)
    x = y = speed = 0.0
    lift = 5.0
    for t in range(10):
        speed += 0.05 * 8 * (1 if t == 0 else 0.5)
        lift -= 0.05 * 9.81
        x, y = x + 0.05 * speed, y + 0.05 * lift
        np.testing.assert_allclose(places[t], [x, y], rtol=1e-5)


def test_walls_stop_a_runner_and_a_jump_goes_over_them():
    course = with_obstacle(6.0, 6.5, 1.0)
    places, velocities = run(course, [[1, -1]] * 100)
    assert 5.6 < places[-1, 0] < 6.0 and velocities[-1, 0] == 0
    over, _ = run(course, [[1, 1]] * 100)
    assert over[-1, 0] > 7
    assert over[(over[:, 0] > 6) & (over[:, 0] < 6.5), 1].min() >= 1.0


def test_gaps_are_fallen_into_and_no_jump_in_the_air_helps():
    course = with_obstacle(6.0, 9.0, -1.0)
    places, _ = run(course, [[1, -1]] * 40 + [[1, 1]] * 40)
    assert places[-1, 1] < hop_runner.LOST and places[-1, 0] < 9.0


def test_what_is_climbed_without_a_jump():
    for height, passes in ((0.1, True), (0.2, False)):
        places, _ = run(with_obstacle(6.0, 6.5, height), [[1, -1]] * 100)
        assert (places[-1, 0] > 7) == passes


def by_hand(obs):
    """Run; jump shortly before what is in the way, or where the ground rises."""
    near = (obs[3] < 0.4 + 0.06 * obs[0]) & (obs[3] > -0.2)
    return jnp.stack([1.0, jnp.where(near | (obs[6] > 0.15), 1.0, -1.0)])


def returns(env, count=32):
    def one(key):
        state, obs = env.reset(key, env.draw_task(key))

        def step(carry, _):
            state, obs, total, is_on = carry
            state, timestep = env.step(key, state, by_hand(obs))
            total += jnp.where(is_on, timestep.reward, 0.0)
            is_on &= ~timestep.terminated & ~timestep.truncated
            return (state, timestep.obs, total, is_on), state.place[0]

        start = state, obs, jnp.zeros(()), jnp.asarray(True)
        (_, _, total, _), ways = jax.lax.scan(step, start, None, env.episode_length)
        return total, ways

    return jax.jit(jax.vmap(one))(jax.random.split(KEY, count))


def test_harder_courses_pay_the_same_runner_less():
    worth = [
        float(returns(envs.make(f"control/hop_runner@{task}"))[0].mean())
        for task in ("0.2,0,0,0,0", "1.5,0.4,0.1,0.5,0", "3.5,1.2,0.8,1,0.4")
    ]
    assert worth[0] > worth[1] > worth[2] and worth[0] > 200


def test_an_arrival_pays_the_whole_way_and_the_time_that_is_left():
    total, ways = returns(envs.make("control/hop_runner@0,0,0,0,0"), 2)
    steps = 1 + np.argmax(np.asarray(ways) >= 50, axis=1)
    np.testing.assert_allclose(total, 300 + 100 * (1 - steps / 300), rtol=1e-4)


def test_a_task_draws_obstacles_within_its_numbers():
    task = jnp.asarray([2.0, 0.5, 0.3, 0.5, 0.2])
    course = jax.vmap(lambda key: hop_runner.course_of(key, task))(jax.random.split(KEY, 50))
    is_gap = np.asarray(course.height) < 0
    width, height = np.asarray(course.end - course.start), np.asarray(course.height)
    assert 0.4 < is_gap.mean() < 0.6
    assert width[is_gap].min() >= 2.0 and width[is_gap].max() <= 2.5 + 1e-5
    assert height[~is_gap].min() >= 0.5 and height[~is_gap].max() <= 0.7 + 1e-5
    assert course.bumps.max() <= 0.3 and not np.any(course.bumps[:, : hop_runner.FLAT])


def test_a_course_has_a_name_that_makes_it_again():
    task = (2.0, 0.5, 0.25, 0.5, 0.125)
    env = envs.make(hop_runner.id_of(task), 40)
    assert env.id == "control/hop_runner@2,0.5,0.25,0.5,0.125" and env.episode_length == 40
    np.testing.assert_array_equal(env.draw_task(KEY), np.array(task, np.float32))
    drawn = np.asarray(jax.vmap(envs.make("control/hop_runner").draw_task)(jax.random.split(KEY)))
    assert (drawn >= SPACE.low).all() and (drawn <= SPACE.high).all()
    assert len(np.unique(drawn, axis=0)) == 2


@pytest.mark.parametrize("text", ["", "1,2", "a,0,0,0,0", "9,0,0,0,0", "1,0,0,0,nan"])
def test_numbers_that_are_no_course_are_refused_with_what_is(text):
    with pytest.raises(ValueError, match=r"must be 5 numbers, gap \(m\) 0 to 3.5, wall"):
        envs.make(f"control/hop_runner@{text}")
