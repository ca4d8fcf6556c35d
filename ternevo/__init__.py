"""Evolve ternary policies in JAX: weights in {-1, 0, +1}, searched without gradients.

    policy = ternevo.train("gymnax/CartPole-v1", strategy="ternary_nes", num_generations=50)
    policy.save("cartpole.tvp")
    print(ternevo.evaluate(policy))

This module imports nothing heavy; `ternevo.load` needs NumPy but not JAX.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ternevo import distil as distil, gym as gym
    from ternevo.deploy.runtime import Policy
    from ternevo.training.from_python import evaluate as evaluate, train as train

__version__ = "0.1.0"

LAZY = {  # imported on first use: a module, or a function of one
    "gym": "ternevo.gym",
    "distil": "ternevo.distil",  # a module that can be called
    "train": "ternevo.training.from_python:train",
    "evaluate": "ternevo.training.from_python:evaluate",
}


def __getattr__(name: str) -> Any:
    """Import what needs JAX or Gymnasium on first use.

    Raises:
      MissingExtra: the packages of `ternevo[train]` are not installed.
    """
    if name not in LAZY:
        raise AttributeError(f"module 'ternevo' has no attribute {name!r}")
    module, _, attribute = LAZY[name].partition(":")
    if attribute:
        from ternevo.installation import require
        from ternevo.machine import startup

        require(f"ternevo.{name}", "train")
        startup.prepare()
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted([*globals(), *LAZY])


def load(path: str | Path) -> "Policy":
    """Read a policy, ready to act; see `ternevo.deploy.runtime.Policy`.

    Nothing in the file is executed. To read a .npz file of your own policy class, use
    `ternevo.policies.policy_file.load`.

    Args:
      path: a .tvp file; the folder of a run, whose best policy is read; or a policy of the gallery
        by its name, such as "hub:CartPole-v1".

    Raises:
      UnknownName: the gallery has no policy of that name.
      FileNotFoundError: there is no such file.
      RunFolderError: the folder is not a run, or has no policy yet.
      PolicyFormatError: it is not a policy file of this version, or is damaged.
    """
    from ternevo.deploy import runtime
    from ternevo.hub import catalogue

    path = catalogue.path_of(path)
    if path.is_dir():
        from ternevo.runs import run_folder

        path = run_folder.policy_of(path)
    return runtime.load(path)
