"""`python -m ternevo.run`: from arguments to a trained policy, a curve, and an episode to watch."""

import contextlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ternevo.machine import startup
from ternevo.machine.interruption import Stop, on_lost_output, on_signals
from ternevo.settings.command_line import RunConfig, parse
from ternevo.settings.flat import flat, with_meaning
from ternevo.training.results import draw, finish
from ternevo.training.setup import Setup, build

if TYPE_CHECKING:
    from ternevo.runs.run_folder import RunFolder
    from ternevo.runs.sinks import Records, Row, Sink
    from ternevo.training.animations import Animations
    from ternevo.training.checkpoint import Checkpoints
    from ternevo.training.loop import Chunk, Divergence
    from ternevo.types import PolicyParams, TrainState


MOST_SHOWN = 10
"""Components of an observation that a warning names."""


def main(argv: list[str] | None = None) -> None:
    """Run what the command line says; exit 2 on bad input, 128 + n on signal n.

    A signal is SIGINT, SIGTERM or SIGHUP, or SIGPIPE where nobody reads the output any more. It
    exits 1 on divergence, and where memory is not enough.
    """
    startup.prepare()
    config, stop = parse(argv), Stop()
    with on_lost_output(stop):
        print(f"ternevo: {config.strategy_name} on {config.env}, seed {config.seed_label}")
        sys.stdout.flush()
        with errors_as_status():
            run(config, stop)


