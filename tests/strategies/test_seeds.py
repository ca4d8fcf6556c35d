"""Several seeds in one program: each is the run that it would be by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from kept_programs import keeping_programs
from seeds_on_devices import FIRST_SEED, build, trained

from ternevo import play, run
from ternevo.machine import device_memory
from ternevo.policies import policy_file
from ternevo.runs import __main__ as runs
from ternevo.runs.sinks import mean_rows, read_jsonl
from ternevo.settings.command_line import parse

SCRIPT = Path(__file__).with_name("seeds_on_devices.py")
SUPPORT = Path(__file__).parents[1] / "support"
THREE = range(FIRST_SEED, FIRST_SEED + 3)
ROUNDED = ("metrics/search/entropy", "metrics/search/log_spread", "metrics/loss/", "metrics/ppo/")
"""What XLA may round otherwise among other computations, also without its optimisation."""


def assert_each_is_alone(name: str, together: dict[str, np.ndarray], num_seeds: int) -> None:
    """Compare each seed's weights, returns and most of its metrics with a run of its own."""
    for i in range(num_seeds):
        alone = trained(name, range(FIRST_SEED + i, FIRST_SEED + i + 1))
        for key, (values,) in alone.items():
            if key.startswith(ROUNDED):
                # A policy loss is a small difference of large numbers.
                np.testing.assert_allclose(together[key][i], values, 1e-5, 1e-5, err_msg=key)
            else:
                np.testing.assert_array_equal(together[key][i], values, err_msg=key)


EVOLVED = "cem"  # the search that compiles fastest
ALSO = ("ternary_nes", "ternary_ga", "latent", "ppo", "dqn", "td3", "ddpg", "sac")
"""Slow tests, as `across_seeds` does not know what it repeats; DDPG has two devices below."""


@pytest.mark.exact
@pytest.mark.parametrize(
    "name", [EVOLVED, *(pytest.param(name, marks=pytest.mark.slow) for name in ALSO)]
)
def test_seeds_together_are_the_seeds_alone(name):
    assert_each_is_alone(name, trained(name, THREE), 3)


@pytest.mark.wide  # on one device the seeds together are above
@pytest.mark.exact
@pytest.mark.parametrize(
    ("name", "messages"),
    [
        (EVOLVED, {4: 0}),
        pytest.param("ternary_nes", {4: 0, 3: 2}, marks=pytest.mark.slow),
        pytest.param("ternary_nes", {2: 0}, marks=pytest.mark.slow),
        ("ddpg", {3: 0}),  # of those that replay the one that compiles fastest
        pytest.param("sac", {3: 0}, marks=pytest.mark.slow),
        pytest.param("sac", {2: 0}, marks=pytest.mark.slow),
        pytest.param("dqn", {3: 0, 2: 0}, marks=pytest.mark.slow),
    ],
    ids=[
        "two each",
        "some",
        "a pair",
        "replayed",
        "replayed by two critics",
        "a replayed pair",
        "rated",
    ],
)
def test_seeds_on_two_devices(name, messages, tmp_path):
    """Each has two seeds, or one, and they do not talk; or both share the populations of three.

    Of three seeds that replay, each device learns all alike, so that they do not talk either.

    Then they talk as often as for one seed: messages that are independent may wait for each other
    for ever. Each case runs one program in all chunks, also after a checkpoint.
    """
    command = [sys.executable, SCRIPT, tmp_path / "two.npz", name, *map(str, messages)]
    places = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": places})
    with np.load(tmp_path / "two.npz") as found:
        for count, expected in messages.items():
            together = {key.removeprefix(f"{count}/"): found[key] for key in found.files}
            assert_each_is_alone(name, together, count)
            assert (together["messages"], together["compiled"]) == (expected, 0)


