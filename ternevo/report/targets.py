"""The threshold of each environment in a report: given, known, or relative to its runs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ternevo.runs.arms import Arm, by_env
from ternevo.settings.flat import flat
from ternevo.settings.wrappers import Wrappers


class Target(NamedTuple):
    """The threshold of an environment, where it is from, and whether it depends on the runs."""

    value: float
    source: str
    is_relative: bool = False


GIVEN = "given with --threshold"
GYMNASIUM = "the reward threshold of Gymnasium's registry"
OURS = "a choice of ternevo's: Gymnasium's registry has none"
SHARE = 0.9
RELATIVE = (
    f"{SHARE:.0%} of the way from the lowest first evaluation of an arm to the highest mean final "
    "return of one"
)

KNOWN = {
    "gymnax/CartPole-v1": Target(475.0, GYMNASIUM),
    "gymnax/Acrobot-v1": Target(-100.0, GYMNASIUM),
    "gymnax/MountainCar-v0": Target(-110.0, GYMNASIUM),
    "gymnax/MountainCarContinuous-v0": Target(90.0, GYMNASIUM),
    "gymnax/Pendulum-v1": Target(-200.0, OURS),
}
"""The thresholds of environments that have one, with their own time limit and without wrappers.
Those of Gymnasium's MuJoCo environments are not among them: returns in brax differ."""


def default_targets(arms: Sequence[Arm]) -> dict[str, Target]:
    """Return a threshold for each environment: a known one, or else one relative to the runs.

    An environment in which nothing was learned has none.
    """
    found = {}
    for env, own in by_env(arms).items():
        is_original = all(_is_original(arm) for arm in own)
        target = KNOWN[env] if env in KNOWN and is_original else _relative(own)
        if target:
            found[env] = target
    return found


def _is_original(arm: Arm) -> bool:
    """Return whether an arm was trained with the environment's own time limit and no wrappers."""
    plain = {"episode_length": None, **flat(Wrappers())}
    return all(arm.settings.get(name, value) == value for name, value in plain.items())


def _relative(arms: Sequence[Arm]) -> Target | None:
    low, high = scale_of(arms)
    return Target(low + SHARE * (high - low), RELATIVE, is_relative=True) if high > low else None


def scale_of(arms: Sequence[Arm]) -> tuple[float, float]:
    """Return the lowest mean of an arm's first evaluations, and the highest mean final return."""
    starts = [float(np.mean([c[0][1] for c in curves])) for a in arms if (curves := a.curves())]
    finals = [float(np.mean(arm.finals)) for arm in arms if arm.finals]
    return min(starts, default=np.inf), max(finals, default=-np.inf)
