"""Settings for JAX that must be in place before it is imported. This module does not import JAX.

JAX reads its settings, the `JAX_...` environment variables, once, when it is imported. The number
of CPU devices is fixed by the first computation. A user's module may do either.
"""

import contextlib
import math
import os
import sys

MOST_CPU_DEVICES = 8
SET_ASIDE = {
    "JAX_ENABLE_X64": "ternevo computes in float32",
    "JAX_NUMPY_DTYPE_PROMOTION": "evosax and the environments mix dtypes",
    "JAX_NUMPY_RANK_PROMOTION": "evosax and the environments mix ranks",
    "JAX_DISABLE_JIT": "a run is a compiled program, and would take hours",
    "JAX_DEBUG_NANS": "metrics that a generation does not measure are NaN",
    "JAX_DEBUG_INFS": "the best fitness of a search begins at infinity",
    **dict.fromkeys(
        (
            "JAX_TRANSFER_GUARD",
            "JAX_TRANSFER_GUARD_HOST_TO_DEVICE",
            "JAX_TRANSFER_GUARD_DEVICE_TO_DEVICE",
            "JAX_TRANSFER_GUARD_DEVICE_TO_HOST",
        ),
        "the loop moves metrics and states",
    ),
}
"""Settings that break a run or make it endless, and the reason."""

HARMLESS = ("", "0", "f", "false", "n", "no", "off", "standard", "allow")
"""Values of these settings that change nothing."""


def prepare() -> None:
    """Remove JAX settings that break a run from the environment, and print a note for each.

    XLA's own log is silenced too, unless TF_CPP_MIN_LOG_LEVEL is set, and OpenBLAS gets one thread,
    unless OPENBLAS_NUM_THREADS is set.

    This happens only before JAX is imported: afterwards the settings belong to the importer.
    """
    if "jax" in sys.modules:
        return
    # Otherwise XLA prints an alarm of four lines for each program that compiles for two minutes.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A callback into LAPACK, such as the QR of an orthogonal start, runs in a thread of XLA. With
    # threads of OpenBLAS beside those it took 20 s instead of 10 ms on a loaded machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    found = {name: os.environ[name] for name in SET_ASIDE if name in os.environ}
    for name, value in found.items():
        del os.environ[name]
        if value.lower() not in HARMLESS:
            print(f"note: {name}={value} is ignored: {SET_ASIDE[name]}", file=sys.stderr)


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_cpu_devices(num_devices: int = 0) -> int:
    """Return the requested number; for 0, the largest power of two up to the cores and to 8."""
    return num_devices or 2 ** int(math.log2(min(num_cores(), MOST_CPU_DEVICES)))


def tell_num_devices(num_devices: int) -> None:
    """Set the number of CPU devices of a JAX that has not started yet.

    A user's module may compute something when it is imported, which starts JAX.
    """
    wanted = num_cpu_devices(num_devices)
    if "jax" not in sys.modules:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(wanted)
        return
    with contextlib.suppress(RuntimeError):  # JAX has started: `devices.use_cores` reports it
        sys.modules["jax"].config.update("jax_num_cpu_devices", wanted)
