"""Several devices: which members of a population each holds, and what they exchange.

A program runs on every device of the current mesh (`with on_all_devices():`).
All devices do the same work except inside `split`: there each device gets its own rows
of a population, and `gather` gives the results to all. Sums run first
over blocks of rows, which are the same on 1, 2, 4 and 8 devices, and then over
the blocks in order. These device counts therefore give the same bits, as long as XLA rounds
fused multiply-adds the same way (see docs/scaling.md).
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

from ternevo.installation import command
from ternevo.machine import startup
from ternevo.types import is_buffer


class NoDevice(ValueError):
    """JAX does not find enough devices of the requested kind."""


class NotFloat32(ValueError):
    """JAX computes in float64."""


AXIS = "population"
NUM_BLOCKS = 8
PROCESS_VARIABLES = ("TERNEVO_COORDINATOR", "TERNEVO_NUM_PROCESSES", "TERNEVO_PROCESS_ID")

LOOPED = 32
"""With at most this many pairs left, `combine_in_order` goes on in a loop, compiled only once.

A round of a loop has the shape of the first one, so with more pairs it would take longer than it
saves.
"""


def use_cores(num_devices: int = 0) -> None:
    """Turn each CPU core into a JAX device, before JAX has started; 0 chooses how many.

    A simulator keeps only about one core busy, so each core runs a simulator of its own.
    The default is the largest power of two that is at most the number of cores and at most 8.
    GPUs and TPUs are not affected. If JAX has already started, as in a notebook, its devices stay.

    Raises:
      NoDevice: JAX has started with fewer CPU devices than `num_devices`.
    """
    wanted = startup.num_cpu_devices(num_devices)
    if jax.config.jax_num_cpu_devices == wanted:  # pyright: ignore
        return
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError as error:
        there = jax.devices() if num_devices else []
        if there and there[0].platform == "cpu" and len(there) < num_devices:
            raise NoDevice(
                f"num_devices must be at most {len(there)}, got {num_devices}: JAX has started in "
                f"this process, with {len(there)} CPU devices. Omit num_devices or restart the "
                "process"
            ) from error


def check_float32() -> None:
    """Refuse to run if JAX computes in float64: files and states are float32.

    Raises:
      NotFloat32: the JAX setting jax_enable_x64 is on.
    """
    if jax.config.x64_enabled:  # pyright: ignore[reportAttributeAccessIssue]
        raise NotFloat32(
            "jax_enable_x64 is on, but ternevo computes in float32: call "
            'jax.config.update("jax_enable_x64", False), or use ternevo within '
            "`with jax.enable_x64(False):`"
        )


def join_processes() -> None:
    """Connect to the other processes of a multi-host run, before JAX has started.

    SLURM, Open MPI and cloud TPUs tell JAX which processes take part. Otherwise set
    TERNEVO_COORDINATOR (host:port of the first process), TERNEVO_NUM_PROCESSES and
    TERNEVO_PROCESS_ID. CPU devices communicate through gloo.

    Raises:
      ValueError: only some of the three variables are set, or one that must be a number is not.
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
        raise ValueError(
            f"--distributed needs all three variables, the last two as numbers: {given}"
        ) from error


def is_first_process() -> bool:
    """Return whether this process writes files and prints; the others only compute."""
    return jax.process_index() == 0


