"""Bodies of brax as tasks: what a task says is what is simulated and paid, and nothing else."""

import functools
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import bodies, brax
from ternevo.names import UnknownName

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

KEY = jax.random.key(0)
STEPS = 5
"""Enough for a foot to touch the ground."""


@pytest.fixture(scope="module")
def system():
    return brax._load("ant", "spring").sys


def test_a_short_leg_is_a_quarter_as_long_and_a_whole_ant_is_brax_own(system):
    whole = bodies._with_short_leg(jnp.int32(-1), system)
    np.testing.assert_array_equal(whole.geom_pos, system.geom_pos)
    centre = system.link.inertia.transform.pos
    np.testing.assert_array_equal(whole.link.inertia.transform.pos, centre)
    for leg, sign in ((0, [1, 1]), (1, [-1, 1])):
        short = bodies._with_short_leg(jnp.int32(leg), system)
        changed = np.flatnonzero(np.any(np.asarray(short.geom_pos != system.geom_pos), -1))
        assert len(changed) == 1
        np.testing.assert_allclose(short.geom_pos[changed[0], :2], 0.1 * np.array(sign))
        moved = short.link.inertia.transform.pos
        np.testing.assert_array_equal(
            np.flatnonzero(np.any(np.asarray(moved != centre), -1)), [2 + 2 * leg]
        )
        np.testing.assert_allclose(moved[2 + 2 * leg], 0.25 * centre[2 + 2 * leg], rtol=1e-6)


def family_of(name, family="seen"):
    """Return what a family draws and changes, without the environment, which takes seconds."""
    found, env = [], envs.make("probe/sign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brax, "make", lambda body, length, own: found.append(own))
        patch.setattr(bodies, "named", lambda name, family, made: env)
        bodies.TASKS[name](family=family)
    return found[0]


def drawn(name, family="seen"):
    return np.asarray(jax.vmap(family_of(name, family).draw)(jax.random.split(KEY, 500)))


@pytest.mark.parametrize("name", ["ant_gains", "ant_payload"])
def test_no_task_of_training_is_one_of_the_test(name):
    """The ranges share an end at most."""
    seen, unseen = drawn(name), drawn(name, "unseen")
    lower, upper = (unseen, seen) if name == "ant_gains" else (seen, unseen)
    assert lower.max() <= upper.min() and lower.std() > 0.05 and upper.std() > 0.1
    np.testing.assert_array_equal(drawn(name, "normal"), 1.0)


def test_directions_and_legs_are_drawn_evenly():
    for name in ("ant_direction", "halfcheetah_direction", "ant_legs"):
        found, counts = np.unique(drawn(name), return_counts=True)
        np.testing.assert_array_equal(found, [-1, 1])
        assert counts.min() > 200
        with pytest.raises(UnknownName, match="unknown family 'sideways'"):
            family_of(name, "sideways")
    np.testing.assert_array_equal(drawn("ant_direction", "backward"), -1.0)
    np.testing.assert_array_equal(drawn("ant_direction", "forward"), 1.0)
    np.testing.assert_array_equal(drawn("ant_legs", "left_front"), 0)


def test_an_id_names_the_family():
    env = envs.make("meta/ant_gains@unseen", 30)
    assert (env.id, env.episode_length) == ("meta/ant_gains@unseen", 30)
    assert envs.make("meta/ant_payload").id == "meta/ant_payload"


class Task(NamedTuple):
    """A task of each family of ants; by default those that change nothing."""

    ant_legs: jax.Array = jnp.int32(-1)
    ant_gains: jax.Array = jnp.ones(8)
    ant_payload: jax.Array = jnp.float32(1)
    ant_direction: jax.Array = jnp.float32(1)


@pytest.fixture(scope="module")
def walk():
    """Return the function from a task and actions to the states and timesteps of a walk.

    It is one compiled program for all families, whose changes are made one after another.
    """
    families = {name: family_of(name) for name in Task._fields}

    def change(task, system):
        for name, own in task._asdict().items():
            system = families[name].change(own, system)
        return system

    def pay(task, after):
        return families["ant_direction"].pay(task.ant_direction, after)

    return walked(brax.make("ant", STEPS, brax.Bodies(lambda key: Task(), change, pay)))


def walked(env):
    @quick_jit
    def walk(task, actions):
        def one(state, action):
            state, timestep = env.step(KEY, state, action)
            return state, (state.physics, timestep)

        return jax.lax.scan(one, env.reset(KEY, task)[0], actions)[1]

    return walk


ACTIONS = jax.random.uniform(jax.random.key(5), (STEPS, 8), minval=-1.0)


def test_a_task_that_changes_nothing_is_brax_itself_bit_for_bit(walk):
    assert_equal = np.testing.assert_array_equal
    jax.tree.map(
        assert_equal, walk(Task(), ACTIONS), walked(envs.make("brax/ant", STEPS))((), ACTIONS)
    )


def test_a_gain_is_a_factor_of_the_action_that_the_price_of_it_does_not_know(walk):
    """Halves and quarters are exact in floats, so that both ways are equal."""
    gains = jnp.tile(jnp.array([0.5, 0.25, 1.0, 0.5]), 2)
    weak, small = walk(Task(ant_gains=gains), ACTIONS), walk(Task(), ACTIONS * gains)
    np.testing.assert_array_equal(weak[1].obs, small[1].obs)
    saved = 0.5 * np.sum(ACTIONS**2 - (ACTIONS * gains) ** 2, -1)
    np.testing.assert_allclose(small[1].reward - weak[1].reward, saved, rtol=1e-4)


def test_a_payload_is_the_mass_that_is_simulated(walk):
    """Brax divides forces by `mass` of the state."""
    usual, heavy = (walk(Task(ant_payload=jnp.float32(mass)), ACTIONS) for mass in (1.0, 2.5))
    np.testing.assert_array_equal(usual[0].mass, 1.0)
    np.testing.assert_array_equal(heavy[0].mass, np.tile([2.5, *[1.0] * 8], (STEPS, 1)))
    assert not np.allclose(usual[1].obs, heavy[1].obs)


def test_a_direction_turns_the_part_of_the_reward_that_walking_pays(walk):
    forward, backward = (walk(Task(ant_direction=jnp.float32(d)), ACTIONS) for d in (1.0, -1.0))
    np.testing.assert_array_equal(forward[1].obs, backward[1].obs)
    rest = 1 - 0.5 * np.sum(ACTIONS**2, -1)
    np.testing.assert_allclose((forward[1].reward + backward[1].reward) / 2, rest, rtol=1e-4)
    assert np.all(np.abs(forward[1].reward - backward[1].reward) > 1e-3)


def test_the_cheetah_is_paid_for_its_direction():
    family = family_of("halfcheetah_direction")
    after = jax.eval_shape(brax._load("halfcheetah", "spring").reset, KEY)
    speed = jnp.float32(3)
    assert after.metrics["reward_run"].shape == speed.shape, "brax names it so"
    paid = types.SimpleNamespace(reward=jnp.float32(2.5), metrics={"reward_run": speed})
    assert (family.pay(1.0, paid), family.pay(-1.0, paid)) == (2.5, -3.5)


@pytest.mark.wide  # the leg itself is above
def test_ants_with_a_short_leg_walk_differently(walk):
    usual, right, left = (walk(Task(ant_legs=jnp.int32(i)), ACTIONS)[1].obs for i in (-1, 1, 0))
    assert not np.allclose(usual, right) and not np.allclose(right, left)
