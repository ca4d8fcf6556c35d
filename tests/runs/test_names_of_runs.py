"""A run without a name gets the next free folder; a taken name is refused before JAX starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from ternevo import envs, files
from ternevo.runs import claims
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import folder_of
from ternevo.settings.command_line import parse
from ternevo.settings.environments import full_id


def config_of(root, *arguments):
    return parse(["--env", "probe/corridor", "--runs_dir", str(root), *arguments])


def begin(root, *arguments) -> Path:
    """Claim a folder as a run does, and leave the first row in it."""
    with claims.held(config_of(root, *arguments)) as config:
        folder = claims.create(config, config.env)
        folder.metrics.write_text("{}\n")
    return folder.path


def name_for(root, *arguments) -> str:
    with claims.held(config_of(root, *arguments)) as config:
        return config.name or ""


def test_each_run_gets_the_next_free_name(tmp_path):
    names = [begin(tmp_path).name for _ in range(3)]
    assert names == ["seed0", "seed0-run2", "seed0-run3"]
    assert begin(tmp_path, "--num_seeds", "3").name == "seed0-2"
    assert begin(tmp_path, "--seed", "1").name == "seed1"


def test_two_runs_that_start_at_once_get_different_names(tmp_path):
    with claims.held(config_of(tmp_path)) as one, claims.held(config_of(tmp_path)) as other:
        assert (one.name, other.name) == ("seed0", "seed0-run2")


def test_a_run_that_never_began_does_not_keep_its_name(tmp_path):
    with claims.held(config_of(tmp_path)) as config:
        claims.create(config, config.env)
    assert name_for(tmp_path) == "seed0"


def test_resuming_without_a_name_finds_the_newest_run_with_these_settings(tmp_path):
    begin(tmp_path, "--lr", "0.1")
    begin(tmp_path, "--lr", "0.2")
    begin(tmp_path, "--lr", "0.1")
    assert name_for(tmp_path, "--resume", "--lr", "0.1") == "seed0-run3"
    assert name_for(tmp_path, "--resume", "--lr", "0.2") == "seed0-run2"
    assert name_for(tmp_path, "--resume", "--lr", "0.3") == "seed0"  # which then says what differs
    assert name_for(tmp_path / "empty", "--resume") == "seed0"


def test_a_refused_run_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), claims.held(config_of(tmp_path / "runs")):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_meanwhile_is_not_held(tmp_path, monkeypatch):
    """Another process opened it, and removed it with the folder of a run that was refused."""
    lock = tmp_path / "lock"
    monkeypatch.setattr(files.fcntl, "flock", lambda *_: lock.unlink())
    with pytest.raises(files.Locked, match="removed by another process"), files.locked(lock):
        pass


def test_only_empty_folders_are_removed(tmp_path):
    other = begin(tmp_path, "--name", "other")
    name_for(tmp_path)
    assert [path.name for path in other.parent.iterdir()] == ["other"]


def test_a_taken_name_is_refused_and_hosts_do_not_count(tmp_path):
    path = begin(tmp_path)
    for arguments in (["--name", "seed0"], ["--distributed"]):
        config = config_of(tmp_path, *arguments)
        with pytest.raises(RunFolderError, match="seed0 exists"), claims.holding(config):
            pass
    with claims.held(config_of(tmp_path, "--distributed")) as config:  # its first process holds it
        assert config.name is None
    assert path.exists()


def test_a_taken_name_is_refused_before_jax_is_imported(tmp_path):
    begin(tmp_path, "--name", "mine")
    script = (
        "import sys\nfrom ternevo import run\n"
        f"argv = ['--env', 'probe/corridor', '--runs_dir', {str(tmp_path)!r}, '--name', 'mine']\n"
        "try:\n    run.main(argv)\n"
        "except SystemExit as exit:\n    print(exit.code, 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "2 False\n"
    assert "exists. Continue it with --resume, or choose another --name" in done.stderr


@pytest.mark.parametrize("env_id", ["probe/corridor", "brax/inverted_pendulum", "brax/fast"])
def test_the_full_id_is_that_of_the_environment(env_id):
    assert envs.make(env_id).id == full_id(env_id) == full_id(full_id(env_id))


def test_the_folder_follows_from_the_full_id(tmp_path):
    config = config_of(tmp_path, "--env", "brax/ant", "--name", "x")
    with claims.held(config) as named:
        path = folder_of(named, "brax/ant@spring").path
        assert path.is_dir()
