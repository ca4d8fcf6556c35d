"""The results of a run: learning curves, evaluations on fresh episodes, an episode to watch."""

import contextlib
import json
import math
import statistics
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ternevo import envs, keys, problems
from ternevo.files import replace_text
from ternevo.machine import callbacks, devices
from ternevo.machine.interruption import ended_by_signals
from ternevo.names import UnknownName
from ternevo.policies import policy_file
from ternevo.rollouts import episode
from ternevo.runs import plots, topology
from ternevo.runs.run_folder import RunFolder
from ternevo.runs.sinks import Records, Result, Row, read_jsonl
from ternevo.training.evaluation import Episodes, mean_and_std
from ternevo.training.setup import Setup, elsewhere_of
from ternevo.types import Env, Key, PolicyParams


def draw(setup: Setup) -> None:
    """Draw the learning curve of each seed and, for a joint run, the curve of all seeds."""
    rows_of_each = [
        read_jsonl(folder.metrics, plots.LEARNING_CURVE) for folder in setup.seed_folders.values()
    ]
    for (seed, folder), rows in zip(setup.seed_folders.items(), rows_of_each, strict=True):
        plots.learning_curve(rows, setup.title(seed), folder.curve)
    if setup.config.num_seeds > 1:
        title = setup.title(setup.config.seed_label)
        plots.seeds_curve(rows_of_each, title, setup.folder.curve)


def finish(setup: Setup, records: Records) -> None:
    """Evaluate all policies on fresh episodes, write results, render, and print all paths.

    Args:
      setup: the run.
      records: the newest row of each seed, and the trackers that get the results.

    Raises:
      SystemExit: a signal came; what is done is kept, and the message says how to get the rest.
    """
    config, folders = setup.config, setup.seed_folders
    words = f"evaluating on {config.num_final_episodes} fresh episodes"
    with (
        setup.time.phase("evaluating", words),
        ended_by_signals(
            f"in the final evaluation: all of training is saved in {setup.folder.path}; the same "
            "command with --resume evaluates it and trains no more"
        ),
    ):
        evaluations = [
            settled(setup, folder, evaluation)
            for folder, evaluation in zip(folders.values(), final_evaluations(setup), strict=True)
        ]
        results = [
            {**_totals(row), **evaluation, **other}
            for row, evaluation, other in zip(
                records.last, evaluations, elsewhere(setup), strict=True
            )
        ]
        for folder, result in zip(folders.values(), results, strict=True):
            _write_result(folder, result)
        all_seeds = _finish_seeds(setup, results) if config.num_seeds > 1 else ""
        draw_networks(setup)
    with ended_by_signals(
        f"after the final evaluation: policies and results are saved in {setup.folder.path}; "
        f"python -m ternevo.play {folders[config.seed].path} draws an episode"
    ):
        records.finish(results)
        _show(setup, results, all_seeds)


def _show(setup: Setup, results: list[Result], all_seeds: str) -> None:
    """Print results and all paths, and draw an episode: last, as it may be interrupted."""
    config, folders = setup.config, setup.seed_folders
    steps = sum(result["env_steps"] for result in results)
    print(
        f"done        {setup.env.id} with {config.strategy_name}: "
        f"{results[0]['generation']} generations, {steps:,} steps"
    )
    for folder, result in zip(folders.values(), results, strict=True):
        for label in ("policy", "best_policy"):
            print(f"{label:<12}{getattr(folder, label)}  {_in_words(result[label])}")
        if config.eval_env:
            print(f"eval_env    {config.eval_env}  {_in_words(result['eval_env'])}")
    if all_seeds:
        print(f"all seeds   {all_seeds}")
    print(f"curve       {setup.folder.curve}")
    if setup.strategy.archive is not None:
        print(f"archive     {folders[config.seed].archive}")
    if setup.policy.topology is not None:
        print(f"network     {folders[config.seed].network}")
    print(f"checkpoint  {setup.folder.checkpoints / str(results[0]['generation'])}")
    if config.render:
        with setup.time.phase("drawing", "drawing an episode"):
            shown = render_best(setup)
        print(f"episode     {shown}")
    print(f"time        {setup.time.summary()}", flush=True)


