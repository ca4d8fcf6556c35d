"""Brax's own PPO and ours, side by side in experiments/brax_ppo_check.py, at a tiny size."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "brax_ppo_check.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module; `dataclasses` looks for it among those that are imported."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[SCRIPT.stem]


@pytest.mark.slow
def test_both_learn_to_balance(script, tmp_path, capsys):
    """A pole that stands for all of its 100 steps; untrained policies come to about 70."""
    config = script.CheckConfig(
        env="brax/inverted_pendulum",
        episode_length=100,
        num_steps=40_000,
        num_evaluations=2,
        num_envs=32,
        lr=1e-3,
        out=tmp_path,
    )
    curves = script.compare(config)
    assert curves.keys() == {"brax", "ternevo"}
    for name, seeds in curves.items():
        assert len(seeds) == 2
        for curve in seeds:
            steps, returns = zip(*curve, strict=True)
            assert steps == (0, 20_480, 40_960), name
            assert np.all(np.isfinite(returns)), name
            assert returns[0] < 90 and returns[-1] > 95, name
    record = json.loads((tmp_path / "brax_ppo_check.json").read_text())
    assert record["settings"]["lr"] == 1e-3
    assert record["curves"]["brax"][1] == [list(point) for point in curves["brax"][1]]
    assert (tmp_path / "brax_ppo_check.png").stat().st_size > 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0].split() == ["steps", "brax", "std", "ternevo", "std"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "20,480", "40,960"]


@pytest.mark.slow
def test_tanh_normal_actions_train_as_well(script, tmp_path):
    """They go through another network of brax's."""
    config = script.CheckConfig(
        env="brax/inverted_pendulum",
        episode_length=20,
        num_seeds=1,
        num_steps=500,
        num_evaluations=1,
        num_envs=8,
        action_distribution="tanh_normal",
        out=tmp_path,
    )
    for (curve,) in script.compare(config).values():
        assert [step for step, _ in curve] == [0, 512]
        assert all(np.isfinite(value) for _, value in curve)


def test_the_table_has_mean_and_deviation_over_seeds(script):
    ours = [[(0, 1.0), (2_000, 10.0)], [(0, 3.0), (2_000, 30.0)]]
    lines = script.table({"brax": [[(0, 7.0), (2_000, 8.0)]], "ternevo": ours}).splitlines()
    assert lines[1].split() == ["0", "7.0", "0.0", "2.0", "1.0"]
    assert lines[2].split() == ["2,000", "8.0", "0.0", "20.0", "10.0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--env", "gymnax/CartPole-v1"), "env must be a brax one"),
        (("--num_seeds", "0"), "num_seeds must be at least 1, got 0"),
        (("--num_minibatches", "3"), "num_minibatches must divide num_envs = 64"),
    ],
)
def test_bad_settings_are_refused(arguments, message, script, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        script.main([*arguments, "--out", str(tmp_path / "nothing")])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
