"""Calls out of a compiled program, whose errors are kept until somebody can tell them.

An exception in a callback of XLA would be printed with its traceback and reach the caller as an
internal error of a program whose inputs are gone. So it is kept here, and the program gets NaN.
So is the KeyboardInterrupt of a Ctrl-C that comes during such a call.
"""

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from ternevo.machine import interruption


class _Kept:
    """The first error since it was last asked for."""

    error: Exception | KeyboardInterrupt | None = None
    lock = threading.Lock()


def call(function: Callable[..., Any], shapes: Any, *args: Any) -> Any:
    """Call a function of NumPy arrays once each time the program comes by.

    Args:
      function: returns a pytree of arrays. It is not called while an error is kept, or when the
        program was abandoned.
      shapes: what it returns, a pytree of `jax.ShapeDtypeStruct`. After an error the program gets
        NaN instead, and zeros for integers.
      *args: pytrees of arrays.
    """

    def guarded(*args: Any) -> Any:
        try:
            with _Kept.lock:
                if _Kept.error is None and not interruption.is_abandoned():
                    try:
                        return function(*jax.tree.map(np.asarray, args))
                    except Exception as error:
                        if not interruption.is_abandoned():  # which may be what made it fail
                            _Kept.error = error
        except KeyboardInterrupt as error:  # of a signal: one device calls in the main thread
            _Kept.error = error
        return jax.tree.map(_nothing, shapes)

    return io_callback(guarded, shapes, *args)


def _nothing(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    is_float = jnp.issubdtype(shape.dtype, jnp.floating)
    return np.full(shape.shape, np.nan if is_float else 0, shape.dtype)


def take_error() -> Exception | None:
    """Return the error that was kept, if there is one, and forget it.

    Raises:
      KeyboardInterrupt: it is one.
    """
    error, _Kept.error = _Kept.error, None
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error


def forget() -> None:
    """Forget what is kept, before a new program: who ran the last one may have left otherwise."""
    _Kept.error = None


def raise_error() -> None:
    """Raise the error that was kept, if there is one, and forget it."""
    error = take_error()
    if error is not None:
        raise error


def ready(arrays: Any) -> Any:
    """Return the arrays of a program when it has ended, or raise the error that was kept."""
    jax.block_until_ready(arrays)
    raise_error()
    return arrays