def settled(
    setup: Setup, folder: RunFolder, evaluation: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Ship the last policy as the best one, if it is at least as good on the final episodes.

    The best policy was chosen by fewer episodes, and on an easy task it may be of the first
    generation. Both files then say what they returned on the final episodes.
    """
    last, best = (evaluation[label]["return_mean"] for label in ("policy", "best_policy"))
    is_last = last is not None and (best is None or last >= best)
    _save_with_return(setup, folder.policy, folder.policy, last)
    source, value = (folder.policy, last) if is_last else (folder.best_policy, best)
    _save_with_return(setup, source, folder.best_policy, value)
    return {**evaluation, "best_policy": evaluation["policy"]} if is_last else evaluation


def _save_with_return(setup: Setup, source: Path, target: Path, mean: float | None) -> None:
    """Write the policy of a file to `target` with its return, unless that is not finite."""
    if mean is None:
        return
    config = setup.config
    saved = policy_file.load(source, trust=config.policy_name)
    params, origin = PolicyParams(saved.weights, saved.moments), {**saved.info, "return": mean}
    policy_file.save(target, setup.env, config.policy_name, config.policy, params, origin)


def _totals(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("generation", "env_steps", "wall_time")}


def _write_result(folder: RunFolder, result: dict[str, Any]) -> None:

    replace_text(folder.result, json.dumps(result, indent=2) + "\n")


def _finish_seeds(setup: Setup, results: list[dict[str, Any]]) -> str:
    """Write the result of a joint run; return a text that sums up its best policies."""
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
    """Evaluate each seed's two policy files, both on the same fresh episodes, using one program."""
    config, folders = setup.config, setup.seed_folders.values()
    paths = {
        "policy": [folder.policy for folder in folders],
        "best_policy": [folder.best_policy for folder in folders],
    }
    with _devices_of_training(setup):
        found = {label: _episodes_of(setup, files) for label, files in paths.items()}
    return [
        {label: _summary(setup.env, episodes[i]) for label, episodes in found.items()}
        for i in range(config.num_seeds)
    ]


def _devices_of_training(setup: Setup) -> contextlib.AbstractContextManager:
    """Set the mesh to the devices of the training, so that its program of evaluations serves.

    Of several processes only this one evaluates, on its own devices.
    """
    if setup.config.distributed:
        return devices.on_own_devices()
    return devices.on_all_devices(setup.config.num_jax_devices)


def _episodes_of(setup: Setup, paths: list[Path]) -> list[Episodes]:
    """Run the episodes of a policy file of each seed."""
    config = setup.config
    saved = [policy_file.load(path, trust=config.policy_name) for path in paths]
    key_data = [np.asarray(jax.random.key_data(_final_key(seed))) for seed in config.seeds]
    of_each = [
        (data, own.weights, own.quantiser) for data, own in zip(key_data, saved, strict=True)
    ]
    together = jax.tree.map(lambda *rows: np.stack(rows), *of_each)
    data, weights, quantiser = of_each[0] if config.num_seeds == 1 else together
    episodes = setup.evaluation.run(data, weights, quantiser, config.num_final_episodes)
    callbacks.raise_error()
    if config.num_seeds == 1:
        return [episodes]
    return [jax.tree.map(lambda x, i=i: x[i], episodes) for i in range(config.num_seeds)]


def _final_key(seed: int) -> Key:
    """Return the key of the fresh episodes on which a seed's policies are evaluated at the end."""
    return jax.random.fold_in(jax.random.key(seed), keys.FINAL_EVALUATION)


def elsewhere(setup: Setup) -> list[dict[str, dict[str, Any]]]:
    """Evaluate each seed's best policy in `--eval_env`, under "eval_env"; nothing without one.

    Raises:
      UnknownName: there is no such environment.
      ValueError: it has other observations or actions than that of the run.
    """
    config = setup.config
    if not config.eval_env:
        return [{} for _ in setup.seed_folders]
    env = elsewhere_of(config, setup.env)
    problem = problems.of(setup.policy, env)
    test = jax.jit(problem.test, static_argnums=3)
    found = []
    with problems.own_devices(env):
        for seed, folder in setup.seed_folders.items():
            saved = policy_file.load(folder.best_policy, trust=config.policy_name)
            scores = test(
                _final_key(seed), saved.weights, saved.quantiser, config.num_final_episodes
            )
            callbacks.raise_error()
            found.append({"eval_env": _summary(env, Episodes.of(scores))})
    return found


def _summary(env: Env, episodes: Episodes) -> dict[str, Any]:
    """Return mean, standard deviation and count of returns, and how it went, as JSON values."""
    mean, std = map(float, mean_and_std(episodes.returns))
    row = {
        "return_mean": _finite_or_none(mean),
        "return_std": _finite_or_none(std),
        "episodes": episodes.returns.size,
    }
    if env.descriptor is None or episodes.descriptors is None:
        return row
    values = map(_finite_or_none, episodes.descriptors.tolist())
    return {**row, "behaviour": dict(zip(env.descriptor.names, values, strict=True))}


def _finite_or_none(x: float) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return x if math.isfinite(x) else None


def render_best(setup: Setup) -> str:
    """Render an episode of the first seed's best policy; return its path, or why it failed."""
    folder = setup.seed_folders[setup.config.seed]
    saved = policy_file.load(folder.best_policy, trust=setup.config.policy_name)
    key = jax.random.fold_in(jax.random.key(setup.config.seed), keys.SHOWN_EPISODE)
    recorded = episode.record(saved, setup.env, key)
    try:
        path = envs.render(setup.env.id, recorded.states, folder.episode)
    except (ModuleNotFoundError, UnknownName) as error:
        return f"not rendered: {error}"
    return f"{path}  return {recorded.total:.1f} in {len(recorded.rewards)} steps"


def draw_networks(setup: Setup) -> None:
    """Draw the best policy of each seed, if policies are graphs."""
    if setup.policy.topology is None:
        return
    for folder in setup.seed_folders.values():
        saved = policy_file.load(folder.best_policy, trust=setup.config.policy_name)
        topology.draw_policy(saved, setup.env, folder.network)


def _in_words(result: dict[str, Any]) -> str:
    if result["return_mean"] is None:
        return f"return not finite ({result['episodes']} episodes)"
    return (
        f"return {result['return_mean']:.1f} "
        f"(std {result['return_std']:.1f}, {result['episodes']} episodes)"
    )
