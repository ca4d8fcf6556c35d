"""Gather runs that differ only in the seed into arms, with labels that tell the arms apart.

Nothing here needs JAX: everything is read from the run's folder.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ternevo import reading
from ternevo.deploy import tvp
from ternevo.policies import policy_archive
from ternevo.runs import records
from ternevo.runs.errors import RunFolderError
from ternevo.runs.intervals import Interval, mean_interval
from ternevo.runs.run_folder import RunFolder
from ternevo.runs.sinks import LEFT_OUT_MEMBERS, Row, read_jsonl
from ternevo.settings.command_line import RunConfig
from ternevo.settings.flat import options_of
from ternevo.settings.meaning import meaning_of
from ternevo.settings.policies import POLICIES
from ternevo.settings.strategies import STRATEGIES

AXES = {"env_steps": "env_steps", "wall_time": "wall_time", "generations": "generation"}
"""The possible x axes of a learning curve, and their names in a row."""

NOT_OF_THE_ARM = {
    name
    for settings in (RunConfig, *STRATEGIES.values(), *POLICIES.values())
    for name, option in options_of(settings).items()
    if not meaning_of(option.field).of_the_arm
}
"""Settings in which the seeds of an arm may differ: they do not change any generation."""

ENTROPY = "search/entropy"
"""The metric for the mean entropy per weight of the search distribution, in bits."""

MAX_FAILURE = 2**16
"""The number of bytes read from a failure.txt."""

Settings = dict[str, Any]
Said = TypeVar("Said")


@dataclasses.dataclass(frozen=True)
class Seed:
    """One seed of an arm: a run, or one seed of a joint run.

    Attributes:
      folder: its folder.
      record: the content of config.json.
      rows: the rows of metrics.jsonl.
      result: the content of result.json, {} if there is none.
      weights: the weights of the shipped policy, one array per layer by name, without biases;
        int8 trits or signs, or floats. {} if there is no policy file.
      num_bytes: the size of the policy file; None if there is none.
      failure: why training failed, "" if it did not.
      broken: one sentence per file that cannot be read.
    """

    folder: RunFolder
    record: dict[str, Any]
    rows: list[Row]
    result: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    num_bytes: int | None
    failure: str
    broken: tuple[str, ...]

    @property
    def number(self) -> int:
        """The random seed."""
        return self.record["settings"]["seed"]

    @property
    def is_done(self) -> bool:
        """Whether it ran to its end."""
        return is_done(self.record, self.result)

    @property
    def generations(self) -> int:
        """The number of completed generations."""
        return self.rows[-1]["generation"] if self.rows else 0

    @property
    def final_return(self) -> float | None:
        """The mean return of the shipped policy on fresh episodes.

        None if it is not finite, or if the run is not done. The result of an earlier end of a
        resumed run does not count.
        """
        return self.result["policy"]["return_mean"] if self.is_done else None

    @property
    def best_return(self) -> float | None:
        """The same for the best policy that was kept."""
        return self.result["best_policy"]["return_mean"] if self.is_done else None

    @property
    def num_nonfinite(self) -> int:
        """The number of members, over all generations, with an unusable return."""
        return round(sum(row.get(name, 0) for row in self.rows for name in LEFT_OUT_MEMBERS))

    def curve(self, x: str = "env_steps", metric: str = "eval/return") -> list[tuple[float, float]]:
        """Return a metric over an axis of `AXES`, from the rows that have it."""
        return [(float(row[AXES[x]]), float(row[metric])) for row in self.rows if metric in row]


@dataclasses.dataclass(frozen=True)
class Arm:
    """Seeds with the same environment and the same settings.

    Attributes:
      label: the settings that distinguish it from other arms; the same in every environment.
      env: the environment's full id.
      settings: the common settings of its seeds, flat, without the environment.
      seeds: the seeds, ordered by number.
    """

    label: str
    env: str
    settings: Settings
    seeds: tuple[Seed, ...]

    @property
    def finals(self) -> list[float]:
        """The final returns of the seeds that have one."""
        return [x for seed in self.seeds if (x := seed.final_return) is not None]

    @property
    def bests(self) -> list[float]:
        """The returns of the best kept policies of the seeds that have one."""
        return [x for seed in self.seeds if (x := seed.best_return) is not None]

    @property
    def sizes(self) -> list[int]:
        """The bytes of the policy files of the seeds that have one."""
        return [seed.num_bytes for seed in self.seeds if seed.num_bytes is not None]

    def curves(
        self, x: str = "env_steps", metric: str = "eval/return"
    ) -> list[list[tuple[float, float]]]:
        """Return the curve of each seed that has the metric, whether finished or not."""
        return [curve for seed in self.seeds if (curve := seed.curve(x, metric))]


def gather(runs: Iterable[Path]) -> list[Arm]:
    """Return the arms of all runs at or below some folders, by environment and label.

    A run that is in several of the folders is counted once.

    Raises:
      RunFolderError: a folder does not exist or has no runs, or a config.json cannot be read.
    """
    seeds, damaged = read(runs)
    if damaged:
        raise RunFolderError("; ".join(damaged))
    return arms_of(seeds)


def read(runs: Iterable[Path]) -> tuple[list[Seed], list[str]]:
    """Return the seeds of all runs at or below some folders, and why others cannot be read.

    Raises:
      RunFolderError: a folder does not exist or has no runs.
    """
    found = {f.path.resolve(): (f, record) for root in runs for f, record in find(root).items()}
    bar = tqdm(found.values(), "reading runs", disable=None, delay=1, leave=False)
    seeds = [read_seed(folder, record) for folder, record in bar if isinstance(record, dict)]
    return seeds, [record for _, record in found.values() if isinstance(record, str)]


def arms_of(seeds: Iterable[Seed]) -> list[Arm]:
    """Group seeds into arms, by environment and label."""
    together: dict[tuple[str, str], list[Seed]] = {}
    for seed in seeds:
        together.setdefault(key_of(seed.record), []).append(seed)
    arms = [
        Arm("", env, settings_of(own[0].record), tuple(sorted(own, key=lambda seed: seed.number)))
        for (env, _), own in together.items()
    ]
    return sorted(labelled(arms), key=lambda arm: (arm.env, arm.label))


def find(root: Path) -> dict[RunFolder, dict[str, Any] | str]:
    """Return config.json of every run of one seed at or below a folder, or why it cannot be read.

    They are sorted by path. A joint run contributes its seeds. Files with that name from other
    programs, which have no settings, are left out.

    Raises:
      RunFolderError: the folder does not exist or has no runs.
    """
    every = [RunFolder(path.parent) for path in sorted(root.rglob("config.json"))]
    found = {folder: _tried(_read_record, folder.config) for folder in every}
    if not any(found.values()):
        raise RunFolderError(f"no run in {root}")
    return {folder: record for folder, record in found.items() if record}


def _tried(reader: Callable[[Path], Said], path: Path) -> Said | str:
    """Return the content of a file, or a sentence that names it and says why it cannot be read."""
    try:
        return reader(path)
    except (OSError, ValueError, RunFolderError) as error:  # ValueError includes PolicyFormatError
        said = " ".join(str(error).split())
        return said if str(path) in said else f"{path} cannot be read: {said}"


def _read_record(path: Path) -> dict[str, Any]:
    """Return a config.json, or {} if it belongs to a joint run or to another program."""
    record = records.read_record(path)
    return record if records.is_of_one_seed(record) else {}


def _read_rows(path: Path) -> list[Row]:
    rows = read_jsonl(path)
    for row in rows:
        _check(row, generation=int, env_steps=int, wall_time=(int, float))
    return rows


def _read_result(path: Path) -> dict[str, Any]:
    result = records.read_json(path)
    if result:
        _check(result, generation=int, policy=dict, best_policy=dict)
        _check(result["policy"], return_mean=(int, float, NoneType))
        _check(result["best_policy"], return_mean=(int, float, NoneType))
    return result


def _check(found: dict[str, Any], **kinds: type | tuple[type, ...]) -> None:
    """Raise ValueError for values that are missing or have the wrong type."""
    absent = object()
    wrong = [name for name, kind in kinds.items() if not isinstance(found.get(name, absent), kind)]
    if wrong:
        raise ValueError(f"no value, or one of a wrong type, for {', '.join(wrong)}")


def read_numbers(folder: RunFolder) -> tuple[list[Row], dict[str, Any], list[str]]:
    """Return metrics.jsonl and result.json of a run, and one sentence per damaged file."""
    rows, result = _tried(_read_rows, folder.metrics), _tried(_read_result, folder.result)
    broken = [said for said in (rows, result) if isinstance(said, str)]
    return (
        rows if isinstance(rows, list) else [],
        result if isinstance(result, dict) else {},
        broken,
    )


def read_seed(folder: RunFolder, record: dict[str, Any]) -> Seed:
    """Return the seed in the folder of a run of one seed, given its config.json.

    Its `broken` names the files that cannot be read.
    """
    rows, result, broken = read_numbers(folder)
    weights, num_bytes = {}, None
    if folder.policy.exists():
        found = _tried(read_weights, folder.policy)
        if isinstance(found, str):
            broken.append(found)
        else:
            weights, num_bytes = found, folder.policy.stat().st_size
    failure = failure_of(folder, record)
    return Seed(folder, record, rows, result, weights, num_bytes, failure, tuple(broken))


def is_done(record: dict[str, Any], result: dict[str, Any]) -> bool:
    """Return whether a run ended, according to its config.json and result.json.

    A run that was resumed for more generations still has the result of its earlier end.
    """
    return result.get("generation", -1) >= record["settings"]["num_generations"]


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the weights of a policy file by layer, without biases; a pool has none.

    Raises:
      PolicyFormatError: the file is damaged, or not a policy file.
    """
    if not policy_archive.is_archive(path):
        layers = tvp.load(path).layers
        return {
            f"layer {place}": layer.weights
            for place, layer in enumerate(layers, 1)
            if layer.weights.size
        }
    names = {
        name.removesuffix("/values"): array
        for name, array in policy_archive.read(path)[1].items()
        if name.endswith("/values")
    }
    return {name: array for name, array in names.items() if not name.endswith("bias")}


