"""What observations and actions are called, compared with what the simulators compute."""

import types

import gymnax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide

from ternevo import envs
from ternevo.envs import brax, brax_names, contract, gymnax as suite
from ternevo.envs.wrappers import frame_stack
from ternevo.names import WrongObject
from ternevo.settings.wrappers import Wrappers
from ternevo.types import ObsSpec

STATES = {
    "CartPole-v1": {
        "x": ("cart position (m)", 0.1),
        "x_dot": ("cart velocity (m/s)", 0.2),
        "theta": ("pole angle (rad)", 0.3),
        "theta_dot": ("pole angular velocity (rad/s)", 0.4),
    },
    "MountainCar-v0": {
        "position": ("car position", 0.1),
        "velocity": ("car velocity (position per step)", 0.2),
    },
    "MountainCarContinuous-v0": {
        "position": ("car position", 0.1),
        "velocity": ("car velocity (position per step)", 0.2),
    },
    "Pendulum-v1": {"theta_dot": ("angular velocity (rad/s)", 0.2)},
    "Acrobot-v1": {
        "velocity_1": ("first joint velocity (rad/s)", 0.1),
        "velocity_2": ("second joint velocity (rad/s)", 0.2),
    },
}
ANGLES = {
    "Pendulum-v1": {"theta": "the angle"},
    "Acrobot-v1": {
        "joint_angle1": "the first joint's angle",
        "joint_angle2": "the second joint's angle",
    },
}


@pytest.mark.parametrize("name", STATES)
def test_classic_control_shows_what_its_names_say(name):
    env, _ = gymnax.make(name)
    values = {field: value for field, (_, value) in STATES[name].items()}
    wanted = dict(STATES[name].values())
    for i, (field, words) in enumerate(ANGLES.get(name, {}).items()):
        values[field] = 0.5 + i
        wanted[f"cosine of {words}"] = np.cos(0.5 + i)
        wanted[f"sine of {words}"] = np.sin(0.5 + i)
    obs = np.asarray(env.get_obs(types.SimpleNamespace(**values)))
    found = dict(zip(suite.OBS_NAMES[name], obs, strict=True))
    assert {key.partition(",")[0]: pytest.approx(x) for key, x in found.items()} == wanted


def test_the_actions_of_minatar_are_those_of_its_full_set():
    full = ("do nothing", "left", "up", "right", "down", "fire")
    found = [name for name in suite.names() if name.endswith(suite.BITS)]
    assert len(found) >= 4
    for name in found:
        env, params = gymnax.make(name)
        assert suite.ACTION_NAMES[name] == tuple(full[i] for i in np.asarray(env.action_set))
        assert len(suite.OBS_NAMES[name]) == env.observation_space(params).shape[-1]
    assert set(suite.OBS_NAMES) == set(suite.ACTION_NAMES) <= set(suite.names())


BRAX = {  # joints of the model, by what the names call them
    "ant": {},
    "halfcheetah": {
        **{f"b{part}": f"back {part}" for part in ("thigh", "shin", "foot")},
        **{f"f{part}": f"front {part}" for part in ("thigh", "shin", "foot")},
    },
    "hopper": {f"{part}_joint": part for part in ("thigh", "leg", "foot")},
    "walker2d": {
        **{f"{part}_joint": part for part in ("thigh", "leg", "foot")},
        **{f"{part}_left_joint": f"left {part}" for part in ("thigh", "leg", "foot")},
    },
    "inverted_pendulum": {"hinge": "pole"},
    "inverted_double_pendulum": {"hinge": "lower hinge", "hinge2": "upper hinge"},
    "reacher": {"joint0": "first joint", "joint1": "second joint"},
    "swimmer": {"rot": "body", "rot2": "first joint", "rot3": "second joint"},
}


@pytest.mark.parametrize(
    "name", wide([name for name in BRAX if name != "reacher"], keep=["hopper"])
)
def test_brax_shows_what_its_names_say(name):
    """Joints are found in the model, by name, and each is moved in its own way."""
    bare = brax._load(name, "generalized")
    model = bare.sys.mj_model
    q, qd = 0.01 * np.arange(1.0, model.nq + 1), 0.5 + 0.01 * np.arange(model.nv)
    height = np.array([[0.0, 0.0, 7.5]])
    state = types.SimpleNamespace(
        q=jnp.asarray(q), qd=jnp.asarray(qd), x=types.SimpleNamespace(pos=jnp.asarray(height))
    )
    obs = np.asarray(bare._get_obs(state))
    found = dict(zip(brax_names.OBS_NAMES[name], obs, strict=True))
    hinges = {model.joint(i).name: model.joint(i) for i in range(model.njnt)}
    for joint, words in BRAX[name].items():
        at, rate = q[hinges[joint].qposadr[0]], qd[hinges[joint].dofadr[0]]
        key = "pole angular velocity (rad/s)" if words == "pole" else f"{words} velocity (rad/s)"
        assert found[key] == pytest.approx(rate), joint
        if name == "inverted_double_pendulum":
            assert found[f"sine of the {words}'s angle"] == pytest.approx(np.sin(at))
            assert found[f"cosine of the {words}'s angle"] == pytest.approx(np.cos(at))
        else:
            assert found[f"{words} angle (rad)"] == pytest.approx(at), joint
    _check_root(name, found, q, qd, hinges)


