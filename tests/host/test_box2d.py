"""Box2D: the environments of Gymnasium, whose episodes do not depend on those before."""

import numpy as np
import pytest

pytest.importorskip("Box2D")

from ternevo.host import gymnasium_worlds
from ternevo.host.suites import suite
from ternevo.names import UnknownName

NAMES = suite("box2d").names()


def actions_of(spec, steps=60):
    rng = np.random.default_rng(1)
    if spec.action_kind == "discrete":
        return rng.integers(0, spec.action_size, (steps, 1)).astype(np.int32)
    return rng.uniform(spec.low, spec.high, (steps, 1, spec.action_size)).astype(np.float32)


def played(worlds, row, seed, actions):
    """Return what is shown, earned and ended, until the end."""
    rows = np.array([row])
    found = [(worlds.reset(rows, np.array([seed]))[0].tolist(), 0.0, False)]
    for action in actions:
        obs, reward, terminated = worlds.step(rows, action)
        found.append((obs[0].tolist(), reward[0], terminated[0]))
        if terminated[0]:
            break
    return found


@pytest.mark.parametrize("name", NAMES[:4])
def test_worlds_are_the_environments_of_gymnasium(name):
    worlds, spec = suite("box2d").open_worlds(name, 1, 1), suite("box2d").spec(name)
    env, actions = gymnasium_worlds.make(name), actions_of(spec)
    expected = [(env.reset(seed=3)[0].tolist(), 0.0, False)]
    for action in actions:
        obs, reward, terminated, _, _ = env.step(action[0])
        expected.append((np.ravel(obs).tolist(), reward, terminated))
        if terminated:
            break
    assert played(worlds, 0, 3, actions) == expected
    env.close()


def test_pictures_change_no_episode():
    """LunarLander adds sparks once it is drawn."""
    worlds, rows = suite("box2d").open_worlds("LunarLander-v3", 2, 1), np.arange(2)
    worlds.reset(rows, np.array([4, 4]))
    for action in (2, 1, 3, 2) * 15:
        assert worlds.picture(1).std() > 0
        obs, reward, terminated = worlds.step(rows, np.full(2, action, np.int32))
        np.testing.assert_array_equal(obs[0], obs[1])
        assert reward[0] == reward[1]
        if terminated.all():
            break
    worlds.close()


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_does_not_depend_on_its_world_or_on_those_before(name):
    spec = suite("box2d").spec(name)
    actions = actions_of(spec, 8 if name == "CarRacing-v3" else 60)
    worlds = suite("box2d").open_worlds(name, 2, 1)
    first = played(worlds, 0, 7, actions)
    played(worlds, 0, 9, actions)
    assert played(worlds, 0, 7, actions) == first
    assert played(worlds, 1, 7, actions) == first
    assert spec.obs_size == len(first[0][0]) and worlds.picture(0).shape[2] == 3
    worlds.close()


def test_names_of_what_is_observed_and_done_fit():
    for name in NAMES:
        spec = suite("box2d").spec(name)
        assert len(spec.obs_names) == spec.obs_shape[-1]
        assert len(spec.action_names) == spec.action_size


def test_a_wrong_name_is_an_error_with_the_nearest():
    with pytest.raises(UnknownName, match=r"Did you mean 'LunarLander-v3'"):
        suite("box2d").open_worlds("LunarLander-v2", 1, 1)
