"""The programs of experiments/ as modules, which import one another by their short names."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@contextlib.contextmanager
def programs(*names: str) -> Iterator[dict[str, ModuleType]]:
    """Import programs afresh, and forget afterwards all modules of experiments/.

    One that stayed would hold classes of another import: what a test replaces in the new ones
    would not be replaced there, and a run that was to be a list of words would be a real one.
    """
    _forget()
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(EXPERIMENTS))
        _forget()


def _forget() -> None:
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == EXPERIMENTS:
            del sys.modules[name]