def _check_root(name: str, found: dict, q, qd, hinges: dict) -> None:
    """Check the coordinates of the body itself."""
    if name == "ant":
        for leg in range(1, 5):
            for part in ("hip", "ankle"):
                joint = hinges[f"{part}_{leg}"]
                assert found[f"{part}_{leg} angle (rad)"] == pytest.approx(q[joint.qposadr[0]])
                assert found[f"{part}_{leg} velocity (rad/s)"] == pytest.approx(qd[joint.dofadr[0]])
        assert found["torso height (m)"] == pytest.approx(q[2])
        assert found["torso orientation, quaternion w"] == pytest.approx(q[3])
        assert found["torso velocity z (m/s)"] == pytest.approx(qd[2])
        assert found["torso angular velocity x (rad/s)"] == pytest.approx(qd[3])
    elif "rootz" in hinges:
        is_cheetah = name == "halfcheetah"
        key = "torso height, 0 at 0.7 m (m)" if is_cheetah else "torso height (m)"
        assert found[key] == pytest.approx(q[hinges["rootz"].qposadr[0]] if is_cheetah else 7.5)
        assert found["torso angle (rad)"] == pytest.approx(q[hinges["rooty"].qposadr[0]])
        assert found["torso velocity forward (m/s)"] == pytest.approx(qd[hinges["rootx"].dofadr[0]])
    elif name == "swimmer":
        assert found["velocity x (m/s)"] == pytest.approx(qd[hinges["slider1"].dofadr[0]])
    else:
        assert found["cart position (m)"] == pytest.approx(q[hinges["slider"].qposadr[0]])
        assert found["cart velocity (m/s)"] == pytest.approx(qd[hinges["slider"].dofadr[0]])


@pytest.mark.parametrize("name", BRAX)
def test_the_motors_of_brax_are_those_of_its_model(name):
    model = brax._load(name, "generalized").sys.mj_model
    joints = [model.joint(model.actuator(i).trnid[0]).name for i in range(model.nu)]
    if joints == ["slider"]:
        assert brax_names.ACTION_NAMES[name] == ("force on the cart",)
        return
    wanted = tuple(f"{BRAX[name].get(joint, joint)} torque" for joint in joints)
    assert brax_names.ACTION_NAMES[name] == wanted


def test_all_named_brax_environments_are_checked():
    assert set(brax_names.OBS_NAMES) == set(brax_names.ACTION_NAMES) == set(BRAX)
    assert set(BRAX) < set(brax.NAMES)


def test_an_environment_carries_its_names():
    env = envs.make("gymnax/CartPole-v1", 7)
    assert env.obs_names[2] == "pole angle (rad)"
    assert env.action_names == ("push left", "push right")
    digits = envs.make("digits/8x8")
    assert (digits.obs_names[9], digits.action_names[-1]) == ("pixel 1,1", "digit 9")
    for name in ("bandit", "corridor", "double_integrator"):
        assert len(envs.make(f"probe/{name}").obs_names) == envs.make(f"probe/{name}").obs.size


def test_stacked_frames_have_an_age_and_other_wrappers_keep_the_names():
    around = Wrappers(action_repeat=2, frame_stack=3, sticky_actions=0.1, delayed_reward=2)
    env = envs.make("probe/double_integrator", 20, around)
    speed = "velocity (position per step)"
    assert env.obs_names == (
        *("position t-2", f"{speed} t-2", "position t-1", f"{speed} t-1", "position", speed),
    )
    assert env.action_names == ("push",)
    contract.check(env)


def test_stacked_channels_and_pixels_are_named_as_they_lie():
    channels = envs.make("gymnax/Breakout-MinAtar", None, Wrappers(frame_stack=2))
    assert len(channels.obs_names) == channels.obs.shape[-1] == 8
    assert channels.obs_names[1] == "ball t-1"
    env = envs.make("probe/corridor")._replace(
        obs=ObsSpec((2, 3)), obs_names=tuple("abcdef"), action_names=()
    )
    stacked = frame_stack(env, 2)
    rows = (*("a t-1", "b t-1", "c t-1", "a", "b", "c"), *("d t-1", "e t-1", "f t-1"), *"def")
    assert stacked.obs_names == rows
    assert frame_stack(env._replace(obs_names=()), 2).obs_names == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"obs_names": ["position", "velocity"]}, "obs_names of probe/double_integrator must be a"),
        ({"obs_names": ("position",)}, "a tuple of 2 names, or empty; got 1"),
        ({"action_names": ("left", "right")}, "action_names of probe/double_integrator must be"),
        ({"obs_names": ("a", "")}, "has ''; a name is a text of 1 to 80 printable"),
        ({"obs_names": ("a", "b\nc")}, r"has 'b\\nc'; a name is a text"),
        ({"obs_names": ("a", "b ")}, "has 'b '; a name is"),
        ({"obs_names": ("a", 3)}, "has 3; a name is"),
        ({"obs_names": ("a", "b" * 81)}, "1 to 80 printable characters, without spaces at its"),
    ],
)
def test_names_that_do_not_fit_are_refused(changes, words):
    env = envs.make("probe/double_integrator")
    with pytest.raises(WrongObject, match=words):
        contract.check(env._replace(**changes))