@contextlib.contextmanager
def errors_as_status() -> Iterator[None]:
    """Print what a run may raise as one line, and exit 1 where training failed, else 2."""
    from ternevo.machine.device_memory import OutOfMemory
    from ternevo.runs.run_folder import RunFolderError
    from ternevo.runs.sinks import MissingExtra
    from ternevo.training.checkpoint import CheckpointError
    from ternevo.training.loop import Diverged

    try:
        yield
    except (Diverged, OutOfMemory) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except (CheckpointError, RunFolderError, MissingExtra, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def run(config: RunConfig, stop: Stop | None = None) -> "RunFolder":
    """Train, evaluate, save and draw; return the run's folder.

    Args:
      config: the run.
      stop: set it, from a signal or another thread, to end training after the current chunk.

    Raises:
      UnknownName, ValueError: the configuration makes no sense.
      RunFolderError: the run's name is taken, or another process works on it.
      CheckpointError: a checkpoint cannot be read or saved.
      Diverged: a loss or an update is not finite; what was saved before stays.
      OutOfMemory: a device has too little memory; what was saved before stays.
      NoDevice: JAX finds none of the kind or number that was asked for.
      NotFloat32: JAX computes in float64.
      SystemExit: the run was stopped; its state is saved.
    """
    from ternevo.machine import devices

    devices.check_float32()
    devices.use_cores(config.num_devices)
    if config.distributed:
        devices.join_processes()
    devices.check_there_are_some()
    setup = build(config)  # not on the mesh: brax binds what it loads to one device
    with claimed(setup), failure_on_record(setup), naming_what_to_lower(setup):
        train_and_finish(setup, stop or Stop())
    return setup.folder


@contextlib.contextmanager
def claimed(setup: Setup) -> Iterator[None]:
    """Hold the run's folder, made or checked by the first process, until the run is over."""
    from ternevo.machine import devices
    from ternevo.runs import run_folder

    with contextlib.ExitStack() as stack:
        if devices.is_first_process():
            with devices.telling_others():
                stack.enter_context(run_folder.claimed(setup.config, setup.env.id))
        else:
            devices.follow_first()
        yield


def train_and_finish(setup: Setup, stop: Stop) -> None:
    """Train on all devices; then, unless it was stopped, write what a run ends with."""
    from ternevo.machine import devices

    config = setup.config
    with devices.on_all_devices(0 if config.distributed else config.num_devices):
        with on_signals(stop):
            last_rows = _train(setup, stop)
        stopped_by = devices.agreed(stop.signal)
    if stopped_by:
        print(
            f"interrupted: the state is saved in {setup.folder.checkpoints}; "
            "the same command with --resume goes on"
        )
        raise SystemExit(128 + stopped_by)
    if devices.is_first_process():
        finish(setup, last_rows)


@contextlib.contextmanager
def failure_on_record(setup: Setup) -> Iterator[None]:
    """Keep in the run's folder why it failed, if it does."""
    from ternevo.files import replace_text
    from ternevo.machine import devices

    try:
        yield
    except Exception as error:
        if devices.is_first_process():
            with contextlib.suppress(OSError):  # a full disk, which may be what it failed for
                replace_text(setup.folder.failure, f"{type(error).__name__}: {error}\n")
        raise


@contextlib.contextmanager
def naming_what_to_lower(setup: Setup) -> Iterator[None]:
    """Turn an error of a device that has no memory left into one that says what to do.

    Raises:
      OutOfMemory: a device has too little memory.
    """
    import jax

    from ternevo.machine import device_memory

    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not device_memory.is_exhausted(error):
            raise
        raise device_memory.OutOfMemory(_what_to_lower(setup, error)) from error


def _what_to_lower(setup: Setup, error: Exception) -> str:
    """Say which options cost memory, and on which of them no result of a CPU depends."""
    config, saved = setup.config, setup.folder.saved_generations
    settings = config, config.strategy, config.policy
    values = {name: value for each in settings for name, value in flat(each).items()}
    free, others = (
        ", ".join(
            f"--{name} (now {values[name] or 'chosen by itself'})"
            for name in with_meaning(what, *settings)
        )
        for what in ("bounds_memory", "costs_memory")
    )
    reason = (str(error).splitlines() or ["MemoryError"])[0].rstrip(".")
    first = (
        f"Set {free} to a small number such as 64, which changes no result on a CPU, and go on by "
        "--resume; or lower"
        if free
        else "Lower"
    )
    kept = f"Checkpoint {saved[-1]} is kept" if saved else "There is no checkpoint yet"
    return f"out of memory: {reason}. {first} {others} under another --name. {kept}"


def _train(setup: Setup, stop: Stop) -> "list[Row]":
    """Start or resume, go through the chunks, draw the curves; return each seed's newest row."""
    from ternevo.machine import devices, profiling
    from ternevo.training import loop
    from ternevo.training.animations import Animations
    from ternevo.training.checkpoint import Checkpoints

    config = setup.config
    with Checkpoints(setup.folder.checkpoints) as checkpoints:
        state = start_or_restore(setup, checkpoints)
        print("compiling; brax takes a minute or two, the next time less", flush=True)
        with contextlib.ExitStack() as stack:
            profiled = config.profile if devices.is_first_process() else None
            around = stack.enter_context(profiling.profiler(profiled))
            records = stack.enter_context(
                contextlib.closing(open_records(setup, int(state.generation)))
            )
            check_memory(setup, state)
            animations = Animations(setup)
            has_warned = False
            for chunk in loop.train(
                setup.strategy,
                state,
                config.num_generations,
                config.chunk_size,
                stop_every=(config.checkpoint_every, config.render_every),
                should_stop=lambda: bool(stop.signal),
                around=around,
            ):
                record(setup, records, checkpoints, chunk)
                if not has_warned:
                    warn_of_unseen(setup, chunk.state)
                    has_warned = True
                state = chunk.state
                if animations.is_due(int(state.generation)):
                    animate(setup, animations, records, state)
                if int(state.generation) % config.checkpoint_every == 0:
                    # Last, and with rows on the disk: a resumed run makes nothing before it again.
                    records.sync()
                    save(setup, checkpoints, state)
        save(setup, checkpoints, state)
    if devices.is_first_process():
        draw(setup)
    return records.last


def start_or_restore(setup: Setup, checkpoints: "Checkpoints") -> "TrainState":
    """Return the newest checkpoint of a resumed run, else the state before the first generation.

    Raises:
      CheckpointError: the newest cannot be read, or all are gone from a run that had some.
    """
    from ternevo.strategies.across_seeds import keys_of, of_each_seed
    from ternevo.strategies.warm_start import check_starts
    from ternevo.training import loop
    from ternevo.training.checkpoint import CheckpointError

    first = loop.start(keys_of(setup.config.seeds), setup.strategy)
    if setup.config.resume and checkpoints.latest() is not None:
        state = checkpoints.restore(first)
        print(f"resumed after generation {int(state.generation)}", flush=True)
        return state
    if any(folder.policy.exists() for folder in setup.seed_folders.values()):
        raise CheckpointError(
            f"{setup.folder.path} has a policy and no checkpoint, so it cannot go on: put "
            "checkpoints/ back, or begin at its policy, by --init_from under another --name"
        )
    if setup.config.resume:
        print(f"nothing to resume in {setup.folder.path}: starting", flush=True)
    if setup.start:
        params = setup.strategy.params(first.strategy)
        for found in of_each_seed(params, setup.config.num_seeds):
            check_starts(found, setup.start)
        print(f"starting from {setup.start}", flush=True)
    return first


def check_memory(setup: Setup, state: "TrainState") -> None:
    """Compile the program of several seeds, and refuse it if it needs more memory than there is."""
    import jax.numpy as jnp

    from ternevo.machine import device_memory
    from ternevo.training import loop

    if setup.config.num_seeds > 1:
        program = loop.advance.lower(setup.strategy, state, jnp.asarray(1, jnp.int32)).compile()
        device_memory.check_seeds_fit(program, setup.config.num_seeds)


def record(setup: Setup, records: "Records", checkpoints: "Checkpoints", chunk: "Chunk") -> None:
    """Write the rows of a chunk, up to where training diverged.

    Raises:
      Diverged: it did.
    """
    from ternevo.strategies.across_seeds import of_each_seed
    from ternevo.training import loop

    found = loop.divergence(chunk.metrics)
    total = len(next(iter(chunk.metrics.values())))
    count = total if found is None else found.row
    finite = {name: values[:count] for name, values in chunk.metrics.items()}
    metrics_of_each = of_each_seed(finite, setup.config.num_seeds, axis=1)
    records.write(metrics_of_each, chunk.first_generation, chunk.seconds * count / total)
    if found:
        generation = chunk.first_generation + count + 1
        raise loop.Diverged(_what_diverged(setup, checkpoints, found, generation))


def warn_of_unseen(setup: Setup, state: "TrainState") -> None:
    """Name the components of observations of which nothing was finite so far."""
    import numpy as np
    from tqdm import tqdm

    from ternevo.machine import devices

    if not devices.is_first_process() or setup.env.obs.kind != "floats":
        return
    params = setup.strategy.params(devices.own_copy(state.strategy))
    count = np.asarray(params.moments.count).reshape(-1, setup.env.obs.size)
    keeps_moments = bool(count.any()) or ":" not in setup.config.strategy_name
    never = np.flatnonzero((count == 0).any(axis=0)).tolist()
    if never and keeps_moments:
        generation = int(state.generation)
        tqdm.write(what_was_never_finite(never, setup.env.obs.size, generation), file=sys.stderr)


def what_was_never_finite(components: list[int], obs_size: int, generation: int) -> str:
    """Return the warning that names components of an observation.

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


def _what_diverged(
    setup: Setup, checkpoints: "Checkpoints", found: "Divergence", generation: int
) -> str:
    from ternevo.types import LEFT_OUT

    kept = checkpoints.latest()
    saved = f"the newest checkpoint is {setup.folder.checkpoints / str(kept)}"
    where = f"in generation {generation} of seed {setup.config.seeds[found.seed]}"
    what = f"{found.metric} is {found.value} {where}"
    if found.metric == LEFT_OUT:
        what = f"the update of the search {where} is not finite, and was left out"
    smaller = " or ".join(
        f"--{name}" for name in with_meaning("shortens_steps", setup.config.strategy)
    )
    return (
        f"training diverged: {what}; "
        f"{saved if kept is not None else 'there is no checkpoint yet'}. "
        f"Try {f'a smaller {smaller}' if smaller else 'other settings'}, under another --name"
    )


def save(setup: Setup, checkpoints: "Checkpoints", state: "TrainState") -> None:
    """Save the state, and the two policies it holds for each seed."""
    from ternevo.machine import devices
    from ternevo.strategies.across_seeds import of_each_seed

    checkpoints.save(state)
    if not devices.is_first_process():
        return
    evaluated = devices.own_copy(state.strategy)
    policies = (setup.strategy.params(evaluated), evaluated.best)
    of_each = of_each_seed(
        (*policies, evaluated.best_generation, evaluated.best_return), setup.config.num_seeds
    )
    for (seed, folder), found in zip(setup.seed_folders.items(), of_each, strict=True):
        last, best, best_generation, best_return = found
        info = {"strategy": setup.config.strategy_name, "seed": seed}
        save_policy(setup, folder.policy, last, {**info, "generation": int(state.generation)})
        info["generation"] = int(best_generation)
        if math.isfinite(best_return):
            info["return"] = float(best_return)
        save_policy(setup, folder.best_policy, best, info)


def animate(
    setup: Setup, animations: "Animations", records: "Records", state: "TrainState"
) -> None:
    """Draw an episode of the first seed's current policy, and show it where metrics go."""
    from ternevo.machine import devices
    from ternevo.strategies.across_seeds import of_each_seed

    if not devices.is_first_process():
        return
    params = setup.strategy.params(devices.own_copy(state.strategy))
    first = of_each_seed(params, setup.config.num_seeds)[0]
    animations.draw(first, int(state.generation), records.animate)


def save_policy(
    setup: Setup, path: Path, params: "PolicyParams", info: dict[str, str | int | float]
) -> None:
    """Write one policy file, with strings and numbers about its origin."""
    from ternevo.policies import policy_file

    config = setup.config
    policy_file.save(path, setup.env, config.policy_name, config.policy, params, info)


def open_records(setup: Setup, generation: int) -> "Records":
    """Open metrics.jsonl, the progress bar, and what `--track` names, to go on after a generation.

    Only the first process has any. Each seed has its own metrics.jsonl and TensorBoard; the
    progress bar and wandb get the means over seeds.
    """
    from ternevo.machine import devices
    from ternevo.runs import sinks

    config, folders = setup.config, list(setup.seed_folders.values())
    if not devices.is_first_process():
        return sinks.Records([{} for _ in folders], [[] for _ in folders], [])
    trackers = [name.strip() for name in config.track.split(",")]
    last = [sinks.cut_jsonl(folder.metrics, generation) for folder in folders]
    mean = sinks.mean_rows([[row] for row in last])[0] if generation else {}
    common: list[Sink] = [_open_wandb(setup)] if "wandb" in trackers else []
    boards = [  # before metrics.jsonl is opened: they may be missing
        [sinks.TensorBoard(folder.path / "tensorboard", generation)]
        for folder in folders
        if "tensorboard" in trackers
    ] or [[] for _ in folders]
    own: list[list[Sink]] = [
        [sinks.Jsonl(folder.metrics), *board] for folder, board in zip(folders, boards, strict=True)
    ]
    common.append(sinks.Console(config.num_generations, mean, config.num_seeds))
    return sinks.Records(last, own, common)


def _open_wandb(setup: Setup) -> "Sink":
    """Open a run of wandb; in a trial of an agent, the one that the agent announced."""
    from ternevo.runs import sinks, wandb_agent
    from ternevo.runs.run_folder import read_json

    config, folder, trial = setup.config, setup.folder, wandb_agent.trial()
    settings = read_json(folder.config)
    # Project and id are the agent's then: wandb reads them itself, and warns of others.
    place = {} if trial else {"project": config.wandb_project, "id": settings["id"]}
    return sinks.Wandb(
        **place,
        group=config.wandb_group or (trial.sweep if trial else None),
        tags=[tag.strip() for tag in config.wandb_tags.split(",") if tag],
        mode=config.wandb_mode,
        name=folder.path.name,
        resume="allow",
        dir=str(folder.path),
        config=settings["settings"],
    )


if __name__ == "__main__":
    main()