def failure_of(folder: RunFolder, record: dict[str, Any]) -> str:
    """Return why training failed, "" if it did not; a joint run may store it for all seeds."""
    joint = [RunFolder(folder.path.parent)] if "joint" in record else []
    files = [f.failure for f in [folder, *joint] if f.failure.exists()]
    return " ".join(_tried(_read_text, files[0]).split()) if files else ""


def _read_text(path: Path) -> str:
    return reading.read_bytes(path, MAX_FAILURE)[:MAX_FAILURE].decode(errors="replace")


def key_of(record: dict[str, Any]) -> tuple[str, str]:
    """Return the part of config.json that all seeds of an arm share, and no other arm has."""
    return record["env"], json.dumps(settings_of(record), sort_keys=True)


def settings_of(record: dict[str, Any]) -> Settings:
    """Return the settings of a config.json that define its arm, with strategy and policy merged."""
    settings = records.flat(record["settings"])
    return {name: value for name, value in settings.items() if name not in NOT_OF_THE_ARM}


def labelled(arms: Sequence[Arm]) -> list[Arm]:
    """Return arms with labels: the strategy, the weights, and other distinguishing settings.

    A setting is in the labels if two arms of an environment would have the same label without it.
    So arms of different environments may have the same label but differ in settings.
    """
    names = list(dict.fromkeys(name for arm in arms for name in sorted(arm.settings)))
    chosen = ["strategy_name"]
    if len({arm.settings.get("weights") for arm in arms}) > 1:
        chosen.append("weights")
    for name in names:
        if name not in chosen and _tells_apart(name, chosen, arms):
            chosen.append(name)
    return [dataclasses.replace(arm, label=_label(arm, chosen)) for arm in arms]


