"""Distilling: what a teacher is asked, where a student learns, and that its file acts alike."""

import dataclasses
import functools
import importlib
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from layered_records import Builder

import ternevo
from ternevo import gym
from ternevo.deploy import onnx_graph, runtime, tvp
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.distil import __main__ as command, rounds
from ternevo.distil.rounds import Lesson
from ternevo.distil.spaces import spaces_of
from ternevo.distil.states import Visited, World
from ternevo.distil.teachers import teacher_of
from ternevo.policies.acting import Actor, seen_first
from ternevo.settings.distil import Distil

gymnasium = pytest.importorskip("gymnasium")

BALANCE = PolicyRecord(
    input_kind="f32",
    observation_bits=8,
    observation_shift=2,
    output_shift=0,
    mean=np.zeros(4, np.float32),
    exponent=np.array([5, 6, 8, 6], np.int8),
    output_kind="discrete",
    low=np.float32([]),
    high=np.float32([]),
    layers=(Layer(np.int8([[-1] * 4, [1] * 4]), None, "ternary", "none", 0, 0),),
)
"""Push to where position, angle and their velocities, weighted, lean."""

SMALL = {"rounds": 1, "steps_per_round": 64, "updates_per_round": 8, "batch_size": 16}
SMALL |= {"eval_episodes": 2, "episodes": 2, "num_envs": 2, "hidden_sizes": (8,)}


def lean(obs):
    """Push to where the pole leans and falls."""
    return int(obs[2] + 0.5 * obs[3] > 0)


def brake(obs):
    return np.clip(-2.0 * obs[1] - obs[2], -2, 2)[None]


class Counting(gymnasium.Env):
    """Episodes of three steps, which observe the step and the last action; actions 3 and 4."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1, 2), np.float64)
    action_space = gymnasium.spaces.Discrete(2, start=3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros((1, 2)), {}

    def step(self, action):
        assert action in (3, 4)
        self.count += 1
        return np.array([[self.count, action]], float), 1.0, self.count == 3, False, {}


class Guessing(gymnasium.Env):
    """Fifty states at random, and a reward for saying whether the first number is the larger."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        self.obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.obs, {}

    def step(self, action):
        reward = float(action == (self.obs[0] > self.obs[1]))
        self.obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.count += 1
        return self.obs, reward, self.count == 50, False, {}


class Odd(Counting):
    """Whose spaces are given."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or Counting.observation_space
        self.action_space = action_space or Counting.action_space


gymnasium.register("Counting-v0", Counting)
gymnasium.register("Guessing-v0", Guessing)
gymnasium.register("Odd-v0", Odd)


def teacher(source, env_id="CartPole-v1", temperature=1.0, **how):
    return teacher_of(source, spaces_of(env_id, {}), temperature, **how)


# ------------------------------------------------------------------------------ a known answer


def test_a_linear_teacher_is_learned():
    """What is left is what the quantiser rounds: its steps are 1/18 of a standard deviation."""
    options = {"rounds": 2, "steps_per_round": 2000, "updates_per_round": 400, "lr": 0.01}
    settings = Distil(**SMALL | options | {"hidden_sizes": ()})
    found = rounds.distil(lambda obs: int(obs[0] > obs[1]), "Guessing-v0", settings)
    assert found.rounds[-1].difference <= 0.01  # in states that it had not learned from
    assert np.isnan(found.rounds[0].difference)
    assert found.share >= 0.95
    assert found.teacher.mean == 50
    assert found.teacher.seed == found.student.seed
    assert found.policy.record.metadata["env"] == "gymnasium/Guessing-v0"
    assert float(found.policy.record.metadata["return"]) == found.student.mean
    assert f"{found.share:.1%} of the teacher's" in str(found)


# ------------------------------------------------------------------------- what is trained ships


slow = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "env_id, source, weights, activation",
    [
        ("CartPole-v1", lean, "ternary", "int8"),
        slow("CartPole-v1", lean, "binary", "ternary"),
        slow("Pendulum-v1", brake, "ternary", "int8"),
        pytest.param("Pendulum-v1", brake, "binary", "ternary", marks=pytest.mark.wide),
    ],
)
def test_the_file_acts_as_what_was_trained(env_id, source, weights, activation, tmp_path):
    """On all states, also beyond the quantiser's range, with ==."""
    spaces = spaces_of(env_id, {})
    world = World(spaces, {}, 4, 0)
    visited = world.visit(
        2000, teacher_of(source, spaces, 1.0), None, 1.0, np.random.default_rng(0)
    )
    world.close()
    obs = np.concatenate([visited.obs, 30 * visited.obs])
    options = SMALL | {"steps_per_round": len(obs), "updates_per_round": 50}
    lesson = Lesson(Distil(**options, weights=weights, activation=activation), spaces)
    lesson.learn(Visited(obs, np.tile(visited.targets, (2, 1)), 0.0), 0)
    path = tmp_path / "policy.tvp"
    path.write_bytes(tvp.encode(lesson.record("t", 1)))
    params, student = lesson.params(), lesson.student
    actor = Actor(student.policy, spaces.obs, spaces.action)
    quantiser = rounds.observation.freeze(params.moments)
    wanted = jax.vmap(lambda obs: actor.act(params.weights, quantiser, (), seen_first(obs))[1])
    found = ternevo.load(path).act_batch(lesson.obs)
    np.testing.assert_array_equal(found, wanted(lesson.obs))
    assert len(np.unique(found)) > 1


