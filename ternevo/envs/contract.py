"""The contract of every environment, checked before anything compiles.

A policy file must be able to hold the actions: a policy maps [-1, 1] to the range of
each component, so a component without a finite range cannot be trained or shipped.
"""

import math
import numbers
import typing
from typing import Any

import numpy as np

from ternevo.deploy.tvp import MAX_BOUND
from ternevo.names import WrongObject, of_type
from ternevo.types import ActionSpec, Env, ObsSpec, Tells

KINDS = ("floats", "integers", "bits", "pixels")
MAX_NAME = 80
"""Largest number of characters of a name of an observation or an action."""


def check(env: Env) -> Env:
    """Return the environment if its sizes, time limit, actions and names are valid.

    Raises:
      WrongObject: one of them is not; the message says which.
    """
    if not _is_count(env.episode_length):
        raise WrongObject(
            f"episode_length of {env.id} must be a whole number above 0, got {env.episode_length!r}"
        )
    if env.tells not in (known := typing.get_args(Tells)):
        raise WrongObject(f"tells of {env.id} must be one of {', '.join(known)}, got {env.tells!r}")
    _check_obs(env.id, env.obs)
    action = of_type(f"the action of {env.id}", env.action, ActionSpec)
    _check_kind(env.id, action)
    _check_bounds(env.id, action)
    _check_names(env, "obs_names", env.obs_names, (env.obs.size, env.obs.shape[-1]))
    _check_names(env, "action_names", env.action_names, (action.size,))
    return env


def _check_names(env: Env, field: str, names: Any, counts: tuple[int, ...]) -> None:
    """Refuse names that do not fit: a file keeps them in lines, a C header in a comment."""
    if not isinstance(names, tuple) or len(names) not in (0, *counts):
        allowed = " or ".join(map(str, dict.fromkeys(counts)))
        found = f"{len(names)}" if isinstance(names, tuple) else f"a {type(names).__name__}"
        raise WrongObject(
            f"{field} of {env.id} must be a tuple of {allowed} names, or empty; got {found}"
        )
    for name in names:
        is_line = isinstance(name, str) and name.isprintable() and name == name.strip()
        if not is_line or not 1 <= len(name) <= MAX_NAME:
            raise WrongObject(
                f"{field} of {env.id} has {name!r}; a name is a text of 1 to {MAX_NAME} printable "
                "characters, without spaces at its ends"
            )


def _check_obs(env_id: str, obs: Any) -> None:
    if not isinstance(obs, ObsSpec):
        raise WrongObject(
            f"obs of {env_id} must be a ternevo.types.ObsSpec, such as ObsSpec((4,)), got {obs!r}"
        )
    is_shape = isinstance(obs.shape, tuple) and obs.shape and all(map(_is_count, obs.shape))
    if not is_shape or obs.kind not in KINDS:
        raise WrongObject(
            f"obs of {env_id} is {obs}: the shape must be a tuple of whole numbers above 0, and "
            f"the kind one of {', '.join(KINDS)}"
        )


def _is_count(value: Any) -> bool:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_whole and int(value) >= 1


def _check_kind(env_id: str, action: ActionSpec) -> None:
    is_known = action.kind in ("discrete", "continuous") and _is_count(action.size)
    bounds = action.size if action.kind == "continuous" else 0
    if not is_known or not all(_has(bounds, side) for side in (action.low, action.high)):
        raise WrongObject(
            f"the action of {env_id} is {action}: it must be ActionSpec('discrete', size), or "
            "ActionSpec('continuous', size, low, high) with tuples of that size"
        )


def _has(count: int, bounds: Any) -> bool:
    """Return whether `bounds` is a flat sequence of `count` numbers."""
    try:
        array = np.asarray(bounds)
    except ValueError:  # rows of different lengths
        return False
    return array.shape == (count,) and array.dtype.kind in "iuf"


def _check_bounds(env_id: str, action: ActionSpec) -> None:
    """Refuse bounds that `deploy.tvp` refuses once rounded to float32, as in a file."""
    bounds = (map(float, side) for side in (action.low, action.high))
    for i, (low, high) in enumerate(zip(*bounds, strict=True)):
        if not is_range(low, high):
            raise WrongObject(
                f"actions of {env_id}: component {i} is between {low:g} and {high:g}, but a policy "
                f"needs low at most high, both finite and at most {MAX_BOUND:g} in size. Give the "
                "ActionSpec a range that the task needs, such as -1 to 1, and scale the action in "
                "step"
            )


def is_range(low: float, high: float) -> bool:
    """Return whether a policy file can hold actions between these bounds."""
    with np.errstate(over="ignore"):
        first, last = np.float32(low), np.float32(high)
    is_finite = math.isfinite(first) and math.isfinite(last)
    return is_finite and bool(-MAX_BOUND <= first <= last <= MAX_BOUND)
