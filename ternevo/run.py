"""`python -m ternevo.run`: from arguments to a trained policy, a curve, and an episode to watch."""

import contextlib
import json
import math
import signal
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ternevo.compilation_cache import disable_compilation_cache, enable_compilation_cache
from ternevo.config import RunConfig, parse

if TYPE_CHECKING:
    import jax

    from ternevo.checkpoint import Checkpoints
    from ternevo.run_folder import RunFolder
    from ternevo.sinks import Records, Row, Sink
    from ternevo.strategies.start import Start
    from ternevo.train import Chunk, Divergence
    from ternevo.types import Env, Policy, PolicyParams, Strategy, TrainState


FINAL_EVALUATION = 2**31 - 1
SHOWN_EPISODE = 2**31 - 2
"""Numbers folded into the seed's key for what comes after training."""


class Setup(NamedTuple):
    """The nouns of a run, built from its configuration."""

    config: RunConfig
    env: "Env"
    strategy: "Strategy"
    folder: "RunFolder"
    start: "Start | None"

    @property
    def seed_folders(self) -> "dict[int, RunFolder]":
        """The folder of each seed."""
        from ternevo import run_folder

        return run_folder.seed_folders(self.config, self.folder)

    def title(self, seed: int | str) -> str:
        """Return the title of a learning curve."""
        config = self.config
        return f"{self.env.id}, {config.strategy_name}, {config.policy.weights}, seed {seed}"


def main(argv: list[str] | None = None) -> None:
    """Run what the command line says; exit 2 on bad input, 1 on divergence, 130 or 143 on a signal.

    A signal is SIGINT or SIGTERM.
    """
    config = parse(argv)
    print(f"ternevo: {config.strategy_name} on {config.env}, seed {config.seed_label}", flush=True)
    from ternevo.checkpoint import CheckpointError
    from ternevo.names import UnknownName
    from ternevo.run_folder import RunFolderError
    from ternevo.sinks import MissingExtra
    from ternevo.train import Diverged

    try:
        run(config)
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
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
      Diverged: a loss is not finite; what was saved before stays.
      SystemExit: a signal stopped the run; its state is saved.
    """
    from ternevo import devices

    devices.use_cores(config.num_devices)
    if config.distributed:
        devices.join_processes()
    setup = build(config)  # not on the mesh: brax binds what it loads to one device
    with devices.on_all_devices(0 if config.distributed else config.num_devices):
        with interruptible() as interruption:
            rows_of_each = _train(setup, interruption)
        stopped_by = devices.agreed(interruption[0] if interruption else 0)
    if stopped_by:
        print(
            f"interrupted: the state is saved in {setup.folder.checkpoints}; "
            "the same command with --resume goes on"
        )
        raise SystemExit(128 + stopped_by)
    if devices.is_first_process():
        finish(setup, rows_of_each)
    return setup.folder


def build(config: RunConfig) -> Setup:
    """Build environment, policy and strategy, and make the run's folder."""
    from ternevo import devices, envs, profiling, run_folder

    if config.profile:
        profiling.make_profile_folder(config.profile)
    (enable_compilation_cache if config.compilation_cache else disable_compilation_cache)()
    from ternevo.strategies import start

    env = envs.make(config.env, config.episode_length)
    policy = config.policy.build(env.obs_size, env.action)
    folder = run_folder.folder_of(config, env.id)
    source = run_folder.start_of(config, folder)
    begin = start.load(source, env, policy, config.policy.weights) if source else None
    strategy = build_strategy(config, env, policy, begin)
    if devices.is_first_process():
        with devices.telling_others():
            run_folder.create(config, env.id)
    else:
        devices.follow_first()
    return Setup(config, env, strategy, folder, begin)


