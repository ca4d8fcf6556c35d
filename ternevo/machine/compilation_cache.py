"""Keep compiled programs between runs: compiling takes as long as many generations."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

MIN_COMPILE_SECONDS = 0.1
"""What compiled faster is not kept. JAX's own default, 1, loses seconds of small programs a run."""


def enable_compilation_cache() -> None:
    """Keep compiled programs under the user's cache folder, unless JAX is told of another.

    It is told by JAX_COMPILATION_CACHE_DIR, or by `jax.config`.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        # Asked for here too: `disable_compilation_cache` takes it out of `jax.config`.
        _use_folder(os.environ.get("JAX_COMPILATION_CACHE_DIR", str(default_folder())))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def disable_compilation_cache() -> None:
    """Neither read nor write compiled programs, wherever JAX was told to keep them."""
    _use_folder(None)


def default_folder() -> Path:
    """Return where compiled programs are kept if nothing else is said."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ternevo" / "jax"


def _use_folder(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    # JAX looks at its settings only before the first compilation; this makes it look again.
    compilation_cache.reset_cache()
