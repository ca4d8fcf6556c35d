"""Settings of the tests: quick compilation and a cache of it, no windows, strict dtypes."""

import gc
import os
from pathlib import Path

# Most of the time goes into compiling. Without optimisation that takes a third, and half of that
# where XLA emits fusions as LLVM itself. Set before JAX starts, and inherited by processes that
# tests start. An XLA_FLAGS that is set wins: `make test-exact` sets it empty, and so tests what
# is claimed to be exact on the programs that users run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1",
)

# What several tests, or the processes that they start, compile is compiled once, and from the
# second run of the tests on not at all.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "ternevo" / "jax-tests")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import jax
import matplotlib
import pytest

from ternevo.machine import phases

matplotlib.use("Agg")

LONGEST = (
    *("run", "ppo", "strategies", "extending", "envs", "c_header", "experiments", "seeds"),
    *("warm_start", "damage", "compilation", "numbered", "runtime", "report", "bench"),
    *("algorithms", "population_based", "errors", "categorical", "devices", "guards", "startup"),
)
"""Files of which the default tests or the wide ones take a quarter of a minute or more: begun
first, or one process would end with them alone."""


def pytest_collection_modifyitems(items):
    """Put the tests of `LONGEST` first, and leave the order as it is otherwise."""
    rank = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish():
    """Look for garbage less often, and not among what was imported.

    Tracing makes many objects, which live, and each collection goes through all that there are.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


MAPS = Path("/proc/self/maps")
MOST_MAPS = 6_000
"""With more than this after a module, some 2 GB of memory, what was compiled is forgotten."""


@pytest.fixture(scope="module", autouse=True)
def free_compiled_programs():
    """Forget what was compiled, before so many programs map memory that the next one crashes.

    Linux gives a process 65,530 maps. Small programs are needed again and again, so this is not
    done after each module.
    """
    yield
    if not MAPS.exists() or MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def no_signs_of_life():
    """Let no clock tick into what a test reads: on a slow machine anything may take ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "SECONDS_BETWEEN_LINES", 3600.0)
        yield


@pytest.fixture
def strict_promotion():
    """Make JAX refuse to mix dtypes implicitly. Not for every test: evosax does mix them."""
    with jax.numpy_dtype_promotion("strict"):
        yield