@pytest.mark.wide  # in turn they are above
@pytest.mark.parametrize(
    "name",
    [
        EVOLVED,
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ternary_nes", "ppo", "sac")),
    ],
)
def test_seeds_side_by_side_are_the_seeds_in_turn(name, monkeypatch):
    """As an accelerator runs them. XLA may round the floats of another batch size otherwise."""
    in_turn = trained(name, THREE)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    build.cache_clear()
    side_by_side = trained.__wrapped__(name, THREE)
    build.cache_clear()
    assert in_turn.keys() == side_by_side.keys()
    for key, values in in_turn.items():
        np.testing.assert_allclose(side_by_side[key], values, rtol=1e-3, atol=1e-4, err_msg=key)


# --- memory -----------------------------------------------------------------------------------


def program_of(temporaries: int, devices: int = 2):
    """Return what looks like a compiled program that takes 1 GB and makes temporaries."""
    sizes = {"argument": 10**9, "output": 10**9, "alias": 10**9, "temp": temporaries}
    stats = SimpleNamespace(**{f"{name}_size_in_bytes": size for name, size in sizes.items()})
    executable = SimpleNamespace(local_devices=lambda: [None] * devices)
    return SimpleNamespace(memory_analysis=lambda: stats, runtime_executable=lambda: executable)


def test_seeds_that_do_not_fit_into_memory_are_refused(monkeypatch):
    """Devices of a CPU share 3 GB besides the 2 that their arguments take already."""
    monkeypatch.setattr(device_memory, "available_bytes", lambda: 3 * 10**9)
    device_memory.check_seeds_fit(program_of(15 * 10**8), 8)
    with pytest.raises(ValueError) as error:
        device_memory.check_seeds_fit(program_of(16 * 10**8), 8)
    assert str(error.value) == (
        "8 seeds at once need 5.2 GB of memory, but only 5.0 GB are free: lower --num_seeds, or "
        "run the seeds one after another"
    )


def test_where_memory_is_not_known_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(device_memory, "available_bytes", lambda: None)
    device_memory.check_seeds_fit(program_of(10**18), 8)


def test_a_run_too_large_for_memory_ends_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(device_memory, "available_bytes", lambda: -(10**9))
    with pytest.raises(SystemExit) as exit_:
        joint_run(tmp_path, "--env", "probe/bandit", "--strategy", "random_search")
    assert exit_.value.code == 2
    assert "2 seeds at once need" in capsys.readouterr().err
    assert not any(path.read_text() for path in tmp_path.rglob("metrics.jsonl"))


# --- folders ----------------------------------------------------------------------------------

SMALL = [
    *("--env", "gymnax/CartPole-v1", "--strategy", EVOLVED),
    *("--episode_length", "20", "--hidden_sizes", "(4,)"),
    *("--population_size", "8", "--eval_every", "4", "--num_eval_episodes", "4"),
    *("--num_final_episodes", "4", "--checkpoint_every", "3"),
]


def joint_run(root, *arguments, seeds="2", generations="5"):
    """Run seeds 1 and 2 together."""
    options = ("--seed", "1", "--num_seeds", seeds, "--num_generations", generations)
    run.main([*SMALL, "--runs_dir", str(root), *options, *arguments])


def without_time(folder):
    return [{**row, "wall_time": 0} for row in read_jsonl(folder / "metrics.jsonl")]


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """A joint run of five generations, of which the last is drawn, and the root of all runs."""
    root = tmp_path_factory.mktemp("runs")
    joint_run(root, "--render_every", "5")
    return root / "gymnax" / "CartPole-v1" / EVOLVED / "seed1-2"


def test_each_seed_has_the_folder_of_an_ordinary_run(joint):
    names = {path.name for path in joint.iterdir()}
    shared = {"config.json", "checkpoints", "curve.png", "result.json", "lock"}
    assert names == {*shared, "seed1", "seed2"}
    ordinary = {"config.json", "metrics.jsonl", "policy.tvp", "best_policy.tvp", "curve.png"}
    for seed, more in ((1, {"episode.gif", "episodes"}), (2, set())):
        folder = joint / f"seed{seed}"
        assert {path.name for path in folder.iterdir()} == ordinary | more | {"result.json"}
        config = json.loads((folder / "config.json").read_text())
        settings = config["settings"]
        assert (settings["seed"], settings["num_seeds"], config["joint"]) == (seed, 1, "seed1-2")
        assert [row["generation"] for row in without_time(folder)] == [1, 2, 3, 4, 5]
        assert policy_file.load(folder / "policy.tvp").info["seed"] == seed