def build_strategy(
    config: RunConfig, env: "Env", policy: "Policy", begin: "Start | None"
) -> "Strategy":
    """Build the strategy that the loop runs: with a start, tests of what ships, and all seeds."""
    from ternevo.strategies import start
    from ternevo.strategies.across_seeds import across_seeds
    from ternevo.strategies.evaluation import with_evaluation

    first = start.start_from(policy, begin.params.weights) if begin else policy
    strategy = config.strategy.build(env, first, config.policy.weights, config.num_generations)
    if begin:
        strategy = start.with_moments(strategy, begin.params.moments)
    strategy = with_evaluation(strategy, policy, env, config.eval_every, config.num_eval_episodes)
    return across_seeds(strategy, config.num_seeds)


def _train(setup: Setup, interruption: list[int]) -> "list[list[Row]]":
    """Start or resume, go through the chunks, draw the curves; return each seed's rows."""
    from ternevo import devices, profiling, train
    from ternevo.checkpoint import Checkpoints

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
            for chunk in train.train(
                setup.strategy,
                state,
                config.num_generations,
                config.chunk_size,
                stop_every=config.checkpoint_every,
                should_stop=lambda: bool(interruption),
                around=around,
            ):
                record(setup, records, checkpoints, chunk)
                state = chunk.state
                if int(state.generation) % config.checkpoint_every == 0:
                    save(setup, checkpoints, state)
        save(setup, checkpoints, state)
    if devices.is_first_process():
        draw(setup, records.rows)
    return records.rows


def start_or_restore(setup: Setup, checkpoints: "Checkpoints") -> "TrainState":
    """Return the newest checkpoint of a resumed run, else the state before the first generation."""
    from ternevo import train
    from ternevo.strategies.across_seeds import keys_of, of_each_seed
    from ternevo.strategies.start import check_starts

    first = train.start(keys_of(setup.config.seeds), setup.strategy)
    if setup.config.resume and checkpoints.latest() is not None:
        state = checkpoints.restore(first)
        print(f"resumed after generation {int(state.generation)}", flush=True)
        return state
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

    from ternevo import memory, train

    if setup.config.num_seeds > 1:
        program = train.advance.lower(setup.strategy, state, jnp.asarray(1, jnp.int32)).compile()
        memory.check_seeds_fit(program, setup.config.num_seeds)


def record(setup: Setup, records: "Records", checkpoints: "Checkpoints", chunk: "Chunk") -> None:
    """Write the rows of a chunk, up to where training diverged.

    Raises:
      Diverged: it did.
    """
    from ternevo import train
    from ternevo.strategies.across_seeds import of_each_seed

    found = train.divergence(chunk.metrics)
    total = len(next(iter(chunk.metrics.values())))
    count = total if found is None else found.row
    finite = {name: values[:count] for name, values in chunk.metrics.items()}
    metrics_of_each = of_each_seed(finite, setup.config.num_seeds, axis=1)
    records.write(metrics_of_each, chunk.first_generation, chunk.seconds * count / total)
    if found:
        generation = chunk.first_generation + count + 1
        raise train.Diverged(_what_diverged(setup, checkpoints, found, generation))


def _what_diverged(
    setup: Setup, checkpoints: "Checkpoints", found: "Divergence", generation: int
) -> str:
    kept = checkpoints.latest()
    saved = f"the newest checkpoint is {setup.folder.checkpoints / str(kept)}"
    return (
        f"training diverged: {found.metric} is {found.value} in generation {generation} of seed "
        f"{setup.config.seeds[found.seed]}; "
        f"{saved if kept is not None else 'there is no checkpoint yet'}. "
        "Try a smaller --lr or --max_grad_norm, under another --name"
    )


