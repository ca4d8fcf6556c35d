"""Claim the folder of a run for one process, for a new run or to resume the same run."""

import contextlib
import dataclasses
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ternevo.files import Locked, locked, remove_temporaries, replacing
from ternevo.runs import records, wandb_agent
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import (
    RunFolder,
    default_names,
    folder_of,
    has_begun,
    policy_of,
    seed_folders,
)
from ternevo.settings.command_line import RunConfig, to_dict
from ternevo.settings.environments import full_id
from ternevo.settings.flat import with_meaning


@contextlib.contextmanager
def held(config: RunConfig) -> Iterator[RunConfig]:
    """Hold the folder of a run until the block ends; yield the configuration with its name.

    Without `--name`, a new run gets the first default name that is free; a resumed run gets the
    newest one with the same settings. JAX is not imported. Folders made here are removed again if
    nothing was written into them, for example because an option was refused.

    A run on several hosts is not held here: which process is the first is not known yet, and hosts
    could not agree on a number. Its first process calls `holding`.

    Raises:
      RunFolderError: the name is taken, or another process holds the folder.
    """
    if config.distributed:
        yield config
        return
    with contextlib.ExitStack() as stack:
        yield _first_held(_candidates(config), stack)


def _candidates(config: RunConfig) -> Iterator[RunConfig]:
    """Yield the configuration with each name that the run may have, the preferred one first."""
    if config.name or wandb_agent.trial():
        yield config
        return
    named = (dataclasses.replace(config, name=name) for name in default_names(config))
    if not config.resume:
        yield from named
        return
    first = next(named)
    begun = [first, *itertools.takewhile(lambda own: has_begun(_folder(own)), named)]
    yield next((own for own in reversed(begun) if _is_resumable(own)), first)


def _first_held(candidates: Iterator[RunConfig], stack: contextlib.ExitStack) -> RunConfig:
    """Hold the first folder that is free, until the stack is closed.

    Raises:
      RunFolderError: there is none; the message is about the last candidate.
    """
    refused: RunFolderError | None = None
    for config in candidates:
        try:
            stack.enter_context(holding(config))
            return config
        except RunFolderError as error:
            refused = error
    assert refused is not None, "there is at least one candidate"
    raise refused


@contextlib.contextmanager
def holding(config: RunConfig) -> Iterator[None]:
    """Hold the folder of a run by its name, or by the first default name.

    Raises:
      RunFolderError: it has results and is not to be resumed, or another process holds it.
    """
    folder = _folder(config)
    made = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder.lock):
            _check_free(config, folder)
            try:
                yield
            finally:
                _remove_if_unused(folder, made)
    except Locked as error:
        raise RunFolderError(
            f"{error}: wait until it is done, stop it, or choose another --name"
        ) from error


def _check_free(config: RunConfig, folder: RunFolder) -> None:
    """Refuse a folder with results, unless the run is to be resumed.

    Raises:
      RunFolderError: it has results; the message says what to do.
    """
    if not has_begun(folder):
        return
    if not folder.config.exists():
        raise RunFolderError(
            f"{folder.path} has results of a run but no config.json, so it can be neither resumed "
            "nor replaced: put config.json back, move the folder away, or choose another --name"
        )
    if not config.resume:
        raise RunFolderError(
            f"{folder.path} exists. Continue it with --resume, or choose another --name"
        )


def _remove_if_unused(folder: RunFolder, made: list[Path]) -> None:
    """Remove the folders that were made for a run, if they hold only its lock."""
    if made and list(folder.path.iterdir()) == [folder.lock]:
        folder.lock.unlink()
        for path in made:
            with contextlib.suppress(OSError):  # another run is in it
                path.rmdir()


def _folder(config: RunConfig) -> RunFolder:
    return folder_of(config, full_id(config.env))


def _is_resumable(config: RunConfig) -> bool:
    before = records.read_record(_folder(config).config)
    return bool(before) and not _changed(config, before, full_id(config.env))


def create(config: RunConfig, env_id: str) -> RunFolder:
    """Make the folder of a new run, or check the folder of a run to resume.

    A run that failed before its first generation does not keep its name.

    Raises:
      RunFolderError: the name is taken; or, with `resume`, the run was started with other
        settings, or is one seed of several; or the folder has files of a run but its config.json
        is missing or damaged.
    """
    folder = folder_of(config, env_id)
    _check_free(config, folder)
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
    changed = _changed(config, before, record["env"])
    if changed:
        raise RunFolderError(f"{folder.path} was started with other settings: {'; '.join(changed)}")
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


def _changed(config: RunConfig, before: dict[str, Any], env_id: str) -> list[str]:
    """Return the settings, in words, that a resumed run has changed and may not change.

    The environment is compared by its full id. An option that did not exist when the run began
    counts as its default.
    """
    defaults = records.flat(to_dict(RunConfig(type(config.strategy)(), type(config.policy)())))
    then = {**defaults, **records.flat(before["settings"]), "env": before["env"]}
    now = {**defaults, **records.flat(to_dict(config)), "env": env_id}
    free = free_on_resume(config)
    return [
        f"{name}: {then.get(name)!r} then, {value!r} now"
        for name, value in now.items()
        if name not in free and then.get(name) != value
    ]
