"""What a C header takes of small devices, estimated: flash, RAM and stack.

The constants were fitted to what `examples/deploy/measure_devices.py` measured of 29 random
policies, 4-8-2 to 27-64-64-8, compiled by gcc with -Os: flash is met to within 40 % or 150
bytes, and the stack is an upper bound. RAM is 0 by construction: all tables are constants, and on
an AVR they stay in flash. Constants for images and memory were fitted to the flash of 30 random
policies of all types of layers, compiled alike: that of 29 is met to within a third on ARM cores,
and to within two thirds on an AVR, that of a policy of pools only to within a factor of 2.3.
"""

import dataclasses
import textwrap
from collections.abc import Iterable

WIDTH = 93


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the code of a policy is made of.

    Attributes:
      added: weights that are written out as additions.
      rounded: units with the activation int8 or int4, where the whole policy is written out.
      compared: the same with the activation ternary.
      has_kernels: whether some layers are tables, which kernels run.
      tables: bytes of the tables of these kernels.
      copied: inputs and outputs of layers that are written out beside kernels.
      buffers: bytes of the largest buffers of the stack.
      is_continuous: whether actions are floats.
      inputs: number of inputs.
      takes_floats: whether there is a quantiser of floats.
      calls: functions of layers that gather what they take, of images and memory; 0 for a chain.
      maps: bytes of the values between them.
    """

    added: int
    rounded: int
    compared: int
    has_kernels: bool
    tables: int
    copied: int
    buffers: int
    is_continuous: bool
    inputs: int
    takes_floats: bool
    calls: int = 0
    maps: int = 0


@dataclasses.dataclass(frozen=True)
class Core:
    """Bytes of flash for each part, fitted; those from `floats` on come with float inputs.

    `layers` and `each_layer` are of images and memory, in place of kernels and tables.
    """

    name: str
    added: float
    rounded: float
    compared: float
    kernels: float
    table: float
    copied: float
    floats: float
    each_float: float
    continuous: float
    layers: float
    each_layer: float


CORES = (
    Core(
        "AVR (ATmega, ATtiny)", 8.4, 1.7, 8.5, 770.0, 1.45, 23.0, 670.0, 10.0, 510.0, 1000.0, 556.0
    ),
    Core("Cortex-M0, M0+", 4.4, 2.4, 5.5, 110.0, 1.25, 0.0, 1010.0, 4.0, 1330.0, 183.0, 217.0),
    Core("Cortex-M4 with FPU", 4.1, 1.3, 5.5, 70.0, 1.6, 0.0, 150.0, 5.5, 30.0, 162.0, 236.0),
)


def flash(parts: Parts, core: Core, has_floats: bool) -> int:
    """Return bytes of flash, rounded to ten: code and tables, with the compiler's own functions."""
    size = core.added * parts.added + core.rounded * parts.rounded + core.compared * parts.compared
    if parts.calls:
        size += core.layers + core.each_layer * parts.calls + parts.tables
    elif parts.has_kernels:
        size += core.kernels + core.table * parts.tables + core.copied * parts.copied
    if has_floats:
        size += core.floats + core.each_float * parts.inputs
        size += core.continuous * parts.is_continuous
    return max(100, round(size / 10) * 10)


def stack(parts: Parts) -> int:
    """Return the most bytes of stack that an evaluation takes, on any of the cores."""
    return 2 * parts.buffers + parts.maps + (220 if parts.calls else 120)


def lines(parts: Parts, selftest: int) -> Iterable[str]:
    """Yield the rows of the comment; `selftest` is the bytes of the tables of the self test."""
    within = "40 % for gcc -Os; examples/deploy/measure_devices.py measures it"
    if parts.calls:
        within = "two thirds for gcc -Os"
    yield from textwrap.wrap(
        f"MEMORY, estimated to within {within}. RAM: nothing but the stack, of which an evaluation "
        "takes at most "
        f"{stack(parts):,} bytes{_of_maps(parts)}. "
        "Flash, in bytes, with what floats need of the compiler's library; the self test adds "
        f"tables of {selftest:,} bytes:",
        WIDTH,
    )
    yield "                          integers only  with floats"
    for core in CORES:
        floats = f"{flash(parts, core, True):,}" if parts.takes_floats else "-"
        yield f"    {core.name:<22}{flash(parts, core, False):>13,}  {floats:>11}"


def _of_maps(parts: Parts) -> str:
    return f", {parts.maps:,} of them for values between layers" if parts.maps else ""
