"""Options that a run does not use because of other options, or of its environment.

They are not refused, since a sweep may vary both; a run names them in one line each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ternevo.settings.flat import Part, flat
from ternevo.settings.policies.gradient_learner import GradientLearner
from ternevo.settings.policies.layered import Layered
from ternevo.settings.policies.settings import LARGEST_LEVELS
from ternevo.settings.strategies.binary_nes import BinaryNES
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.latent import Latent
from ternevo.settings.strategies.off_policy import OffPolicy
from ternevo.settings.strategies.ppo import PPO
from ternevo.settings.strategies.ternary_nes import TernaryNES


class Use(NamedTuple):
    """What decides whether options are used: settings, and what the environment shows and takes."""

    strategy: Any
    policy: Any
    obs: str
    action: Literal["discrete", "continuous"]


class Unused(NamedTuple):
    """Options of a settings class that are not used where `holds`, and the reason."""

    owner: type
    names: tuple[str, ...]
    holds: Callable[[Use], bool]
    reason: str


TABLE = (
    Unused(
        TernaryNES,
        ("eta",),
        lambda use: use.strategy.adaptive_spreads == "none",
        "no spread adapts, see --spreads",
    ),
    Unused(
        TernaryNES,
        ("scale_lr", "scale_sigma"),
        lambda use: not use.strategy.has_scales,
        "exponents are not searched, see --search_scales",
    ),
    *(
        Unused(
            searcher,
            ("adam_b2",),
            lambda use: use.strategy.optimization.optimizer != "adam",
            "--optimizer is not adam",
        )
        for searcher in (TernaryNES, BinaryNES, Latent)
    ),
    Unused(
        PPO,
        ("init_log_std",),
        lambda use: use.action == "discrete",
        "actions are discrete",
    ),
    *(
        Unused(
            learner,
            ("quantize_start",),
            lambda use: use.policy.weights not in LARGEST_LEVELS,
            "weights are not of 8, 4 or 2 bits",
        )
        for learner in (PPO, OffPolicy)
    ),
    Unused(
        DQN,
        ("noise_correlation",),
        lambda use: True,
        "DQN explores by actions at random",
    ),
    Unused(
        DQN,
        ("critic_hidden_sizes", "critic_activation"),
        lambda use: not use.strategy.dueling,
        "there is no float network of the state's value, see --dueling",
    ),
    Unused(
        GradientLearner,
        ("value_rate",),
        lambda use: use.policy.inner != "a2c",
        "there is no critic, see --inner",
    ),
    Unused(
        Layered,
        ("observation_bits",),
        lambda use: use.obs == "planes",
        "the policy sees bits, which have one",
    ),
)
ENDS = (("lr_end", "lr_schedule"), ("sigma_end", "sigma_schedule"))
"""Ends of schedules, which a constant one does not have."""


def unused(use: Use) -> list[str]:
    """Return a line for each option that was changed from its default and is not used.

    Examples:
      >>> settings = TernaryNES.of(eta=0.3, spreads="none", lr_end=0.5)
      >>> for line in unused(Use(settings, None, "floats", "discrete")):
      ...     print(line)
      --eta 0.3 has no effect: no spread adapts, see --spreads
      --lr_end 0.5 has no effect: --lr_schedule is constant
    """
    lines = []
    for owner, names, holds, reason in TABLE:
        for settings in (use.strategy, use.policy):
            if isinstance(settings, owner) and holds(use):
                lines += _changed(settings, names, reason)
    for name, schedule in ENDS:
        if flat(use.strategy).get(schedule) == "constant":
            lines += _changed(use.strategy, (name,), f"--{schedule} is constant")
    return lines


def _changed(settings: Any, names: tuple[str, ...], reason: str) -> list[str]:
    """Return a line for each of the options that is not at its default."""
    values, defaults = flat(settings), _defaults(type(settings))
    return [
        f"--{name} {values[name]} has no effect: {reason}"
        for name in names
        if values[name] != defaults[name]
    ]


def _defaults(owner: type) -> dict[str, Any]:
    """Return the defaults by name; an option without one has `dataclasses.MISSING`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(owner):
        default = field.default
        found |= flat(default) if isinstance(default, Part) else {field.name: default}
    return found
