"""`python -m ternevo.report RUNS...`: write one page about many runs."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ternevo import report
from ternevo.commands import prog, while_read
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.parser import parsed

EXAMPLES = (
    "  # all runs below runs/, into runs/report",
    "runs/gymnax elsewhere/runs --out report",
    "runs --threshold 475   # what counts as a success, in every environment",
    'runs --threshold "gymnax/CartPole-v1=475" --threshold "gymnax/Acrobot-v1=-100"',
    "runs --x wall_time",
)


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Write one page about many runs: a self-contained report.html, and its figures."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Run folders, or folders that contain them. Runs that differ only in the seed form an arm."""
    x: str = "env_steps"
    """The x-axis of learning curves: env_steps, wall_time or generations."""
    threshold: tuple[str, ...] = ()
    """Return that counts as a success: 475, or for one environment "gymnax/CartPole-v1=475".
    Repeat the option for several environments. Without it, an environment has its known threshold
    (CartPole 475, Acrobot -100, MountainCar -110, MountainCarContinuous 90, Pendulum -200), or else
    90 % of the way from the first evaluation to the best arm's final return."""
    out: Path = Path("runs/report")
    """Output folder for report.html and the figures."""


def main(argv: list[str] | None = None) -> None:
    """Write the page and print its path; exit with 2 on bad input."""
    config = parsed(
        ReportConfig, argv, prog=prog("report"), examples=EXAMPLES, appended=("threshold",)
    )
    with errors_in_a_line():
        threshold = parse_thresholds(config.threshold)
        print(report.write(config.runs, config.out, config.x, threshold))


def parse_thresholds(given: tuple[str, ...]) -> float | dict[str, float] | None:
    """Return a threshold for all environments, or one for each named one, or None.

    Raises:
      ValueError: one is not a number, or one for all environments is combined with others.
    """
    named = {env: text for env, _, text in (part.rpartition("=") for part in given)}
    if len(named) < len(given) or ("" in named and len(named) > 1):
        raise ValueError(
            f"--threshold {' '.join(given)}: give one number for all environments, "
            "or one ENV=NUMBER for each environment"
        )
    numbers = {env: _number(text) for env, text in named.items()}
    return numbers.get("", numbers or None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(
            f"--threshold takes a number or ENV=NUMBER, and {text!r} is not a number"
        ) from error


if __name__ == "__main__":
    while_read(main)
