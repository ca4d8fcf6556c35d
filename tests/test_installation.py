"""What the base install does, what it asks for, and what is in the wheel."""

import dataclasses
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import setuptools
from marks import wide
from written_runs import write_run

import ternevo
from ternevo import installation
from ternevo.deploy import tvp
from ternevo.installation import MODULES, PACKAGES, MissingExtra
from ternevo.runs import provenance
from ternevo.settings.environments import OPTIONAL
from ternevo.settings.export import ExportConfig
from ternevo.training.exporting import converted

ROOT = Path(__file__).parents[1]
POLICY = ROOT / "ternevo" / "hub" / "CartPole-v1.tvp"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ONLY = '''"""Let Python find the standard library, and these packages, but nothing else."""
import sys
from importlib.machinery import PathFinder

class Found(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {allowed}:
            return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Found if finder is PathFinder else finder for finder in sys.meta_path]
'''
NUMPY = ("ternevo", "numpy")
BASE = (*NUMPY, "tqdm", "tyro", "docstring_parser", "typeguard", "typing_extensions")
"""The base install: numpy, tqdm and tyro, with what tyro needs."""


@pytest.fixture
def python(tmp_path):
    """A function that runs Python as if nothing but some packages were installed."""

    def run(allowed, *arguments):
        folder = tmp_path / "only"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(ONLY.format(allowed=allowed))
        path = os.pathsep.join([str(folder), str(ROOT)])
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    return run


# --- what the base install does ----------------------------------------------------------------


