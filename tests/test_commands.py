"""`ternevo COMMAND` is `python -m ternevo.COMMAND`, for every command."""

import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ternevo import __main__ as script, __version__, commands, completion
from ternevo.commands import COMMANDS
from ternevo.names import lookup
from ternevo.settings.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]


def called(monkeypatch, capsys, main, *argv) -> tuple[int, str, str]:
    """Return the status, the output and the errors of a program called with these words."""
    monkeypatch.setattr(sys, "argv", list(argv))
    status = 0
    try:
        main()
    except SystemExit as exit_:
        status = exit_.code or 0
    return status, *capsys.readouterr()


# --- one name for all ------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_that_of_the_module_under_the_other_name(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    module = importlib.import_module(COMMANDS[name].module)
    status, ours, errors = called(monkeypatch, capsys, script.main, "ternevo", name, "--help")
    theirs = called(monkeypatch, capsys, module.main, f"ternevo/{name}.py", "--help")
    assert (status, errors) == (0, "")
    assert f"usage: ternevo {name} " in ours
    assert f"usage: python -m ternevo.{name} " in theirs[1]
    renamed = ours.replace(f"ternevo {name}", f"python -m ternevo.{name}")
    assert renamed.split() == theirs[1].split(), "the same but for the breaks of lines"


def test_the_list_names_every_command_with_a_line(monkeypatch, capsys):
    status, text, errors = called(monkeypatch, capsys, script.main, "ternevo", "--help")
    assert (status, errors) == (0, "")
    for name, command in COMMANDS.items():
        assert f"\n  {name:<8}{command.summary}\n" in text
    assert max(map(len, text.splitlines())) <= 88


def test_without_a_command_the_list_is_shown_and_it_is_an_error(monkeypatch, capsys):
    status, text, errors = called(monkeypatch, capsys, script.main, "ternevo")
    assert (status, text) == (2, "") and "usage: ternevo COMMAND" in errors


