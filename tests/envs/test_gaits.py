"""An ant that counts how often its feet touch the ground walks as brax's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import bodies, brax, gaits
from ternevo.names import UnknownName

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

KEY = jax.random.key(0)
STEPS = 60
"""Enough for an ant that does not move its motors to come to rest on its feet."""


@pytest.fixture(scope="module")
def walk():
    """Return the states of an ant that rests and of one that moves, and the same of brax's ant."""
    ours, theirs = gaits.ant_gaits(STEPS), brax.make("ant", STEPS)

    @quick_jit
    def run(actions):
        def one(states, action):
            stepped = [e.step(KEY, s, action) for e, s in zip((ours, theirs), states, strict=True)]
            after = [state for state, _ in stepped]
            return after, (after, [timestep for _, timestep in stepped])

        first = [ours.reset(KEY, ours.draw_task(KEY))[0], theirs.reset(KEY, ())[0]]
        return jax.lax.scan(one, first, actions)[1]

    moving = jax.random.uniform(jax.random.key(5), (STEPS, 8), minval=-1.0)
    return [run(actions) for actions in (jnp.zeros((STEPS, 8)), moving)]


@pytest.mark.wide  # bodies that walk are in test_bodies.py
def test_it_walks_and_earns_as_brax_own_ant(walk):
    for (mine, theirs), (mine_paid, theirs_paid) in walk:
        jax.tree.map(np.testing.assert_array_equal, mine.walk.physics, theirs.physics)
        jax.tree.map(np.testing.assert_array_equal, mine_paid, theirs_paid)


@pytest.mark.wide  # bodies that walk are in test_bodies.py
def test_who_rests_stands_on_four_feet_and_who_moves_lifts_them(walk):
    (resting, _), (moving, _) = (states for states, _ in walk)
    late = resting.touched[-1] - resting.touched[STEPS // 2]
    assert (late > 0.7 * STEPS / 2).all()  # it still rocks a little
    for states in (resting, moving):
        assert set(np.unique(np.diff(np.asarray(states.touched), axis=0))) <= {0, 1}
    still, lively = (gaits.shares(jax.tree.map(lambda x: x[-1], s)) for s in (resting, moving))
    np.testing.assert_array_equal(still, resting.touched[-1] / jnp.int32(STEPS))
    assert (lively < still).all() and (lively > 0).all()


@pytest.mark.wide  # bodies that walk are in test_bodies.py
def test_a_short_leg_ends_above_the_ground_on_which_the_others_stand(walk):
    state = jax.tree.map(lambda x: x[-1], walk[0][0][0]).walk
    whole = brax.distances("ant")(state)
    np.testing.assert_array_less(whole, gaits.NEAR)
    short = brax.distances("ant", bodies.with_legs(["right_front"]))(
        state._replace(task=jnp.int32(1))
    )
    above = np.asarray(short > 0.1)
    np.testing.assert_array_equal(above, [foot == "right front" for foot in gaits.FEET])


def test_feet_are_named_by_where_they_are():
    """As in `bodies.LEGS`: front is +y, and left is +x."""
    system = brax._load("ant", "spring").sys
    places = system.geom_pos[np.flatnonzero(np.asarray(system.geom_contype))]
    names = [f"{'left' if x > 0 else 'right'} {'front' if y > 0 else 'back'}" for x, y, _ in places]
    assert tuple(names) == gaits.FEET
    for name in ("left_front", "right_front"):
        assert gaits.FEET[bodies.LEGS[name]] == name.replace("_", " ")


def test_ids_and_families():
    env = envs.make("meta/ant_gaits@left_front", 30)
    assert (env.id, env.episode_length) == ("meta/ant_gaits@left_front", 30)
    assert env.descriptor is not None and env.descriptor.size == 4
    assert int(env.draw_task(KEY)) == 0
    assert int(envs.make("meta/ant_gaits").draw_task(KEY)) == -1
    with pytest.raises(UnknownName, match="unknown family 'sideways'"):
        gaits.ant_gaits(family="sideways")
