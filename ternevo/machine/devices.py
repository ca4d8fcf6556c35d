"""Several devices: who holds which members of a population, and what they tell each other.

A program runs on every device of the mesh that is set (`with on_all_devices():`).
All of them do the same, except inside `split`: there each one gets its own rows
of a population, and `gather` hands the results to all. Sums go
over blocks of rows that are the same on 1, 2, 4 and 8 devices, and then over
the blocks in order, so that those give the same bits (as far as XLA rounds the same
where it fuses a product with a sum, see docs/scaling.md).
"""

import contextlib
import contextvars
import functools
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from ternevo.machine import startup
from ternevo.types import is_buffer


class NoDevice(ValueError):
    """JAX finds no device of the kind that was asked for, or not so many."""


class NotFloat32(ValueError):
    """JAX computes in float64."""


CURE_OF_NO_GPU = (
    "For an NVIDIA GPU `nvidia-smi` must list it and the extra must be installed: "
    'pip install "ternevo[cuda]"'
)
AXIS = "population"
NUM_BLOCKS = 8
PROCESS_VARIABLES = ("TERNEVO_COORDINATOR", "TERNEVO_NUM_PROCESSES", "TERNEVO_PROCESS_ID")


def use_cores(num_devices: int = 0) -> None:
    """Make CPU cores into JAX devices, one each, before JAX has started; 0 chooses how many.

    A simulator keeps about one core busy, so that each core gets one of its own.
    The default is the largest power of two up to the number of cores and to 8.
    It does nothing to GPUs and TPUs. Where JAX has started, as in a notebook, its devices stay.

    Raises:
      NoDevice: JAX has started with another number of CPU devices, and `num_devices` is not 0.
    """
    wanted = startup.num_cpu_devices(num_devices)
    if jax.config.jax_num_cpu_devices == wanted:  # pyright: ignore
        return
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError as error:
        there = jax.devices() if num_devices else []
        if there and there[0].platform == "cpu" and len(there) != num_devices:
            raise NoDevice(
                f"num_devices must be {len(there)}, got {num_devices}: JAX has started in this "
                f"process, with {len(there)} CPU devices. Leave num_devices out, or start anew"
            ) from error


def check_float32() -> None:
    """Refuse a JAX that computes in float64: files and states are float32.

    Raises:
      NotFloat32: its setting jax_enable_x64 is on.
    """
    if jax.config.x64_enabled:  # pyright: ignore[reportAttributeAccessIssue]
        raise NotFloat32(
            "jax_enable_x64 is on, and ternevo computes in float32: call "
            'jax.config.update("jax_enable_x64", False), or use ternevo within '
            "`with jax.enable_x64(False):`"
        )


def join_processes() -> None:
    """Connect with the other processes of a run on several hosts, before JAX has started.

    SLURM, Open MPI and cloud TPUs tell JAX who takes part. Otherwise set
    TERNEVO_COORDINATOR (host:port of the first process), TERNEVO_NUM_PROCESSES and
    TERNEVO_PROCESS_ID. CPU devices talk through gloo.

    Raises:
      ValueError: one of the three variables is set and another is not, or is no number.
    """
    values = [os.environ.get(name) for name in PROCESS_VARIABLES]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if not any(values):
        jax.distributed.initialize()
        return
    try:
        coordinator, num_processes, process_id = values
        jax.distributed.initialize(coordinator, int(num_processes or ""), int(process_id or ""))
    except ValueError as error:
        given = ", ".join(f"{n}={v}" for n, v in zip(PROCESS_VARIABLES, values, strict=True))
        raise ValueError(f"--distributed needs all three, the last two numbers: {given}") from error


def is_first_process() -> bool:
    """Return whether this process writes files and talks; the others only compute."""
    return jax.process_index() == 0


def agreed(number: int) -> int:
    """Return the first process's number in every process: all have to run the same program."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(jnp.asarray(number, jnp.int32)))


@contextlib.contextmanager
def telling_others() -> Iterator[None]:
    """Let the other processes know, in `follow_first`, whether what the first one does succeeds."""
    try:
        yield
    except BaseException:
        agreed(0)
        raise
    agreed(1)


def follow_first() -> None:
    """Wait for what the first process does within `telling_others`.

    Raises:
      RuntimeError: it failed there, and says why.
    """
    if not agreed(0):
        raise RuntimeError("the first process could not begin the run")


def own_copy(tree: Any) -> Any:
    """Return arrays that only this process has, for what the others do not compute."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), tree)


