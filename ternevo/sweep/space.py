"""A sweep file of wandb: what it says, and optuna's distributions for its parameters.

The format is wandb's (docs.wandb.ai, "Sweep configuration"). What is read here means the same to
`wandb sweep`; what wandb has and this has not is refused by name.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ternevo.finite import check_number
from ternevo.names import check
from ternevo.sinks import MissingExtra

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Space = dict[str, Any]
"""optuna's distribution for each parameter."""

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
KEYS = (
    *("program", "command", "method", "metric", "parameters", "run_cap"),
    *("name", "description", "project", "entity"),  # these say nothing here
)
PARAMETER_KEYS = ("value", "values", "distribution", "min", "max", "q")
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
PROGRAM = "ternevo.run"
OURS = ("name", "runs_dir", "resume")
"""Options that the sweep gives each trial: no parameter can be one, nor stand after --."""


class SweepFileError(ValueError):
    """A sweep file cannot be understood, or asks for what only wandb does."""


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """What a sweep file says."""

    method: str
    """grid, random or bayes."""
    metric: str
    """Which metric of a run is the objective."""
    goal: str
    """maximize or minimize."""
    parameters: dict[str, dict[str, Any]]
    """The parameters as they stand in the file."""
    options: tuple[str, ...]
    """Options of every trial, with "${args}" where those of the trial go."""
    run_cap: int | None
    """Trials in all, if the file says so."""

    def arguments(self, values: dict[str, Any]) -> list[str]:
        """Return the arguments that wandb's agent would give `ternevo.run` for these values."""
        own = [f"--{name}={value}" for name, value in values.items()]
        return [
            argument
            for option in self.options
            for argument in (own if option == "${args}" else [option])
        ]


def read(path: Path) -> SweepFile:
    """Read a sweep file.

    Raises:
      OSError: it is not there.
      UnknownName: a key or a choice that is not known; the message has near matches.
      SweepFileError: it is not YAML, or something is missing or of the wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SweepFileError(f"{path} is not YAML: {error}") from error
    content = _mapping(content, str(path))
    for key in content:
        check("key of a sweep file", str(key), KEYS)
    metric = _mapping(content.get("metric"), "metric")
    if "name" not in metric:
        raise SweepFileError("metric must have a name, such as eval/return")
    parameters = _mapping(content.get("parameters"), "parameters")
    for name in OURS:
        if name in parameters:
            raise SweepFileError(f"{name!r} cannot be a parameter: each trial is given its own")
    run_cap = content.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise SweepFileError(f"run_cap must be a number of trials, at least 1, got {run_cap!r}")
    return SweepFile(
        method=check("method", str(content.get("method")), METHODS),
        metric=str(metric["name"]),
        goal=check("goal", metric.get("goal", "minimize"), GOALS),  # wandb's default, too
        parameters={
            name: _mapping(spec, f"parameter {name!r}") for name, spec in parameters.items()
        },
        options=_options(content),
        run_cap=run_cap,
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise SweepFileError(f"{where} must be a mapping, not {value!r}")
    return value


def _options(content: dict[str, Any]) -> tuple[str, ...]:
    """Return what the command has after the program; it must run the module ternevo.run."""
    macros = {"${program}": str(content.get("program"))}
    command = [macros.get(str(part), str(part)) for part in content.get("command", DEFAULT_COMMAND)]
    if PROGRAM not in command or command[command.index(PROGRAM) - 1] != "-m":
        raise SweepFileError(
            'command must run the module ternevo.run, as in ["${env}", "${interpreter}", "-m", '
            f'"${{program}}", "${{args}}"] with program: {PROGRAM}; got {command}'
        )
    options = command[command.index(PROGRAM) + 1 :]
    for option in options:
        if option.startswith("${"):
            check("macro in the command of a sweep", option, ["${args}"])
    if "${args}" not in options:
        raise SweepFileError(f'command must have "${{args}}" after {PROGRAM}, got {options}')
    return tuple(options)


def space(parameters: dict[str, dict[str, Any]]) -> Space:
    """Return optuna's distribution for each parameter.

    Raises:
      MissingExtra: optuna is not installed.
      UnknownName, SweepFileError: a parameter is not understood; the message names it.
    """
    return {name: distribution(name, spec) for name, spec in parameters.items()}


def distribution(name: str, spec: dict[str, Any]) -> "BaseDistribution":
    """Return optuna's distribution for one parameter; see `space`."""
    if "parameters" in spec:
        raise SweepFileError(f"parameter {name!r} is nested; options of ternevo.run are flat")
    for key in spec:
        check(f"key of parameter {name!r}", key, PARAMETER_KEYS)
    kind = spec.get("distribution") or _kind(spec)
    make = DISTRIBUTIONS[check(f"distribution of parameter {name!r}", kind, DISTRIBUTIONS)]
    needed = {"constant": ("value",), "categorical": ("values",)}.get(kind, ("min", "max"))
    for key in needed:
        if key not in spec:
            raise SweepFileError(f"parameter {name!r}: {kind} needs {' and '.join(needed)}")
    for key in {"min", "max", "q"} & spec.keys():
        if isinstance(spec[key], bool) or not isinstance(spec[key], int | float):
            raise SweepFileError(
                f"parameter {name!r}: {key} must be a number, got {spec[key]!r} "
                "(YAML reads 1e-3 as text, and 1.0e-3 as a number)"
            )
    try:
        for key, value in spec.items():
            check_number(key, value)
        return make(optuna_package().distributions, spec)
    except (TypeError, ValueError, OverflowError) as error:
        raise SweepFileError(f"parameter {name!r}: {error}") from error