# ------------------------------------------------------------------------------------ teachers


def forms_of_balance(tmp_path) -> dict:
    """Return the same policy as everything that may teach."""
    acting = runtime.Policy(BALANCE)
    (tmp_path / "model.onnx").write_bytes(onnx_graph.to_bytes(BALANCE))
    (tmp_path / "policy.tvp").write_bytes(tvp.encode(BALANCE))
    return {
        "function": acting.act,
        "batched": lambda obs: acting.act_batch(obs),
        "bool": lambda obs: bool(acting.act(obs)),
        "scores": lambda obs: np.eye(2)[acting.act(obs)],
        "predict": SimpleNamespace(
            predict=lambda obs, deterministic: (acting.act_batch(obs), None)
        ),
        "act_batch": acting,
        "onnx": tmp_path / "model.onnx",
        "tvp": str(tmp_path / "policy.tvp"),
    }


def test_every_form_of_a_teacher_labels_alike(tmp_path):
    pytest.importorskip("onnxruntime")
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    wanted = runtime.Policy(BALANCE).act_batch(rows)
    for name, source in forms_of_balance(tmp_path).items():
        labels = teacher(source, batched=name == "batched").label(rows)
        np.testing.assert_array_equal(labels.actions, wanted, name)
        np.testing.assert_array_equal(labels.targets, np.eye(2)[wanted], name)


def test_an_onnx_model_gives_the_student_of_the_function(tmp_path):
    pytest.importorskip("onnxruntime")
    forms = forms_of_balance(tmp_path)
    students = [
        ternevo.distil(forms[name], "CartPole-v1", progress=False, **SMALL)
        for name in ("function", "onnx")
    ]
    assert students[0].record.metadata["teacher"] != students[1].record.metadata["teacher"]
    assert tvp.encode(students[0].record.bare()) == tvp.encode(students[1].record.bare())


def test_a_model_with_a_fixed_batch_is_asked_one_by_one(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    model = onnx_graph.to_onnx(BALANCE)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "one.onnx")
    found = teacher(tmp_path / "one.onnx").label(rows).actions
    np.testing.assert_array_equal(found, runtime.Policy(BALANCE).act_batch(rows))


def test_scores_are_probabilities_or_logits_and_have_a_temperature():
    rows, odds = np.zeros((1, 4), np.float32), np.array([0.2, 0.8])

    def targets(scores, temperature):
        return teacher(lambda obs: scores, temperature=temperature).label(rows).targets[0]

    for scores in (odds, np.log(odds), np.log(odds) + 7):
        assert targets(scores, 1.0) == pytest.approx(odds)
        assert targets(scores, 0.5) == pytest.approx(odds**2 / sum(odds**2))
        assert targets(scores, 0.0).tolist() == [0, 1]
    assert targets(np.array([0.0, 1.0]), 1.0).tolist() == [0, 1]


def test_continuous_actions_are_clipped_and_become_shares_of_their_range():
    rows = np.zeros((1, 3), np.float32)
    for given, action, share in ((1.0, 1.0, 0.5), ([-9], -2.0, -1.0), ([[0]], 0.0, 0.0)):
        labels = teacher(lambda obs, given=given: given, "Pendulum-v1").label(rows)
        assert labels.actions.tolist() == [[action]]
        assert labels.targets.tolist() == [[share]]


