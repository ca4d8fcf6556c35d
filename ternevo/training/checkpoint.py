"""Exact checkpoints of a run's state, by orbax: written beside, then renamed, never half there."""

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
    """There is no checkpoint, or it cannot be read, or it belongs to another configuration."""


class Checkpoints:
    """The checkpoints of one run, the newest `max_to_keep` of them. Use as a context manager."""

    def __init__(self, folder: Path, max_to_keep: int = 2, with_buffers: bool = True):
        """Open the folder; it is made when the first checkpoint is saved.

        Args:
          folder: where checkpoints are.
          max_to_keep: how many of the newest are kept.
          with_buffers: whether they hold what `ternevo.types.Buffer` marks; a run that goes on
            without begins with the empty ones of its first state.
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
        """Save the state under its generation, unless that is there already.

        Raises:
          CheckpointError: it was not saved.
        """
        step = int(state.generation)
        latest = self.latest()
        if latest == step:
            return
        where = self.folder / str(step)
        if latest is not None and latest > step:  # orbax would leave it out and say nothing
            raise CheckpointError(f"checkpoint {where} cannot be saved: {latest} is there already")
        state = self._stored(state)
        try:
            with _one_error():
                is_saved = self._manager.save(step, args=ocp.args.StandardSave(state))
        except (jax.errors.JaxRuntimeError, MemoryError):  # not the disk's, but the device's
            raise
        except Exception as error:  # orbax raises many kinds for a disk that is full or read-only
            raise CheckpointError(
                f"checkpoint {where} cannot be saved: {_reason(error)}"
            ) from error
        if not is_saved:
            raise CheckpointError(f"checkpoint {where} was not saved")

    def restore(self, like: TrainState) -> TrainState:
        """Return the newest state.

        Args:
          like: any state of the run, such as its first, for structure, shapes and dtypes.

        Raises:
          CheckpointError: none is there, or the newest is damaged or of other shapes.
        """
        step = self.latest()
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        # As NumPy arrays, which are bound to no device: a run may go on with others than it had.
        shapes = jax.eval_shape(self._stored, like)
        plain = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        try:
            with _one_error():
                restored = self._manager.restore(step, args=ocp.args.StandardRestore(plain))
        except Exception as error:  # orbax raises many kinds for a damaged folder
            raise CheckpointError(self._what_is_damaged(step, error)) from error
        if self._with_buffers:
            return _with_key_types(like, restored)
        return _with_buffers_of(like, _with_key_types(_without_buffers(like), restored))

    def _stored(self, state: TrainState) -> Any:
        """Return what a checkpoint holds of a state, in types that orbax writes."""
        return _without_key_types(state if self._with_buffers else _without_buffers(state))

    def _what_is_damaged(self, step: int, error: Exception) -> str:
        """Say which checkpoint, and how to go on without it."""
        before = [other for other in self._manager.all_steps() if other < step]
        where = self.folder / str(step)
        how = (
            f"Delete that folder and --resume to go on from checkpoint {max(before)}"
            if before
            else "It is the only one: begin at best_policy, by --init_from under another --name"
        )
        return (
            f"checkpoint {where} cannot be read: it is damaged, or of a run with another "
            f"configuration ({type(error).__name__}: {_reason(error)}). {how}"
        )


def _reason(error: Exception) -> str:
    """Return in a few words what went wrong; tensorstore buries what the system said in paths."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else (str(error).splitlines() or [""])[0][:200]


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Let an error of orbax be the only word of it.

    Reads and writes that orbax no longer waits for end after the error, in threads of their own
    or at the exit of Python, which would print a traceback for each. So the filter stays after
    an error: one, however many errors there are, and all else passes to the hook that was set.
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
    """Leave out what a thread of orbax logs of an error that `save` or `restore` raises as well."""
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
    """Turn typed PRNG keys, which orbax cannot write, into their uint32 data."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _with_key_types(like: TrainState, plain: Any) -> TrainState:
    def typed(like: jax.Array, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        x = jax.random.wrap_key_data(x, impl=jax.random.key_impl(like)) if _is_key(like) else x
        # Where devices have seeds of their own, or the next chunk would compile another program.
        is_on_mesh = isinstance(like.sharding, jax.sharding.NamedSharding)
        return jax.device_put(x, like.sharding) if is_on_mesh else x

    return jax.tree.map(typed, like, plain)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
