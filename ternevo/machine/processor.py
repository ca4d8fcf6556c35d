"""What the processor can do, where a choice between equal results depends on it."""

import functools
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def counts_bits_of_vectors() -> bool:
    """Return whether one instruction counts the bits of a vector: AVX-512 VPOPCNTDQ.

    Only Linux says so; False elsewhere.
    """
    try:
        return "avx512_vpopcntdq" in CPUINFO.read_text(encoding="utf-8").split()
    except OSError:
        return False
