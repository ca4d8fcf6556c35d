"""The folder of one run: runs/<env>/<strategy>/<name>/.

It holds config.json (settings, versions, device, commit), metrics.jsonl, lock,
checkpoints/, policy.tvp and best_policy.tvp, curve.png, the rendered episode, episodes/ with those
drawn during training, result.json once the run is done, and failure.txt where training failed.

A joint run of several seeds has config.json, checkpoints/, curve.png and result.json, and in
seed<k>/ for each seed what a run of its own would have, without checkpoints.
"""

import contextlib
import dataclasses
import itertools
import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from ternevo import reading
from ternevo.files import Locked, locked, remove_temporaries, replace_text, replacing
from ternevo.runs import provenance, wandb_agent
from ternevo.settings.command_line import RunConfig, to_dict
from ternevo.settings.flat import with_meaning
from ternevo.settings.policies import file_suffix

RESUMED_RECORD = ("command", "versions", "device", "machine", "commit")
"""What is kept of the earlier parts of a resumed run."""

Kinds = dict[str, type | tuple[type, ...]]

OF_A_RUN: Kinds = {"env": str, "settings": dict}
"""What a config.json must have, and of which type; in `settings` what follows."""
OF_SETTINGS: Kinds = {"num_seeds": int}
OF_ONE_SEED: Kinds = {
    **{"seed": int, "num_generations": int, "strategy_name": str},
    **{"strategy": dict, "policy": dict},
}
IF_THERE: Kinds = {
    **{"id": str, "joint": str, "command": list, "commit": (str, NoneType)},
    **{"versions": dict, "device": dict, "machine": dict, "resumed_from": list},
}
"""What a config.json may lack where a run is only looked at."""
TO_RESUME = ("id", *RESUMED_RECORD)
LARGEST = 2**53
"""Of a seed or a count: who lists runs does arithmetic with them."""


class RunFolderError(RuntimeError):
    """The name is taken, the run is not there, or it was started with other settings."""


@contextlib.contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Exit 2 with one line where a run or a policy that a user named cannot be used."""
    try:
        yield
    except (OSError, ModuleNotFoundError, RunFolderError, ValueError) as error:
        # A ValueError is also an unknown name, and a file that is no policy.
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


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
    def saved_generations(self) -> list[int]:
        """The generations of which there is a checkpoint, in order."""
        return sorted(int(p.name) for p in self.checkpoints.glob("*") if p.name.isdigit())

    @property
    def start(self) -> Path:
        """A copy of the policy that `--init_from` named."""
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

        A user's own policy is not imported for this; if its file is there, that is the one.
        """
        name = read_settings(self.config).get("policy_name", "mlp")
        path = self.path / f"{stem}{file_suffix(name)}"
        coded = path.with_suffix(".tvp")
        return coded if ":" in name and not path.exists() and coded.exists() else path

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"

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
        """All files that the run replaces, but for episodes."""
        policies = [self.start, self.policy, self.best_policy]
        return [self.config, self.metrics, *policies, self.curve, self.failure, self.result]


@contextlib.contextmanager
def claimed(config: RunConfig, env_id: str) -> Iterator[RunFolder]:
    """Hold the folder of a run, made or checked by `create`, until the run or its process ends.

    Raises:
      RunFolderError: another process has it; or that of `create`.
    """
    folder = folder_of(config, env_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.lock))
        except Locked as error:
            raise RunFolderError(
                f"{error}: wait until it is done, stop it, or choose another --name"
            ) from error
        yield create(config, env_id)


def create(config: RunConfig, env_id: str) -> RunFolder:
    """Make the folder of a new run, or check that of a run to be resumed.

    Raises:
      RunFolderError: the name is taken; or, with `resume`, the run was started
        with other settings, or is one seed of several; or the folder has files of a run and no
        config.json, or one that is damaged. A run that failed before its first generation takes no
        name.
    """
    folder = folder_of(config, env_id)
    record = _provenance(config, env_id)
    before = read_record_to_resume(folder.config)
    if "joint" in before:
        raise RunFolderError(
            f"{folder.path} is a seed of the joint run {before['joint']!r}: resume that one"
        )
    if has_begun(folder):
        record |= _history(config, folder, before, record)
    else:
        folder.path.mkdir(parents=True, exist_ok=True)
        _clear(folder)
    folder.failure.unlink(missing_ok=True)
    _remove_temporaries(folder)
    _write_records(config, folder, record)
    if config.init_from is not None and not folder.start.exists():
        with replacing(folder.start) as temporary:  # its suffix is that of the policy in the record
            shutil.copyfile(policy_of(config.init_from), temporary)
    return folder