def agreed(number: int) -> int:
    """Return the first process's number in every process: all must run the same program."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(jnp.asarray(number, jnp.int32)))


@contextlib.contextmanager
def telling_others() -> Iterator[None]:
    """Tell the other processes, in `follow_first`, whether the body succeeds in the first one."""
    try:
        yield
    except BaseException:
        agreed(0)
        raise
    agreed(1)


def follow_first() -> None:
    """Wait for the first process to finish the body of `telling_others`.

    Raises:
      RuntimeError: the first process failed there; it reports why.
    """
    if not agreed(0):
        raise RuntimeError("the first process could not begin the run")


def own_copy(tree: Any) -> Any:
    """Return arrays local to this process, for work that the others do not share."""
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x)), tree)  # compiles nothing


def check_there_are_some() -> None:
    """Start JAX; warn if a GPU seems to be intended but JAX runs without one.

    Raises:
      NoDevice: JAX_PLATFORMS names a platform that has no device.
    """
    try:
        found = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # JAX asserts that there is a GPU
        reason = " ".join(str(error).split()) or "the plugin or the device is missing"
        raise NoDevice(
            f"JAX_PLATFORMS is {_platforms()!r}, and JAX cannot use that: {reason}. "
            f"{_cure_of_no_gpu()}; or unset JAX_PLATFORMS to run without"
        ) from error
    if found.platform == "cpu" and has_gpu_plugin() and not _platforms():
        print(
            "warning: JAX has the NVIDIA GPU plugin but found no GPU, so this runs on the CPU. "
            f"{_cure_of_no_gpu()}; JAX_PLATFORMS=cpu silences this",
            file=sys.stderr,
        )


def _cure_of_no_gpu() -> str:
    return (
        "For an NVIDIA GPU `nvidia-smi` must list it and the extra must be installed: "
        f"{command('cuda')}"
    )


def _platforms() -> str | None:
    return jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]


def has_gpu_plugin() -> bool:
    """Return whether the plugin of the extra "cuda" is installed."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    return any(importlib.util.find_spec(name) for name in plugins)


def on_all_devices(num_devices: int = 0) -> contextlib.AbstractContextManager:
    """Set the mesh to all devices of all hosts, or to the first `num_devices` of them.

    Raises:
      NoDevice: there are fewer than `num_devices`.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise NoDevice(
            f"num_devices must be at most {len(devices)}, got {num_devices}: JAX found "
            f"{len(devices)} of kind {devices[0].device_kind} ({devices[0].platform})"
        )
    return _on(devices[: num_devices or len(devices)])


def on_one_device() -> contextlib.AbstractContextManager:
    """Set the mesh to one device of this host, for work that is not shared."""
    return _on(jax.local_devices()[:1])


def on_own_devices() -> contextlib.AbstractContextManager:
    """Set the mesh to the devices of this host."""
    return _on(jax.local_devices())


def _on(devices: list) -> contextlib.AbstractContextManager:
    axis_type = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(axis_type,), devices=devices)
    return jax.set_mesh(mesh)


_IS_ALONE: contextvars.ContextVar[bool] = contextvars.ContextVar("_IS_ALONE", default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Trace the body for one device: `count()` is 1 there, whatever the mesh."""
    token = _IS_ALONE.set(True)
    try:
        yield
    finally:
        _IS_ALONE.reset(token)


def count() -> int:
    """Return the number of devices of the current mesh; 1 without a mesh or within `alone`."""
    if _IS_ALONE.get():
        return 1
    return jax.sharding.get_abstract_mesh().shape.get(AXIS, 1)


def num_blocks() -> int:
    """Return the number of blocks of rows that sums are taken over."""
    return math.lcm(NUM_BLOCKS, count())


