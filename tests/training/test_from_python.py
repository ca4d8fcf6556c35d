"""`ternevo.train` and `ternevo.evaluate`: a run in one call, with the checks of a command line."""

import json

import numpy as np
import pytest
from kept_programs import keeping_programs

import ternevo
from ternevo.names import UnknownName
from ternevo.runs.errors import RunFolderError
from ternevo.settings.command_line import parse
from ternevo.settings.from_python import config_of

TINY = {
    **{"strategy": "random_search", "num_generations": 6, "population_size": 16},
    **{"hidden_sizes": [4], "episode_length": 6, "num_devices": 1},
    **{"eval_every": 3, "num_eval_episodes": 2, "num_final_episodes": 4},
}


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A policy, the rows that the callback saw, and the folder of the run."""
    rows, root = [], tmp_path_factory.mktemp("runs")
    policy = ternevo.train("probe/corridor", **TINY, callback=rows.extend, runs_dir=root)
    return policy, rows, root / "probe/corridor/random_search/seed0"


def test_a_policy_is_trained_saved_and_evaluated(trained, tmp_path):
    policy, rows, folder = trained
    policy.save(tmp_path / "corridor.tvp")
    assert ternevo.load(tmp_path / "corridor.tvp").to_bytes() == policy.to_bytes()
    assert ternevo.load(folder).to_bytes() == policy.to_bytes()
    assert [row["generation"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert policy.act([1.0, 0.0, 0.0, 0.0, 0.0]) in (0, 1)


def test_an_evaluation_is_the_final_one_of_the_run(trained):
    policy, _, folder = trained
    found = [ternevo.evaluate(each, num_episodes=4) for each in (policy, folder, str(folder))]
    for evaluation in found:
        assert evaluation.returns.tolist() == found[0].returns.tolist()
    result = json.loads((folder / "result.json").read_text())
    assert found[0].mean == pytest.approx(result["best_policy"]["return_mean"])
    assert found[0].returns.shape == found[0].lengths.shape == (4,)
    assert repr(found[0]).startswith("return ")
    assert np.all(found[0].lengths <= 6)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ternevo.train("probe/corridor", **TINY | {"num_generations": 1})
    assert not list(tmp_path.iterdir())


def test_a_callback_ends_the_training():
    seen = []

    def enough(rows):
        seen.extend(rows)
        return True

    options = TINY | {"num_generations": 1_000_000, "chunk_size": 2}
    ternevo.train("probe/corridor", **options, callback=enough)
    assert [row["generation"] for row in seen] == [1, 2]


def test_python_and_the_command_line_say_the_same():
    argv = ["--env", "brax/ant", "--strategy", "ppo", "--lr", "0.5", "--hidden_sizes", "(8, 8)"]
    argv += ["--runs_dir", "x", "--weights", "float", "--frame_stack", "2"]
    options = {"lr": 0.5, "hidden_sizes": [8, 8], "runs_dir": "x", "weights": "float"}
    assert config_of("brax/ant", "ppo", "mlp", options | {"frame_stack": 2}) == parse(argv)


def test_lists_in_lists_are_taken_too():
    argv = ["--policy", "conv", "--filters", "((8,3,2),(4,2,1))"]
    filters = {"filters": [[8, 3, 2], [4, 2, 1]]}
    assert config_of("gymnax/CartPole-v1", "ternary_nes", "conv", filters) == parse(argv)
    with pytest.raises(ValueError, match=r"filters must be tuple\[tuple.*got \(8, 3, 2\)"):
        config_of("gymnax/CartPole-v1", "ternary_nes", "conv", {"filters": [8, 3, 2]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population_sise": 3}, "unknown option 'population_sise'. Did you mean 'population_size"),
        ({"population_size": "64"}, "population_size must be int, got '64'"),
        ({"population_size": True}, "population_size must be int, got True"),
        ({"population_size": 1}, "population_size must be at least 2, got 1"),
        ({"hidden_sizes": 16}, "hidden_sizes must be"),
        ({"hidden_sizes": [1.5]}, "hidden_sizes must be"),
        ({"weights": "ternray"}, "weights must be .*got 'ternray'"),
        ({"strategy": "ternary_ness"}, "unknown strategy 'ternary_ness'"),
        ({"num_seeds": 2}, "num_seeds must be 1, got 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ternevo.train("probe/corridor", **options)


def test_bad_arguments_of_an_evaluation_are_refused(trained, tmp_path):
    policy, *_ = trained
    with pytest.raises(ValueError, match="num_episodes must be at least 1, got 0"):
        ternevo.evaluate(policy, num_episodes=0)
    with pytest.raises(ValueError, match="does not fit gymnax/CartPole-v1"):
        ternevo.evaluate(policy, "gymnax/CartPole-v1")
    with pytest.raises(UnknownName, match="unknown environment 'probe/coridor'"):
        ternevo.evaluate(policy, "probe/coridor")
    with pytest.raises(RunFolderError, match="is not a run"):
        ternevo.load(tmp_path)
