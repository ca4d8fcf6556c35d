"""The messages of a run: what it does not use, what diverged, what to lower, what was unseen."""

import contextlib
import sys
from collections.abc import Iterator

import jax
import numpy as np
from tqdm import tqdm

from ternevo.arithmetic.observation import summed_size
from ternevo.machine import device_memory, devices
from ternevo.settings.flat import flat, with_meaning
from ternevo.settings.unused import Use, unused
from ternevo.training.checkpoint import Checkpoints
from ternevo.training.loop import Divergence
from ternevo.training.policies import policies_of
from ternevo.training.setup import Setup
from ternevo.types import LEFT_OUT, TrainState

MOST_SHOWN = 10
"""The maximum number of observation components that a warning names."""


@contextlib.contextmanager
def naming_what_to_lower(setup: Setup) -> Iterator[None]:
    """Turn a device's out-of-memory error into one that says what to do.

    Raises:
      OutOfMemory: a device has too little memory.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not device_memory.is_exhausted(error):
            raise
        raise device_memory.OutOfMemory(_what_to_lower(setup, error)) from error


def _what_to_lower(setup: Setup, error: Exception) -> str:
    """Say which options cost memory, and which of them do not change results on a CPU."""
    config, saved = setup.config, setup.folder.saved_generations
    settings = config, config.strategy, config.policy
    values = {name: value for each in settings for name, value in flat(each).items()}
    free, others = (
        ", ".join(
            f"--{name} (now {values[name] or 'chosen automatically'})"
            for name in with_meaning(what, *settings)
        )
        for what in ("bounds_memory", "costs_memory")
    )
    reason = (str(error).splitlines() or ["MemoryError"])[0].rstrip(".")
    first = (
        f"Set {free} to a small number such as 64, which does not change results on a CPU, and "
        "continue with --resume; or lower"
        if free
        else "Lower"
    )
    kept = f"Checkpoint {saved[-1]} is kept" if saved else "There is no checkpoint yet"
    return f"out of memory: {reason}. {first} {others} under another --name. {kept}"


def warn_of_unused(setup: Setup) -> None:
    """Warn about options that were changed and that this run does not use."""
    if not devices.is_first_process():
        return
    config, env = setup.config, setup.env
    for line in unused(Use(config.strategy, config.policy, env.obs.kind, env.action.kind)):
        tqdm.write(f"warning: {line}", file=sys.stderr)


def warn_of_unseen(setup: Setup, state: TrainState) -> None:
    """Warn about the components of observations that have never been finite so far."""
    moments = policies_of(setup, state).last.moments
    if not devices.is_first_process() or not summed_size(setup.env.obs):
        return
    count = np.asarray(moments.count).reshape(-1, setup.env.obs.size)
    keeps_moments = bool(count.any()) or ":" not in setup.config.strategy_name
    never = np.flatnonzero((count == 0).any(axis=0)).tolist()
    if never and keeps_moments:
        generation = int(state.generation)
        tqdm.write(what_was_never_finite(never, setup.env.obs.size, generation), file=sys.stderr)


def what_was_never_finite(components: list[int], obs_size: int, generation: int) -> str:
    """Return a warning that names components of an observation.

    Examples:
      >>> what_was_never_finite([1, 3], 4, 9)[:74]
      'warning: 2 of 4 components of the observation (1, 3) were never finite up '
    """
    shown = ", ".join(map(str, components[:MOST_SHOWN]))
    more = ", ..." if len(components) > MOST_SHOWN else ""
    return (
        f"warning: {len(components)} of {obs_size} components of the observation ({shown}{more}) "
        f"{'was' if len(components) == 1 else 'were'} never finite up to generation {generation}. "
        "Policies are shown 0 for NaN and full scale for infinity; other components are scaled "
        "as usual"
    )


def what_diverged(
    setup: Setup, checkpoints: Checkpoints, found: Divergence, generation: int
) -> str:
    """Say where training diverged, what was saved before, and what to lower."""
    where = f"in generation {generation} of seed {setup.config.seeds[found.seed]}"
    what = f"{found.metric} is {found.value} {where}"
    if found.metric == LEFT_OUT:
        what = f"the update of the search {where} is not finite, and was skipped"
    smaller = " or ".join(
        f"--{name}" for name in with_meaning("shortens_steps", setup.config.strategy)
    )
    return (
        f"training diverged: {what}; "
        f"{what_is_saved(setup, checkpoints)}. "
        f"Try {f'a smaller {smaller}' if smaller else 'other settings'}, under another --name"
    )


def what_is_saved(setup: Setup, checkpoints: Checkpoints) -> str:
    """Say which checkpoint is the newest."""
    kept = checkpoints.latest()
    if kept is None:
        return "there is no checkpoint yet"
    return f"the newest checkpoint is {setup.folder.checkpoints / str(kept)}"