def save(setup: Setup, checkpoints: "Checkpoints", state: "TrainState") -> None:
    """Save the state, and the two policies it holds for each seed."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ternevo import devices
    from ternevo.strategies.across_seeds import of_each_seed

    checkpoints.save(state)
    if not devices.is_first_process():
        return
    # Only this process goes on: it must not compute with arrays that are on all hosts.
    evaluated = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state.strategy)
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


def save_policy(
    setup: Setup, path: Path, params: "PolicyParams", info: dict[str, str | int | float]
) -> None:
    """Write one policy file, with strings and numbers about its origin."""
    from ternevo import policy_file

    config = setup.config
    policy_file.save(path, setup.env, config.policy_name, config.policy, params, info)


def open_records(setup: Setup, generation: int) -> "Records":
    """Open metrics.jsonl, the progress bar, and what `--track` names, to go on after a generation.

    Only the first process has any. Each seed has its own metrics.jsonl and TensorBoard; the
    progress bar and wandb get the means over seeds.
    """
    from ternevo import devices, sinks

    config, folders = setup.config, list(setup.seed_folders.values())
    if not devices.is_first_process():
        return sinks.Records([[] for _ in folders], [[] for _ in folders], [])
    trackers = [name.strip() for name in config.track.split(",")]
    rows = [sinks.cut_jsonl(folder.metrics, generation) for folder in folders]
    before = sinks.mean_rows([own[-1:] for own in rows])
    last = before[0] if before else {}
    common: list[Sink] = [_open_wandb(setup)] if "wandb" in trackers else []
    own: list[list[Sink]] = [[sinks.Jsonl(folder.metrics)] for folder in folders]
    if "tensorboard" in trackers:
        for folder, outputs in zip(folders, own, strict=True):
            outputs.append(sinks.TensorBoard(folder.path / "tensorboard", generation))
    common.append(sinks.Console(config.num_generations, last, config.num_seeds))
    return sinks.Records(rows, own, common)


def _open_wandb(setup: Setup) -> "Sink":
    from ternevo import sinks
    from ternevo.run_folder import read_json

    config, folder = setup.config, setup.folder
    settings = read_json(folder.config)
    return sinks.Wandb(
        project=config.wandb_project,
        group=config.wandb_group,
        tags=[tag.strip() for tag in config.wandb_tags.split(",") if tag],
        mode=config.wandb_mode,
        name=folder.path.name,
        id=settings["id"],
        resume="allow",
        dir=str(folder.path),
        config=settings["settings"],
    )


def draw(setup: Setup, rows_of_each: "list[list[Row]]") -> None:
    """Draw the learning curve of each seed, and of a joint run that of all seeds."""
    from ternevo import plots

    for (seed, folder), rows in zip(setup.seed_folders.items(), rows_of_each, strict=True):
        plots.learning_curve(rows, setup.title(seed), folder.curve)
    if setup.config.num_seeds > 1:
        title = setup.title(setup.config.seed_label)
        plots.seeds_curve(rows_of_each, title, setup.folder.curve)


def finish(setup: Setup, rows_of_each: "list[list[Row]]") -> None:
    """Evaluate all policies on fresh episodes, write results, render, say where everything is."""
    config, folders = setup.config, setup.seed_folders
    print(f"evaluating on {config.num_final_episodes} fresh episodes", flush=True)
    evaluations = final_evaluations(setup)
    results: list[dict[str, Any]] = [
        {**_totals(rows), **evaluation}
        for rows, evaluation in zip(rows_of_each, evaluations, strict=True)
    ]
    for folder, result in zip(folders.values(), results, strict=True):
        _write_result(folder, result)
    steps = sum(result["env_steps"] for result in results)
    print(
        f"done        {setup.env.id} with {config.strategy_name}: "
        f"{results[0]['generation']} generations, {steps:,} steps, {results[0]['wall_time']:.0f} s"
    )
    for folder, result in zip(folders.values(), results, strict=True):
        for label in ("policy", "best_policy"):
            print(f"{label:<12}{getattr(folder, label)}  {_in_words(result[label])}")
    if config.num_seeds > 1:
        print(f"all seeds   {_finish_seeds(setup, results)}")
    print(f"curve       {setup.folder.curve}")
    if config.render:
        print(f"episode     {render_best(setup)}")
    print(f"checkpoint  {setup.folder.checkpoints / str(results[0]['generation'])}", flush=True)


def _totals(rows: "list[Row]") -> dict[str, Any]:
    last = rows[-1] if rows else {"generation": 0, "env_steps": 0, "wall_time": 0.0}
    return {key: last[key] for key in ("generation", "env_steps", "wall_time")}


def _write_result(folder: "RunFolder", result: dict[str, Any]) -> None:
    from ternevo.files import replace_text

    replace_text(folder.result, json.dumps(result, indent=2) + "\n")


def _finish_seeds(setup: Setup, results: list[dict[str, Any]]) -> str:
    """Write the result of a joint run; return in words how its best policies did."""
    totals = {key: results[0][key] for key in ("generation", "wall_time")}
    over_seeds = {
        label: _over_seeds([result[label]["return_mean"] for result in results])
        for label in ("policy", "best_policy")
    }
    result = {
        "seeds": list(setup.config.seeds),
        **totals,
        "env_steps": [result["env_steps"] for result in results],
        **over_seeds,
    }
    _write_result(setup.folder, result)
    best = over_seeds["best_policy"]
    if best["mean"] is None:
        return "a return is not finite"
    return (
        f"{setup.folder.result}  best policies: return {best['mean']:.1f} "
        f"(std {best['std']:.1f}, {best['min']:.1f} to {best['max']:.1f})"
    )


def _over_seeds(returns: list[float | None]) -> dict[str, Any]:
    """Return statistics over seeds, None if a return is not finite."""
    finite = [x for x in returns if x is not None]
    is_known = len(finite) == len(returns)
    functions = {"mean": statistics.fmean, "std": statistics.pstdev, "min": min, "max": max}
    return {"returns": returns} | {
        name: function(finite) if is_known else None for name, function in functions.items()
    }


def final_evaluations(setup: Setup) -> list[dict[str, dict[str, Any]]]:
    """Evaluate each seed's two policy files on the same fresh episodes, with one program."""
    import jax

    from ternevo import devices, policy_file
    from ternevo.strategies.evaluation import evaluate_policy

    policy = setup.config.policy.build(setup.env.obs_size, setup.env.action)
    num_episodes = setup.config.num_final_episodes
    # The key is an argument: as a constant it would make another program for each seed.
    run = jax.jit(
        lambda weights, quantiser, key: (
            evaluate_policy(policy, setup.env, weights, quantiser, key, num_episodes).returns
        )
    )

    def evaluated(path: Path, seed: int) -> dict[str, Any]:
        saved = policy_file.load(path)
        key = jax.random.fold_in(jax.random.key(seed), FINAL_EVALUATION)
        return _summary(run(saved.weights, saved.quantiser, key))

    with devices.on_own_devices():
        return [
            {
                "policy": evaluated(folder.policy, seed),
                "best_policy": evaluated(folder.best_policy, seed),
            }
            for seed, folder in setup.seed_folders.items()
        ]


def _summary(returns: "jax.Array") -> dict[str, Any]:
    """Return mean, standard deviation and count of returns as JSON values."""
    mean, std = float(returns.mean()), float(returns.std())
    return {
        "return_mean": mean if math.isfinite(mean) else None,  # JSON has no NaN
        "return_std": std if math.isfinite(std) else None,
        "episodes": returns.size,
    }


def render_best(setup: Setup) -> str:
    """Render an episode of the first seed's best policy; return where it is, or why not."""
    import jax

    from ternevo import envs, episode, policy_file
    from ternevo.names import UnknownName

    folder = setup.seed_folders[setup.config.seed]
    saved = policy_file.load(folder.best_policy)
    key = jax.random.fold_in(jax.random.key(setup.config.seed), SHOWN_EPISODE)
    recorded = episode.record(saved, setup.env, key)
    try:
        path = envs.render(setup.env.id, recorded.states, folder.episode)
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
