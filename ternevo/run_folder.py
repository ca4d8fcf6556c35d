"""The folder of one run: runs/<env>/<strategy>/<name>/.

It holds config.json (settings, versions, device, commit), metrics.jsonl,
checkpoints/, policy.npz and best_policy.npz, curve.png, the rendered episode,
and result.json once the run is done.
"""

import dataclasses
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from ternevo import provenance
from ternevo.config import RunConfig, to_dict
from ternevo.files import replace_text

FREE_ON_RESUME = {
    *("num_generations", "resume", "name", "runs_dir", "chunk_size", "checkpoint_every"),
    *("num_final_episodes", "render", "compilation_cache", "profile"),
    *("num_lanes", "population_chunk", "num_devices", "distributed"),
    *("track", "wandb_project", "wandb_group", "wandb_tags", "wandb_mode"),
}
"""Settings that a resumed run may change: they change no number of a generation.

`num_generations` is among them only while no schedule is stretched over it.
"""


RESUMED_RECORD = ("command", "versions", "device", "machine", "commit")
"""What is kept of the earlier parts of a resumed run."""


class RunFolderError(RuntimeError):
    """The name is taken, the run is not there, or it was started with other settings."""


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
        """One JSON row for each generation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The resumable states."""
        return self.path / "checkpoints"

    @property
    def policy(self) -> Path:
        """The newest policy."""
        return self.path / "policy.npz"

    @property
    def best_policy(self) -> Path:
        """The policy with the best evaluation."""
        return self.path / "best_policy.npz"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"

    @property
    def episode(self) -> Path:
        """The rendered episode, without its suffix."""
        return self.path / "episode"

    @property
    def result(self) -> Path:
        """The final evaluation."""
        return self.path / "result.json"


def create(config: RunConfig, env_id: str) -> RunFolder:
    """Make the folder of a new run, or check that of a run to be resumed.

    Raises:
      RunFolderError: the name is taken; or, with `resume`, the run was started
        with other settings. A run that failed before its first generation
        takes no name.
    """
    folder = folder_of(config, env_id)
    record = _provenance(config, env_id)
    if not folder.config.exists() or not _has_begun(folder):
        folder.path.mkdir(parents=True, exist_ok=True)
        _write(folder, record)
    elif config.resume:
        before = read_json(folder.config)
        _check_same(folder, before, record)
        history = [*before.get("resumed_from", []), {k: before[k] for k in RESUMED_RECORD}]
        _write(folder, {**record, "id": before["id"], "resumed_from": history})
    else:
        raise RunFolderError(
            f"{folder.path} exists. Go on with it by --resume, or choose another --name"
        )
    return folder


def folder_of(config: RunConfig, env_id: str) -> RunFolder:
    """Return where a run is or would be."""
    name = config.name or f"seed{config.seed}"
    return RunFolder(config.runs_dir / env_id / config.strategy_name / name)


def find(path: Path) -> RunFolder:
    """Return the run at `path`.

    Raises:
      RunFolderError: no run is there.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise RunFolderError(f"{path} is not a run: it has no config.json")
    return folder


def find_all(root: Path) -> list[RunFolder]:
    """Return every run below `root`, in the order of their paths."""
    paths = sorted(root.rglob("config.json"))
    return [RunFolder(path.parent) for path in paths if "settings" in read_json(path)]


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, or {} if there is no such file."""
    return json.loads(path.read_text()) if path.exists() else {}


def _has_begun(folder: RunFolder) -> bool:
    return folder.metrics.exists() and folder.metrics.stat().st_size > 0


def _write(folder: RunFolder, record: dict[str, Any]) -> None:
    replace_text(folder.config, json.dumps(record, indent=2) + "\n")


def _check_same(folder: RunFolder, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse changed settings; the environment is compared by its full id."""
    then, new = ({**_flat(x["settings"]), "env": x["env"]} for x in (before, now))
    follows_schedule = (
        any(name.endswith("_schedule") and value != "constant" for name, value in new.items())
        or new.get("algorithm") == "DiffusionEvolution"
    )
    free = FREE_ON_RESUME - ({"num_generations"} if follows_schedule else set())
    changed = [
        f"{name}: {then.get(name)!r} then, {value!r} now"
        for name, value in new.items()
        if name not in free and then.get(name) != value
    ]
    if changed:
        raise RunFolderError(f"{folder.path} was started with other settings: {'; '.join(changed)}")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    blocks = {**settings["strategy"], **settings["policy"]}
    return {**{k: v for k, v in settings.items() if not isinstance(v, dict)}, **blocks}


def _provenance(config: RunConfig, env_id: str) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:8],
        "env": env_id,
        "settings": to_dict(config),
        "command": ["python", "-m", "ternevo.run", *sys.argv[1:]],
        **provenance.describe(),
    }
