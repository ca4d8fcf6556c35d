"""Imports go one way: a room imports from rooms above it, and files never in a circle."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools import find_packages

ROOMS = [  # in the order of docs/architecture.md; a row imports from the rows above it
    ["types", "names", "files", "reading", "keys", "commands", "installation"],
    ["machine"],
    ["settings"],
    ["arithmetic"],
    ["deploy", "hub"],
    ["host"],
    ["envs"],
    ["policies"],
    ["algorithms"],
    ["rollouts"],
    ["problems"],
    ["learners"],
    ["strategies"],
    ["runs"],
    ["training"],
    ["run", "play", "export", "gym", "report"],
    ["sweep", "bench", "distil"],
    ["completion", "__main__"],
]
ONLY_IN = {  # third-party packages, and who may import them
    "gymnax": ["envs", "bench"],
    "brax": ["envs", "bench"],
    "mujoco": ["envs", "host"],
    "evosax": ["algorithms", "strategies", "bench"],
    "ale_py": ["host"],
    "flashbax": ["learners"],
}
NEVER_ON_IMPORT = ["wandb", "tensorboardX", "optuna"]  # optional: imported where they are used

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ternevo"
ROW_OF = {part: row for row, parts in enumerate(ROOMS) for part in parts}
MODULES = sorted(
    {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")} - {Path("__init__.py")}
)


def room_of(module: Path) -> str:
    """Return the name that stands in ROOMS: "envs" for envs/brax.py, "run" for run.py."""
    return module.parts[0].removesuffix(".py")


def dotted(module: Path) -> str:
    """Return the name by which a module is imported."""
    return ".".join(["ternevo", *module.with_suffix("").parts]).removesuffix(".__init__")


def imported(nodes, module: Path) -> set[str]:
    """Return the dotted names that import statements among `nodes` name."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ["ternevo", *module.parts[:-1]]
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            # With the names: in `from ternevo import envs` it is the name that is a module.
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def at_import(node: ast.AST):
    """Yield the nodes that run when a module is imported: no bodies of functions, no types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def tree_of(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_up(module):
    """Lazy imports count too: a room that needs a lower one is in the wrong place."""
    room = room_of(module)
    assert room in ROW_OF, f"ternevo/{module} is in no room: place {room!r} in ROOMS of {__file__}"
    for name in sorted(imported(ast.walk(tree_of(module)), module)):
        top, target = [*name.split("."), ""][:2]
        if top == "ternevo" and target != room and target != "__version__":
            assert target in ROW_OF, f"ternevo/{module} imports {name}, and {target!r} is no room"
            assert ROW_OF[target] < ROW_OF[room], f"ternevo/{module} imports {name}: not above it"
        allowed = ONLY_IN.get(top, [room])
        assert room in allowed, f"ternevo/{module} imports {name}, which only {allowed} may"
    for name in imported(at_import(tree_of(module)), module):
        assert name.split(".")[0] not in NEVER_ON_IMPORT, f"ternevo/{module}: import {name} lazily"


def behind(name: str) -> str | None:
    """Return the module of ternevo that an imported name is, or is in."""
    while name and name not in NAMES:
        name = name.rpartition(".")[0]
    return name or None


NAMES = {dotted(module): module for module in MODULES}
GRAPH = {  # lazy imports count, and imports for annotations, which readers follow, too
    name: {behind(other) for other in imported(ast.walk(tree_of(module)), module)} - {name, None}
    for name, module in NAMES.items()
}


def test_files_import_each_other_in_no_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()  # raises CycleError, which names the circle


def test_rooms_import_each_other_in_no_circle():
    rooms: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        room = name.split(".")[1]
        rooms.setdefault(room, set()).update(other.split(".")[1] for other in others)
    graphlib.TopologicalSorter({room: to - {room} for room, to in rooms.items()}).prepare()


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) == "arithmetic"], ids=str)
def test_arithmetic_never_asks_the_mesh(module):
    """It is numbers only: what is spread over devices is where populations are."""
    found = imported(ast.walk(tree_of(module)), module)
    assert not [name for name in found if name.startswith("ternevo.machine")]


def test_settings_are_data():
    """Importing all of them leaves JAX and NumPy alone, so that `--help` is quick."""
    modules = [dotted(module) for module in MODULES if room_of(module) == "settings"]
    assert len(modules) > 20
    program = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print(*{'jax', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def in_functions(node: ast.AST, inside: bool = False):
    """Yield the import statements in the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if inside and isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from in_functions(child, inside or is_function)


def test_few_imports_are_in_functions():
    """Optional packages, what starts them, and one for each command: the line after parsing."""
    found = [
        f"ternevo/{module}:{node.lineno} {ast.unparse(node)}"
        for module in MODULES
        for node in in_functions(tree_of(module))
    ]
    assert len(found) < 40, "\n".join(found)
    assert any(line.startswith("ternevo/run.py") for line in found)


def test_every_module_is_tracked():
    """A line of .gitignore that is meant for the root must not hide a room."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "ternevo"],
        **{"cwd": ROOT, "capture_output": True, "text": True},
    )
    if listed.returncode:
        pytest.skip("no checkout of git")
    hidden = {str(Path("ternevo") / module) for module in MODULES} - set(listed.stdout.split("\n"))
    assert not hidden


def test_every_module_is_in_the_wheel():
    """A folder without `__init__.py` is a package for Python, and none for setuptools."""
    packages = set(find_packages(str(ROOT), include=["ternevo", "ternevo.*"]))
    folders = {".".join(["ternevo", *module.parts[:-1]]) for module in MODULES}
    assert folders <= packages
