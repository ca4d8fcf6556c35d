"""Read a wandb sweep file, and let optuna propose values for its parameters.

The format is wandb's (docs.wandb.ai, "Sweep configuration"). Whatever is accepted here means the
same to `wandb sweep`; features of wandb that are not supported are refused by name. The reference
is wandb's package `sweeps` 0.3.0 (`params.py`), and the tests compare with it.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ternevo.installation import load
from ternevo.names import check
from ternevo.settings import pages
from ternevo.settings.finite import check_number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Parameter(NamedTuple):
    """How a sweep parameter gets its values: optuna proposes, and `to_value` converts.

    Attributes:
      proposal: the optuna distribution that proposes.
      to_value: converts a proposal to the value that a trial gets.
      first: the first choice, the minimum of a range, or the median of a normal distribution.
      values: returns all values in order; None if their number is not finite.
      choices: the values of a choice, in the order of the file; None for a range.
    """

    proposal: Any
    to_value: Callable[[Any], Any]
    first: Any
    values: Callable[[], list[Any]] | None = None
    choices: tuple[Any, ...] | None = None


Space = dict[str, Parameter]
"""The parameters of a sweep, by name."""

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
KEYS = (
    *("program", "command", "method", "metric", "parameters", "run_cap"),
    *("name", "description", "project", "entity"),  # these are ignored
)
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
PROGRAM = "ternevo.run"
OURS = ("name", "runs_dir", "resume")
"""Options that the sweep sets for each trial; not allowed as parameters or after --."""
SMALLEST_QUANTILE = 2.0**-53
"""The smallest quantile of a normal distribution; those of 0 and 1 are infinite."""


class SweepFileError(ValueError):
    """A sweep file is invalid or uses a feature that only wandb supports."""


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """Contents of a sweep file."""

    method: str
    """grid, random or bayes."""
    metric: str
    """The metric that is the objective."""
    goal: str
    """maximize or minimize."""
    parameters: dict[str, dict[str, Any]]
    """The parameters, as written in the file."""
    options: tuple[str, ...]
    """Options of every trial; "${args}" marks the place of its own arguments."""
    run_cap: int | None
    """Total number of trials, if the file sets one."""

    def arguments(self, values: dict[str, Any]) -> list[str]:
        """Return the arguments that wandb's agent would pass to `ternevo.run` for these values."""
        own = [f"--{name}={value}" for name, value in values.items()]
        return [
            argument
            for option in self.options
            for argument in (own if option == "${args}" else [option])
        ]


def read(path: Path) -> SweepFile:
    """Read a sweep file.

    Raises:
      PageError: the file is missing or not YAML.
      UnknownName: a key or a choice is unknown; the message suggests similar ones.
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
            raise SweepFileError(f"{name!r} cannot be a parameter: the sweep sets it per trial")
    run_cap = content.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise SweepFileError(f"run_cap must be an integer of at least 1, got {run_cap!r}")
    return SweepFile(
        method=check("method", str(content.get("method")), METHODS),
        metric=str(metric["name"]),
        goal=check("goal", metric.get("goal", "minimize"), GOALS),  # as in wandb
        parameters={
            name: _mapping(spec, f"parameter {name!r}") for name, spec in parameters.items()
        },
        options=_options(content),
        run_cap=run_cap,
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise SweepFileError(f"{where} must be a mapping, got {value!r}")
    return value


def _options(content: dict[str, Any]) -> tuple[str, ...]:
    """Return the options after the program of the command, which must run ternevo.run."""
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
      UnknownName, SweepFileError: a parameter is invalid; the message names it.
    """
    return {name: parameter(name, spec) for name, spec in parameters.items()}


def parameter(name: str, spec: dict[str, Any]) -> Parameter:
    """Return one parameter; see `space`."""
    if "parameters" in spec:
        raise SweepFileError(f"parameter {name!r} is nested, but options of ternevo.run are flat")
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
        check(f"key of parameter {name!r} ({kind})", key, (*needed, *further, "distribution"))
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
            "(YAML reads 1e-3 as text but 1.0e-3 as a number)"
        )
    if (key == "q" and value <= 0) or (key == "sigma" and value < 0):
        allowed = {"q": "above 0", "sigma": "0 or more"}[key]
        raise SweepFileError(f"parameter {name!r}: {key} must be {allowed}, got {value!r}")


def optuna_package() -> Any:
    """Import optuna.

    Raises:
      MissingExtra: optuna is not installed.
    """
    return load("a sweep", "sweep", "optuna")


def _kind(spec: dict[str, Any]) -> str:
    """Return the distribution that wandb uses if the file names none."""
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
    """Return a choice of values as optuna stores them; a list becomes an argument's text."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"values must be a list of at least one value, got {values!r}")
    kept = tuple(
        x if x is None or isinstance(x, bool | int | float | str) else str(x) for x in values
    )
    proposal = module.CategoricalDistribution(kept)
    return Parameter(proposal, _as_proposed, kept[0], lambda: [*kept], kept)


def _weighted_choice(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a weighted choice: a number in [0, 1] is located among the cumulative sums."""
    choices, shares = _choice(module, spec["values"]).proposal.choices, spec["probabilities"]
    is_of_numbers = isinstance(shares, list) and all(isinstance(x, int | float) for x in shares)
    if not is_of_numbers or len(shares) != len(choices) or min(shares) < 0:
        raise ValueError(f"probabilities must be one number per value, 0 or more, got {shares!r}")
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
        raise ValueError(f"int_uniform needs integers for min and max, got {low!r} and {high!r}")
    proposal = module.IntDistribution(low, high)
    return Parameter(proposal, _as_proposed, low, lambda: list(range(low, high + 1)))


