"""Observations as a converter counts them: from int16 to the policy's int8 without a float.

A sensor's observation is `scale * raw + offset`, with the `raw` that an analogue-to-digital
converter gives. The quantiser of a policy then wants `(observation - mean) * 2**exponent`, rounded
and clipped. Both together are a line, `slope * raw + intercept`, and this module writes that line
in fixed point:

    q = clip((multiplier * raw + offset) >> shift, -127, 127)

The product and the sum fit into int32 for every int16, and `offset` holds the half that rounds, so
a microcontroller needs one multiplication of 16 bits, an addition and a shift. The formula is exact
by definition: C computes the same integers. Against the exact line it is off by less than
`ERROR + 2**-shift` before rounding, so `q` differs from the quantiser of floats by at most 1, and
only where the line is that close to halfway between two integers.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.record import PolicyRecord

LOWEST, HIGHEST = -(2**15), 2**15 - 1
LIMIT = 127
MAX_MULTIPLIER = 2**14
"""Multipliers are at most this in size, so that products stay below 2**30."""
MAX_SHIFT = 22
"""With it, offsets stay below 2**30 + 2**22."""
MAX_SLOPE = 512
"""A steeper line is as good: from one count to the next it crosses the whole range anyway."""
ERROR = 1 / 128
"""The largest error of the slope over the counts that are not clipped, apart from 2**-shift."""

Line = tuple[Fraction, Fraction]
"""Scale and offset of a sensor: the observation is `scale * raw + offset`."""


@dataclasses.dataclass(frozen=True)
class FixedQuantiser:
    """The numbers of the formula above, int32 [in] each.

    Attributes:
      multiplier: at most 2**14 in size.
      offset: below 2**30 + 2**22 in size.
      shift: 5 to 22.
    """

    multiplier: NDArray[np.int32]
    offset: NDArray[np.int32]
    shift: NDArray[np.int32]


def parse(text: str, count: int) -> list[Line]:
    """Return the line of each of `count` inputs from "SCALE[,OFFSET]", one for all or for each.

    Examples:
      >>> parse("0.5,-2", 2)
      [(Fraction(1, 2), Fraction(-2, 1)), (Fraction(1, 2), Fraction(-2, 1))]
      >>> parse("0.25 1e-3,5", 2)
      [(Fraction(1, 4), Fraction(0, 1)), (Fraction(1, 1000), Fraction(5, 1))]

    Raises:
      ValueError: it is not of that form, or there are as many as nothing needs.
    """
    lines = [_line(word) for word in text.split()]
    if len(lines) not in (1, count):
        raise ValueError(
            f"adc has {len(lines)} sensors, and the policy {count} inputs; give SCALE,OFFSET once "
            "for all, or once for each with spaces between"
        )
    return lines * count if len(lines) == 1 else lines


def _line(word: str) -> Line:
    parts = word.split(",")
    try:
        numbers = [Fraction(part) for part in parts]
    except (ValueError, ZeroDivisionError):
        numbers = []
    if len(numbers) not in (1, 2) or not all(abs(number) < 10**30 for number in numbers):
        raise ValueError(
            f"adc has {word!r}; must be SCALE or SCALE,OFFSET, two numbers: an observation is "
            "SCALE * raw + OFFSET"
        )
    return numbers[0], numbers[1] if len(numbers) == 2 else Fraction(0)


def fixed_quantiser(record: PolicyRecord, lines: Sequence[Line]) -> FixedQuantiser:
    """Return the quantiser of a policy for sensors, a line for each input.

    Raises:
      ValueError: the policy takes integers, so there is nothing to quantise.
    """
    if record.input_kind != "f32":
        raise ValueError(
            f"adc is for observations that are floats, and this policy takes {record.input_kind}: "
            "pass its integers as they are"
        )
    rows = [
        _fixed(scale * _power(exponent), (offset - Fraction(float(mean))) * _power(exponent))
        for (scale, offset), mean, exponent in zip(
            lines, record.mean, record.exponent.tolist(), strict=True
        )
    ]
    return FixedQuantiser(*np.array(rows, np.int32).T)


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def _fixed(slope: Fraction, intercept: Fraction) -> tuple[int, int, int]:
    """Return multiplier, offset and shift of a line, which is exact where it is closest to 0."""
    centre = round(-intercept / slope) if slope else 0
    centre = min(max(centre, LOWEST), HIGHEST)
    value = _clip(slope * centre + intercept, LIMIT)
    slope = _clip(slope, MAX_SLOPE)
    shift = MAX_SHIFT
    while abs(round(slope * 2**shift)) > MAX_MULTIPLIER:
        shift -= 1
    multiplier = round(slope * 2**shift)
    offset = round(value * 2**shift) - multiplier * centre + 2 ** (shift - 1)
    return multiplier, offset, shift


def _clip(value: Fraction, most: int) -> Fraction:
    return min(max(value, Fraction(-most)), Fraction(most))


def quantise(fixed: FixedQuantiser, raw: NDArray[np.int16]) -> NDArray[np.int8]:
    """Return the integers int8 [..., in] of counts int16 [..., in]: the formula, in int32."""
    sums = fixed.multiplier * raw.astype(np.int32) + fixed.offset
    return np.clip(sums >> fixed.shift, -LIMIT, LIMIT).astype(np.int8)