def test_with_numpy_alone_a_policy_acts(python):
    """Also batches, and the C extension where there is one."""
    obs = np.linspace(-0.2, 0.2, 12, dtype=np.float32).reshape(3, 4)
    program = (
        "import sys, numpy, ternevo\n"
        f"policy = ternevo.load({str(POLICY)!r})\n"
        f"obs = numpy.array({obs.tolist()}, numpy.float32)\n"
        "print([int(policy.act(row)) for row in obs], policy.act_batch(obs).tolist())\n"
        "print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = python(NUMPY, "-c", program)
    actions = ternevo.load(POLICY).act_batch(obs).tolist()
    assert done.stdout.splitlines()[:1] == [f"{actions} {actions}"], done.stderr
    assert "tyro" not in done.stdout and "jax" not in done.stdout
    done = python(NUMPY, "-c", "import tyro")
    assert "No module named 'tyro'" in done.stderr, "the test blocks what it means to block"


@pytest.mark.parametrize("to", wide(["tvp", "c", "html", "numpy"], keep=["c"]))
def test_the_base_install_exports(to, python, tmp_path):
    out = tmp_path / "exported"
    done = python(BASE, "-m", "ternevo", "export", POLICY, "--to", to, "--out", out)
    assert done.returncode == 0, done.stderr
    config = dataclasses.replace(ExportConfig(POLICY), to=to)
    assert out.read_bytes() == converted(tvp.load(POLICY), config)


def test_the_base_install_lists_runs(python, tmp_path):
    write_run(tmp_path / "runs", final=2.0)
    done = python(BASE, "-m", "ternevo", "runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert "probe/corridor" in done.stdout


def test_the_base_install_shows_the_help_of_all_commands(python):
    program = (
        "import importlib, sys\n"
        "from ternevo.commands import COMMANDS\n"
        "for name, command in COMMANDS.items():\n"
        "    sys.argv = [f'ternevo {name}', '--help']\n"
        "    try: importlib.import_module(command.module).main()\n"
        "    except SystemExit as exit_: assert not exit_.code, name\n"
    )
    done = python(BASE, "-c", program)
    assert (done.returncode, done.stderr) == (0, "")


# --- what it asks for --------------------------------------------------------------------------

ALL_OF_TRAIN = f"jax, flax, optax and {len(MODULES['train']) - 3} more packages"


@pytest.mark.parametrize(
    ("argv", "message", "extra"),
    wide(
        [
            (["run"], f"training needs {ALL_OF_TRAIN}", "train"),
            (["run", "--config", "cartpole"], "cartpole.yaml needs pyyaml", "train"),
            (["play", POLICY], f"playing an episode needs {ALL_OF_TRAIN}", "train"),
            (["export", POLICY, "--ternarize"], f"--ternarize needs {ALL_OF_TRAIN}", "train"),
            (["export", POLICY, "--to", "onnx"], "an ONNX graph needs onnx", "onnx"),
            (["runs", "runs", "--plot", "x.png"], "--plot needs matplotlib", "train"),
            (["report", "runs"], "a report needs matplotlib and scipy", "train"),
            (["sweep", "cartpole_grid"], "a sweep needs jax, flax, optax and 13 more", "sweep"),
            (
                ["distil", "--teacher", "x:y", "--env", "z"],
                f"distilling needs {ALL_OF_TRAIN}",
                "train",
            ),
            (["bench"], f"a benchmark needs {ALL_OF_TRAIN}", "train"),
            (["gym", POLICY], "a real environment needs Gymnasium", "gym"),
        ],
        keep=[["run"], ["report", "runs"], ["gym", POLICY]],
    ),
    ids=lambda x: "-".join(map(str, x[:1])) if isinstance(x, list) else "",
)
def test_a_command_says_what_to_install(argv, message, extra, python, tmp_path):
    write_run(tmp_path / "runs", final=2.0)
    argv = [tmp_path / "runs" if word == "runs" and i else word for i, word in enumerate(argv)]
    done = python(BASE, "-m", "ternevo", *argv)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert f"{message}" in done.stderr
    assert done.stderr.endswith(f': pip install -e ".[{extra}]"\n')


def test_gymnasium_is_asked_for_from_python_too(python):
    program = f"import ternevo; ternevo.gym.evaluate({str(POLICY)!r}, 'CartPole-v1')"
    done = python(BASE, "-c", program)
    assert done.stderr.splitlines()[-1] == (
        "ternevo.installation.MissingExtra: a real environment needs Gymnasium: "
        'pip install -e ".[gym]"'
    )


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_what_trains_from_python_says_what_to_install(name, python):
    done = python(BASE, "-c", f"import ternevo; ternevo.{name}('probe/corridor')")
    assert done.stderr.splitlines()[-1] == (
        f"ternevo.installation.MissingExtra: ternevo.{name} needs {ALL_OF_TRAIN}: "
        'pip install -e ".[train]"'
    )


def test_the_command_is_that_of_a_checkout_or_of_the_published_package(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert installation.checkout() == ROOT
    assert installation.command("digits") == 'pip install -e ".[digits]"'
    monkeypatch.chdir(tmp_path)
    assert installation.command("digits") == f'pip install -e "{ROOT}[digits]"'
    monkeypatch.setattr(installation, "checkout", lambda: None)
    assert installation.command("digits") == 'pip install "ternevo[digits]"'


@pytest.mark.parametrize("text", ['[project]\nname = "other"', "[project", "", None])
def test_a_package_elsewhere_is_no_checkout(text, monkeypatch, tmp_path):
    """Beside it may be anybody's pyproject.toml, and beside an installed one there is none."""
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "ternevo" / "installation.py"))
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert installation.checkout.__wrapped__() is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "ternevo"')
    assert installation.checkout.__wrapped__() == tmp_path


def test_what_is_missing_is_listed(monkeypatch):
    installed = {"jax"}
    monkeypatch.setattr(installation, "_is_installed", installed.__contains__)
    with pytest.raises(MissingExtra, match=r"^x needs pyyaml: pip install") as error:
        installation.require("x", "train", "jax", "yaml")
    assert error.value.name == "yaml"
    with pytest.raises(MissingExtra, match=r"^x needs flax and pillow: pip"):
        installation.require("x", "train", "flax", "jax", "PIL")
    with pytest.raises(MissingExtra, match=r"^x needs a, b, c and d: pip"):
        installation.require("x", "train", *"abcd")
    with pytest.raises(MissingExtra, match=r"^x needs a, b, c and 2 more packages: pip"):
        installation.require("x", "train", *"abcde")
    installation.require("x", "train", "jax")


def packages_of(extra: str) -> set[str]:
    """Return what an extra of pyproject.toml brings, without versions, in lower case."""
    requirements = PROJECT["optional-dependencies"][extra]
    found = {re.split(r"[\[<>=]", text)[0].lower() for text in requirements}
    ours = [re.search(r"ternevo\[(.*)\]", text) for text in requirements]
    inner = [name for match in ours if match for name in match[1].split(",")]
    return (found - {"ternevo"}).union(*map(packages_of, inner))


@pytest.mark.parametrize("extra", MODULES)
def test_an_extra_brings_the_modules_that_are_asked_for(extra):
    asked_for = {PACKAGES.get(name, name).lower() for name in MODULES[extra]}
    brought = packages_of(extra)
    assert asked_for <= brought
    if extra == "train":
        assert brought - asked_for == {"mujoco-mjx"}, "whose module is one of mujoco"


def test_all_is_what_a_user_may_need_and_dev_has_more():
    # `bench` is only for what ternevo is timed beside, `atari` is under the GPL, and `playground`
    # and `envpool` bring much that is not used here.
    apart = {"all", "atari", "playground", "envpool", "dev", "docs", "bench", "cuda", "tpu"}
    extras = PROJECT["optional-dependencies"].keys() - apart
    assert packages_of("all") == set().union(*map(packages_of, extras))
    assert packages_of("dev") > packages_of("all") | packages_of("docs")


def test_a_run_records_the_versions_of_all_simulators():
    simulators = set().union(*map(packages_of, OPTIONAL)) - packages_of("train")
    assert {"playground", "gymnasium", "ale-py"} <= simulators
    in_train = {"gymnax", "brax", "mujoco", "mujoco-mjx"}
    assert in_train <= packages_of("train")
    assert simulators | in_train <= set(provenance.PACKAGES)


def test_the_page_on_installation_has_every_extra_and_says_what_all_leaves_out():
    page = (ROOT / "docs" / "install.md").read_text().partition("## What else")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", page, re.MULTILINE))
    assert rows.keys() == PROJECT["optional-dependencies"].keys()
    above = list(rows)[: list(rows).index("all")]
    left_out = [extra for extra in above if not packages_of(extra) <= packages_of("all")]
    assert re.findall(r"`(\w+)`", rows["all"]) == left_out


def test_only_one_place_says_how_to_install():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "ternevo").rglob("*.py")
        for line in path.read_text().splitlines()
        if "pip install" in line and "ternevo[" in line
    ]
    assert [line.partition(":")[0] for line in found] == ["ternevo/installation.py"], found


