"""`python -m ternevo.run`: from arguments to a trained policy, a curve, and an episode to watch."""

import contextlib
import itertools
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ternevo.compilation_cache import disable_compilation_cache, enable_compilation_cache
from ternevo.config import RunConfig, parse

if TYPE_CHECKING:
    import jax

    from ternevo.checkpoint import Checkpoints
    from ternevo.run_folder import RunFolder
    from ternevo.sinks import Row, Sink
    from ternevo.types import Env, PolicyParams, Strategy, TrainState


FINAL_EVALUATION = 2**31 - 1
SHOWN_EPISODE = 2**31 - 2
"""Numbers folded into the seed's key for what comes after training."""


class Setup(NamedTuple):
    """The nouns of a run, built from its configuration."""

    config: RunConfig
    env: "Env"
    strategy: "Strategy"
    folder: "RunFolder"


def main(argv: list[str] | None = None) -> None:
    """Run what the command line says; exit 2 on bad input, 130 or 143 when interrupted."""
    config = parse(argv)
    print(f"ternevo: {config.strategy_name} on {config.env}, seed {config.seed}", flush=True)
    from ternevo.checkpoint import CheckpointError
    from ternevo.names import UnknownName
    from ternevo.run_folder import RunFolderError
    from ternevo.sinks import MissingExtra

    try:
        run(config)
    except (
        CheckpointError,
        RunFolderError,
        MissingExtra,
        UnknownName,
        OSError,
        ValueError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def run(config: RunConfig) -> "RunFolder":
    """Train, evaluate, save and draw; return the run's folder.

    Raises:
      UnknownName, ValueError: the configuration makes no sense.
      RunFolderError: the run's name is taken.
      SystemExit: a signal stopped the run; its state is saved.
    """
    from ternevo import devices

    devices.use_cores(config.num_devices)
    if config.distributed:
        devices.join_processes()
    setup = build(config)  # not on the mesh: brax binds what it loads to one device
    with devices.on_all_devices(0 if config.distributed else config.num_devices):
        with interruptible() as interruption:
            rows = _train(setup, interruption)
        stopped_by = devices.agreed(interruption[0] if interruption else 0)
    if stopped_by:
        print(
            f"interrupted: the state is saved in {setup.folder.checkpoints}; "
            "the same command with --resume goes on"
        )
        raise SystemExit(128 + stopped_by)
    if devices.is_first_process():
        finish(setup, rows)
    return setup.folder


def build(config: RunConfig) -> Setup:
    """Build environment, policy and strategy, and make the run's folder."""
    if config.profile:
        make_profile_folder(config.profile)
    (enable_compilation_cache if config.compilation_cache else disable_compilation_cache)()
    from ternevo import devices, envs, run_folder
    from ternevo.strategies.evaluation import with_evaluation

    env = envs.make(config.env, config.episode_length)
    policy = config.policy.build(env.obs_size, env.action)
    strategy = config.strategy.build(env, policy, config.policy.weights, config.num_generations)
    strategy = with_evaluation(strategy, policy, env, config.eval_every, config.num_eval_episodes)
    folder = run_folder.folder_of(config, env.id)
    if devices.is_first_process():
        with devices.telling_others():
            run_folder.create(config, env.id)
    else:
        devices.follow_first()
    return Setup(config, env, strategy, folder)


def _train(setup: Setup, interruption: list[int]) -> "list[Row]":
    """Start or resume, go through the chunks, draw the curve; return all rows of the run."""
    from ternevo import devices, plots, sinks, train
    from ternevo.checkpoint import Checkpoints

    config, folder = setup.config, setup.folder
    with Checkpoints(folder.checkpoints) as checkpoints:
        state = start_or_restore(setup, checkpoints)
        is_first = devices.is_first_process()
        rows = sinks.cut_jsonl(folder.metrics, int(state.generation)) if is_first else []
        print("compiling; brax takes a minute or two, the next time less", flush=True)
        with contextlib.ExitStack() as stack:
            around = stack.enter_context(profiler(config.profile if is_first else None))
            outputs = open_sinks(setup, rows[-1] if rows else {}) if is_first else []
            for output in outputs:
                stack.callback(output.close)
            for chunk in train.train(
                setup.strategy,
                state,
                config.num_generations,
                config.chunk_size,
                stop_every=config.checkpoint_every,
                should_stop=lambda: bool(interruption),
                around=around,
            ):
                state = chunk.state
                before = rows[-1] if rows else {}
                new = sinks.rows_of(chunk.metrics, chunk.first_generation, before, chunk.seconds)
                for output in outputs:
                    output.write(new)
                rows += new
                if int(state.generation) % config.checkpoint_every == 0:
                    save(setup, checkpoints, state)
        save(setup, checkpoints, state)
    if not is_first:
        return rows
    title = f"{setup.env.id}, {config.strategy_name}, {config.policy.weights}, seed {config.seed}"
    plots.learning_curve(rows, title, folder.curve)
    return rows


def make_profile_folder(folder: Path) -> None:
    """Make the folder of `--profile`, before hours of training rather than after them.

    Raises:
      ValueError: it cannot be made, or not be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--profile must be a folder, and {folder} cannot be one: {error.strerror}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"--profile must be a folder to write into, and {folder} is not")


@contextlib.contextmanager
def profiler(
    folder: Path | None,
) -> "Iterator[Callable[[bool], contextlib.AbstractContextManager[None]]]":
    """Yield what goes around each chunk: a trace of the second one, or of the only one.

    The first chunk is mostly compilation.
    """
    numbers, traced = itertools.count(), []

    def around(is_last: bool) -> contextlib.AbstractContextManager[None]:
        number = next(numbers)
        if folder is None or not (number == 1 or (number == 0 and is_last)):
            return contextlib.nullcontext()
        traced.append(number)
        return trace(folder, compiles=number == 0)

    yield around
    if folder and not traced:
        print("no profile: the run ended before the chunk that would have been traced")


@contextlib.contextmanager
def trace(folder: Path, compiles: bool) -> Iterator[None]:
    """Write jax's profiler trace of a chunk into a folder; say where it is, how to open it."""
    import jax
    from tqdm import tqdm

    options = jax.profiler.ProfileOptions()
    # What jax calls to trace a program would fill the million events that the Perfetto file holds.
    options.python_tracer_level = 0 if compiles else 1
    with jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options):
        yield
    written = max((folder / "plugins" / "profile").iterdir(), key=lambda path: path.stat().st_mtime)
    what = "the only chunk, with its compilation" if compiles else "a chunk"
    tqdm.write(  # above the progress bar, not into it
        f"profile of {what}: open {written / 'perfetto_trace.json.gz'} on "
        "https://ui.perfetto.dev; docs/profiling.md tells how to read it"
    )


