"""Calls out of compiled programs: what happens to their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo.machine import callbacks, devices

SHAPE = jax.ShapeDtypeStruct((), jnp.float32)


def program(function):
    """Return a compiled program that calls a function twice and returns what it got."""

    @jax.jit
    def run(x):
        first = callbacks.call(function, SHAPE, x)
        return first, callbacks.call(function, SHAPE, first)

    return run


def test_a_program_gets_what_a_function_returns():
    first, second = program(lambda x: np.float32(x + 1))(jnp.float32(1))
    assert (first, second) == (2, 3)
    callbacks.raise_error()


def interrupted(x):
    """As if the handler of a signal had raised here."""
    raise KeyboardInterrupt


def failing(x):
    raise ArithmeticError("lost")


@pytest.mark.parametrize(
    ("function", "kind"), [(interrupted, KeyboardInterrupt), (failing, ArithmeticError)]
)
def test_an_error_waits_for_the_end_of_the_program(function, kind):
    calls = []

    def counted(x):
        calls.append(x)
        return function(x)

    with devices.on_all_devices(1):
        found = np.asarray(program(counted)(jnp.float32(1)))
    assert np.isnan(found).all() and len(calls) == 1
    with pytest.raises(kind):
        callbacks.raise_error()
    callbacks.raise_error()  # it is forgotten


def test_a_ctrl_c_is_raised_by_who_only_asks_for_an_error():
    with devices.on_all_devices(1):
        jax.block_until_ready(program(interrupted)(jnp.float32(1)))
    with pytest.raises(KeyboardInterrupt):
        callbacks.take_error()
    assert callbacks.take_error() is None
