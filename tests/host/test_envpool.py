"""envpool: its worlds against the same tasks of `box2d`, and a pool that is made up."""

import sys
import types
import warnings

import numpy as np
import pytest

from ternevo.host import box2d, envpool as suite
from ternevo.installation import MissingExtra
from ternevo.names import UnknownName
from ternevo.settings import listing

OPENED = []
"""The seeds of each pool that was made up."""


class Pool:
    """Environments that count their steps and end in the third; they observe seed and count."""

    def __init__(self, name, *, num_envs, seed, num_threads, max_episode_steps, render_mode):
        assert num_envs == len(seed) and 1 <= num_threads <= num_envs
        self.seeds, self.counts = np.asarray(seed), np.zeros(num_envs)
        OPENED.append(seed)

    def reset(self):
        return self._obs(np.arange(len(self.seeds))), {}

    def step(self, actions, numbers):
        assert (self.counts[numbers] < 3).all(), "a pool would reset these by itself"
        self.counts[numbers] += 1
        over = self.counts[numbers] == 3
        reward = (actions + self.seeds[numbers]).astype(np.float32)
        return self._obs(numbers), reward, over, np.zeros(len(over), bool), {}

    def render(self, numbers):
        return np.full((len(numbers), 2, 3, 3), self.seeds[numbers][0], np.uint8)

    def _obs(self, numbers):
        return np.stack([self.seeds[numbers], self.counts[numbers]], axis=1)


@pytest.fixture
def made_up(monkeypatch):
    OPENED.clear()
    monkeypatch.setitem(sys.modules, "envpool", types.SimpleNamespace(make_gymnasium=Pool))
    return lambda count: suite.open_worlds("LunarLander-v3", count, 2)


def test_episodes_that_begin_together_share_a_pool_and_each_keeps_its_own(made_up):
    worlds = made_up(4)
    first = worlds.reset(np.asarray([2, 0, 3]), np.asarray([20, 0, 30]))
    assert first.tolist() == [[20, 0], [0, 0], [30, 0]] and first.dtype == np.float32
    worlds.step(np.asarray([0]), np.asarray([5], np.int32))
    worlds.reset(np.asarray([1]), np.asarray([10]))
    assert OPENED == [[20, 0, 30], [10]]
    found = worlds.step(np.asarray([3, 1, 0, 2]), np.asarray([1, 2, 3, 4], np.int32))
    assert found.obs.tolist() == [[30, 1], [10, 1], [0, 2], [20, 1]]
    assert found.reward.tolist() == [31, 12, 3, 24] and found.reward.dtype == np.float64
    assert not found.terminated.any()
    found = worlds.step(np.asarray([1, 0]), np.asarray([0, 0], np.int32))
    assert found.terminated.tolist() == [False, True]
    assert worlds.reset(np.asarray([0]), np.asarray([7])).tolist() == [[7, 0]]
    assert [worlds.picture(row)[0, 0, 0] for row in range(4)] == [7, 10, 20, 30]


def test_a_wrong_name_gets_the_nearest():
    for call in (suite.spec, lambda name: suite.open_worlds(name, 1, 1)):
        with pytest.raises(UnknownName, match=r"'LunarLander-v2'.* Did you mean 'LunarLander-v3'"):
            call("LunarLander-v2")


def test_what_is_missing_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    for call in (suite.spec, lambda name: suite.open_worlds(name, 1, 1)):
        with pytest.raises(MissingExtra, match=r"envpool needs envpool: .*\[envpool\]"):
            call("LunarLander-v3")
    assert "envpool: pip install" in listing.envs().replace("-e ", "")


# --- the package, where it is installed ---------------------------------------------------------


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip("envpool")


@pytest.fixture
def opened(package):
    """Return a function that opens worlds, which are closed at the end."""
    found = []

    def open_worlds(name, count, num_threads=1):
        found.append(suite.open_worlds(name, count, num_threads))
        return found[-1]

    yield open_worlds
    for worlds in found:
        worlds.close()


def actions_of(name, seed, *shape):
    spec, rng = suite.spec(name), np.random.default_rng(seed)
    if spec.action_kind == "discrete":
        return rng.integers(0, spec.action_size, shape).astype(np.int32)
    return rng.uniform(spec.low, spec.high, (*shape, spec.action_size)).astype(np.float32)


def played(worlds, row, seed, actions):
    """Return what is shown, earned and ended in an episode, until the end."""
    rows = np.asarray([row])
    found = [(worlds.reset(rows, np.asarray([seed]))[0].tolist(), 0.0, False)]
    for action in actions:
        obs, reward, terminated = worlds.step(rows, action[None])
        found.append((obs[0].tolist(), reward[0], terminated[0]))
        if terminated[0]:
            break
    return found


@pytest.mark.parametrize("name", suite.names())
def test_spaces_are_those_of_gymnasium(package, name):
    spec = suite.spec(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium warns that bounds become float32
        pool = package.make_gymnasium(name)
        seen, action = pool.observation_space, pool.action_space
    assert spec.id == f"envpool/{name}" and seen.shape == spec.obs_shape
    assert (seen.dtype == np.uint8) == (spec.obs_kind == "pixels")
    if spec.action_kind == "discrete":
        assert (action.n, action.start) == (spec.action_size, 0)
    else:
        np.testing.assert_array_equal(action.low.astype(np.float32), np.float32(spec.low))
        np.testing.assert_array_equal(action.high.astype(np.float32), np.float32(spec.high))


@pytest.mark.parametrize("name", ["LunarLander-v3", "BipedalWalker-v3"])
def test_an_episode_depends_on_its_seed_and_actions_only(opened, name):
    actions = actions_of(name, 0, 60)
    alone = played(opened(name, 1), 0, 7, actions)
    worlds, rows = opened(name, 3, 2), np.asarray([1, 0, 2])
    first = worlds.reset(rows, np.asarray([4, 7, 9]))
    assert first[1].tolist() == alone[0][0] and first[0].tolist() != first[2].tolist()
    for step, action in enumerate(actions[: len(alone) - 1]):
        rows = np.asarray([0, 2]) if step % 3 else np.asarray([0])  # world 1 waits all the time
        found = worlds.step(rows, np.stack([action] * len(rows)))
        assert (found.obs[0].tolist(), found.reward[0], found.terminated[0]) == alone[step + 1]
        if found.terminated[-1]:
            break
    assert played(worlds, 2, 7, actions) == alone  # in a world that has had an episode


def returns(worlds, actions):
    """Return the return of each world under actions [steps, worlds], until they end."""
    rows = np.arange(actions.shape[1])
    total, alive = np.zeros(len(rows)), rows
    worlds.reset(rows, rows)
    for action in actions:
        found = worlds.step(alive, action[alive])
        total[alive] += found.reward
        alive = alive[~found.terminated]
        if not len(alive):
            break
    return total


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LunarLander-v3", "BipedalWalker-v3"])
def test_random_actions_return_as_much_as_in_gymnasium_on_average(opened, name):
    """Seeds mean other starts; four standard errors of the difference."""
    actions = actions_of(name, 1, 300, 200)
    ours = box2d.open_worlds(name, 200, 1)
    found = np.stack([returns(opened(name, 200), actions), returns(ours, actions)])
    ours.close()
    error = np.sqrt(np.sum(found.var(axis=1) / found.shape[1]))
    assert abs(found.mean(axis=1) @ [1, -1]) < 4 * error
