"""What is installed: optional packages, the command that installs them, and where the package is.

The base install loads, runs and exports policies. What else there is needs the packages of an extra
of pyproject.toml, and asks for them here.
"""

import functools
import importlib
import importlib.util
import sys
import tomllib
from pathlib import Path
from typing import Any

TRAIN = (
    *("jax", "flax", "optax", "jaxtyping", "evosax", "flashbax", "gymnax", "six", "brax"),
    *("mujoco", "orbax", "yaml", "matplotlib", "scipy", "PIL"),
)
MODULES = {
    "train": TRAIN,
    "bench": ("rejax", "neat", "qdax", "evojax"),
    "sweep": (*TRAIN, "optuna"),
    "digits": ("sklearn",),
    "gym": ("gymnasium",),
    "mujoco": ("gymnasium", "mujoco"),
    "box2d": ("gymnasium", "Box2D"),
    "atari": ("gymnasium", "ale_py", "cv2"),
    "envpool": ("gymnasium", "envpool"),
    "onnx": ("onnx",),
    "playground": (*TRAIN, "mujoco_playground"),
    "render": ("pygame",),
    "tensorboard": ("tensorboardX",),
    "wandb": ("wandb",),
}
"""The modules that an extra brings, by the name of the extra."""
PACKAGES = {
    "Box2D": "box2d",
    "ale_py": "ale-py",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "gymnasium": "Gymnasium",
    "mujoco_playground": "playground",
    "neat": "neat-python",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""The packages of modules that are named differently."""
MOST_NAMED = 3
"""The most packages that a message names."""


class MissingExtra(ModuleNotFoundError):
    """A needed package is not installed; the message has the command that installs it."""


def require(what: str, extra: str, *modules: str) -> None:
    """Check that packages of an extra are installed, without importing them.

    Args:
      what: what needs them; the message begins with it.
      extra: the name of the extra.
      *modules: the needed modules; all of the extra if none is given.

    Raises:
      MissingExtra: one is not installed.
    """
    missing = [name for name in modules or MODULES[extra] if not _is_installed(name)]
    if missing:
        packages = [PACKAGES.get(name, name) for name in missing]
        further = len(packages) - MOST_NAMED
        if further > 1:
            packages[MOST_NAMED:] = [f"{further} more packages"]
        raise MissingExtra(f"{what} needs {_listed(packages)}: {command(extra)}", name=missing[0])


def has(extra: str) -> bool:
    """Return whether all packages of an extra are installed, without importing them."""
    return all(map(_is_installed, MODULES[extra]))


def load(what: str, extra: str, module: str) -> Any:
    """Import a module of an extra and return it; see `require`."""
    require(what, extra, module.partition(".")[0])
    return importlib.import_module(module)


def command(extra: str) -> str:
    """Return the command that installs an extra, for a checkout or for the published package."""
    root = checkout()
    if root is None:
        return f'pip install "ternevo[{extra}]"'
    return f'pip install -e "{"." if root == Path.cwd() else root}[{extra}]"'


@functools.cache
def checkout() -> Path | None:
    """Return the root of the repository that the package is imported from, None if installed."""
    root = Path(__file__).resolve().parents[1]
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return None
    return root if project.get("name") == "ternevo" else None


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
