"""The maze: ranges and walls by another route, and a way to the goal by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st

from ternevo import envs
from ternevo.envs import maze

places = st.floats(0.03125, 0.96875, width=32)


def marched(place, angle) -> float:
    """Return the range by small steps along the ray until a wall is crossed."""
    way = np.array([np.cos(angle), np.sin(angle)])
    for t in np.arange(0, maze.RANGE, 1e-3):
        point = place + t * way
        for x, y, x2, y2 in maze.WALLS.astype(float):
            a, e = np.array([x, y]), np.array([x2 - x, y2 - y])
            share = np.clip((point - a) @ e / (e @ e), 0, 1)
            if np.linalg.norm(point - a - share * e) < 1e-3:
                return t
    return maze.RANGE


@given(places, places, st.floats(-3, 3, width=32))
@settings(max_examples=15, deadline=None)
def test_ranges_are_those_of_a_march_along_the_ray(x, y, angle):
    place = np.array([x, y])
    found = maze.distances(jnp.asarray(place, jnp.float32), jnp.asarray([angle], jnp.float32))
    # A march that grazes a wall meets it earlier, by a step over the sine of the angle.
    assert marched(place, angle) - 3e-3 <= float(found[0]) <= maze.RANGE + 1e-6
    end = place + (float(found[0]) - 1e-5) * np.array([np.cos(angle), np.sin(angle)])
    assert float(found[0]) >= maze.RANGE - 1e-6 or float(maze.clearance(jnp.asarray(end))) < 1e-3


def test_at_the_start_the_walls_and_the_goal_are_where_the_picture_has_them():
    obs = np.asarray(maze.seen(jnp.asarray(maze.START), jnp.zeros(())))
    np.testing.assert_allclose(obs[0], 0.1 / 0.3, rtol=1e-5)  # the lower wall, to the right
    np.testing.assert_allclose(obs[5], 0.12 / 0.3, rtol=1e-5)  # the left wall, behind
    assert obs[2] == 1 and obs[6:].tolist() == [0, 1, 0, 0]  # the goal is to the left


WAY = [(0.42, 0.1), (0.42, 0.7), (0.67, 0.7), (0.67, 0.12), (0.9, 0.12), (0.9, 0.9), (0.1, 0.9)]


def test_a_way_by_hand_reaches_the_goal_and_walls_are_not_crossed():
    env = envs.make("control/maze")
    step = jax.jit(env.step)
    state, _ = env.reset(jax.random.key(0), ())
    way, total = list(WAY), 0.0
    for _ in range(290):
        target = np.array(way[0]) - np.asarray(state.place)
        if np.linalg.norm(target) < 0.02 and len(way) > 1:
            way.pop(0)
            continue
        angle = np.arctan2(target[1], target[0]) - float(state.heading)
        angle = (angle + np.pi) % (2 * np.pi) - np.pi
        speed = 1.0 if abs(angle) < 0.3 else -1.0
        action = jnp.asarray([angle / maze.TURN, speed], jnp.float32)
        state, timestep = step(jax.random.key(0), state, action)
        total += float(timestep.reward)
        assert float(maze.clearance(state.place)) >= maze.RADIUS * 0.999
        if timestep.terminated:
            break
    assert total == 0 and bool(timestep.terminated)
    np.testing.assert_array_equal(env.descriptor.of(state), state.place)


def test_who_does_not_reach_it_is_paid_the_distance_at_the_end():
    env = envs.make("control/maze", 3)
    state, _ = env.reset(jax.random.key(0), ())
    rewards = []
    for _ in range(3):
        state, timestep = env.step(jax.random.key(0), state, jnp.asarray([0.0, -1.0]))
        rewards.append(float(timestep.reward))
    distance = float(np.linalg.norm(maze.START - maze.GOAL))
    np.testing.assert_allclose(rewards, [0, 0, -distance], rtol=1e-6)
    assert bool(timestep.truncated) and not bool(timestep.terminated)