# ---------------------------------------------------------------------------------- the states


def test_states_are_those_in_which_somebody_acts():
    """No last observation of an episode, actions as the environment counts them."""
    shown = []
    one = teacher(lambda obs: shown.append(obs) or 4, "Counting-v0")
    world = World(one.spaces, {}, 2, 0)
    first = world.visit(7, one, None, 1.0, np.random.default_rng(0))
    assert first.obs[::2].tolist() == [[0, 0], [1, 4], [2, 4], [0, 0]]
    assert first.targets.tolist() == [[0, 1]] * 8
    assert (shown[0].shape, shown[0].dtype) == ((1, 2), np.float64)
    then = world.visit(2, one, None, 1.0, np.random.default_rng(0))
    assert then.obs.tolist() == [[1, 4]] * 2  # the episode goes on
    world.close()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_teacher_acts_in_its_share_of_the_steps(share):
    one = teacher(lambda obs: 4, "Counting-v0")
    world = World(one.spaces, {}, 8, 0)
    zeros = Layer(np.zeros((2, 2), np.int8), None, "ternary", "none", 0, 0)
    record = dataclasses.replace(
        BALANCE, mean=np.zeros(2, np.float32), exponent=np.zeros(2, np.int8), layers=(zeros,)
    )
    student = runtime.Policy(record)  # of equals the first action, which the environment calls 3
    found = world.visit(2400, one, student, share, np.random.default_rng(0))
    world.close()
    assert found.difference == 1
    taken = found.obs[found.obs[:, 0] > 0, 1]
    assert (taken == 4).mean() == pytest.approx(share, abs=0.05 if share == 0.5 else 0)


def test_of_equal_rounds_the_last_is_kept():
    """Every episode returns 3, whatever is done."""
    found = rounds.distil(lambda obs: 4, "Counting-v0", Distil(**SMALL | {"rounds": 3}))
    assert found.policy.record.metadata["round"] == "3"
    assert [done.mean_return for done in found.rounds] == [3, 3, 3]
    assert found.share == 1


def test_a_student_that_falls_short_is_called_so():
    found = rounds.distil(lean, "CartPole-v1", Distil(**SMALL | {"updates_per_round": 1}))
    assert found.share < 0.95
    assert "falls short of 95%" in str(found)


# -------------------------------------------------------------------------------------- errors


class Plain:
    """Neither a function nor a model."""


def box(*bounds, shape=(1,)):
    return gymnasium.spaces.Box(*bounds, shape, np.float32)