def padded(size: int) -> int:
    """Round a number of rows up to one that blocks, and therefore devices, share evenly."""
    return -(-size // num_blocks()) * num_blocks()


def shares_evenly(size: int) -> bool:
    """Return whether `size` rows divide evenly among the devices, in whole blocks.

    Such a population is drawn and summed where its members live. Any other is
    drawn and summed as a whole by every device, and only its episodes are shared.
    """
    return size % num_blocks() == 0


def pad(x: jax.Array, rows: int) -> jax.Array:
    """Append copies of the first row until there are `rows` rows."""
    missing = rows - x.shape[0]
    return jnp.concatenate([x, jnp.repeat(x[:1], missing, axis=0)]) if missing else x


def split(
    function: Callable, is_split: tuple[bool, ...], is_result_split: bool = False
) -> Callable[..., Any]:
    """Return a function that runs on every device, on the device's rows of split arguments.

    Args:
      function: called as `function(device, *arguments)` with the device's number.
      is_split: for each argument, whether every device already holds its own rows of its arrays.
        An argument that all devices hold is passed whole: otherwise XLA would also split the
        computation of it.
      is_result_split: whether results are the device's rows; if not, they are
        the same on all devices, as the results of `gather` are.
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

    They travel in one message. XLA on CPU may run two independent messages in a different
    order on each device, and the devices would wait for each other forever.
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
    """Return an array as unsigned four-byte integers; a key becomes several of them."""
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
    """Return the unsigned integer type as wide as a float type of at most four bytes."""
    return jnp.dtype(f"uint{8 * dtype.itemsize}")


def mean(tree: Any) -> Any:
    """Inside `split`: return the mean over the devices of each array."""
    if count() == 1:
        return tree
    return jax.tree.map(
        lambda x: jnp.mean(x, axis=0), gather(jax.tree.map(lambda x: x[None], tree))
    )


def combine_blocks(combine: Callable[[Any, Any], Any], rows: Any) -> Any:
    """Inside `split`: combine the rows of each block of the device, see `combine_in_order`."""
    count = blocks_here()
    # Without -1, which is ambiguous for an array of no columns, as of moments that are not taken.
    blocks = jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), rows)
    return combine_in_order(combine, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), blocks))


def sum_in_order(x: Float[Array, "terms ..."]) -> Float[Array, "..."]:
    """Sum over the first axis in the order of `combine_in_order`, without a loop."""
    half = 2 ** (x.shape[0] - 1).bit_length() // 2
    return _halved(jnp.add, _padded_to_power(x), half, 0)[0]


def combine_in_order(combine: Callable[[Any, Any], Any], terms: Any) -> Any:
    """Combine over the first axis by halving it, which leaves the compiler no choice of order.

    The last halvings are a loop, see `LOOPED`. The compiler chooses the order of a reduction or a
    dot product by the shapes around it.

    Args:
      combine: combines two trees element by element; zeros must not change the result.
      terms: a tree of arrays [terms, ...].
    """
    half = 2 ** (jax.tree.leaves(terms)[0].shape[0] - 1).bit_length() // 2
    terms = _halved(combine, jax.tree.map(_padded_to_power, terms), half, LOOPED)
    half = min(half, LOOPED)

    def halve(level: jax.Array, terms: Any) -> Any:
        # The rows beyond the half are combined as well, and never read.
        other = jax.tree.map(lambda x: jnp.roll(x, -(half >> level), axis=0), terms)
        return combine(terms, other)

    terms = jax.lax.fori_loop(0, half.bit_length(), halve, terms)
    return jax.tree.map(lambda x: x[0], terms)


def _padded_to_power(x: jax.Array) -> jax.Array:
    """Append zeros until the first axis is a power of two."""
    padding = 2 ** (x.shape[0] - 1).bit_length() - x.shape[0]
    return jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))


def _halved(combine: Callable[[Any, Any], Any], terms: Any, half: int, last: int) -> Any:
    """Combine the halves of 2 `half` terms, again and again, while there are over `last` pairs."""
    while half > last:
        first = jax.tree.map(lambda x, half=half: x[:half], terms)
        second = jax.tree.map(lambda x, half=half: x[half:], terms)
        terms, half = combine(first, second), half // 2
    return terms


def own_rows(device: jax.Array, rows: Any) -> Any:
    """Inside `split`: return a device's share of rows that all devices have."""
    size = rows.shape[0] // count()
    return jax.lax.dynamic_slice_in_dim(rows, device * size, size)


def blocks_here() -> int:
    """Return the number of blocks of each device."""
    return num_blocks() // count()


def replicated(tree: Any) -> Any:
    """Replicate a tree on every device, which keeps XLA from splitting its computation.

    A `Buffer` stays where it is.
    """
    if count() == 1:
        return tree

    def everywhere(x: Any) -> Any:
        return x if is_buffer(x) else jax.lax.with_sharding_constraint(x, PartitionSpec())

    return jax.tree.map(everywhere, tree, is_leaf=is_buffer)


def _spec(is_split: bool) -> PartitionSpec:
    return PartitionSpec(AXIS) if is_split else PartitionSpec()
