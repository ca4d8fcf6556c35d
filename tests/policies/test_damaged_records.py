"""A damaged config.json is named in a line by whatever reads it, and hides no other run."""

import dataclasses
import functools
import json
import os

import pytest
from marks import wide
from written_runs import write_run

from ternevo import export, gym, play, report, run
from ternevo.report import figures
from ternevo.runs import __main__ as runs, arms, claims, listing
from ternevo.runs.errors import RunFolderError

ARGUMENTS = [
    *("--env", "probe/bandit", "--strategy", "random_search", "--hidden_sizes", "()"),
    *("--population_size", "4", "--num_generations", "1"),
]


def whole() -> dict:
    """Return a config.json as a run writes it, in what the readers take from it."""
    return {
        "id": "0a",
        "env": "probe/bandit",
        "settings": {
            **{"strategy_name": "random_search", "policy_name": "mlp", "num_generations": 2},
            **{"seed": 0, "num_seeds": 1, "name": "seed0", "runs_dir": "runs"},
            **{"strategy": {"population_size": 4}, "policy": {"weights": "ternary"}},
        },
        "command": ["python", "-m", "ternevo.run"],
        "versions": {"ternevo": "0"},
        "device": {"kind": "cpu", "count": 1},
        "machine": {"cores": 1},
        "commit": None,
    }


def without(*path: str) -> bytes:
    return changed(*path)


def changed(*path: str, **to) -> bytes:
    """Return a record whose member at `path` is `to`, or is missing."""
    record = owner = whole()
    for name in path[:-1]:
        owner = owner[name]
    if to:
        owner[path[-1]] = to["to"]
    else:
        del owner[path[-1]]
    return json.dumps(record).encode()


NEEDED = [("env",), ("settings",)] + [
    ("settings", name)
    for name in ("num_seeds", "seed", "num_generations", "strategy_name", "strategy", "policy")
]
OTHERS = [("id",), ("command",), ("versions",), ("device",), ("machine",), ("commit",)]
WRONG_TYPES = (None, [], 3, "x", True, float("nan"), 10**400)


def is_right(path: tuple[str, ...], value) -> bool:
    before = whole()
    for name in path:
        before = before[name]
    return (type(value) is type(before) and value != 10**400) or (path, value) == (("commit",), "x")


DAMAGED = {
    "empty": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "not UTF-8": b'{"env": "\xff"}',
    "nested": b'{"env":' + b"[" * 100_000,
    "long numbers": b'{"env": ' + b"1" * 10_000 + b"}",
    "a command of numbers": changed("command", to=[1]),
    "resumed from nothing": json.dumps({**whole(), "resumed_from": 3}).encode(),
    "a joint run that is a number": json.dumps({**whole(), "joint": 3}).encode(),
    "no kind of weights": changed("settings", "policy", "weights", to=3),
    "no name of a policy": changed("settings", "policy_name", to=[]),
    **{f"no {'.'.join(path)}": without(*path) for path in NEEDED},
    **{
        f"{'.'.join(path)} is {str(value)[:9]}": changed(*path, to=value)
        for path in (*NEEDED, *OTHERS)
        for value in WRONG_TYPES
        if not is_right(path, value)
    },
}
FEW = [what for what in DAMAGED if " is " not in what or what.endswith("is 3")]
"""What is no record, what is missing, and of each member one wrong type."""
UNUSED = {".".join(path) for path in (*OTHERS, *NEEDED[3:])}
"""Members whose values nobody looks at who looks for a policy."""
ONLY_TO_RESUME = {f"no {'.'.join(path)}": without(*path) for path in OTHERS}


@pytest.fixture
def damaged(tmp_path):
    """Return a function that writes a whole run, and one whose config.json is something else."""
    root = tmp_path / "runs"

    def write(data: bytes):
        if not root.exists():
            write_run(root, "seed1", 1, final=1.0, env="probe/bandit", strategy="random_search")
            write_run(root, "seed0", 0, final=1.0, env="probe/bandit", strategy="random_search")
        config = root / "probe" / "bandit" / "random_search" / "seed0" / "config.json"
        config.write_bytes(data)
        return root, config

    return write