def _tells_apart(name: str, chosen: Sequence[str], arms: Sequence[Arm]) -> bool:
    """Return whether arms of an environment with equal chosen settings differ in another one."""
    values: dict[tuple[str, str], set[str]] = {}
    for arm in arms:
        alike = arm.env, _label(arm, chosen)
        values.setdefault(alike, set()).add(json.dumps(arm.settings.get(name)))
    return any(len(own) > 1 for own in values.values())


def _label(arm: Arm, chosen: Sequence[str]) -> str:
    bare = {"strategy_name", "weights"}
    return ", ".join(
        ("" if name in bare else f"{name}=") + _in_short(arm.settings[name])
        for name in chosen
        if name in arm.settings
    )


def _in_short(value: Any) -> str:
    """Return a setting for a label, rounded, as an optimiser's proposals have too many digits."""
    return f"{value:.4g}" if isinstance(value, float) else in_words(value)


def in_words(value: Any) -> str:
    """Return a setting as written on the command line."""
    return str(tuple(value) if isinstance(value, list) else value)


def differing(arms: Sequence[Arm]) -> list[str]:
    """Return the names of the settings in which arms differ."""
    names = dict.fromkeys(name for arm in arms for name in arm.settings)
    return [n for n in names if len({json.dumps(arm.settings.get(n)) for arm in arms}) > 1]


def by_env(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Return the arms of each environment."""
    return {env: [arm for arm in arms if arm.env == env] for env in sorted({a.env for a in arms})}


def trit_shares(arm: Arm) -> dict[str, dict[int, Interval]]:
    """Return the shares of -1, 0 and +1 among the weights of each layer, averaged over seeds.

    Float weights are left out.
    """
    return {
        name: {trit: mean_interval([np.mean(one == trit) for one in own]) for trit in (-1, 0, 1)}
        for name, own in weights_of_seeds(arm).items()
        if all(one.dtype == np.int8 for one in own)
    }


def weights_of_seeds(arm: Arm) -> dict[str, list[NDArray[Any]]]:
    """Return the weights of each layer, one array per seed that has a policy file."""
    names = dict.fromkeys(name for seed in arm.seeds for name in seed.weights)
    return {name: [s.weights[name] for s in arm.seeds if name in s.weights] for name in names}
