"""One run, from its configuration to its result."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from ternevo.files import replace_text
from ternevo.host.scoring import HostError
from ternevo.installation import MissingExtra
from ternevo.machine import callbacks, device_memory, devices, profiling
from ternevo.machine.device_memory import OutOfMemory
from ternevo.machine.interruption import Stop, on_signals
from ternevo.machine.phases import Phases
from ternevo.runs import claims
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import RunFolder
from ternevo.runs.sinks import Records, Sink
from ternevo.settings.command_line import RunConfig
from ternevo.strategies.across_seeds import keys_of, of_each_seed
from ternevo.strategies.warm_start import check_starts
from ternevo.training import archives, buffers, loop, policies
from ternevo.training.advice import (
    naming_what_to_lower,
    warn_of_unseen,
    warn_of_unused,
    what_diverged,
    what_is_saved,
)
from ternevo.training.animations import Animations
from ternevo.training.checkpoint import CheckpointError, Checkpoints
from ternevo.training.loop import Chunk, Diverged
from ternevo.training.results import draw, finish
from ternevo.training.setup import Setup, build
from ternevo.training.tracking import open_records
from ternevo.types import TrainState


@contextlib.contextmanager
def errors_as_status() -> Iterator[None]:
    """Print an error of a run as one line, and exit with 1 if training failed, otherwise 2."""
    try:
        yield
    except (Diverged, HostError, OutOfMemory) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except (CheckpointError, RunFolderError, MissingExtra, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def run(
    config: RunConfig,
    stop: Stop | None = None,
    time: Phases | None = None,
    sinks: Sequence[Sink] = (),
) -> RunFolder:
    """Train, evaluate, save and draw; return the run's folder.

    Args:
      config: the run; unless it is distributed, its folder is held by the caller.
      stop: an event to set, from a signal or another thread, to stop after the current chunk.
      time: the phases of the run so far, such as its imports.
      sinks: further sinks of metrics, of the mean over seeds.

    Raises:
      UnknownName, ValueError: the configuration is invalid.
      RunFolderError: the run's name is taken, or another process is working on it.
      CheckpointError: a checkpoint cannot be read or saved.
      Diverged: a loss or an update is not finite; what was saved before is kept.
      OutOfMemory: a device has too little memory; what was saved before is kept.
      NoDevice: JAX does not find the requested kind or number of devices.
      NotFloat32: JAX computes in float64.
      SystemExit: the run was stopped; its state is saved.
    """
    devices.check_float32()
    callbacks.forget()
    devices.use_cores(config.num_jax_devices)
    if config.distributed:
        devices.join_processes()
    devices.check_there_are_some()
    time = time or Phases()
    with time.phase("importing", f"loading {config.env}"):
        setup = build(config, time)  # not on the mesh: brax binds what it loads to one device
    warn_of_unused(setup)
    with begun(setup), failure_on_record(setup), naming_what_to_lower(setup):
        train_and_finish(setup, stop or Stop(), sinks)
    return setup.folder


@contextlib.contextmanager
def begun(setup: Setup) -> Iterator[None]:
    """Make or check the run's folder in the first process; others wait for it.

    A run of one process holds its folder already. One of several holds it in the first of them.
    """
    with contextlib.ExitStack() as stack:
        if devices.is_first_process():
            with devices.telling_others():
                if setup.config.distributed:
                    stack.enter_context(claims.holding(setup.config))
                claims.create(setup.config, setup.env.id)
        else:
            devices.follow_first()
        yield


def train_and_finish(setup: Setup, stop: Stop, sinks: Sequence[Sink]) -> None:
    """Train on all devices; then, unless the run was stopped, write its results."""
    config = setup.config
    with contextlib.ExitStack() as until_finished:
        with devices.on_all_devices(0 if config.distributed else config.num_jax_devices):
            with on_signals(stop):
                records = _train(setup, stop, sinks, until_finished)
            stopped_by = devices.agreed(stop.signal)
        if stopped_by:
            print(
                f"interrupted: the state is saved in {setup.folder.checkpoints}; "
                "continue with the same command and --resume"
            )
            raise SystemExit(128 + stopped_by)
        if devices.is_first_process():
            finish(setup, records)


@contextlib.contextmanager
def failure_on_record(setup: Setup) -> Iterator[None]:
    """If the run fails, record the reason in its folder."""
    try:
        yield
    except Exception as error:
        if devices.is_first_process():
            with contextlib.suppress(OSError):  # such as a full disk, which may be why it failed
                replace_text(setup.folder.failure, f"{type(error).__name__}: {error}\n")
        raise


def _train(
    setup: Setup, stop: Stop, sinks: Sequence[Sink], until_finished: contextlib.ExitStack
) -> Records:
    """Start or resume, run the chunks, draw the curves; return the records.

    `until_finished` closes the trackers among them, which also get the results.
    """
    config = setup.config
    with Checkpoints(
        setup.folder.checkpoints, with_buffers=config.checkpoint_buffers
    ) as checkpoints:
        state = start_or_restore(setup, checkpoints)
        size = buffers.size_of(state)
        if size and devices.is_first_process():
            print(buffers.described(config, size), flush=True)
        with contextlib.ExitStack() as stack:
            profiled = config.profile if devices.is_first_process() else None
            around = stack.enter_context(profiling.profiler(profiled))
            records = until_finished.enter_context(
                contextlib.closing(open_records(setup, int(state.generation), sinks))
            )
            stack.callback(records.end_training)
            state = compiled(setup, state)
            animations = Animations(setup)
            has_warned = False
            stack.enter_context(setup.time.phase("training"))
            for chunk in loop.train(
                setup.strategy,
                state,
                config.num_generations,
                config.chunk_size,
                stop_every=(config.checkpoint_every, config.render_every),
                should_stop=lambda: bool(stop.signal) or stop.is_enough,
                evaluation=setup.evaluation,
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
                    # Last, after the rows are on disk: a resumed run does not redo anything before.
                    records.sync()
                    save(setup, checkpoints, state)
        save(setup, checkpoints, state)
    archives.save(setup, state)
    if devices.is_first_process():
        draw(setup)
    return records


def start_or_restore(setup: Setup, checkpoints: Checkpoints) -> TrainState:
    """Return the newest checkpoint of a resumed run, else the state before the first generation.

    Raises:
      CheckpointError: the newest cannot be read, or a run has lost all its checkpoints.
      ValueError: the buffers of several seeds do not fit into memory.
    """
    keys = keys_of(setup.config.seeds)
    if setup.config.num_seeds > 1:
        shapes = jax.eval_shape(lambda keys: loop.start(keys, setup.strategy), keys)
        buffers.check_fit(setup.config, buffers.size_of(shapes))
    first = setup.evaluation.begun(setup.strategy, loop.start(keys, setup.strategy))
    if setup.config.resume and checkpoints.latest() is not None:
        state = checkpoints.restore(first)
        lost = buffers.what_resuming_loses(setup.config, buffers.size_of(state))
        print(f"resumed after generation {int(state.generation)}{lost}", flush=True)
        return state
    if any(folder.policy.exists() for folder in setup.seed_folders.values()):
        raise CheckpointError(
            f"{setup.folder.path} has a policy but no checkpoint, so it cannot be resumed: put "
            "checkpoints/ back, or start from its policy with --init_from and another --name"
        )
    if setup.config.resume:
        print(f"nothing to resume in {setup.folder.path}: starting", flush=True)
    if setup.start:
        params = setup.strategy.params(first.strategy)
        for found in of_each_seed(params, setup.config.num_seeds):
            check_starts(found, setup.start)
        print(f"starting from {setup.start}", flush=True)
    return first


def compiled(setup: Setup, state: TrainState) -> TrainState:
    """Compile the program of a generation; return the state, whose buffers are reused.

    Raises:
      OutOfMemory: the program of several seeds needs more memory than there is.
    """
    config = setup.config
    words = f"compiling a generation of {config.strategy_name} on {setup.env.id}"
    if config.compilation_cache:
        words += " (quicker the next time)"
    with setup.time.phase("compiling", words):
        check_memory(setup, state)
        return loop.compiled(setup.strategy, state, setup.evaluation)


def check_memory(setup: Setup, state: TrainState) -> None:
    """Compile the program of several seeds, and reject it if it needs more memory than there is."""
    if setup.config.num_seeds > 1:
        count = jnp.asarray(1, jnp.int32)
        program = loop.advance.lower(setup.strategy, state._replace(best=None), count).compile()
        device_memory.check_seeds_fit(program, setup.config.num_seeds)


def record(setup: Setup, records: Records, checkpoints: Checkpoints, chunk: Chunk) -> None:
    """Write the rows of a chunk, up to where training diverged.

    Raises:
      Diverged: it did.
      HostError: a simulator outside JAX failed.
    """
    found = loop.divergence(chunk.metrics)
    failed = callbacks.take_error()
    total = len(next(iter(chunk.metrics.values())))
    count = found.row if found else 0 if failed else total
    finite = {name: values[:count] for name, values in chunk.metrics.items()}
    metrics_of_each = of_each_seed(finite, setup.config.num_seeds, axis=1)
    records.write(metrics_of_each, chunk.first_generation, chunk.seconds * count / total)
    if failed:
        raise HostError(f"{failed}; {what_is_saved(setup, checkpoints)}") from failed
    if found:
        generation = chunk.first_generation + count + 1
        raise loop.Diverged(what_diverged(setup, checkpoints, found, generation))


def save(setup: Setup, checkpoints: Checkpoints, state: TrainState) -> None:
    """Save the state, and the two policies it holds for each seed."""
    checkpoints.save(state)
    found = policies.policies_of(setup, state)
    if devices.is_first_process():
        policies.save(setup, found, int(state.generation))


def animate(setup: Setup, animations: Animations, records: Records, state: TrainState) -> None:
    """Draw an episode of the first seed's current policy, and show it in the metric sinks."""
    found = policies.policies_of(setup, state)
    if devices.is_first_process():
        first = of_each_seed(found.last, setup.config.num_seeds)[0]
        animations.draw(first, int(state.generation), records.animate)
