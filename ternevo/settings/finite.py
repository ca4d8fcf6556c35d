"""Refuse numbers that are not finite; NaN slips through ordinary range comparisons."""

import dataclasses
import math
from numbers import Integral, Real
from typing import Any

SMALLEST, LARGEST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
"""The range of float32, used for all computation; beyond it a number becomes 0 or infinite."""


def check_finite(record: Any) -> None:
    """Check every number in a dataclass of settings; see `check_number`.

    Raises:
      ValueError: a number is not finite; the message names the field.
    """
    for field in dataclasses.fields(record):
        check_number(field.name, getattr(record, field.name))


def check_number(name: str, value: Any) -> None:
    """Refuse a number that is NaN, infinite, or outside the range of float32.

    Args:
      name: its name in the error message.
      value: a number, or a tuple, list or dict of them; anything else passes.

    Raises:
      ValueError: naming the value and what is allowed.

    Examples:
      >>> check_number("lr", 0.1)
      >>> check_number("algorithm_params", {"c_std": float("nan")})
      Traceback (most recent call last):
      ValueError: algorithm_params['c_std'] must be a finite number, got nan
    """
    if isinstance(value, dict):
        for key, item in value.items():
            check_number(f"{name}[{key!r}]", item)
    elif isinstance(value, tuple | list):
        for place, item in enumerate(value):
            check_number(f"{name}[{place}]", item)
    elif isinstance(value, Real) and not isinstance(value, Integral):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")
        if value and not SMALLEST <= abs(float(value)) <= LARGEST:
            raise ValueError(
                f"{name} must be 0, or {SMALLEST:.1e} to {LARGEST:.1e} with either sign (the range "
                f"of float32), got {value}"
            )
