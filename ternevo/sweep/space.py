"""A sweep file of wandb: what it says, and how optuna proposes values of its parameters.

The format is wandb's (docs.wandb.ai, "Sweep configuration"). What is read here means the same to
`wandb sweep`; what wandb has and this has not is refused by name. wandb's rules are those of its
package `sweeps` 0.3.0 (`params.py`), with which the tests compare.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ternevo.names import check
from ternevo.runs.sinks import MissingExtra
from ternevo.settings import pages
from ternevo.settings.finite import check_number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Parameter(NamedTuple):
    """How a parameter of a sweep gets its values: optuna proposes, and `to_value` makes of it one.

    Attributes:
      proposal: optuna's distribution of what is proposed.
      to_value: from what is proposed to the value that a trial gets.
      first: the first choice, the smallest value of a range, the median of a normal distribution.
      values: returns all values in order; None of a range that is not finite.
      choices: the values of a choice, in the order of the file; None of a range.
    """

    proposal: Any
    to_value: Callable[[Any], Any]
    first: Any
    values: Callable[[], list[Any]] | None = None
    choices: tuple[Any, ...] | None = None


Space = dict[str, Parameter]
"""The parameters of a sweep by name."""

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
KEYS = (
    *("program", "command", "method", "metric", "parameters", "run_cap"),
    *("name", "description", "project", "entity"),  # these say nothing here
)
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
PROGRAM = "ternevo.run"
OURS = ("name", "runs_dir", "resume")
"""Options that the sweep gives each trial: no parameter can be one, nor stand after --."""
SMALLEST_QUANTILE = 2.0**-53
"""Of a normal distribution: 0 and 1 lie at infinity."""


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
      PageError: it is not there, or not YAML.
      UnknownName: a key or a choice that is not known; the message has near matches.
      SweepFileError: something is missing or of the wrong type.
    """
    content = _mapping(pages.read(path), str(path))
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
    """Return the parameters of a sweep.

    Raises:
      MissingExtra: optuna is not installed.
      UnknownName, SweepFileError: a parameter is not understood; the message names it.
    """
    return {name: parameter(name, spec) for name, spec in parameters.items()}


def parameter(name: str, spec: dict[str, Any]) -> Parameter:
    """Return one parameter; see `space`."""
    if "parameters" in spec:
        raise SweepFileError(f"parameter {name!r} is nested; options of ternevo.run are flat")
    for key in spec:
        check(f"key of parameter {name!r}", key, PARAMETER_KEYS)
    kind = check(
        f"distribution of parameter {name!r}", spec.get("distribution") or _kind(spec), KINDS
    )
    needed, further, make = KINDS[kind]
    for key in needed:
        if key not in spec:
            raise SweepFileError(f"parameter {name!r}: {kind} needs {' and '.join(needed)}")
    for key in spec:
        check(f"key of parameter {name!r}, of {kind},", key, (*needed, *further, "distribution"))
    try:
        for key, value in spec.items():
            check_number(key, value)
    except ValueError as error:
        raise SweepFileError(f"parameter {name!r}: {error}") from error
    for key in NUMBERS & spec.keys():
        _check_number(name, key, spec[key])
    try:
        return make(optuna_package().distributions, {"mu": 0, "sigma": 1, "q": 1, **spec})
    except (TypeError, ValueError, OverflowError) as error:
        raise SweepFileError(f"parameter {name!r}: {error}") from error


