"""Build a `RunConfig` from Python values, with the checks that a command line has."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from ternevo.names import check, lookup_settings
from ternevo.settings import options
from ternevo.settings.command_line import RunConfig
from ternevo.settings.flat import changed, flat
from ternevo.settings.policies import POLICIES, PolicySettings
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.settings import Settings

NAMED = {"env", "strategy", "policy", "strategy_name", "policy_name"}
"""The options that `config_of` takes by themselves."""


def config_of(env: str, strategy: str, policy: str, values: dict[str, Any]) -> RunConfig:
    """Return the configuration of a run.

    Args:
      env: the environment's id.
      strategy: the name of the strategy.
      policy: the name of the policy.
      values: other options by the names that they have on the command line.

    Raises:
      UnknownName: a name does not exist; the message suggests similar names.
      ValueError: a value has the wrong type, or breaks a limit.
    """
    default = RunConfig(
        lookup_settings("strategy", strategy, STRATEGIES, Settings)(),
        lookup_settings("policy", policy, POLICIES, PolicySettings)(),
        env=env,
        strategy_name=strategy,
        policy_name=policy,
    )
    kinds = options.types(default, default.strategy, default.policy)
    allowed = kinds.keys() - NAMED
    for name in values:
        check("option", name, allowed)
    given = {name: _converted(name, value, kinds[name]) for name, value in values.items()}

    def of(settings: Any) -> dict[str, Any]:
        return {name: given[name] for name in flat(settings) if name in given}

    own = {"strategy": default.strategy, "policy": default.policy}
    built = {name: changed(settings, **of(settings)) for name, settings in own.items()}
    return dataclasses.replace(changed(default, **of(default)), **built)


def _converted(name: str, value: Any, kind: Any) -> Any:
    """Return a value as its option takes it: lists as tuples, a text as a path.

    Raises:
      ValueError: it has the wrong type.
    """
    value = _tuples(value)
    if isinstance(value, str) and Path in (kind, *typing.get_args(kind)):
        return Path(value)
    if not _fits(value, kind):
        plain = isinstance(kind, type) and not typing.get_args(kind)
        shown = kind.__name__ if plain else str(kind).replace("typing.", "")
        raise ValueError(f"{name} must be {shown}, got {value!r}")
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _fits(value, inner[0])
    if origin is typing.Literal:
        return value in inner
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, inner[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    plain = origin or kind
    return isinstance(value, plain) if isinstance(plain, type) else True