def start_or_restore(setup: Setup, checkpoints: "Checkpoints") -> "TrainState":
    """Return the newest checkpoint of a resumed run, else the state before the first generation."""
    import jax

    from ternevo import train

    key = jax.random.key(setup.config.seed)
    first = train.start(key, setup.strategy)
    if not setup.config.resume:
        return first
    if checkpoints.latest() is None:
        print(f"nothing to resume in {setup.folder.path}: starting", flush=True)
        return first
    state = checkpoints.restore(first)
    print(f"resumed after generation {int(state.generation)}", flush=True)
    return state


def save(setup: Setup, checkpoints: "Checkpoints", state: "TrainState") -> None:
    """Save the state, and the two policies it holds."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ternevo import devices

    checkpoints.save(state)
    if not devices.is_first_process():
        return
    # Only this process goes on: it must not compute with arrays that are on all hosts.
    evaluated = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state.strategy)
    last, best = int(state.generation), int(evaluated.best_generation)
    save_policy(setup, setup.folder.policy, setup.strategy.params(evaluated), last)
    save_policy(setup, setup.folder.best_policy, evaluated.best, best)


def save_policy(setup: Setup, path: Path, params: "PolicyParams", generation: int) -> None:
    """Write one policy file."""
    from ternevo import policy_file

    config = setup.config
    info = {"strategy": config.strategy_name, "seed": config.seed, "generation": generation}
    policy_file.save(path, setup.env, config.policy_name, config.policy, params, info)


def open_sinks(setup: Setup, before: "Row") -> "list[Sink]":
    """Open metrics.jsonl, the progress bar, and what `--track` names, to go on after a row."""
    from ternevo import sinks
    from ternevo.run_folder import read_json

    config, folder = setup.config, setup.folder
    done = before.get("generation", 0)
    outputs: list[Sink] = []
    for name in filter(None, config.track.split(",")):
        if name.strip() == "tensorboard":
            outputs.append(sinks.TensorBoard(folder.path / "tensorboard", done))
        else:
            record = read_json(folder.config)
            outputs.append(
                sinks.Wandb(
                    project=config.wandb_project,
                    group=config.wandb_group,
                    tags=[tag.strip() for tag in config.wandb_tags.split(",") if tag],
                    mode=config.wandb_mode,
                    name=folder.path.name,
                    id=record["id"],
                    resume="allow",
                    dir=str(folder.path),
                    config=record["settings"],
                )
            )
    return [*outputs, sinks.Jsonl(folder.metrics), sinks.Console(config.num_generations, before)]


def finish(setup: Setup, rows: "list[Row]") -> None:
    """Evaluate both policies on fresh episodes, draw, render, and say where everything is."""
    from ternevo.files import replace_text

    config, folder = setup.config, setup.folder
    last = rows[-1] if rows else {"generation": 0, "env_steps": 0, "wall_time": 0.0}
    result: dict[str, Any] = {key: last[key] for key in ("generation", "env_steps", "wall_time")}
    print(f"evaluating on {config.num_final_episodes} fresh episodes", flush=True)
    result |= final_evaluations(setup)
    replace_text(folder.result, json.dumps(result, indent=2) + "\n")
    print(
        f"done        {setup.env.id} with {config.strategy_name}: "
        f"{last['generation']} generations, {last['env_steps']:,} steps, {last['wall_time']:.0f} s"
    )
    for label in ("policy", "best_policy"):
        print(f"{label:<12}{getattr(folder, label)}  {_in_words(result[label])}")
    print(f"curve       {folder.curve}")
    if config.render:
        print(f"episode     {render_best(setup)}")
    print(f"checkpoint  {folder.checkpoints / str(last['generation'])}", flush=True)


def final_evaluations(setup: Setup) -> dict[str, dict[str, Any]]:
    """Evaluate both policy files on the same fresh episodes, with one compiled program."""
    import jax

    from ternevo import devices, policy_file
    from ternevo.strategies.evaluation import evaluate_policy

    folder, num_episodes = setup.folder, setup.config.num_final_episodes
    last, best = policy_file.load(folder.policy), policy_file.load(folder.best_policy)
    key = jax.random.fold_in(jax.random.key(setup.config.seed), FINAL_EVALUATION)
    # The key is an argument: as a constant it would make another program for each seed.
    run = jax.jit(
        lambda weights, quantiser, key: (
            evaluate_policy(last.policy, setup.env, weights, quantiser, key, num_episodes).returns
        )
    )
    with devices.on_own_devices():
        return {
            label: _summary(run(saved.weights, saved.quantiser, key))
            for label, saved in (("policy", last), ("best_policy", best))
        }


def _summary(returns: "jax.Array") -> dict[str, Any]:
    """Return mean, standard deviation and count of returns as JSON values."""
    mean, std = float(returns.mean()), float(returns.std())
    return {
        "return_mean": mean if math.isfinite(mean) else None,  # JSON has no NaN
        "return_std": std if math.isfinite(std) else None,
        "episodes": returns.size,
    }


def render_best(setup: Setup) -> str:
    """Render an episode of the best policy; return where it is, or why there is none."""
    import jax

    from ternevo import envs, episode, policy_file
    from ternevo.names import UnknownName

    saved = policy_file.load(setup.folder.best_policy)
    key = jax.random.fold_in(jax.random.key(setup.config.seed), SHOWN_EPISODE)
    recorded = episode.record(saved, setup.env, key)
    try:
        path = envs.render(setup.env.id, recorded.states, setup.folder.episode)
    except (ModuleNotFoundError, UnknownName) as error:
        return f"not rendered: {error}"
    return f"{path}  return {recorded.total:.1f} in {len(recorded.rewards)} steps"


def _in_words(result: dict[str, Any]) -> str:
    if result["return_mean"] is None:
        return f"return not finite ({result['episodes']} episodes)"
    return (
        f"return {result['return_mean']:.1f} "
        f"(std {result['return_std']:.1f}, {result['episodes']} episodes)"
    )


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Yield a list that gets the number of the first SIGINT or SIGTERM; a second SIGINT raises."""
    caught: list[int] = []

    def handle(number: int, frame: object) -> None:
        del frame
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not caught:
            caught.append(number)
            print("stopping after this chunk", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