def _history(
    config: RunConfig, folder: RunFolder, before: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    """Return what the record of a run that goes on keeps of the one before.

    Raises:
      RunFolderError: it cannot go on.
    """
    if not before:
        raise RunFolderError(
            f"{folder.path} has results of a run and no config.json, so it can neither go on nor "
            "be replaced: put config.json back, move the folder away, or choose another --name"
        )
    if not config.resume:
        raise RunFolderError(
            f"{folder.path} exists. Go on with it by --resume, or choose another --name"
        )
    _check_same(config, folder, before, record)
    history = [*before.get("resumed_from", []), {k: before[k] for k in RESUMED_RECORD}]
    return {"id": before["id"], "resumed_from": history}


def _clear(folder: RunFolder) -> None:
    """Remove what a run that did not begin left: its start, and the records of its seeds."""
    for path in folder.path.glob("start.*"):
        path.unlink()
    for path in folder.path.glob("seed*/config.json"):
        if "joint" in read_json(path):
            path.unlink()


def _remove_temporaries(folder: RunFolder) -> None:
    """Remove the half-written files of processes that were killed; only theirs are there."""
    for own in (folder, *map(RunFolder, folder.path.glob("seed*/"))):
        for path in own.written:
            remove_temporaries(path)
        episodes = own.path.glob(".episode-????????.*"), own.episodes.glob(".generation-*")
        for path in itertools.chain(*episodes):
            path.unlink()


def _write_records(config: RunConfig, folder: RunFolder, record: dict[str, Any]) -> None:
    """Write the config.json of a run, and of each seed of a joint one."""
    _write(folder, record)
    for seed, member in seed_folders(config, folder).items():
        if member != folder:
            own = {"seed": seed, "num_seeds": 1, "name": f"{folder.path.name}/{member.path.name}"}
            member.path.mkdir(exist_ok=True)
            settings = {**record["settings"], **own}
            _write(member, {**record, "settings": settings, "joint": folder.path.name})


def folder_of(config: RunConfig, env_id: str) -> RunFolder:
    """Return where a run is or would be; each trial of a sweep's agent has a name of its own."""
    trial = wandb_agent.trial()
    name = config.name or (trial.name if trial else f"seed{config.seed_label}")
    return RunFolder(config.runs_dir / env_id / config.strategy_name / name)


def seed_folders(config: RunConfig, folder: RunFolder) -> dict[int, RunFolder]:
    """Return the folder of each seed of a run; that of a run of one seed is the run's own."""
    if config.num_seeds == 1:
        return {config.seed: folder}
    return {seed: RunFolder(folder.path / f"seed{seed}") for seed in config.seeds}


def find(path: Path) -> RunFolder:
    """Return the run at `path`.

    Raises:
      RunFolderError: no run is there, or a joint one of several, or its config.json is damaged.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise RunFolderError(f"{path} is not a run: it has no config.json")
    if _is_joint(read_settings(folder.config)):
        seeds = ", ".join(str(member.path) for member in find_all(path))
        raise RunFolderError(f"{path} is a joint run of several seeds: name one of {seeds}")
    return folder


def find_all(root: Path) -> list[RunFolder]:
    """Return every run below `root`, in the order of their paths; of a joint run, its seeds.

    Raises:
      RunFolderError: a config.json is damaged; `ternevo.runs.arms.find` goes on with the others.
    """
    found = {path: read_settings(path) for path in sorted(root.rglob("config.json"))}
    return [RunFolder(path.parent) for path, own in found.items() if own and not _is_joint(own)]


def policy_of(path: Path, which: Literal["best", "last"] = "best") -> Path:
    """Return the policy file that is meant by a run's folder, or by a policy file.

    Raises:
      RunFolderError: the folder is no run, or has no policy yet.
    """
    if not path.is_dir():
        return path
    folder = find(path)
    policy = folder.best_policy if which == "best" else folder.policy
    if not policy.exists():
        raise RunFolderError(f"{path} has no policy yet: {policy} is not there")
    return policy


def start_of(config: RunConfig, folder: RunFolder) -> Path | None:
    """Return the policy file that a run starts from, None if there is none.

    A run that has begun has a copy, so that it can be resumed whatever becomes of the original.
    """
    if config.init_from is None:
        return None
    is_resumed = config.resume and has_begun(folder) and folder.start.exists()
    return folder.start if is_resumed else policy_of(config.init_from)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, or {} if there is no such file.

    Raises:
      NotAFile: it is not a regular file.
      ValueError: the file holds no JSON object; the message names it.
    """
    return reading.read_object(path) if path.exists() else {}


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a config.json, {} if there are none; all that finding a policy takes.

    Raises:
      RunFolderError: it cannot be read, or is damaged; the message names file and member.
    """
    settings = _read_config(path).get("settings", {})
    _check_members(path, "", {"settings": settings}, {"settings": dict})
    kinds: Kinds = {"num_seeds": int, "policy_name": str}
    _check_members(path, "settings.", settings, {k: v for k, v in kinds.items() if k in settings})
    return settings


def read_record(path: Path) -> dict[str, Any]:
    """Return the config.json of a run, with all that `OF_A_RUN` and so on say, and of that type.

    {} if there is no such file, or it is one of another program, without settings.

    Raises:
      RunFolderError: it cannot be read, or is damaged; the message names file and member.
    """
    record = _read_config(path)
    if "settings" not in record and not {"env", "command"} <= record.keys():
        return {}
    _check_members(path, "", record, OF_A_RUN)
    _check_members(path, "", record, {k: v for k, v in IF_THERE.items() if k in record})
    if not all(isinstance(word, str) for word in record.get("command", [])):
        raise RunFolderError(f"{path} is damaged: 'command' must be a list of texts")
    _check_settings(path, record["settings"])
    return record


def read_record_to_resume(path: Path) -> dict[str, Any]:
    """Return a config.json as `read_record` does, with what a run needs to go on.

    Raises:
      RunFolderError: see `read_record`, or something of that is missing.
    """
    record = read_record(path)
    if record:
        _check_members(path, "", record, {name: IF_THERE[name] for name in TO_RESUME})
    return record


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        said = str(error)
        named = said if str(path) in said else f"{path} cannot be read: {said}"
        raise RunFolderError(named) from error


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    _check_members(path, "settings.", settings, OF_SETTINGS)
    if "policy_name" in settings:
        _check_members(path, "settings.", settings, {"policy_name": str})
    if settings["num_seeds"] > 1:
        return
    _check_members(path, "settings.", settings, OF_ONE_SEED)
    if "weights" in settings["policy"]:
        _check_members(path, "settings.policy.", settings["policy"], {"weights": str})


def _check_members(path: Path, where: str, found: dict[str, Any], kinds: Kinds) -> None:
    """Refuse a member that is missing, of another type, or a number that is none of a run.

    Raises:
      RunFolderError: with the file and the member.
    """
    for name, kind in kinds.items():
        if name not in found:
            raise RunFolderError(f"{path} is damaged: '{where}{name}' is missing")
        value = found[name]
        is_kind = isinstance(value, kind) and (kind is not int or type(value) is int)
        if not is_kind or (kind is int and abs(value) > LARGEST):
            kinds_ = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(IN_WORDS[one] for one in kinds_)
            raise RunFolderError(
                f"{path} is damaged: '{where}{name}' must be {wanted}, not {_in_short(value)}"
            )


IN_WORDS = {
    **{str: "a text", int: f"an integer of at most {LARGEST} in size"},
    **{dict: "an object", list: "a list", NoneType: "null"},
}


def _in_short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def has_begun(folder: RunFolder) -> bool:
    """Return whether a folder has what a run would lose: rows, a checkpoint, or a policy."""
    rows = [folder.metrics, *folder.path.glob("seed*/metrics.jsonl")]
    policies = [*folder.path.glob("*policy.*"), *folder.path.glob("seed*/*policy.*")]
    return (
        any(path.exists() and path.stat().st_size > 0 for path in rows)
        or bool(folder.saved_generations)
        or any(not path.name.startswith(".") for path in policies)
    )


def is_of_one_seed(record: dict[str, Any]) -> bool:
    """Return whether a config.json is that of a run, and of one that is not joint."""
    return "settings" in record and not _is_joint(record["settings"])


def _is_joint(settings: dict[str, Any]) -> bool:
    return settings.get("num_seeds", 1) > 1


def _write(folder: RunFolder, record: dict[str, Any]) -> None:
    replace_text(folder.config, json.dumps(record, indent=2) + "\n")


def free_on_resume(config: RunConfig) -> set[str]:
    """Return the settings that a resumed run may change: they change no number of a generation.

    `num_generations` is among them only while nothing is stretched over it.
    """
    free = set(with_meaning("free_on_resume", config, config.strategy, config.policy))
    stretched = {"num_generations"} if config.strategy.is_stretched else set()
    return free - stretched - set(config.strategy.fixed_on_resume)


def _check_same(
    config: RunConfig, folder: RunFolder, before: dict[str, Any], now: dict[str, Any]
) -> None:
    """Refuse changed settings; the environment is compared by its full id."""
    then, new = ({**flat(x["settings"]), "env": x["env"]} for x in (before, now))
    free = free_on_resume(config)
    changed = [
        f"{name}: {then.get(name)!r} then, {value!r} now"
        for name, value in new.items()
        if name not in free and then.get(name) != value
    ]
    if changed:
        raise RunFolderError(f"{folder.path} was started with other settings: {'; '.join(changed)}")


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a config.json with those of strategy and policy beside the others."""
    blocks = {**settings["strategy"], **settings["policy"]}
    return {**{k: v for k, v in settings.items() if not isinstance(v, dict)}, **blocks}


def _provenance(config: RunConfig, env_id: str) -> dict[str, Any]:
    trial = wandb_agent.trial()
    return {
        "id": trial.run if trial else uuid.uuid4().hex[:8],
        "env": env_id,
        "settings": to_dict(config),
        "command": ["python", "-m", "ternevo.run", *sys.argv[1:]],
        **provenance.describe(),
    }