def _uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    proposal = module.FloatDistribution(spec["min"], spec["max"])
    return Parameter(proposal, _as_proposed, proposal.low)


def _log_uniform_values(module: Any, spec: dict[str, Any]) -> Parameter:
    proposal = module.FloatDistribution(spec["min"], spec["max"], log=True)
    return Parameter(proposal, _as_proposed, proposal.low)


def _log_uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a range where min and max are the natural logarithms of the ends."""
    ends = {key: math.exp(spec[key]) for key in ("min", "max")}
    return _log_uniform_values(module, ends)


def _inv_log_uniform(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a range where min and max are the logarithms of 1 / end."""
    return _log_uniform(module, {"min": -spec["max"], "max": -spec["min"]})


def _normal(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a normal distribution: optuna has none, so it proposes the quantile."""
    standard = statistics.NormalDist()

    def to_value(quantile: float) -> float:
        return spec["mu"] + spec["sigma"] * standard.inv_cdf(quantile)

    proposal = module.FloatDistribution(SMALLEST_QUANTILE, 1 - SMALLEST_QUANTILE)
    return Parameter(proposal, to_value, to_value(0.5))


def _log_normal(module: Any, spec: dict[str, Any]) -> Parameter:
    """Return a distribution whose logarithm is normal."""
    normal = _normal(module, spec)
    for quantile in (SMALLEST_QUANTILE, 1 - SMALLEST_QUANTILE):
        math.exp(normal.to_value(quantile))  # fail now, not in a trial, if it overflows
    return normal._replace(
        to_value=lambda quantile: math.exp(normal.to_value(quantile)), first=math.exp(normal.first)
    )


def _rounded(make: Callable[[Any, dict[str, Any]], Parameter]) -> Callable[..., Parameter]:
    """Return the distribution of round(x / q) * q for x from another; integers if q is one.

    Values are multiples of q, whatever min is, and may lie up to q / 2 outside the range.
    """

    def make_rounded(module: Any, spec: dict[str, Any]) -> Parameter:
        of_x, q = make(module, spec), spec["q"]
        q = int(q) if q == int(q) else q
        multiples = _multiples(of_x.proposal, q)

        def to_value(x: int | float) -> int | float:
            # A tie at an end has probability 0, but some samplers clip to the end.
            return min(max(round(x / q), multiples[0]), multiples[-1]) * q

        values = None if of_x.proposal.log else lambda: [k * q for k in multiples]
        return of_x._replace(to_value=to_value, first=to_value(of_x.first), values=values)

    return make_rounded


def _rounded_normal(make: Callable[[Any, dict[str, Any]], Parameter]) -> Callable[..., Parameter]:
    """Do the same for a distribution without ends."""

    def make_rounded(module: Any, spec: dict[str, Any]) -> Parameter:
        of_x, q = make(module, spec), spec["q"]
        q = int(q) if q == int(q) else q

        def to_value(x: float) -> int | float:
            return round(of_x.to_value(x) / q) * q

        return of_x._replace(to_value=to_value, first=to_value(0.5))

    return make_rounded


def _multiples(proposal: Any, q: int | float) -> range:
    """Return each k for which part of the range is closer to k * q than to other multiples."""
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
    "inv_log_uniform_values": (("min", "max"), (), _log_uniform_values),  # the same for 1/x
    "normal": ((), ("mu", "sigma"), _normal),
    "q_normal": ((), ("mu", "sigma", "q"), _rounded_normal(_normal)),
    "log_normal": ((), ("mu", "sigma"), _log_normal),
    "q_log_normal": ((), ("mu", "sigma", "q"), _rounded_normal(_log_normal)),
}
"""Distributions by wandb's name: required keys, optional keys, and our function."""

NUMBERS = {"min", "max", "q", "mu", "sigma"}
PARAMETER_KEYS = ("value", "values", "probabilities", "distribution", *sorted(NUMBERS))


def first_values(space: Space) -> dict[str, Any]:
    """Return the first choice, the minimum, or for a normal the median, of each parameter."""
    return {name: found.first for name, found in space.items()}


def grid(space: Space) -> list[dict[str, Any]]:
    """Return all combinations; the last parameter varies fastest.

    Raises:
      SweepFileError: a parameter does not have a finite number of values.
    """
    values = [_values(name, found) for name, found in space.items()]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def proposals(file: SweepFile) -> "dict[str, BaseDistribution]":
    """Return optuna's distributions; those of a grid list its values."""
    found = space(file.parameters)
    if file.method != "grid":
        return {name: parameter.proposal for name, parameter in found.items()}
    make = optuna_package().distributions.CategoricalDistribution
    return {name: make(_values(name, parameter)) for name, parameter in found.items()}


def _values(name: str, found: Parameter) -> list[Any]:
    if found.values is None:
        raise SweepFileError(
            f"method: grid needs a finite number of values, but parameter {name!r} is a range: "
            "use values, integer min and max, or q_uniform"
        )
    return found.values()
