"""Imports point up the map: a row imports from rows above it, and not sideways."""

import ast
from pathlib import Path

import pytest

ROWS = [  # a name is a module or a package of ternevo; inside a package anything goes
    ["startup"],
    [
        *("types", "names", "finite", "files", "reading", "interruption", "compilation_cache"),
        *("devices", "memory", "profiling", "agent", "options", "pages"),
    ],
    ["ternary", "packing", "observation", "actions", "provenance", "deploy", "statistics"],
    ["policies", "policy_archive", "envs", "algorithms"],
    ["lanes", "policy_file"],
    ["rollout", "trajectories"],
    ["episode", "strategies"],
    ["train", "checkpoint", "sinks"],
    ["config"],
    ["run_folder"],
    ["setup", "arms"],
    ["plots"],
    ["results", "animations", "report"],
    ["run", "play", "export", "runs", "bench", "gym", "sweep"],
]
ONLY_IN = {  # third-party packages, and who may import them
    "gymnax": ["envs", "bench"],
    "brax": ["envs", "bench"],
    "mujoco": ["envs"],
    "evosax": ["algorithms", "strategies", "bench"],
}
NEVER_ON_IMPORT = ["wandb", "tensorboardX", "optuna"]  # optional: imported where they are used

PACKAGE = Path(__file__).parents[1] / "ternevo"
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}
MODULES = sorted(
    {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")} - {Path("__init__.py")}
)


def part_of(module: Path) -> str:
    """Return the name that stands in ROWS: "envs" for envs/brax.py, "run" for run.py."""
    return module.parts[0].removesuffix(".py")


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
            # With the names: in `from ternevo import train` it is the name that is a module.
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


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_up(module):
    """Lazy imports count too: a row that needs a lower one is in the wrong place."""
    part = part_of(module)
    assert part in ROW_OF, f"ternevo/{module} is in no row: place {part!r} in ROWS of {__file__}"
    tree = ast.parse((PACKAGE / module).read_text())
    for name in sorted(imported(ast.walk(tree), module)):
        top, target = [*name.split("."), ""][:2]
        if top == "ternevo" and target != part and target != "__version__":
            assert target in ROW_OF, f"ternevo/{module} imports {name}, and {target!r} is in no row"
            assert ROW_OF[target] < ROW_OF[part], f"ternevo/{module} imports {name}: not above it"
        allowed = ONLY_IN.get(top, [part])
        assert part in allowed, f"ternevo/{module} imports {name}, which only {allowed} may"
    for name in imported(at_import(tree), module):
        assert name.split(".")[0] not in NEVER_ON_IMPORT, f"ternevo/{module}: import {name} lazily"
