"""Wrappers, against what comes out by hand on probes; and their way through a policy file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import wrappers
from ternevo.settings.wrappers import Wrappers, from_text
from ternevo.types import Env

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def walk(env: Env, actions, task=(), seed=0):
    """Return the observations, timesteps and states of one episode, up to its end."""
    step = quick_jit(env.step)
    state, obs = env.reset(jax.random.key(seed), task)
    seen, timesteps, states = [np.asarray(obs)], [], [state]
    for i, action in enumerate(actions):
        state, timestep = step(jax.random.key(100 + i), state, jnp.asarray(action))
        seen.append(np.asarray(timestep.obs))
        timesteps.append(timestep)
        states.append(state)
        if timestep.terminated or timestep.truncated:
            break
    return seen, timesteps, states


def test_without_wrappers_nothing_is_around():
    env = envs.make("probe/corridor", None, Wrappers())
    assert (env.wrappers, env.episode_length) == ("", 20)
    state, _ = env.reset(jax.random.key(0), ())
    assert not isinstance(state, wrappers.Wrapped)


def test_a_repeated_action_is_taken_until_the_episode_is_over():
    """Four steps to the right: one action of three steps, then one that ends after the first."""
    env = envs.make("probe/corridor", None, Wrappers(action_repeat=3))
    assert env.episode_length == 7
    seen, timesteps, _ = walk(env, [1, 1, 1])
    assert [int(np.argmax(obs)) for obs in seen] == [0, 3, 4]
    assert [float(t.reward) for t in timesteps] == [0, 1]
    assert bool(timesteps[-1].terminated)


def test_rewards_of_repeated_actions_add_up_to_the_limit():
    env = envs.make("probe/countdown", 8, Wrappers(action_repeat=3))
    _, timesteps, _ = walk(env, [0] * 9)
    assert [float(t.reward) for t in timesteps] == [3, 3, 2]
    assert bool(timesteps[-1].truncated) and env.episode_length == 3


@pytest.mark.parametrize("probability, cells", [(1.0, [0, 0, 0]), (0.0, [1, 2, 3])])
def test_a_sticky_action_is_the_one_before(probability, cells):
    """Always sticky, it goes on with action 0, which it begins with."""
    env = wrappers.sticky_actions(envs.make("probe/corridor"), probability)
    seen, _, _ = walk(env, [1, 1, 1])
    assert [int(np.argmax(obs)) for obs in seen[1:]] == cells


def test_sticky_actions_stick_as_often_as_they_are_told():
    env = wrappers.sticky_actions(envs.make("probe/target"), 0.25)
    keys = jax.random.split(jax.random.key(0), 4000)
    state, _ = env.reset(jax.random.key(0), ())
    taken = quick_jit(jax.vmap(lambda key: env.step(key, state, jnp.ones(1))[0].own[0]))(keys)
    assert float(np.mean(np.asarray(taken) == 0)) == pytest.approx(0.25, abs=0.02)


def test_stacked_frames_are_the_newest_last_and_begin_with_the_first():
    env = envs.make("probe/countdown", 4, Wrappers(frame_stack=3))
    assert env.obs.shape == (3,)
    seen, _, _ = walk(env, [0] * 4)
    np.testing.assert_allclose(seen[0], [1, 1, 1])
    np.testing.assert_allclose(seen[2], [1, 0.75, 0.5])
    np.testing.assert_allclose(seen[4], [0.5, 0.25, 0])


def test_frames_of_planes_are_stacked_along_the_channels():
    env = envs.make("gymnax/Breakout-MinAtar", 10, Wrappers(frame_stack=2))
    plain = envs.make("gymnax/Breakout-MinAtar", 10)
    assert (env.obs.shape, env.obs.kind) == ((10, 10, 8), "bits")
    seen, _, _ = walk(env, [0, 0])
    single, _, _ = walk(plain, [0, 0])
    frames = [x.reshape(10, 10, 4) for x in single]
    np.testing.assert_array_equal(
        seen[2].reshape(10, 10, 8), np.concatenate([frames[1], frames[2]], axis=-1)
    )


def test_delayed_rewards_are_paid_together_and_none_is_lost():
    env = envs.make("probe/countdown", 7, Wrappers(delayed_reward=3))
    _, timesteps, _ = walk(env, [0] * 7)
    assert [float(t.reward) for t in timesteps] == [0, 0, 3, 0, 0, 3, 1]
    assert [float(t.feedback) for t in timesteps] == [0, 0, 3, 0, 0, 3, 1]


def test_a_delay_beyond_the_episode_pays_the_return_of_the_episode_once():
    """The same sum in the same order, so a search by returns sees the same bits."""
    plain, late = (
        envs.make("probe/double_integrator", 6, Wrappers(delayed_reward=delay)) for delay in (1, 99)
    )
    actions = [[0.3], [-0.7], [0.2], [0.1], [0.0], [-0.4]]
    once, at_once = ([t.reward for t in walk(env, actions)[1]] for env in (late, plain))
    total = np.float32(0)
    for reward in at_once:
        total += np.float32(reward)
    assert [float(reward) for reward in once] == [0, 0, 0, 0, 0, total]
    assert len(set(map(float, at_once))) == 6 and total < 0


@pytest.mark.parametrize("around", [{"action_repeat": 2}, {"delayed_reward": 5}])
def test_right_values_are_not_added_up(around):
    """A policy is told what to predict in each step; a sum of these would be another value."""
    with pytest.raises(ValueError, match=r"meta/sines tells .* both must be 1, got \w+=[25]$"):
        envs.make("meta/sines", None, Wrappers(**around))
    assert envs.make("meta/sines", None, Wrappers(frame_stack=2, lifetime=2)).tells == "labels"


@pytest.mark.parametrize("counted, rewards", [("last", [0, 0, 1]), ("all", [1, 0, 1])])
@pytest.mark.parametrize("task", [0, 1])
def test_a_lifetime_keeps_its_task_and_tells_what_every_step_paid(counted, rewards, task):
    env = envs.make("probe/hidden_arm", None, Wrappers(lifetime=3, counted=counted))
    assert env.episode_length == 3
    actions = [task, 1 - task, task]
    _, timesteps, _ = walk(env, actions, jnp.asarray(task))
    assert [float(t.reward) for t in timesteps] == rewards
    assert [float(t.feedback) for t in timesteps] == [1, 0, 1]
    assert [bool(t.is_first) for t in timesteps] == [True, True, False]
    assert [bool(t.terminated) for t in timesteps] == [False, False, True]


def test_an_inner_episode_of_a_lifetime_begins_anew():
    """Two countdowns of two steps: the share of time left starts again, and the limit ends it."""
    env = envs.make("probe/countdown", 2, Wrappers(lifetime=2, counted="all"))
    seen, timesteps, _ = walk(env, [0] * 4)
    np.testing.assert_allclose(np.ravel(seen), [1, 0.5, 1, 0.5, 0])
    assert [bool(t.truncated) for t in timesteps] == [False, False, False, True]


def test_a_picture_is_drawn_of_what_is_inside(tmp_path):
    around = Wrappers(action_repeat=2, frame_stack=2, delayed_reward=2, lifetime=2)
    env = envs.make("probe/countdown", 4, around)
    _, _, states = walk(env, [0] * 4)
    assert envs.render(env.id, states, tmp_path / "episode").exists()


@pytest.mark.parametrize(
    "around",
    [
        Wrappers(action_repeat=4),
        Wrappers(sticky_actions=0.25, frame_stack=4),
        Wrappers(delayed_reward=10, lifetime=3, counted="all"),
    ],
)
def test_what_is_around_comes_back_from_its_text(around):
    env = envs.make("probe/countdown", 12, around)
    assert from_text(env.wrappers) == (12, around)
    again = envs.remake(env.id, env.wrappers, trained_length=None)
    assert (again.episode_length, again.obs, again.wrappers) == (
        env.episode_length,
        env.obs,
        env.wrappers,
    )


@pytest.mark.parametrize(
    "text",
    [
        *("x", "action_repeat=4", "episode_length=4", "episode_length=4,lifetime=0"),
        *("episode_length=4,os=1", "episode_length=4,lifetime=02", "episode_length=-4,lifetime=2"),
    ],
)
def test_a_text_that_nobody_wrote_is_refused(text):
    with pytest.raises(ValueError, match="is not a list of wrappers"):
        from_text(text)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"action_repeat": 0}, "action_repeat must be at least 1, got 0"),
        ({"lifetime": -1}, "lifetime must be at least 1, got -1"),
        ({"sticky_actions": 1.5}, "sticky_actions must be 0 to 1, got 1.5"),
        ({"sticky_actions": float("nan")}, "sticky_actions must be a finite number, got nan"),
    ],
)
def test_values_that_mean_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Wrappers(**values)
