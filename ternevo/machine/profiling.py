"""`--profile`: jax's profiler trace of one chunk of generations; see docs/profiling.md."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from tqdm import tqdm


def make_profile_folder(folder: Path) -> None:
    """Make the folder of `--profile`, so that a bad path fails before hours of training.

    Raises:
      ValueError: the folder cannot be made or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--profile must be a folder, but {folder} cannot be created: {error.strerror}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"--profile must be a writable folder, but {folder} is not")


@contextlib.contextmanager
def profiler(
    folder: Path | None,
) -> Iterator[Callable[[bool], contextlib.AbstractContextManager[None]]]:
    """Yield a function that gives the context of each chunk; it traces the second or only chunk.

    The first chunk is mostly compilation.
    """
    numbers, traced = itertools.count(), []

    def around(is_last: bool) -> contextlib.AbstractContextManager[None]:
        number = next(numbers)
        if folder is None or not (number == 1 or (number == 0 and is_last)):
            return contextlib.nullcontext()
        traced.append(number)
        return trace(folder, compiles=number == 0)

    yield around
    if folder and not traced:
        print("no profile: the run ended before the chunk to trace")


@contextlib.contextmanager
def trace(folder: Path, compiles: bool) -> Iterator[None]:
    """Write jax's profiler trace of a chunk into a folder; print where it is and how to open it."""
    options = jax.profiler.ProfileOptions()
    # jax's own calls while tracing a program would fill the Perfetto file's one million events.
    options.python_tracer_level = 0 if compiles else 1
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        yield
    written = max((folder / "plugins" / "profile").iterdir(), key=lambda path: path.stat().st_mtime)
    what = "the only chunk, with its compilation" if compiles else "a chunk"
    tqdm.write(  # above the progress bar, not into it
        f"profile of {what}: open {written / 'perfetto_trace.json.gz'} on "
        "https://ui.perfetto.dev; docs/profiling.md explains how to read it"
    )
