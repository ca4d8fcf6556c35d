"""The folder of one run: runs/<env>/<strategy>/<name>/.

It holds config.json (settings, versions, device, commit), metrics.jsonl, lock,
checkpoints/, policy.tvp and best_policy.tvp, curve.png, the rendered episode, episodes/ with the
episodes drawn during training, result.json once the run is done, and failure.txt if training
failed.

A joint run of several seeds has config.json, checkpoints/, curve.png and result.json. For each
seed it also has a folder seed<k>/, which is like the folder of a single run without checkpoints.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ternevo.hub import catalogue
from ternevo.runs import records, wandb_agent
from ternevo.runs.errors import RunFolderError
from ternevo.settings import environments
from ternevo.settings.command_line import RunConfig
from ternevo.settings.policies import file_suffix


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """Settings and provenance."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON row per generation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The resumable states."""
        return self.path / "checkpoints"

    @property
    def saved_generations(self) -> list[int]:
        """The generations with a checkpoint, in order."""
        return sorted(int(p.name) for p in self.checkpoints.glob("*") if p.name.isdigit())

    @property
    def start(self) -> Path:
        """A copy of the policy given by `--init_from`."""
        return self._policy_file("start")

    @property
    def policy(self) -> Path:
        """The newest policy."""
        return self._policy_file("policy")

    @property
    def best_policy(self) -> Path:
        """The policy with the best evaluation."""
        return self._policy_file("best_policy")

    def _policy_file(self, stem: str) -> Path:
        """Return a policy's path: a .tvp if the run's policy has a codec, else a .npz.

        A user's own policy is not imported to find out: a .tvp is used if only that file exists.
        """
        name = records.read_settings(self.config).get("policy_name", "mlp")
        path = self.path / f"{stem}{file_suffix(name)}"
        coded = path.with_suffix(".tvp")
        return coded if ":" in name and not path.exists() and coded.exists() else path

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"

    @property
    def network(self) -> Path:
        """The picture of the best policy, if it is a graph."""
        return self.path / "network.png"

    @property
    def archive(self) -> Path:
        """The archive of behaviours, with a policy for each cell, if the strategy keeps one."""
        return self.path / "archive"

    @property
    def episode(self) -> Path:
        """The rendered episode, without its suffix."""
        return self.path / "episode"

    @property
    def episodes(self) -> Path:
        """The episodes that `--render_every` drew during training."""
        return self.path / "episodes"

    @property
    def lock(self) -> Path:
        """Locked by the process that runs or resumes the run."""
        return self.path / "lock"

    @property
    def failure(self) -> Path:
        """Why training stopped, if it failed."""
        return self.path / "failure.txt"

    @property
    def result(self) -> Path:
        """The final evaluation."""
        return self.path / "result.json"

    @property
    def written(self) -> list[Path]:
        """All files that the run replaces, except episodes."""
        policies = [self.start, self.policy, self.best_policy]
        pictures = [self.curve, self.network]
        return [self.config, self.metrics, *policies, *pictures, self.failure, self.result]


def folder_of(config: RunConfig, env_id: str) -> RunFolder:
    """Return where a run is or would be, by its name or else by the first of `default_names`."""
    name = config.name or next(default_names(config))
    of_env = config.runs_dir / environments.folder_name(env_id)
    return RunFolder(of_env / config.strategy_name / name)


def default_names(config: RunConfig) -> Iterator[str]:
    """Yield the names for a run without `--name`, in order: seed0, seed0-run2, seed0-run3, ...

    The trial of a sweep's agent has one name of its own.
    """
    trial = wandb_agent.trial()
    if trial:
        yield trial.name
        return
    yield f"seed{config.seed_label}"
    for attempt in itertools.count(2):  # not seed0-2: that is a joint run of the seeds 0 to 2
        yield f"seed{config.seed_label}-run{attempt}"


def seed_folders(config: RunConfig, folder: RunFolder) -> dict[int, RunFolder]:
    """Return the folder of each seed of a run; a run of one seed has only its own folder."""
    if config.num_seeds == 1:
        return {config.seed: folder}
    return {seed: RunFolder(folder.path / f"seed{seed}") for seed in config.seeds}


def find(path: Path) -> RunFolder:
    """Return the run at `path`.

    Raises:
      RunFolderError: there is no run, or it is a joint run, or its config.json is damaged.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise RunFolderError(f"{path} is not a run: it has no config.json")
    if records.is_joint(records.read_settings(folder.config)):
        seeds = ", ".join(str(member.path) for member in find_all(path))
        raise RunFolderError(f"{path} is a joint run of several seeds: name one of {seeds}")
    return folder


def find_all(root: Path) -> list[RunFolder]:
    """Return every run below `root`, sorted by path; for a joint run, return its seeds.

    Raises:
      RunFolderError: a config.json is damaged; `ternevo.runs.arms.find` skips it instead.
    """
    found = {path: records.read_settings(path) for path in sorted(root.rglob("config.json"))}
    return [
        RunFolder(path.parent) for path, own in found.items() if own and not records.is_joint(own)
    ]


def policy_of(path: Path, which: Literal["best", "last"] = "best") -> Path:
    """Return the policy file for a path: a run's folder, a policy file, or "hub:NAME".

    Raises:
      RunFolderError: the folder is not a run, or has no policy yet.
      UnknownName: the hub has no such policy.
    """
    if catalogue.is_address(path) or not path.is_dir():
        return catalogue.path_of(path)
    folder = find(path)
    policy = folder.best_policy if which == "best" else folder.policy
    if not policy.exists():
        raise RunFolderError(f"{path} has no policy yet: {policy} is not there")
    return policy


def beside(path: Path, policy: Path, name: str) -> Path:
    """Return where a file made of a policy goes unless told otherwise: next to the policy.

    What is made of "hub:NAME" goes into the current directory, and not into the package.
    """
    return Path(name) if catalogue.is_address(path) else policy.with_name(name)


def start_of(config: RunConfig, folder: RunFolder) -> Path | None:
    """Return the policy file that a run starts from, None if there is none.

    A run that has begun has a copy, so that it can be resumed even if the original changes.
    """
    if config.init_from is None:
        return None
    is_resumed = config.resume and has_begun(folder) and folder.start.exists()
    return folder.start if is_resumed else policy_of(config.init_from)


def has_begun(folder: RunFolder) -> bool:
    """Return whether a folder has results that must not be lost: rows, a checkpoint or a policy."""
    rows = [folder.metrics, *folder.path.glob("seed*/metrics.jsonl")]
    policies = [*folder.path.glob("*policy.*"), *folder.path.glob("seed*/*policy.*")]
    return (
        any(path.exists() and path.stat().st_size > 0 for path in rows)
        or bool(folder.saved_generations)
        or any(not path.name.startswith(".") for path in policies)
    )