def test_the_result_of_a_joint_run_is_over_its_seeds(joint):
    result = json.loads((joint / "result.json").read_text())
    own = [json.loads((joint / f"seed{s}" / "result.json").read_text()) for s in (1, 2)]
    assert result["seeds"] == [1, 2]
    assert result["env_steps"] == [of_seed["env_steps"] for of_seed in own]
    for label in ("policy", "best_policy"):
        returns = [of_seed[label]["return_mean"] for of_seed in own]
        found = result[label]
        assert found["returns"] == returns
        statistics = np.mean(returns), np.std(returns), min(returns), max(returns)
        expected = [found[name] for name in ("mean", "std", "min", "max")]
        np.testing.assert_allclose(expected, statistics, rtol=1e-12)


def test_of_a_joint_run_the_first_seed_is_drawn(joint):
    assert [str(path.relative_to(joint)) for path in joint.rglob("generation-*")] == [
        "seed1/episodes/generation-000005.gif"
    ]


def test_runs_lists_the_seeds_and_play_asks_for_one(joint, capsys):
    runs.main([str(joint.parents[3]), "--by_seed"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [str(joint / "seed1"), str(joint / "seed2")]
    assert all(line.endswith("done") for line in lines)
    runs.main([str(joint.parents[3])])
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == str(joint) and " 1-2 " in line and " ± " in line
    with pytest.raises(SystemExit):
        play.main([str(joint)])
    assert f"name one of {joint / 'seed1'}, {joint / 'seed2'}" in capsys.readouterr().err


@pytest.mark.wide  # of one seed it is in test_loop.py
def test_a_resumed_joint_run_is_the_one_that_never_stopped(joint, tmp_path):
    joint_run(tmp_path, "--render", "False", generations="4")
    joint_run(tmp_path, "--render", "False", "--resume", generations="5")
    (resumed,) = tmp_path.rglob("seed1-2")
    for seed in ("seed1", "seed2"):
        assert without_time(resumed / seed) == without_time(joint / seed)
        for name in ("policy.tvp", "best_policy.tvp"):
            assert (resumed / seed / name).read_bytes() == (joint / seed / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "seeds", "message"),
    [
        (("--name", "seed1-2"), "2", "exists. Continue it with --resume"),
        (("--resume", "--name", "seed1-2"), "3", "num_seeds: 2 then, 3 now"),
        (("--resume", "--name", "seed1-2/seed1"), "1", "a seed of the joint run 'seed1-2'"),
    ],
    ids=["taken", "other seeds", "one seed"],
)
def test_what_cannot_be_gone_on_with_is_refused(joint, arguments, seeds, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        joint_run(joint.parents[3], *arguments, seeds=seeds)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_metric_is_averaged_over_the_seeds_that_have_it():
    rows = [
        [{"generation": 1, "a": 1.0, "b": 5.0}, {"generation": 2, "a": 3.0}],
        [{"generation": 1, "a": 2.0}],
    ]
    first, second = mean_rows(rows)
    assert first == {"generation": 1, "a": 1.5, "b": 5.0}
    assert second == {"generation": 2, "a": 3.0}
    assert mean_rows(rows[:1]) is rows[0]


def test_seeds_are_named_and_refused_on_several_hosts(capsys):
    assert parse(["--seed", "3", "--num_seeds", "5"]).seed_label == "3-7"
    assert parse(["--seed", "3"]).seed_label == "3"
    with pytest.raises(SystemExit):
        parse(["--num_seeds", "2", "--distributed"])
    assert "one run per seed" in " ".join(capsys.readouterr().err.replace("│", " ").split())
