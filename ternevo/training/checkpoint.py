"""Exact checkpoints of a run's state, by orbax: written to a temporary folder, then renamed."""

import contextlib
import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ternevo.types import Buffer, TrainState, is_buffer


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unreadable, cannot be saved, or belongs to another configuration."""


SMALL = 2**20
"""Bytes of an array that may be copied on its way to the disk."""


class Checkpoints:
    """The newest `max_to_keep` checkpoints of one run. Use as a context manager."""

    def __init__(self, folder: Path, max_to_keep: int = 2, with_buffers: bool = True):
        """Open the folder; it is made when the first checkpoint is saved.

        Args:
          folder: the folder of the checkpoints.
          max_to_keep: the number of newest checkpoints to keep.
          with_buffers: whether checkpoints hold `ternevo.types.Buffer`s; otherwise a resumed run
            begins with the empty buffers of its first state.
        """
        self._with_buffers = with_buffers
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=max_to_keep,
            enable_async_checkpointing=False,
            create=True,
            cleanup_tmp_directories=True,  # left by a process that was killed while saving
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        logging.getLogger("absl").addFilter(_unless_raised_here)
        for step in sorted(self._manager.all_steps())[:-max_to_keep]:
            self._manager.delete(step)  # a process was killed between a save and this

    def __enter__(self) -> "Checkpoints":
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the folder."""
        self._manager.close()

    def latest(self) -> int | None:
        """Return the newest saved generation, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Save the state under its generation, unless that is already saved.

        Raises:
          CheckpointError: it was not saved.
        """
        step = int(state.generation)
        latest = self.latest()
        if latest == step:
            return
        where = self.folder / str(step)
        if latest is not None and latest > step:  # orbax would silently skip it
            raise CheckpointError(f"checkpoint {where} cannot be saved: {latest} already exists")
        stored = self._stored(state)
        if jax.process_count() == 1:
            stored = jax.tree.map(_plain_if_small, stored)
        try:
            with _one_error():
                is_saved = self._manager.save(step, args=ocp.args.StandardSave(stored))
        except (jax.errors.JaxRuntimeError, MemoryError):  # errors of the device, not of the disk
            raise
        except Exception as error:  # orbax raises many types for a full or read-only disk
            raise CheckpointError(
                f"checkpoint {where} cannot be saved: {_reason(error)}"
            ) from error
        if not is_saved:
            raise CheckpointError(f"checkpoint {where} was not saved")

    def restore(self, like: TrainState) -> TrainState:
        """Return the newest state.

        Args:
          like: any state of the run, such as the first, for structure, shapes and dtypes.

        Raises:
          CheckpointError: there is none, or the newest is damaged or has other shapes.
        """
        step = self.latest()
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        # As NumPy arrays, which have no device: a run may resume on other devices.
        shapes = jax.eval_shape(self._stored, like)
        plain = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        try:
            with _one_error():
                restored = self._manager.restore(step, args=ocp.args.StandardRestore(plain))
        except Exception as error:  # orbax raises many types for a damaged folder
            raise CheckpointError(self._what_is_damaged(step, error)) from error
        if self._with_buffers:
            return _with_key_types(like, restored)
        return _with_buffers_of(like, _with_key_types(_without_buffers(like), restored))

    def _stored(self, state: TrainState) -> Any:
        """Return the part of a state that a checkpoint holds, in types that orbax can write."""
        return _without_key_types(state if self._with_buffers else _without_buffers(state))

    def _what_is_damaged(self, step: int, error: Exception) -> str:
        """Return an error that names the checkpoint and says how to continue without it."""
        before = [other for other in self._manager.all_steps() if other < step]
        where = self.folder / str(step)
        how = (
            f"Delete that folder and use --resume to continue from checkpoint {max(before)}"
            if before
            else "It is the only one: start from best_policy with --init_from and another --name"
        )
        return (
            f"checkpoint {where} cannot be read: it is damaged, or of a run with another "
            f"configuration ({type(error).__name__}: {_reason(error)}). {how}"
        )


def _plain_if_small(x: jax.Array | np.ndarray) -> Any:
    """Return a small array as one of NumPy, which orbax copies before it writes.

    Of an array of JAX it writes a slice for each device, and compiles a program for each shape.
    """
    return np.asarray(x) if x.nbytes <= SMALL else x


def _reason(error: Exception) -> str:
    """Return a short reason; tensorstore buries the system's message among paths."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else (str(error).splitlines() or [""])[0][:200]


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Suppress further messages about an error that orbax raised.

    After an error, orbax no longer waits for its other reads and writes. They end later, in their
    own threads or when Python exits, and each would print a traceback. So the filter stays
    installed after an error. It is installed only once, and passes everything else to the
    previous hook.
    """
    hook = sys.unraisablehook
    is_filter = isinstance(hook, functools.partial) and hook.func is _unless_abandoned
    if not is_filter:
        sys.unraisablehook = functools.partial(_unless_abandoned, hook)
    yield
    sys.unraisablehook = hook


def _unless_abandoned(hook: Callable[[Any], None], unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)


def _unless_raised_here(record: logging.LogRecord) -> bool:
    """Drop what an orbax thread logs about an error that `save` or `restore` also raises."""
    return "_SignalingThread.run() raised an exception" not in record.getMessage()


def _without_buffers(state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda node: Buffer(()) if is_buffer(node) else node, state, is_leaf=is_buffer
    )


def _with_buffers_of(first: TrainState, state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda x, found: x if is_buffer(x) else found, first, state, is_leaf=is_buffer
    )


def _without_key_types(state: TrainState) -> TrainState:
    """Replace typed PRNG keys, which orbax cannot write, with their uint32 data."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _with_key_types(like: TrainState, plain: Any) -> TrainState:
    def typed(like: jax.Array | np.ndarray, x: Any) -> jax.Array | np.ndarray:
        if isinstance(like, np.ndarray):
            return np.asarray(x)
        x = jnp.asarray(x)
        x = jax.random.wrap_key_data(x, impl=jax.random.key_impl(like)) if _is_key(like) else x
        # If each device has its own seeds; otherwise the next chunk would compile another program.
        is_on_mesh = isinstance(like.sharding, jax.sharding.NamedSharding)
        return jax.device_put(x, like.sharding) if is_on_mesh else x

    return jax.tree.map(typed, like, plain)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