def _check_number(name: str, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SweepFileError(
            f"parameter {name!r}: {key} must be a number, got {value!r} "
            "(YAML reads 1e-3 as text, and 1.0e-3 as a number)"
        )
    if (key == "q" and value <= 0) or (key == "sigma" and value < 0):
        allowed = {"q": "above 0", "sigma": "0 or more"}[key]
        raise SweepFileError(f"parameter {name!r}: {key} must be {allowed}, got {value!r}")


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
        return "categorical_w_probabilities" if "probabilities" in spec else "categorical"
    is_integer = all(isinstance(spec.get(key), int) for key in ("min", "max"))
    return "int_uniform" if is_integer else "uniform"


# ---------------------------------------------------------------------------- the distributions


def _as_proposed(x: Any) -> Any:
    return x


def _choice(module: Any, values: Any) -> Parameter:
    """Return a choice of values as optuna keeps them; a list becomes the text of an argument."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"values must be a list of at least one, got {values!r}")
    kept = tuple(
        x if x is None or isinstance(x, bool | int | float | str) else str(x) for x in values
    )
    proposal = module.CategoricalDistribution(kept)
    return Parameter(proposal, _as_proposed, kept[0], lambda: [*kept], kept)


def _weighted_choice(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a choice by probabilities: where a number in [0, 1] falls among their sums."""
    choices, shares = _choice(module, spec["values"]).proposal.choices, spec["probabilities"]
    is_of_numbers = isinstance(shares, list) and all(isinstance(x, int | float) for x in shares)
    if not is_of_numbers or len(shares) != len(choices) or min(shares) < 0:
        raise ValueError(f"probabilities must be one number of 0 or more a value, got {shares!r}")
    if not math.isclose(math.fsum(shares), 1):
        raise ValueError(f"probabilities must add up to 1, got {math.fsum(shares):g}")
    possible = [i for i, share in enumerate(shares) if share > 0]
    ends = list(itertools.accumulate(shares))

    def to_value(x: float) -> Any:
        return choices[next((i for i in possible if x < ends[i]), possible[-1])]

    proposal = module.FloatDistribution(0.0, 1.0)
    return Parameter(proposal, to_value, to_value(0.0), choices=choices)


def _int_uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    low, high = spec["min"], spec["max"]
    if not isinstance(low, int) or not isinstance(high, int):
        raise ValueError(f"int_uniform needs integers, got {low!r} to {high!r}")
    proposal = module.IntDistribution(low, high)
    return Parameter(proposal, _as_proposed, low, lambda: list(range(low, high + 1)))


def _uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    proposal = module.FloatDistribution(spec["min"], spec["max"])
    return Parameter(proposal, _as_proposed, proposal.low)


def _log_uniform_values(module: Any, spec: dict[str, Any]) -> Parameter:
    proposal = module.FloatDistribution(spec["min"], spec["max"], log=True)
    return Parameter(proposal, _as_proposed, proposal.low)


def _log_uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return what min and max are the natural logarithms of the ends of."""
    ends = {key: math.exp(spec[key]) for key in ("min", "max")}
    return _log_uniform_values(module, ends)


def _inv_log_uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return what min and max are the logarithms of one over its ends of."""
    return _log_uniform(module, {"min": -spec["max"], "max": -spec["min"]})


def _normal(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a normal distribution: optuna, which has none, proposes the quantile."""
    standard = statistics.NormalDist()

    def to_value(quantile: float) -> float:
        return spec["mu"] + spec["sigma"] * standard.inv_cdf(quantile)

    proposal = module.FloatDistribution(SMALLEST_QUANTILE, 1 - SMALLEST_QUANTILE)
    return Parameter(proposal, to_value, to_value(0.5))


def _log_normal(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a distribution whose logarithm is normal."""
    normal = _normal(module, spec)
    for quantile in (SMALLEST_QUANTILE, 1 - SMALLEST_QUANTILE):
        math.exp(normal.to_value(quantile))  # else a trial would come upon what overflows
    return normal._replace(
        to_value=lambda quantile: math.exp(normal.to_value(quantile)), first=math.exp(normal.first)
    )


def _rounded(make: Callable[[Any, dict[str, Any]], Parameter]) -> Callable[..., Parameter]:
    """Return the distribution of round(x / q) * q, where x is of another; whole numbers if q is.

    So values are multiples of q, whatever min is, and may lie up to half a q outside the range.
    """

    def make_rounded(module: Any, spec: dict[str, Any]) -> Parameter:
        of_x, q = make(module, spec), spec["q"]
        q = int(q) if q == int(q) else q
        multiples = _multiples(of_x.proposal, q)

        def to_value(x: int | float) -> int | float:
            # What lies halfway at an end has probability 0, and some samplers clip to the end.
            return min(max(round(x / q), multiples[0]), multiples[-1]) * q

        values = None if of_x.proposal.log else lambda: [k * q for k in multiples]
        return of_x._replace(to_value=to_value, first=to_value(of_x.first), values=values)

    return make_rounded


def _rounded_normal(make: Callable[[Any, dict[str, Any]], Parameter]) -> Callable[..., Parameter]:
    """Return the same of a distribution without ends."""

    def make_rounded(module: Any, spec: dict[str, Any]) -> Parameter:
        of_x, q = make(module, spec), spec["q"]
        q = int(q) if q == int(q) else q

        def to_value(x: float) -> int | float:
            return round(of_x.to_value(x) / q) * q

        return of_x._replace(to_value=to_value, first=to_value(0.5))

    return make_rounded


def _multiples(proposal: Any, q: int | float) -> range:
    """Return the numbers k for which a part of the range is nearer to k q than to any other."""
    first = math.floor(proposal.low / q + 0.5)
    return range(first, max(math.ceil(proposal.high / q - 0.5), first) + 1)


KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[..., Parameter]]] = {
    "constant": (("value",), (), lambda module, spec: _choice(module, [spec["value"]])),
    "categorical": (("values",), (), lambda module, spec: _choice(module, spec["values"])),
    "categorical_w_probabilities": (("values", "probabilities"), (), _weighted_choice),
    "int_uniform": (("min", "max"), (), _int_uniform),
    "uniform": (("min", "max"), (), _uniform),
    "q_uniform": (("min", "max"), ("q",), _rounded(_uniform)),
    "log_uniform": (("min", "max"), (), _log_uniform),
    "log_uniform_values": (("min", "max"), (), _log_uniform_values),
    "q_log_uniform": (("min", "max"), ("q",), _rounded(_log_uniform)),
    "q_log_uniform_values": (("min", "max"), ("q",), _rounded(_log_uniform_values)),
    "inv_log_uniform": (("min", "max"), (), _inv_log_uniform),
    "inv_log_uniform_values": (("min", "max"), (), _log_uniform_values),  # 1/x is no other
    "normal": ((), ("mu", "sigma"), _normal),
    "q_normal": ((), ("mu", "sigma", "q"), _rounded_normal(_normal)),
    "log_normal": ((), ("mu", "sigma"), _log_normal),
    "q_log_normal": ((), ("mu", "sigma", "q"), _rounded_normal(_log_normal)),
}
"""wandb's names of distributions: the keys that they need, those that they may have, and ours."""

NUMBERS = {"min", "max", "q", "mu", "sigma"}
PARAMETER_KEYS = ("value", "values", "probabilities", "distribution", *sorted(NUMBERS))


def first_values(space: Space) -> dict[str, Any]:
    """Return the first choice, or the smallest value, of each parameter; of a normal the median."""
    return {name: found.first for name, found in space.items()}


def grid(space: Space) -> list[dict[str, Any]]:
    """Return all combinations; the last parameter varies fastest.

    Raises:
      SweepFileError: a parameter has no finite number of values.
    """
    values = [_values(name, found) for name, found in space.items()]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def proposals(file: SweepFile) -> "dict[str, BaseDistribution]":
    """Return the distributions that optuna proposes from; a grid has its values as they are."""
    found = space(file.parameters)
    if file.method != "grid":
        return {name: parameter.proposal for name, parameter in found.items()}
    make = optuna_package().distributions.CategoricalDistribution
    return {name: make(_values(name, parameter)) for name, parameter in found.items()}


def _values(name: str, found: Parameter) -> list[Any]:
    if found.values is None:
        raise SweepFileError(
            f"method: grid needs a finite number of values, parameter {name!r} has a range: "
            "give values, or integers for min and max, or q_uniform"
        )
    return found.values()