def refused(capsys, tool, *argv) -> str:
    """Return the one line of a command that ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(word) for word in argv])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and len(error) < 500, error
    return error


@pytest.mark.parametrize("what", wide(DAMAGED, keep=FEW))
def test_a_list_names_it_and_goes_on(what, damaged, capsys):
    root, config = damaged(DAMAGED[what])
    runs.main([str(root), "--json"])
    first, second = json.loads(capsys.readouterr().out)
    assert (first["state"], second["state"]) == ("unreadable", "done")
    assert str(config) in first["reason"] and second["best"] == [2.0]
    runs.main([str(root), "--sort", "time"])
    assert "unreadable" in capsys.readouterr().out
    assert str(config) in refused(capsys, report_command(), config.parent, "--out", root)
    seeds, said = arms.read([root])
    assert [seed.number for seed in seeds] == [1] and str(config) in said[0]
    with pytest.raises(RunFolderError, match=r"config\.json"):
        arms.gather([root])


def report_command():
    from ternevo.report import __main__

    return __main__


@pytest.mark.parametrize("what", wide(DAMAGED | ONLY_TO_RESUME, keep=FEW))
def test_a_resumed_run_names_it(what, damaged):
    root, config = damaged((DAMAGED | ONLY_TO_RESUME)[what])
    assert str(config) in refused_resume(root)


@functools.cache  # the parser is built for 0.2 s
def resumed():
    from ternevo.settings.command_line import parse

    return parse([*ARGUMENTS, "--resume"])


def refused_resume(root) -> str:
    config = dataclasses.replace(resumed(), runs_dir=root)
    with pytest.raises(RunFolderError) as refusal:
        claims.create(config, "probe/bandit")
    return str(refusal.value)


@pytest.mark.parametrize("what", [what for what in DAMAGED if what.split()[0] not in UNUSED])
def test_who_looks_for_its_policy_refuses_or_finds_it(what, damaged, capsys):
    """A policy file says what it is of; of the record only where the file is must be known."""
    config = damaged(DAMAGED[what])[1]
    for tool, more in ((play, []), (export, ["--to", "c"]), (export, ["--ternarize"]), (gym, [])):
        error = refused(capsys, tool, config.parent, *more)
        assert str(config.parent) in error
        assert str(config) in error or "best_policy.tvp: byte 0: not a .tvp" in error


def test_the_command_line_says_it_in_a_line(damaged, capsys):
    root, config = damaged(DAMAGED["no settings.strategy"])
    error = refused(capsys, run, *ARGUMENTS, "--resume", "--runs_dir", root)
    assert f"error: {config} is damaged: 'settings.strategy' is missing" in error


def test_a_report_goes_on_with_the_others(damaged, capsys, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda found: {})
    for what in ("nested", "no env", "device is 3", "settings.seed is nan"):
        root, config = damaged(DAMAGED[what])
        text = report.write([root], root / "out").read_text()
        (said,) = [line for line in text.splitlines() if str(config) in line]
        assert said.startswith("<li>")


@pytest.mark.parametrize("kind", ["directory", "fifo", "loop", "device"])
def test_what_is_no_file_is_named_and_not_waited_for(kind, damaged, capsys):
    root, config = damaged(b"")
    config.unlink()
    {
        "directory": os.mkdir,
        "fifo": os.mkfifo,
        "loop": lambda path: path.symlink_to(path),
        "device": lambda path: path.symlink_to("/dev/zero"),
    }[kind](config)
    runs.main([str(root)])
    assert "done" in capsys.readouterr().out
    error = refused(capsys, play, config.parent)
    assert str(config.parent) in error


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json", "failure.txt", "policy.tvp"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_the_other_files_of_a_run_are_not_waited_for(name, make, damaged, capsys):
    root, config = damaged(json.dumps(whole()).encode())
    path = config.with_name(name)
    path.unlink(missing_ok=True)
    make(path)
    runs.main([str(root)])
    assert "done" in capsys.readouterr().out
    seeds, _ = arms.read([root])
    told = " ".join([*seeds[0].broken, seeds[0].failure])
    assert f"{path} must be a regular file" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_record_that_may_not_be_read_is_named(damaged, capsys):
    root, config = damaged(json.dumps(whole()).encode())
    config.chmod(0)
    runs.main([str(root)])
    printed = capsys.readouterr().out
    assert "unreadable" in printed and "done" in printed
    assert str(config) in refused(capsys, play, config.parent)


@pytest.mark.parametrize(
    "line", ['{"generation": "x"}', '{"generation": 1, "eval/return": "y"}', "[" * 100_000, "[1]"]
)
def test_a_row_that_is_none_is_named(line, damaged, capsys):
    root, config = damaged(json.dumps(whole()).encode())
    metrics = config.with_name("metrics.jsonl")
    metrics.write_text(f'{line}\n{{"generation": 2, "env_steps": 1, "wall_time": 1}}\n')
    runs.main([str(root), "--json"])
    assert f"line 1 of {metrics} is not a row" in json.loads(capsys.readouterr().out)[0]["reason"]


def test_a_config_of_another_program_is_no_damaged_run(damaged, capsys):
    root, _ = damaged(b'{"model_type": "bert", "device": "cuda"}')
    runs.main([str(root), "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_seeds_that_are_far_apart_are_no_range():
    assert listing._seeds([0, 2**53]) == f"0,{2**53}"
    assert (listing._seeds([2, 1]), listing._seeds([1, 1])) == ("1-2", "1,1")