@pytest.mark.parametrize("words", [("ternevo", "--help"), ("ternevo.run", "--list_strategies")])
def test_a_reader_who_has_gone_ends_a_command_without_a_traceback(words):
    """As in `ternevo run --list_strategies | head -2`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_every_command_ends_so(name):
    """By its source: as a program, each would import all it needs."""
    module = importlib.util.find_spec(COMMANDS[name].module if name else "ternevo.__main__")
    assert "while_read(" in Path(module.origin).read_text()


def test_a_program_without_output_is_no_error():
    """As a daemon may start it, or `>&-` in a shell."""
    command = f"{sys.executable} -m ternevo --help >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_is_told_where_nobody_reads_the_output_either(monkeypatch):
    read, write = os.pipe()
    os.close(read)

    def main():
        print("something")
        raise ValueError("of the command")

    out = os.fdopen(write, "w")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(ValueError, match="of the command"):
        commands.while_read(main)
    with pytest.raises(BrokenPipeError):
        out.close()


def test_any_other_broken_pipe_is_an_error(tmp_path, monkeypatch):
    def main():
        raise BrokenPipeError("of a simulator")

    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(BrokenPipeError, match="of a simulator"):
            commands.while_read(main)


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    found = called(monkeypatch, capsys, script.main, "ternevo", "--version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert found == (0, f"ternevo {__version__}\n", "")
    assert project["version"] == __version__


@pytest.mark.parametrize(
    ("word", "near"), [("rum", "'run'"), ("exprot", "'export'"), ("--verson", "'--version'")]
)
def test_an_unknown_command_is_one_line_with_the_nearest(word, near, monkeypatch, capsys):
    status, text, errors = called(monkeypatch, capsys, script.main, "ternevo", word, "--help")
    assert (status, text) == (2, "")
    assert errors.startswith("error: unknown ") and errors.count("\n") == 1
    assert f"Did you mean {near}" in errors


def test_a_command_finds_its_arguments_and_its_status_is_that_of_the_script(
    monkeypatch, capsys, tmp_path
):
    nowhere = str(tmp_path / "nowhere")
    status, text, errors = called(monkeypatch, capsys, script.main, "ternevo", "runs", nowhere)
    assert (status, text) == (2, "") and nowhere in errors
    assert sys.argv == ["ternevo runs", nowhere], "what config.json records as the command"


def test_the_package_runs_as_a_module_and_imports_nothing_heavy():
    program = (
        "import sys; sys.argv = ['ternevo', '--help']\n"
        "from ternevo.__main__ import main; main()\n"
        "print(sorted({'jax', 'numpy', 'tyro', 'yaml', 'tqdm'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "ternevo", "export", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "usage: ternevo export " in done.stdout


SCRIPT = Path(sys.executable).with_name("ternevo")


@pytest.mark.skipif(not SCRIPT.exists(), reason="installed before there was a script")
def test_the_script_runs():
    done = subprocess.run([SCRIPT, "export", "nowhere.tvp", "--to", "c"], capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"") and b"nowhere.tvp" in done.stderr


def test_the_script_is_declared():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"ternevo": "ternevo.__main__:main"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_known_by_its_module_and_settings(name):
    """The rooms say the same: `python -m ternevo.NAME` starts this module."""
    module = COMMANDS[name].module
    assert module in (f"ternevo.{name}", f"ternevo.{name}.__main__")
    assert lookup("settings", COMMANDS[name].settings, {}).__dataclass_fields__


def test_a_command_that_python_calls_is_named_as_the_module(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ternevo play"])
    assert commands.prog("play") == "ternevo play"
    assert commands.prog("run") == "python -m ternevo.run", "called by another command"


# --- completion ------------------------------------------------------------------------------

TRIES = {
    ("ternevo", "r"): {"run", "runs", "report"},
    ("ternevo", "run", "--population_c"): {"--population_chunk"},
    ("ternevo", "run", "--strategy", ""): set(STRATEGIES),
    ("ternevo", "run", "--strategy", "ppo", "--weights", "t"): {"ternary"},
    ("ternevo", "run", "--confi"): {"--config"},
    ("ternevo", "export", "--to", "h"): {"html"},
    ("ternevo", "runs", "--sort", "s"): {"steps"},
    ("ternevo", "sweep", "--job"): {"--jobs"},
    ("ternevo", "play", "--which", "l"): {"last"},
    ("ternevo", "gym", "--episo"): {"--episodes"},
    ("ternevo", "bench", "--repea"): {"--repeats"},
    ("ternevo", "report", "--thresh"): {"--threshold"},
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash completes")
def test_bash_completes_the_options_of_each_command(tmp_path, monkeypatch, capsys):
    path = tmp_path / "ternevo.bash"
    words = ["ternevo", "--tyro-write-completion", "bash", str(path)]
    assert called(monkeypatch, capsys, script.main, *words) == (0, "", "")
    program = [f"source {path}"]
    for attempt in TRIES:
        quoted = " ".join(f"'{word}'" for word in attempt)
        program += [f"COMP_WORDS=({quoted}); COMP_CWORD={len(attempt) - 1}"]
        program += ["COMPREPLY=(); _tyro_ternevo; echo ${COMPREPLY[*]}"]
    program += ["complete -p ternevo"]
    done = subprocess.run(["bash", "-c", "\n".join(program)], capture_output=True, text=True)
    *found, registered = done.stdout.splitlines()
    assert [set(line.split()) for line in found] == list(TRIES.values()), done.stderr
    assert registered == "complete -o default -F _tyro_ternevo ternevo"


@pytest.mark.parametrize("shell", completion.ELSE_FILES)
def test_a_command_prints_the_script_of_all(shell, monkeypatch, capsys):
    words = ("ternevo", "run", "--tyro-print-completion", shell)
    status, text, errors = called(monkeypatch, capsys, script.main, *words)
    assert (status, errors) == (0, "") and text == completion.script(shell)
    assert text.endswith(f"{completion.ELSE_FILES[shell]}\n")
    assert "_tyro_ternevo" in text.splitlines()[-1] and "'--population_size'" in text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--tyro-print-completion", "bsh"], "Did you mean 'bash'"),
        (["--tyro-print-completion"], "takes SHELL, got []"),
        (["--tyro-write-completion", "zsh"], "takes SHELL and FILE, got ['zsh']"),
        (["--tyro-write-completion", "zsh", "/nowhere/at/all"], "No such file"),
    ],
)
def test_a_wrong_request_for_completion_is_one_line(words, part, monkeypatch, capsys):
    status, text, errors = called(monkeypatch, capsys, script.main, "ternevo", *words)
    assert (status, text) == (2, "") and errors.count("\n") == 1 and part in errors