def check_there_are_some() -> None:
    """Start JAX; say so where a GPU seems to be meant and JAX does without one.

    Raises:
      NoDevice: JAX_PLATFORMS names a platform of which there is no device.
    """
    try:
        found = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # JAX asserts that there is a GPU
        reason = " ".join(str(error).split()) or "no plugin is installed, or no device is there"
        raise NoDevice(
            f"JAX_PLATFORMS is {_platforms()!r}, and JAX cannot use that: {reason}. "
            f"{CURE_OF_NO_GPU}; or unset JAX_PLATFORMS to go on without"
        ) from error
    if found.platform == "cpu" and has_gpu_plugin() and not _platforms():
        print(
            "warning: JAX has the plugin for NVIDIA GPUs and found none, so this runs on the CPU. "
            f"{CURE_OF_NO_GPU}; JAX_PLATFORMS=cpu silences this",
            file=sys.stderr,
        )


def _platforms() -> str | None:
    return jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]


def has_gpu_plugin() -> bool:
    """Return whether what `pip install "ternevo[cuda]"` adds is installed."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    return any(importlib.util.find_spec(name) for name in plugins)


def on_all_devices(num_devices: int = 0) -> contextlib.AbstractContextManager:
    """Set the mesh of all devices, of all hosts, or of the first `num_devices` of them.

    Raises:
      NoDevice: there are not so many.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise NoDevice(
            f"num_devices must be at most {len(devices)}, got {num_devices}: JAX found "
            f"{len(devices)} of kind {devices[0].device_kind} ({devices[0].platform})"
        )
    return _on(devices[: num_devices or len(devices)])


def on_one_device() -> contextlib.AbstractContextManager:
    """Set a mesh of one device of this host, where there is nothing to share."""
    return _on(jax.local_devices()[:1])


def on_own_devices() -> contextlib.AbstractContextManager:
    """Set the mesh of the devices of this host."""
    return _on(jax.local_devices())


def _on(devices: list) -> contextlib.AbstractContextManager:
    axis_type = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(axis_type,), devices=devices)
    return jax.set_mesh(mesh)


