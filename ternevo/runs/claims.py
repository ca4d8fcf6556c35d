"""Claim the folder of a run for one process, for a new run or to resume the same run."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from typing import Any

from ternevo.files import Locked, locked, remove_temporaries, replacing
from ternevo.runs import records
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import RunFolder, folder_of, has_begun, policy_of, seed_folders
from ternevo.settings.command_line import RunConfig, to_dict
from ternevo.settings.flat import with_meaning


@contextlib.contextmanager
def claimed(config: RunConfig, env_id: str) -> Iterator[RunFolder]:
    """Hold the folder of a run, made or checked by `create`, until the run or its process ends.

    Raises:
      RunFolderError: another process holds it, or `create` raised it.
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
    """Make the folder of a new run, or check the folder of a run to resume.

    A run that failed before its first generation does not keep its name.

    Raises:
      RunFolderError: the name is taken; or, with `resume`, the run was started with other
        settings, or is one seed of several; or the folder has files of a run but its config.json
        is missing or damaged.
    """
    folder = folder_of(config, env_id)
    record = records.made_now(config, env_id)
    before = records.read_record_to_resume(folder.config)
    if "joint" in before:
        raise RunFolderError(
            f"{folder.path} is a seed of the joint run {before['joint']!r}: resume that run"
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
    """Return what the record of a resumed run keeps from the previous record.

    Raises:
      RunFolderError: the run cannot be resumed.
    """
    if not before:
        raise RunFolderError(
            f"{folder.path} has results of a run but no config.json, so it can be neither resumed "
            "nor replaced: put config.json back, move the folder away, or choose another --name"
        )
    if not config.resume:
        raise RunFolderError(
            f"{folder.path} exists. Continue it with --resume, or choose another --name"
        )
    _check_same(config, folder, before, record)
    history = [*before.get("resumed_from", []), {k: before[k] for k in records.RESUMED_RECORD}]
    return {"id": before["id"], "resumed_from": history}


def _clear(folder: RunFolder) -> None:
    """Remove what a run that never began left: its start, and the records of its seeds."""
    for path in folder.path.glob("start.*"):
        path.unlink()
    for path in folder.path.glob("seed*/config.json"):
        if "joint" in records.read_json(path):
            path.unlink()


def _remove_temporaries(folder: RunFolder) -> None:
    """Remove the half-written files of killed processes; no other process can be writing here."""
    for own in (folder, *map(RunFolder, folder.path.glob("seed*/"))):
        for path in own.written:
            remove_temporaries(path)
        episodes = own.path.glob(".episode-????????.*"), own.episodes.glob(".generation-*")
        for path in itertools.chain(*episodes):
            path.unlink()


def _write_records(config: RunConfig, folder: RunFolder, record: dict[str, Any]) -> None:
    """Write the config.json of a run, and of each seed of a joint one."""
    records.write(folder.config, record)
    for seed, member in seed_folders(config, folder).items():
        if member != folder:
            own = {"seed": seed, "num_seeds": 1, "name": f"{folder.path.name}/{member.path.name}"}
            member.path.mkdir(exist_ok=True)
            settings = {**record["settings"], **own}
            records.write(
                member.config, {**record, "settings": settings, "joint": folder.path.name}
            )


def free_on_resume(config: RunConfig) -> set[str]:
    """Return the settings that a resumed run may change: they do not change any generation.

    `num_generations` is among them only if no schedule depends on it.
    """
    free = set(with_meaning("free_on_resume", config, config.strategy, config.policy))
    stretched = {"num_generations"} if config.strategy.is_stretched else set()
    return free - stretched - set(config.strategy.fixed_on_resume)


def _check_same(
    config: RunConfig, folder: RunFolder, before: dict[str, Any], now: dict[str, Any]
) -> None:
    """Reject changed settings; the environment is compared by its full id.

    An option that did not exist when the run began counts as its default.
    """
    defaults = records.flat(to_dict(RunConfig(type(config.strategy)(), type(config.policy)())))
    then, new = (
        {**defaults, **records.flat(x["settings"]), "env": x["env"]} for x in (before, now)
    )
    free = free_on_resume(config)
    changed = [
        f"{name}: {then.get(name)!r} then, {value!r} now"
        for name, value in new.items()
        if name not in free and then.get(name) != value
    ]
    if changed:
        raise RunFolderError(f"{folder.path} was started with other settings: {'; '.join(changed)}")
