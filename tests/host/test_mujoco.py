"""MuJoCo worlds against Gymnasium's own environments, and against themselves in other company."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from marks import wide

from ternevo.host import mujoco as suite
from ternevo.installation import MissingExtra, load
from ternevo.names import UnknownName

mujoco = load("this test", "mujoco", "mujoco")
gymnasium = load("this test", "mujoco", "gymnasium")
STEPS = 200


def actions_of(name, seed, *shape):
    spec = suite.spec(name)
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(spec.low, spec.high, (*shape, spec.action_size))
    return np.clip(drawn.astype(np.float32), np.float32(spec.low), np.float32(spec.high))


def theirs(name):
    with suite._quietly(mujoco), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 4 is said to be out of date
        return gymnasium.make(name, disable_env_checker=True).unwrapped


def play(worlds, rows, seeds, actions):
    """Return observations, rewards and endings [steps, rows]: an episode in each row."""
    rows = np.asarray(rows, np.intp)
    obs, rewards, endings = [worlds.reset(rows, np.asarray(seeds, np.int64))], [], []
    for action in actions:
        stepped = worlds.step(rows, action)
        obs.append(stepped.obs)
        rewards.append(stepped.reward)
        endings.append(stepped.terminated)
    return np.stack(obs), np.stack(rewards), np.stack(endings)


@pytest.fixture
def opened():
    """Return a function that opens worlds, which are closed at the end."""
    found = []

    def open_worlds(name, count, num_threads=1):
        found.append(suite.open_worlds(name, count, num_threads))
        return found[-1]

    yield open_worlds
    for worlds in found:
        worlds.close()


@pytest.mark.parametrize("name", wide(suite.names(), keep=("Hopper-v5", "Ant-v4")))
def test_episodes_are_gymnasiums(name, opened):
    """Observations are equal after the cast to float32, and so are endings; also after the fall."""
    seeds, actions = [3, 2**31 - 1], actions_of(name, 0, STEPS, 2)
    obs, rewards, endings = play(opened(name, 2), [0, 1], seeds, actions)
    env = theirs(name)
    for row, seed in enumerate(seeds):
        first, _ = env.reset(seed=seed)
        steps = [env.step(action) for action in actions[:, row]]
        their_obs = np.stack([first, *(step[0] for step in steps)])
        assert (obs[:, row] == their_obs.astype(np.float32)).all()
        np.testing.assert_allclose(rewards[:, row], [s[1] for s in steps], rtol=1e-9, atol=1e-9)
        assert endings[:, row].tolist() == [bool(step[2]) for step in steps]


@pytest.mark.parametrize("name", suite.names())
def test_specs_are_gymnasiums(name):
    spec, env = suite.spec(name), theirs(name)
    assert spec.id == f"mujoco/{name}"
    assert env.observation_space.shape == spec.obs_shape == (len(spec.obs_names),)
    assert env.action_space.shape == (spec.action_size,) == (len(spec.action_names),)
    assert (env.action_space.low == np.float32(spec.low)).all()
    assert (env.action_space.high == np.float32(spec.high)).all()
    assert spec.episode_length == gymnasium.spec(name).max_episode_steps
    assert suite.fps(name) == pytest.approx(1 / env.dt, rel=1e-12)
    for names in (spec.obs_names, spec.action_names):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["Humanoid-v5", "Ant-v5"])
def test_names_of_motors_are_in_the_order_of_the_model(name):
    model = theirs(name).model
    joints = [model.joint(int(model.actuator(i).trnid[0])).name for i in range(model.nu)]
    spaced = [joint.replace("_", " ").replace("shoulder", "shoulder ") for joint in joints]
    ours = [
        text.removesuffix(" torque").replace("_", " ") for text in suite.spec(name).action_names
    ]
    assert ours == spaced


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "Reacher-v5"])
def test_results_do_not_depend_on_company(name, opened):
    """Alone, among others, in another order, in another world, with other threads: the same."""
    seeds, actions = [5, 6, 7], actions_of(name, 1, 40, 3)
    together = play(opened(name, 3), [0, 1, 2], seeds, actions)
    threaded = opened(name, 8, 3)
    play(threaded, range(8), range(8), actions_of(name, 2, 5, 8))  # they have had an episode
    elsewhere = play(threaded, [6, 0, 3], seeds, actions)
    backwards = play(threaded, [2, 1, 0], seeds[::-1], actions[:, ::-1])
    for ours, others, turned in zip(together, elsewhere, backwards, strict=True):
        assert (ours == others).all()
        assert (ours == turned[:, ::-1]).all()
    single = opened(name, 1)
    for row, seed in enumerate(seeds):
        alone = play(single, [0], [seed], actions[:, row : row + 1])
        for ours, own in zip(together, alone, strict=True):
            assert (ours[:, row] == own[:, 0]).all()


def test_a_world_begins_again_while_others_go_on(opened):
    name = "Walker2d-v5"
    actions = actions_of(name, 3, 30, 3)
    expected, rewards, _ = play(opened(name, 3), [0, 1, 2], [1, 2, 3], actions)
    fresh, _, _ = play(opened(name, 1), [0], [9], actions[10:, 1:2])
    worlds, rows = opened(name, 3), np.arange(3)
    worlds.reset(rows, np.asarray([1, 2, 3]))
    for step, action in enumerate(actions):
        if step == 10:
            again = worlds.reset(np.asarray([1]), np.asarray([9]))
            assert (again[0] == fresh[0, 0]).all()
        stepped = worlds.step(rows, action)
        others = [0, 2] if step >= 10 else [0, 1, 2]
        assert (stepped.obs[others] == expected[step + 1, others]).all()
        assert (stepped.reward[others] == rewards[step, others]).all()
        if step >= 10:
            assert (stepped.obs[1] == fresh[step - 9, 0]).all()


def test_worlds_that_have_ended_can_be_left_out(opened):
    name = "Hopper-v5"
    actions = actions_of(name, 4, 20, 4)
    expected, _, _ = play(opened(name, 4), range(4), range(4), actions)
    worlds = opened(name, 4)
    worlds.reset(np.arange(4), np.arange(4))
    for step, action in enumerate(actions):
        rows = np.asarray([3, 0, 2] if step < 9 else [2])
        stepped = worlds.step(rows, action[rows])
        assert (stepped.obs == expected[step + 1, rows]).all()


def test_an_episode_ends_where_physics_diverges(opened, monkeypatch, tmp_path):
    """Gymnasium would go on from the model's initial state; MuJoCo writes a log where it runs."""
    monkeypatch.chdir(tmp_path)
    name = "HalfCheetah-v5"
    actions = actions_of(name, 5, 10, 2)
    expected = play(opened(name, 2), [0, 1], [1, 2], actions)
    worlds, rows = opened(name, 2), np.arange(2)
    worlds.reset(rows, np.asarray([8, 9]))
    worlds._data[0].qvel[:] = 1e200
    for action in actions:
        stepped = worlds.step(rows, action)
    assert stepped.terminated.tolist() == [True, False]
    assert not stepped.obs[0].any() and stepped.reward[0] == 0
    assert np.isfinite(stepped.obs[1]).all() and np.isfinite(stepped.reward[1])
    for ours, others in zip(play(worlds, rows, [1, 2], actions), expected, strict=True):
        assert (ours == others).all()


