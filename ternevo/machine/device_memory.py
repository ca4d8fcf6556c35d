"""How much memory a compiled program needs, and how much a device has left."""

from pathlib import Path
from typing import Any

import jax

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class OutOfMemory(RuntimeError):
    """A device does not have the memory that a program asks for."""


def is_exhausted(error: BaseException) -> bool:
    """Return whether an error from JAX or NumPy means that memory ran out."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def planned_bytes(program: Any) -> int | None:
    """Return the bytes a compiled program needs on each device; None if XLA does not say."""
    stats = program.memory_analysis()
    if stats is None:
        return None
    return (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        + stats.temp_size_in_bytes
        - stats.alias_size_in_bytes  # outputs that reuse donated arguments
    )


def available_bytes() -> int | None:
    """Return the free bytes of a device, or of the machine on CPU; None if unknown."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def shown(size: int) -> str:
    """Return a number of bytes for people.

    Examples:
      >>> shown(2_400_000), shown(320)
      ('2.4 MB', '320 bytes')
    """
    for factor, unit in UNITS:
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def check_seeds_fit(program: Any, num_seeds: int) -> None:
    """Refuse to run more seeds together than fit in memory; the system would kill the run.

    Args:
      program: compiled, for arguments that are in memory already.
      num_seeds: number of seeds it runs.

    Raises:
      ValueError: the program needs more memory than is available.
    """
    needed, free = planned_bytes(program), available_bytes()
    if needed is None or free is None:
        return
    is_cpu = jax.default_backend() == "cpu"
    # CPU devices share the memory of the machine.
    sharing = len(program.runtime_executable().local_devices()) if is_cpu else 1
    total = free + sharing * program.memory_analysis().argument_size_in_bytes
    if sharing * needed > total:
        raise ValueError(
            f"{num_seeds} seeds at once need {sharing * needed / 1e9:.1f} GB of memory"
            f"{'' if is_cpu else ' on each device'}, but only {total / 1e9:.1f} GB are free: "
            "lower --num_seeds, or run the seeds one after another"
        )
