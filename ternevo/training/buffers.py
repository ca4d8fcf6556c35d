"""What a run says of its buffers, such as replay: how large they are, and when they are empty."""

import math
from typing import Any

import jax

from ternevo.machine import device_memory
from ternevo.settings.command_line import RunConfig
from ternevo.settings.strategies.off_policy import OffPolicy
from ternevo.types import Buffer, is_buffer


def size_of(state: Any) -> int:
    """Return the bytes of all buffers of a state, or of the shapes of one."""
    nodes = jax.tree.leaves(state, is_leaf=is_buffer)
    buffers: list[Buffer] = [node for node in nodes if is_buffer(node)]
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(buffers))


def check_fit(config: RunConfig, size: int) -> None:
    """Refuse buffers of several seeds that do not fit into memory, before they are made.

    A strategy checks the buffer of one seed itself.

    Raises:
      ValueError: they need more memory than is free.
    """
    free = device_memory.available_bytes()
    if free is not None and size > free:
        what = "--num_seeds or --buffer_size" if _replays(config) else "--num_seeds"
        raise ValueError(
            f"buffers of {config.num_seeds} seeds at once need {device_memory.shown(size)}, "
            f"and {device_memory.shown(free)} are free: lower {what}"
        )


def described(config: RunConfig, size: int) -> str:
    """Return a line on buffers of so many bytes in all seeds.

    Examples:
      >>> from ternevo.settings.command_line import parse
      >>> described(parse(["--strategy", "dqn"]), 4_200_008)
      'replay      100,000 steps of 42 bytes: 4.2 MB on the device; 0.5 updates per step'
      >>> described(parse(["--num_seeds", "3"]), 6_000_000)
      'buffers     2 MB on the device for each of 3 seeds'
    """
    of_each = size / config.num_seeds
    where = f"{device_memory.shown(round(of_each))} on the device"
    if config.num_seeds > 1:
        where += f" for each of {config.num_seeds} seeds"
    if not isinstance(config.strategy, OffPolicy):  # not `_replays`, for the type checker
        return f"buffers     {where}"
    num_steps = config.strategy.replayed.buffer_size
    return (
        f"replay      {num_steps:,} steps of {of_each / num_steps:.0f} bytes: {where}; "
        f"{config.strategy.pace.updates_per_step:g} updates per step"
    )


def what_resuming_loses(config: RunConfig, size: int) -> str:
    """Return what to add to the line on a resumed run; "" where checkpoints hold all there is."""
    if config.checkpoint_buffers or not size:
        return ""
    refilled = ", and learning waits until they are refilled" if _replays(config) else ""
    return (
        f" with empty buffers (--checkpoint_buffers False): it goes on otherwise than a run that "
        f"never stopped{refilled}"
    )


def _replays(config: RunConfig) -> bool:
    return isinstance(config.strategy, OffPolicy)
