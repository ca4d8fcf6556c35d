"""Policies that come with the package: found by name, whole, and as good as their records say."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from marks import wide

import ternevo
import ternevo.export
import ternevo.gym
from ternevo.deploy import c_header, tvp
from ternevo.hub import catalogue
from ternevo.names import UnknownName
from ternevo.runs import run_folder

ENTRIES = catalogue.entries()
MAX_BYTES = 30_000
CHEAP = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0")
"""Where Gymnasium has the same physics and rewards as gymnax, and an episode takes milliseconds."""


def test_all_files_are_in_the_records_and_small():
    files = {path.stem: path.stat().st_size for path in catalogue.FOLDER.glob("*.tvp")}
    assert set(files) == set(ENTRIES)
    assert sum(files.values()) <= MAX_BYTES


@pytest.mark.parametrize("name", ENTRIES)
def test_records_are_of_the_files(name):
    entry, policy = ENTRIES[name], ternevo.load(f"hub:{name}")
    info = policy.info()
    assert (entry.name, entry.env, entry.sizes) == (name, info["env"], list(info["sizes"]))
    assert (entry.bytes, entry.sha256) == (info["bytes"], info["sha256"])
    assert entry.env.partition("@")[0].endswith(f"/{name}")
    assert info["weights"] == "ternary" and policy.record.is_integer
    assert f"--strategy {entry.strategy} " in entry.command
    assert re.fullmatch("[0-9a-f]{40}", entry.commit)
    assert entry.returns.low <= entry.returns.mean <= entry.returns.high
    assert entry.returns.episodes == 128
    assert info["metadata"]["return"] == str(entry.returns.mean)


@pytest.mark.parametrize("name", ENTRIES)
def test_headers_say_what_numbers_mean(name):
    policy = ternevo.load(f"hub:{name}")
    header = c_header.to_c(policy.record)
    assert "does not say what they mean" not in header
    assert f"return       {ENTRIES[name].returns.mean:.6g}," in header


@pytest.mark.parametrize("name", wide(sorted(set(CHEAP) & set(ENTRIES)), keep=["CartPole-v1"]))
def test_policies_are_as_good_as_their_records_say(name):
    """The difference of two means of 128 episodes is within four of its standard deviations."""
    returns = ENTRIES[name].returns
    found = ternevo.gym.evaluate(f"hub:{name}", name, episodes=128, seed=1000)
    deviation = math.hypot(returns.std, found.std) / math.sqrt(128)
    assert abs(found.mean - returns.mean) <= 4 * deviation


def test_every_name_of_an_environment_finds_its_policy():
    names = [alias for entry in ENTRIES.values() for alias in entry.aliases]
    assert len(names) == len(set(names))
    for entry in ENTRIES.values():
        for alias in entry.aliases:
            assert catalogue.find(alias) is entry
            assert catalogue.path_of(Path(f"hub:{alias}")) == entry.path


def test_unknown_names_are_refused_with_those_that_are_near():
    with pytest.raises(UnknownName, match=r"hub 'CartPole'.*mean 'CartPole-v1'.*Allowed: .*Pend"):
        ternevo.load("hub:CartPole")
    with pytest.raises(UnknownName, match="unknown policy of the hub ''"):
        catalogue.path_of("hub:")


def test_other_paths_stay_as_they_are(tmp_path):
    assert catalogue.path_of(tmp_path / "hub") == tmp_path / "hub"
    assert not catalogue.is_address("runs/hub:x")
    assert run_folder.policy_of(tmp_path / "policy.tvp") == tmp_path / "policy.tvp"


def test_looking_a_policy_up_needs_no_numpy():
    program = (
        "import sys; from ternevo.hub import catalogue; "
        "print(catalogue.find('CartPole-v1').name, *{'jax', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("CartPole-v1\n", "")


def test_exports_go_into_the_current_directory(tmp_path, monkeypatch, capsys):
    before = set(catalogue.FOLDER.iterdir())
    monkeypatch.chdir(tmp_path)
    for kind in ("c", "tvp"):
        ternevo.export.main(["hub:gymnax/CartPole-v1", "--to", kind])
    assert {path.name for path in tmp_path.iterdir()} == {"CartPole-v1.h", "CartPole-v1_device.tvp"}
    assert tvp.encode(tvp.load(tmp_path / "CartPole-v1_device.tvp")) == tvp.encode(
        ternevo.load("hub:CartPole-v1").record.bare()
    )
    assert set(catalogue.FOLDER.iterdir()) == before
    assert "CartPole-v1.h" in capsys.readouterr().out
    place = run_folder.beside(Path("hub:CartPole-v1"), catalogue.path_of("hub:CartPole-v1"), "play")
    assert place == Path("play")  # where `ternevo.play` draws
    assert run_folder.beside(Path("a"), Path("a/policy.tvp"), "play") == Path("a/play")


def test_unknown_names_on_the_command_line_are_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        ternevo.export.main(["hub:hoper", "--to", "c"])
    assert stop.value.code == 2
    assert "unknown policy of the hub 'hoper'" in capsys.readouterr().err


def test_a_policy_of_the_hub_plays_in_gymnasium(capsys):
    ternevo.gym.main(["hub:CartPole-v1", "--episodes", "4"])
    assert capsys.readouterr().out.startswith("CartPole-v1: return 500.00")


def test_a_policy_of_the_hub_acts():
    policy = ternevo.load("hub:CartPole-v1")
    lean = np.array([0.0, 0.0, 0.1, 0.3])
    assert (policy.act(lean), policy.act(-lean)) == (1, 0)