# --- the wheel ---------------------------------------------------------------------------------

LINKS = re.compile(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"')


def test_the_long_description_has_no_relative_link(monkeypatch):
    """Each leads to a file that is there, in the repository."""
    monkeypatch.chdir(ROOT)
    said = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: said.update(arguments))
    absolute = runpy.run_path("setup.py")["absolute"]
    links = ["".join(pair) for pair in LINKS.findall(said["long_description"])]
    assert links and all(re.match("https?:|#|mailto:", link) for link in links), links
    ours = [link for link in links if "github" in link and "/ternevo/ternevo/" in link]
    paths = [link.partition("/main/")[2].partition("#")[0] for link in ours if "/main/" in link]
    assert paths and all((ROOT / path).exists() for path in paths)
    assert absolute("![a](b/c.png) [d](e.md#f) [g](#h) [i](https://j/k.png)") == (
        "![a](https://raw.githubusercontent.com/ternevo/ternevo/main/b/c.png) "
        "[d](https://github.com/ternevo/ternevo/blob/main/e.md#f) [g](#h) [i](https://j/k.png)"
    )
    assert absolute('<img src="b/c.gif" alt="(x)"> x[0](1)').startswith(
        '<img src="https://raw.githubusercontent.com/ternevo/ternevo/main/b/c.gif" alt="(x)">'
    )


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_pages(tmp_path):
    """It is built from the source distribution, as an installer without a wheel does."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("README.md", "LICENSE", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    for name in ("ternevo", "experiments"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    build = "from setuptools import build_meta; print(build_meta.build_{}({!r}))"
    sdist = build.format("sdist", str(tmp_path))
    subprocess.run([sys.executable, "-c", sdist], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("ternevo-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    wheel = build.format("wheel", str(tmp_path))
    subprocess.run([sys.executable, "-c", wheel], cwd=unpacked, check=True, capture_output=True)
    (built,) = tmp_path.glob("ternevo-*.whl")
    with zipfile.ZipFile(built) as file:
        names = set(file.namelist())
        (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = file.read(f"{info}/METADATA").decode()
        entry_points = file.read(f"{info}/entry_points.txt").decode()
        page = file.read("ternevo/pages/gymnax_cartpole.yaml")
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "ternevo").rglob("*.py")}
    pages = {
        f"ternevo/pages/{path.relative_to(ROOT / 'experiments')}"
        for path in (ROOT / "experiments").rglob("*.yaml")
    }
    assert modules | pages | {"ternevo/py.typed"} <= names
    assert page == (ROOT / "experiments" / "gymnax_cartpole.yaml").read_bytes()
    assert {name.split("/")[0] for name in names} == {"ternevo", info}, "nothing but the package"
    assert not [name for name in names if "experiments" in name or name.endswith((".c", ".jsonl"))]
    assert "ternevo = ternevo.__main__:main" in entry_points
    assert "Project-URL: Repository, https://github.com/ternevo/ternevo\n" in metadata
    required = re.findall(r"^Requires-Dist: (\w+)\S*$", metadata, re.MULTILINE)
    assert sorted(required) == ["numpy", "tqdm", "tyro"]
    assert "Requires-Python: >=3.11\n" in metadata and "](docs/" not in metadata
    unpacked = tmp_path / "installed"
    shutil.unpack_archive(built, unpacked, "zip")
    program = (
        "from ternevo.settings.command_line import parse\nprint(parse(['--config', 'ant']).env)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "brax/ant@spring\n", done.stderr
