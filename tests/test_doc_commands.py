"""The commands of README and docs: each is understood, and each page runs from top to bottom."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from marks import wide

from ternevo import envs
from ternevo.settings import smoke
from ternevo.settings.command_line import parse

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
OTHER_SHELLS = re.compile(r"^ *```(bash|shell|console|zsh)\b", re.MULTILINE)
PAGES = [
    *(ROOT / name for name in ("README.md", "experiments/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(
        page
        for name in ("how-to", "gallery", "demo", "explanation")
        for page in (ROOT / "docs" / name).glob("*.md")
    ),
]
ELSEWHERE = {  # pages whose blocks another test runs, with the files that the page has written
    **dict.fromkeys(
        ("own_environment.md", "own_policy.md", "own_strategy.md", "own_wrapper.md"),
        "tests/test_extending.py",
    ),
    "study.md": "hours of the study",
    "search.md": "hours of the search",
}
MODULES_OF = {"distil.md": {"my_teachers.py": 0}, "simulators.md": {"my_sim.py": 0}}
"""The files that a page tells its reader to write: the number of the block with their code."""

LEFT_OUT = {  # what a line contains, and why a test cannot run it
    "make ": "installs, or runs the tests",
    ".venv": "installs",
    "pip install": "installs",
    "ternevo.bench": "takes ten minutes by itself",
    "ternevo bench": "takes ten minutes by itself",
    "experiments/minatar.py": "takes an hour by itself",
    "experiments/games.py": "takes an hour by itself",
    "wandb ": "needs an account",
    "tensorboard --logdir": "a server",
    "xprof": "a server",
    "chromium": "a browser",
    "srun": "a cluster",
    "SBATCH": "a cluster",
    "--distributed": "needs several hosts, or two terminals",
    "TERNEVO_COORDINATOR": "needs two terminals",
    "/shared/": "a network drive",
    "elsewhere/": "runs of somebody else",
    "--tyro-write-completion": "changes the shell",
    "~/": "changes the shell",
    "pip wheel": "installs",
    "--generation 50": "a smoke test has two generations",
    "poet/seed0/archive": "no niche has a score after two generations",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_stand_in_blocks_that_are_read(page):
    assert not OTHER_SHELLS.findall(page.read_text())


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page in order: a line each, but for backslashes and loops."""
    return [
        line
        for block in map(textwrap.dedent, BLOCK.findall(page.read_text()))
        for line in ([block] if "for " in block else block.replace("\\\n", " ").splitlines())
        if line.strip() and not line.startswith("#")
    ]


def is_left_out(command: str) -> bool:
    return any(part in command for part in LEFT_OUT)


RUNS = [
    (page.name, command)
    for page in PAGES
    for command in commands_of(page)
    if re.match(r"(python -m ternevo\.|ternevo )run ", command) and "<" not in command
]


@pytest.mark.parametrize(("page", "command"), wide(RUNS, keep=["README.md"]))
def test_the_options_of_a_run_exist(page, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command, comments=True)
    arguments = words[words.index("run" if "run" in words else "ternevo.run") + 1 :]
    if ":" in command or "--help" in arguments:
        return  # code of the page's own, or no run
    parse(arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.name
)
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    """In a folder of its own that has what a checkout has, with the budget of a smoke test."""
    if page.name in ELSEWHERE:
        pytest.skip(ELSEWHERE[page.name])
    for name in ("experiments", "examples"):  # copies: some commands write into them
        shutil.copytree(ROOT / name, tmp_path / name)
    for name, code in MODULES_OF.get(page.name, {}).items():
        (tmp_path / name).write_text(
            re.findall(r"```python\n(.*?)```", page.read_text(), re.S)[code]
        )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, smoke.VARIABLE: "1", "PYTHONPATH": str(ROOT)}
    for command in commands_of(page):
        if is_left_out(command):
            continue
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path):
    """A run of a few generations, in a folder of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    environment = os.environ | {smoke.VARIABLE: "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "return" in done.stdout and [*tmp_path.iterdir()] == [tmp_path / "cartpole.tvp"]


def test_a_smoke_test_is_short_and_says_so(monkeypatch, capsys):
    arguments = ["--strategy", "ppo", "--num_generations", "1000"]
    assert parse(arguments).num_generations == 1000
    monkeypatch.setenv(smoke.VARIABLE, "1")
    config = parse(arguments)
    assert (config.num_generations, config.episode_length) == (2, 8)
    assert "cut down to almost nothing" in capsys.readouterr().err


def test_a_smoke_test_leaves_episodes_alone_that_are_examples(monkeypatch):
    monkeypatch.setenv(smoke.VARIABLE, "1")
    config = parse(["--config", "digits", "--strategy", "ppo"])
    assert (config.num_generations, config.episode_length) == (2, None)
    assert envs.make(config.env, config.episode_length).episode_length == 1