def optuna_package() -> Any:
    """Import optuna.

    Raises:
      MissingExtra: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtra('ternevo.sweep needs optuna: pip install "ternevo[sweep]"') from error
    return optuna


def _kind(spec: dict[str, Any]) -> str:
    """Return the distribution that wandb takes where the file names none."""
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    is_integer = all(isinstance(spec.get(key), int) for key in ("min", "max"))
    return "int_uniform" if is_integer else "uniform"


def _choices(values: Any) -> list[Any]:
    """Return values as optuna keeps them; a list becomes the text that it is in an argument."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"values must be a list of at least one, got {values!r}")
    return [x if x is None or isinstance(x, bool | int | float | str) else str(x) for x in values]


def _int_uniform(module: Any, spec: dict[str, Any]) -> "BaseDistribution":
    if not isinstance(spec["min"], int) or not isinstance(spec["max"], int):
        raise ValueError(f"int_uniform needs integers, got {spec['min']!r} to {spec['max']!r}")
    return module.IntDistribution(spec["min"], spec["max"])


def _q_uniform(module: Any, spec: dict[str, Any]) -> "BaseDistribution":
    low, high, step = spec["min"], spec["max"], spec.get("q", 1)
    if all(isinstance(x, int) for x in (low, high, step)):
        return module.IntDistribution(low, high, step=step)
    return module.FloatDistribution(low, high, step=step)


def _q_log_uniform_values(module: Any, spec: dict[str, Any]) -> "BaseDistribution":
    if spec.get("q", 1) != 1:
        raise ValueError(f"q_log_uniform_values is known with q: 1 only, got q: {spec['q']}")
    return module.IntDistribution(spec["min"], spec["max"], log=True)


DISTRIBUTIONS: dict[str, Callable[[Any, dict[str, Any]], "BaseDistribution"]] = {
    "constant": lambda d, spec: d.CategoricalDistribution(_choices([spec["value"]])),
    "categorical": lambda d, spec: d.CategoricalDistribution(_choices(spec["values"])),
    "int_uniform": _int_uniform,
    "uniform": lambda d, spec: d.FloatDistribution(spec["min"], spec["max"]),
    "log_uniform_values": lambda d, spec: d.FloatDistribution(spec["min"], spec["max"], log=True),
    # Here min and max are natural logarithms of the ends.
    "log_uniform": lambda d, spec: d.FloatDistribution(
        math.exp(spec["min"]), math.exp(spec["max"]), log=True
    ),
    "q_uniform": _q_uniform,
    "q_log_uniform_values": _q_log_uniform_values,
}
"""wandb's names of distributions, and optuna's distributions of the same numbers."""


def first_values(space: Space) -> dict[str, Any]:
    """Return the first choice, or the smallest value, of each parameter."""
    return {
        name: found.choices[0] if hasattr(found, "choices") else found.low
        for name, found in space.items()
    }


def grid(space: Space) -> list[dict[str, Any]]:
    """Return all combinations; the last parameter varies fastest.

    Raises:
      SweepFileError: a parameter has no finite number of values.
    """
    values = [_values(name, found) for name, found in space.items()]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def _values(name: str, found: Any) -> list[Any]:
    if hasattr(found, "choices"):
        return list(found.choices)
    if found.step is None or found.log:
        raise SweepFileError(
            f"method: grid needs a finite number of values, parameter {name!r} has a range: "
            "give values, or integers for min and max, or q_uniform"
        )
    count = round((found.high - found.low) / found.step) + 1
    return [found.low + i * found.step for i in range(count)]
