"""Keep compiled programs between runs: compiling takes as long as many generations."""

import os
from pathlib import Path


def enable_compilation_cache() -> None:
    """Keep compiled programs under the user's cache folder, unless JAX is told of another."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ternevo" / "jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