_IS_ALONE: contextvars.ContextVar[bool] = contextvars.ContextVar("_IS_ALONE", default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Trace what is inside for one device: there `count()` is 1, whatever the mesh."""
    token = _IS_ALONE.set(True)
    try:
        yield
    finally:
        _IS_ALONE.reset(token)


def count() -> int:
    """Return the devices of the mesh that is set, 1 if none is or within `alone`."""
    if _IS_ALONE.get():
        return 1
    return jax.sharding.get_abstract_mesh().shape.get(AXIS, 1)


def num_blocks() -> int:
    """Return the number of blocks of rows that sums are taken over."""
    return math.lcm(NUM_BLOCKS, count())


def padded(size: int) -> int:
    """Return the next number of rows that blocks, and so devices, share evenly."""
    return -(-size // num_blocks()) * num_blocks()


def shares_evenly(size: int) -> bool:
    """Return whether each device has as many of so many rows, in whole blocks.

    A population for which it does is drawn and summed up where its members live. Any other is
    drawn and summed up as a whole by every device, and only its episodes are shared.
    """
    return size % num_blocks() == 0


def pad(x: jax.Array, rows: int) -> jax.Array:
    """Repeat the first row at the end until there are so many."""
    missing = rows - x.shape[0]
    return jnp.concatenate([x, jnp.repeat(x[:1], missing, axis=0)]) if missing else x


def split(
    function: Callable, is_split: tuple[bool, ...], is_result_split: bool = False
) -> Callable[..., Any]:
    """Return the function that runs on every device, on the device's rows of what is split.

    Args:
      function: called as `function(device, *arguments)` with the device's number.
      is_split: for each argument, whether every device holds its own rows of the arrays in it
        already. What all devices have goes in whole: XLA would go on to split what it comes from.
      is_result_split: whether results are the device's rows, or what all
        devices have in common, such as anything out of `gather`.
    """
    if count() == 1:
        return functools.partial(function, jnp.zeros((), jnp.int32))

    def on_device(*arguments: Any) -> Any:
        return function(jax.lax.axis_index(AXIS), *arguments)

    return jax.shard_map(
        on_device,
        in_specs=tuple(_spec(rows) for rows in is_split),
        out_specs=_spec(is_result_split),
        check_vma=False,
    )


def gather(rows: Any) -> Any:
    """Inside `split`: return the rows of all devices, in order.

    They travel in one message: XLA on CPU may run two that do not depend on each other in another
    order on each device, which then wait for each other for ever.
    """
    if count() == 1:
        return rows
    leaves, treedef = jax.tree.flatten(rows)
    words = [_to_words(x) for x in leaves]
    messages = jax.lax.all_gather(jnp.concatenate([x.ravel() for x in words]), AXIS)
    gathered, begin = [], 0
    for x, own in zip(leaves, words, strict=True):
        part = messages[:, begin : begin + own.size]
        part = part.reshape(messages.shape[0] * own.shape[0], *own.shape[1:])
        gathered.append(_from_words(part, x.dtype))
        begin += own.size
    return treedef.unflatten(gathered)


def _to_words(x: jax.Array) -> jax.Array:
    """Return an array as unsigned four-byte numbers; a key becomes several of them."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(x, _bits_of(x.dtype)).astype(jnp.uint32)
    if x.dtype.itemsize < 4:
        return x.astype(jnp.int32).astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def _from_words(words: jax.Array, dtype: Any) -> jax.Array:
    """Return the array that `_to_words` was given."""
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(words)
    if jnp.issubdtype(dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(words.astype(_bits_of(dtype)), dtype)
    if dtype.itemsize < 4:
        return words.astype(jnp.int32).astype(dtype)
    return jax.lax.bitcast_convert_type(words, dtype)


def _bits_of(dtype: Any) -> Any:
    """Return the unsigned integers that are as wide as a float, which has at most four bytes."""
    return jnp.dtype(f"uint{8 * dtype.itemsize}")


def mean(tree: Any) -> Any:
    """Inside `split`: return the mean over the devices of each array."""
    if count() == 1:
        return tree
    return jax.tree.map(
        lambda x: jnp.mean(x, axis=0), gather(jax.tree.map(lambda x: x[None], tree))
    )


def block_sums(rows: Float[Array, "rows ..."]) -> Float[Array, "blocks ..."]:
    """Inside `split`: sum the rows of each block that the device has."""
    return combine_blocks(jnp.add, rows)


def combine_blocks(combine: Callable[[Any, Any], Any], rows: Any) -> Any:
    """Inside `split`: combine the rows of each block of the device, see `combine_in_order`."""
    count = blocks_here()
    # Without -1, which is ambiguous for an array of no columns, as of moments that are not taken.
    blocks = jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), rows)
    return combine_in_order(combine, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), blocks))


def sum_in_order(x: Float[Array, "terms ..."]) -> Float[Array, "..."]:
    """Sum over the first axis in an order of its own, see `combine_in_order`."""
    return combine_in_order(jnp.add, x)


def combine_in_order(combine: Callable[[Any, Any], Any], terms: Any) -> Any:
    """Combine over the first axis by halving it: whole arrays at once, so no compiler has a choice.

    The order of a reduction or a dot product depends on the shapes around it.

    Args:
      combine: from two trees to one, element by element; zeros change nothing.
      terms: a tree of arrays [terms, ...].
    """
    size = jax.tree.leaves(terms)[0].shape[0]
    padding = 2 ** (size - 1).bit_length() - size
    terms = jax.tree.map(lambda x: jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)), terms)
    half = (size + padding) // 2
    while half:
        first = jax.tree.map(lambda x, half=half: x[:half], terms)
        second = jax.tree.map(lambda x, half=half: x[half:], terms)
        terms, half = combine(first, second), half // 2
    return jax.tree.map(lambda x: x[0], terms)


def own_rows(device: jax.Array, rows: Any) -> Any:
    """Inside `split`: return a device's share of rows that all devices have."""
    size = rows.shape[0] // count()
    return jax.lax.dynamic_slice_in_dim(rows, device * size, size)


def blocks_here() -> int:
    """Return how many blocks a device has."""
    return num_blocks() // count()


def replicated(tree: Any) -> Any:
    """Make every device hold all of it, and keep XLA from splitting what it is computed from.

    A `Buffer` stays where it is.
    """
    if count() == 1:
        return tree

    def everywhere(x: Any) -> Any:
        return x if is_buffer(x) else jax.lax.with_sharding_constraint(x, PartitionSpec())

    return jax.tree.map(everywhere, tree, is_leaf=is_buffer)


def _spec(is_split: bool) -> PartitionSpec:
    return PartitionSpec(AXIS) if is_split else PartitionSpec()