@pytest.mark.parametrize(
    "source, env_id, options, message",
    [
        (lean, "CartPole-v7", {}, "unknown Gymnasium environment 'CartPole-v7'. Did you mean"),
        (lean, "CartPole-v1", {"hiden_sizes": (8,)}, "unknown option .* Did you mean 'hidden_s"),
        (lean, "CartPole-v1", {"observation_shift": 9}, "observation_shift must be 0 to 8, got 9"),
        (lean, "CartPole-v1", {"rounds": 0}, "rounds must be at least 1, got 0"),
        (lean, "Blackjack-v1", {}, "observations are Tuple"),
        (runtime.Policy(BALANCE), "Acrobot-v1", {}, "takes observations of 4 numbers, but Acrob"),
        (lambda obs: 2, "CartPole-v1", {}, "chose action 2, but CartPole-v1 has actions 0 to 1"),
        (lambda obs: [0, 1, 1], "CartPole-v1", {}, r"int64 of shape \(2, 3\) .* 2 numbers that ra"),
        (lambda obs: 0.5, "CartPole-v1", {}, r"float64 of shape \(2,\) for 2 observations; .* int"),
        (lambda obs: [np.nan, 1.0], "CartPole-v1", {}, "rates actions with NaN"),
        (lambda obs: [1.0, 2.0], "Pendulum-v1", {}, r"of shape \(2, 2\) .* must be 1 numbers"),
        (lambda obs: "left", "Pendulum-v1", {}, "must be 1 numbers"),
        (lambda obs: np.inf, "Pendulum-v1", {}, "an action that is not finite"),
        (Plain(), "CartPole-v1", {}, "Plain has neither"),
        (SimpleNamespace(predict=lambda obs: obs), "CartPole-v1", {}, "needs predict.*determinis"),
        (
            SimpleNamespace(predict=lambda obs, deterministic: (np.zeros(2, int), ("h",))),
            *("CartPole-v1", {}, "has a memory"),
        ),
        (
            runtime.Policy(Builder((4,), inputs="i8").add("elman", 3).record(2)),
            *("CartPole-v1", {}, "the teacher Policy has a memory, which a student cannot learn"),
        ),
        ("model.zip", "CartPole-v1", {}, r"must be a .onnx, a .tvp or .*load a zip"),
        ("no_such_module:model", "CartPole-v1", {}, "cannot import teacher 'no_such_module:model'"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(source, env_id, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        ternevo.distil(source, env_id, progress=False, **SMALL | options)
    assert "\n" not in str(raised.value)


def test_a_wrong_word_is_refused_where_types_are_not_checked():
    """In a process of its own, as the tests check annotations before the settings do."""
    code = "from ternevo.settings.distil import Distil; Distil.of(weights='trits')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (
        "unknown weights 'trits'. Allowed: binary, float, int2, int4, int8, ternary" in done.stderr
    )


@pytest.mark.parametrize(
    "spaces, message",
    [
        ({"action_space": gymnasium.spaces.MultiDiscrete([2, 2])}, "actions are MultiDiscrete"),
        ({"action_space": box(-np.inf, np.inf)}, "from -inf to inf; a policy needs finite bounds"),
        ({"observation_space": gymnasium.spaces.Dict(a=box(-1, 1))}, "observations are Dict"),
    ],
)
def test_spaces_that_policies_do_not_have_are_refused(spaces, message):
    with pytest.raises(ValueError, match=message):
        ternevo.distil(lean, "Odd-v0", make_kwargs=spaces, progress=False, **SMALL)


def test_models_that_do_not_fit_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    path = forms_of_balance(tmp_path)["onnx"]
    with pytest.raises(
        ValueError, match=r"observations of shape \[4\], but Acrobot-v1 gives \[6\]"
    ):
        teacher(path, "Acrobot-v1")
    with pytest.raises(FileNotFoundError, match="no such model"):
        teacher(tmp_path / "other.onnx")
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="is not a model that onnxruntime runs"):
        teacher(path)


def test_without_onnxruntime_the_error_names_it(tmp_path, monkeypatch):
    path = forms_of_balance(tmp_path)["onnx"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnxruntime"):
        teacher(path)


# --------------------------------------------------------------------------------- the command


def test_the_command_writes_a_policy_and_compares_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "teachers.py").write_text("def push(obs):\n    return int(obs[2] > 0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "policy.tvp"
    words = ["--teacher", "teachers:push", "--env", "CartPole-v1", "--out", str(out)]
    words += [f"--{name}={value}" for name, value in SMALL.items() if name != "hidden_sizes"]
    command.main([*words, "--hidden_sizes", "8", "4"])
    said = capsys.readouterr().out
    assert re.search(r"round 1: the teacher acts, loss 0\.\d+, return [\d.]+\n", said)
    assert re.search(r"teacher     return [\d.]+ \[[\d.]+, [\d.]+\] over 2 episodes\n", said)
    assert f"policy      {out}: {out.stat().st_size:,} bytes" in said
    policy = ternevo.load(out)
    assert policy.record.sizes == (4, 8, 4, 2)
    assert policy.record.metadata["teacher"] == "teachers:push"
    capsys.readouterr()
    gym.main([str(out), "--episodes", "2"])  # the file says where
    assert capsys.readouterr().out.startswith("CartPole-v1: return ")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--teacher", "model.onnx", "--env", "CartPole-v1"], "model.onnx: there is no such model"),
        (["--teacher", "a:b", "--env", "CartPole"], "Did you mean 'CartPole-v"),
        (["--teacher", "a:b", "--env", "CartPole-v1", "--lr", "-1"], "lr must be positive, got -1"),
        (["--teacher", "a:b", "--env", "CartPole-v1", "--out", "no/a.tvp"], "no: there is no such"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_module_is_the_function():
    module = importlib.import_module("ternevo.distil")
    assert ternevo.distil is module
    assert module.rounds is rounds
    assert callable(module)
