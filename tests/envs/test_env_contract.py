"""What an environment accepts must fit into a policy file, and is looked at before training."""

import dataclasses
import itertools
import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given, strategies as st
from marks import wide
from policy_records import make_record

from ternevo import envs, export, play, run
from ternevo.deploy import tvp
from ternevo.envs import contract
from ternevo.names import WrongObject
from ternevo.types import ActionSpec, ObsSpec

LARGEST = float(tvp.MAX_BOUND)
BOUNDS = [
    *(-math.inf, math.inf, math.nan, 3.4e38, -3.4e38, 1e39, -1e39, 1e308, 0.0, -0.0, 1.0, -1.0),
    *(LARGEST, -LARGEST, np.nextafter(LARGEST, 2e30), 1e30, -1e30, 1e30 * (1 + 1e-9), 5e-324),
    *(1.0 + 1e-9, 1.0 - 1e-9, float(np.nextafter(tvp.MAX_BOUND, np.float32(np.inf)))),
]
RECORD = make_record((2, 2), output="continuous")
TARGET = envs.make("probe/target")


def a_file_holds(low: float, high: float) -> bool:
    """Return whether a policy with such a component is encoded; the other is [-1, 1]."""
    with np.errstate(over="ignore"):
        ranges = {"low": np.float32([-1, low]), "high": np.float32([1, high])}
    try:
        tvp.encode(dataclasses.replace(RECORD, **ranges))
    except tvp.PolicyFormatError:
        return False
    return True


def is_accepted(low: float, high: float) -> bool:
    action = ActionSpec("continuous", 2, (-1.0, low), (1.0, high))
    try:
        contract.check(TARGET._replace(action=action, action_names=()))
    except WrongObject as error:
        assert "probe/target: component 1 is between" in str(error)
        return False
    return True


def test_bounds_are_accepted_if_and_only_if_a_file_holds_them():
    found = {(low, high): is_accepted(low, high) for low, high in itertools.product(BOUNDS, BOUNDS)}
    assert found == {(low, high): a_file_holds(low, high) for low, high in found}
    assert any(found.values()) and not all(found.values())


@given(st.floats(), st.floats())
def test_any_bounds_are_accepted_if_and_only_if_a_file_holds_them(low, high):
    assert is_accepted(low, high) == a_file_holds(low, high)


def mine(**changes):
    """Return a module of a user's whose environment is the probe with changes."""
    module = types.ModuleType("my_bounds")
    module.make = lambda episode_length=None: envs.make("probe/target")._replace(**changes)
    return module


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-math.inf, math.inf, "component 0 is between -inf and inf"),
        (-1.0, math.nan, "component 0 is between -1 and nan"),
        (-3.4e38, 3.4e38, "component 0 is between -3.4e+38 and 3.4e+38"),
        (1.0, -1.0, "component 0 is between 1 and -1"),
    ],
)
@pytest.mark.parametrize("strategy", wide(["ternary_nes", "ppo", "sac"], keep=["ternary_nes"]))
def test_a_run_refuses_bounds_that_no_file_can_hold(
    strategy, low, high, words, monkeypatch, tmp_path, capsys
):
    action = ActionSpec("continuous", 1, (low,), (high,))
    monkeypatch.setitem(sys.modules, "my_bounds", mine(action=action))
    argv = ["--env=my_bounds:make", f"--strategy={strategy}", f"--runs_dir={tmp_path}"]
    with pytest.raises(SystemExit) as exit_:
        run.main(argv)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert f"error: actions of my_bounds:make: {words}" in error and error.count("\n") == 1
    assert "at most 1e+30 in size. Give the ActionSpec a range" in error
    assert not list(tmp_path.iterdir()), "no name is taken"


@pytest.mark.parametrize("main", [play.main, export.main])
def test_a_saved_policy_meets_the_same_check(main, monkeypatch, tmp_path, capsys):
    action = ActionSpec("continuous", 2, (-1.0, -math.inf), (1.0, 1.0))
    monkeypatch.setitem(sys.modules, "my_bounds", mine(action=action))
    path = tmp_path / "policy.tvp"
    record = make_record((2, 2), kind="float", activation="tanh", output="continuous")
    path.write_bytes(tvp.encode(dataclasses.replace(record, metadata={"env": "my_bounds:make"})))
    argv = [str(path), "--env", "my_bounds:make"]
    argv += [] if main is play.main else ["--ternarize", "--num_episodes=1"]
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "my_bounds:make: component 1 is between -inf and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"episode_length": 0}, "episode_length of my_bounds:make must be a whole number above 0"),
        ({"tells": "prizes"}, "tells of my_bounds:make must be one of rewards, labels, got"),
        ({"episode_length": -5}, "got -5"),
        ({"episode_length": None}, "got None"),
        ({"episode_length": 20.0}, "got 20.0"),
        (
            {"obs": 4},
            "obs of my_bounds:make must be a ternevo.types.ObsSpec, such as ObsSpec((4,))",
        ),
        ({"obs": ObsSpec((0,))}, "the shape must be a tuple of whole numbers above 0, and"),
        ({"obs": ObsSpec((4,), "bools")}, "the kind one of floats, integers, bits, pixels"),
        ({"action": None}, "the action of my_bounds:make must be a ternevo.types.ActionSpec"),
        *(
            ({"action": ActionSpec(*action)}, "it must be ActionSpec('discrete', size), or")
            for action in [
                ("discrete", 0),
                ("discrete", "2"),
                ("discrete", True),
                ("discrete", 2, (0.0,), (1.0,)),
                ("multi", 2),
                ("continuous", 1, None, None),
                ("continuous", 1, (-1.0, -1.0), (1.0,)),
                ("continuous", 1, ("-1",), ("1",)),
                ("continuous", 2, ((-1.0,), (-1.0, 0.0)), (1.0, 1.0)),
                ("continuous", 1, -1.0, 1.0),
            ]
        ),
    ],
)
def test_sizes_limits_and_kinds_that_mean_nothing_are_refused(changes, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "my_bounds", mine(**changes))
    with pytest.raises(WrongObject) as refusal:
        envs.make("my_bounds:make")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("bounds", [(0.5, 0.5), (np.float32(-1), np.int64(1))])
def test_a_constant_component_and_numpy_numbers_are_bounds(bounds, monkeypatch):
    low, high = bounds
    action = ActionSpec("continuous", 1, (low,), (high,))
    monkeypatch.setitem(sys.modules, "my_bounds", mine(action=action))
    assert envs.make("my_bounds:make").action == action
