"""Keep compiled programs between runs: compiling can take as long as many generations."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

MIN_COMPILE_SECONDS = 0.1
"""Faster compilations are not kept. JAX's default of 1 costs each run seconds of small programs."""


def enable_compilation_cache() -> None:
    """Keep compiled programs under the user's cache folder, unless JAX is given another one.

    JAX_COMPILATION_CACHE_DIR and `jax.config` can give one.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        # Read it here too: `disable_compilation_cache` removes it from `jax.config`.
        _use_folder(os.environ.get("JAX_COMPILATION_CACHE_DIR", str(default_folder())))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def disable_compilation_cache() -> None:
    """Stop reading and writing compiled programs, whatever folder JAX was given."""
    _use_folder(None)


def default_folder() -> Path:
    """Return the default folder of compiled programs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ternevo" / "jax"


def _use_folder(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    # JAX reads its settings only before the first compilation; this makes it read them again.
    compilation_cache.reset_cache()