def test_a_wrong_name_gets_the_nearest():
    for call in (suite.spec, suite.fps, lambda name: suite.open_worlds(name, 1, 1)):
        with pytest.raises(UnknownName, match=r"'HalfCheetah-v6'.* Did you mean 'HalfCheetah-v"):
            call("HalfCheetah-v6")


def test_what_is_missing_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingExtra, match=r"MuJoCo environment needs Gymnasium: .*\[mujoco\]"):
        suite.open_worlds("Hopper-v5", 1, 1)


def run(program, **variables):
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    command = [sys.executable, "-c", f"import sys, numpy as np\n{program}"]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)


def test_a_list_of_names_needs_no_simulator():
    done = run(
        "from ternevo.host.mujoco import SUITE\n"
        "assert 'HalfCheetah-v5' in SUITE.names() and SUITE.fps('HalfCheetah-v5') == 20\n"
        "print(*{'jax', 'mujoco', 'gymnasium'} & sys.modules.keys())"
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


PICTURE = """
from ternevo.host import mujoco
worlds, rows = mujoco.open_worlds("Hopper-v5", 2, 1), np.arange(2)
obs = worlds.reset(rows, rows)
picture = worlds.picture(1)
assert picture.shape == (240, 320, 3) and picture.dtype == np.uint8
assert len(np.unique(picture)) > 50
drawn = worlds.step(rows, np.zeros((2, 3), np.float32))
plain = mujoco.open_worlds("Hopper-v5", 2, 1)
plain.reset(rows, rows)
assert (drawn.obs == plain.step(rows, np.zeros((2, 3), np.float32)).obs).all()
worlds.close()
"""


@pytest.mark.slow
def test_a_picture_is_drawn_and_changes_nothing():
    done = run(PICTURE, MUJOCO_GL="egl")
    if "MuJoCo cannot draw here" in done.stderr:
        pytest.skip("no EGL")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_picture_without_a_screen_says_what_to_set():
    done = run(PICTURE, MUJOCO_GL="glfw")
    if not done.returncode:
        pytest.skip("there is a screen")
    assert "MUJOCO_GL is glfw; on a machine without a screen, set MUJOCO_GL=egl" in done.stderr
