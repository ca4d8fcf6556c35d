"""A budget of seconds for the tests that run the commands of the documentation as they stand.

With the environment variable TERNEVO_SMOKE=1, a run is cut down to almost nothing: its result says
only that the command works.
"""

import os
import sys
from typing import Any, TypeVar

from ternevo.settings.flat import changed, flat

VARIABLE = "TERNEVO_SMOKE"

LIMITS = {
    **{"num_generations": 2, "episode_length": 8, "eval_every": 1, "render_every": 1},
    **{"num_eval_episodes": 2, "num_final_episodes": 2, "checkpoint_every": 1},
    **{"population_size": 8, "num_envs": 8, "num_steps": 8, "num_minibatches": 2},
    **{"num_trials": 2, "prune_events": 10},
}
"""The largest value of each option; None, the limit of an environment or a file, is cut too."""

Config = TypeVar("Config", bound=Any)


def shortened(config: Config) -> Config:
    """Return the configuration of a run, cut down if the variable is set; a note says so."""
    if not is_on():
        return config
    print(f"note: {VARIABLE} is set, so this run is cut down to almost nothing", file=sys.stderr)
    parts = {name: _cut(getattr(config, name)) for name in ("strategy", "policy")}
    if config.env.startswith("digits/"):  # an episode is one image, whatever its limit
        parts["episode_length"] = config.episode_length
    return changed(_cut(config), **parts)


def is_on() -> bool:
    """Return whether the variable is set."""
    return bool(os.environ.get(VARIABLE))


def shortened_sweep(num_trials: int | None) -> int | None:
    """Return the number of trials of a sweep, cut down if the variable is set."""
    limit = LIMITS["num_trials"]
    return limit if is_on() and not _is_within(num_trials, limit) else num_trials


def _cut(settings: Config) -> Config:
    values = {
        name: limit
        for name, limit in LIMITS.items()
        if name in flat(settings) and not _is_within(flat(settings)[name], limit)
    }
    return changed(settings, **values)


def _is_within(value: int | None, limit: int) -> bool:
    return value is not None and value <= limit
