"""Read, check and write the config.json of a run: its settings and their provenance."""

import json
import sys
import uuid
from pathlib import Path
from types import NoneType
from typing import Any

from ternevo import reading
from ternevo.files import replace_text
from ternevo.runs import provenance, wandb_agent
from ternevo.runs.errors import RunFolderError
from ternevo.settings.command_line import RunConfig, to_dict

RESUMED_RECORD = ("command", "versions", "device", "machine", "commit")
"""The members kept from the earlier parts of a resumed run."""

Kinds = dict[str, type | tuple[type, ...]]

OF_A_RUN: Kinds = {"env": str, "settings": dict}
"""The required members of a config.json and their types; those of its `settings` follow."""
OF_SETTINGS: Kinds = {"num_seeds": int}
OF_ONE_SEED: Kinds = {
    **{"seed": int, "num_generations": int, "strategy_name": str},
    **{"strategy": dict, "policy": dict},
}
IF_THERE: Kinds = {
    **{"id": str, "joint": str, "command": list, "commit": (str, NoneType)},
    **{"versions": dict, "device": dict, "machine": dict, "resumed_from": list},
}
"""Members that a config.json may lack if a run is only inspected."""
TO_RESUME = ("id", *RESUMED_RECORD)
LARGEST = 2**53
"""The largest seed or count; listing runs does arithmetic with them."""


def made_now(config: RunConfig, env_id: str) -> dict[str, Any]:
    """Return the record of a run that starts or resumes now."""
    trial = wandb_agent.trial()
    return {
        "id": trial.run if trial else uuid.uuid4().hex[:8],
        "env": env_id,
        "settings": to_dict(config),
        "command": ["python", "-m", "ternevo.run", *sys.argv[1:]],
        **provenance.describe(),
    }


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a config.json atomically."""
    replace_text(path, json.dumps(record, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or {} if there is no such file.

    Raises:
      NotAFile: it is not a regular file.
      ValueError: the file does not hold a JSON object; the message names it.
    """
    return reading.read_object(path) if path.exists() else {}


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a config.json, {} if there are none; enough to find a policy.

    Raises:
      RunFolderError: it cannot be read, or is damaged; the message names file and member.
    """
    settings = _read_config(path).get("settings", {})
    _check_members(path, "", {"settings": settings}, {"settings": dict})
    kinds: Kinds = {"num_seeds": int, "policy_name": str}
    _check_members(path, "settings.", settings, {k: v for k, v in kinds.items() if k in settings})
    return settings


def read_record(path: Path) -> dict[str, Any]:
    """Return the config.json of a run, checked for the members of `OF_A_RUN` and their types.

    Return {} if there is no such file, or if another program wrote it, without settings.

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
    """Return a config.json as `read_record` does, checked for what a run needs to resume.

    Raises:
      RunFolderError: see `read_record`, or such a member is missing.
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
    """Reject a member that is missing, has the wrong type, or is a number out of range.

    Raises:
      RunFolderError: the member is wrong; the message names file and member.
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


def is_of_one_seed(record: dict[str, Any]) -> bool:
    """Return whether a config.json belongs to a run that is not joint."""
    return "settings" in record and not is_joint(record["settings"])


def is_joint(settings: dict[str, Any]) -> bool:
    """Return whether settings belong to a joint run of several seeds."""
    return settings.get("num_seeds", 1) > 1


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a config.json, with the strategy's and the policy's merged in."""
    blocks = {**settings["strategy"], **settings["policy"]}
    return {**{k: v for k, v in settings.items() if not isinstance(v, dict)}, **blocks}
