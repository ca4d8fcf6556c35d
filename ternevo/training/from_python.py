"""Train and evaluate in one call each: `ternevo.train` and `ternevo.evaluate`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ternevo import envs, keys, problems
from ternevo.deploy import runtime
from ternevo.machine import callbacks, devices
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.machine.interruption import Stop
from ternevo.names import check_trusted
from ternevo.policies import contract, policy_file
from ternevo.policies.policy_file import SavedPolicy
from ternevo.rollouts.episode import check_fits
from ternevo.runs import claims, run_folder
from ternevo.runs.sinks import Row
from ternevo.settings.from_python import config_of
from ternevo.training import session
from ternevo.types import Env

Callback = Callable[[list[Row]], bool | None]
"""Gets the rows of a chunk, as in metrics.jsonl; it returns True to end the training."""


class Returns(NamedTuple):
    """The episodes of an evaluation: returns float32 [episodes] and lengths int32 [episodes]."""

    returns: np.ndarray
    lengths: np.ndarray

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """The standard deviation of the returns."""
        return float(self.returns.std())

    def __repr__(self) -> str:
        """Show mean, deviation and count."""
        return f"return {self.mean:.1f} (std {self.std:.1f}, {len(self.returns)} episodes)"


class _Told:
    """A sink that passes rows to a callback, which may end the training."""

    def __init__(self, callback: Callback, stop: Stop):
        self._callback = callback
        self._stop = stop

    def write(self, rows: list[Row]) -> None:
        self._stop.is_enough = bool(self._callback(rows)) or self._stop.is_enough

    def close(self) -> None:
        pass


def train(
    env: str,
    strategy: str = "ternary_nes",
    *,
    policy: str = "mlp",
    callback: Callback | None = None,
    runs_dir: str | Path | None = None,
    **options: Any,
) -> runtime.Policy | SavedPolicy:
    """Train a policy, and return the best one, ready to act.

    Args:
      env: the environment's id, such as "gymnax/CartPole-v1".
      strategy: the name of the strategy.
      policy: the name of the policy.
      callback: called after each chunk of generations, which takes about two seconds, with their
        rows: dicts with "generation", "env_steps", "return/mean", "eval/return", ... If it
        returns True, training ends and the policy so far is evaluated and returned.
      runs_dir: where to keep the folder of the run, with its curve, checkpoints and metrics, as
        `python -m ternevo.run` does. Without it, nothing is kept.
      **options: all other options of `python -m ternevo.run`, such as `num_generations=50`.

    Returns:
      The policy. One without a codec, of your own class, is a `SavedPolicy`.

    Raises:
      UnknownName: a name does not exist; the message suggests similar names.
      ValueError: a value is refused, or `num_seeds` is not 1.
      Diverged: a loss or an update is not finite.
      OutOfMemory: a device has too little memory.
    """
    with tempfile.TemporaryDirectory() as scratch:
        own = {"runs_dir": Path(runs_dir or scratch), "render": runs_dir is not None}
        config = config_of(env, strategy, policy, {**own, **options})
        if config.num_seeds != 1:
            raise ValueError(
                f"num_seeds must be 1, got {config.num_seeds}: ternevo.train returns one policy; "
                "call it for each seed, or use python -m ternevo.run"
            )
        stop = Stop()
        sinks = [_Told(callback, stop)] if callback else []
        with claims.held(config) as named:
            folder = session.run(named, stop, sinks=sinks)
        return _loaded(folder.best_policy, trust=policy)


def evaluate(
    policy: runtime.Policy | SavedPolicy | str | Path,
    env: str | None = None,
    *,
    num_episodes: int = 128,
    seed: int = 0,
    trust: bool = False,
) -> Returns:
    """Play fresh episodes with a policy.

    Args:
      policy: a policy, a policy file, or the folder of a run.
      env: the environment's id; by default the one the policy was trained on, with its time limit
        and its wrappers.
      num_episodes: the number of episodes.
      seed: their random seed. The episodes are those of the final evaluation of a run with it.
      trust: whether to import code that the policy file names.

    Raises:
      RunFolderError: the folder is not a run, or has no policy yet.
      UnknownName: there is no such environment.
      UntrustedName: the file names code, and `trust` is False.
      ValueError: `num_episodes` is less than 1, or the policy does not fit the environment.
      HostError: a simulator outside JAX failed.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {num_episodes}")
    devices.check_float32()
    enable_compilation_cache()
    saved = _saved(policy, trust)
    made = contract.shown_to(saved.settings, _made(saved, env, trust))
    if saved.settings.fits_any_size:
        saved = policy_file.resized(saved, made)
    check_fits(saved, made)
    problem = problems.of(saved.policy, made)
    key = jax.random.fold_in(jax.random.key(seed), keys.FINAL_EVALUATION)
    test = jax.jit(lambda key: problem.test(key, saved.weights, saved.quantiser, num_episodes))
    callbacks.forget()
    scores = callbacks.ready(test(key))
    return Returns(np.ravel(scores.returns), np.ravel(scores.lengths))


def _saved(policy: runtime.Policy | SavedPolicy | str | Path, trust: bool) -> SavedPolicy:
    if isinstance(policy, SavedPolicy):
        return policy
    if isinstance(policy, runtime.Policy):
        return policy_file.from_record(policy.record)
    return policy_file.load(run_folder.policy_of(Path(policy)), trust)


def _made(saved: SavedPolicy, env_id: str | None, trust: bool) -> Env:
    """Return the environment with this id, or else the one that the policy was trained on."""
    if env_id:
        return envs.remake(env_id, saved.wrappers, None)
    if not saved.env_id:
        raise ValueError("the policy does not say what it was trained on: give env")
    check_trusted("the policy", "env", saved.env_id, trust)
    return envs.remake(saved.env_id, saved.wrappers, saved.episode_length)


def _loaded(path: Path, trust: str) -> runtime.Policy | SavedPolicy:
    """Return the policy of a file that this process wrote."""
    return runtime.load(path) if path.suffix == ".tvp" else policy_file.load(path, trust)
