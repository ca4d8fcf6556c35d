"""`python -m ternevo.report RUNS...`: one page about many runs."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ternevo import report
from ternevo.runs.errors import errors_in_a_line


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Write one page about many runs: report.html, which needs no other file, and its figures."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Runs, or folders that hold runs. Those that differ in nothing but the seed are one arm."""
    x: str = "env_steps"
    """What learning curves are drawn over: env_steps, wall_time or generations."""
    threshold: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Return that counts as a success: 475, or for one environment "gymnax/CartPole-v1=475".
    It can be given several times."""
    out: Path = Path("runs/report")
    """Folder for report.html and the figures."""


def main(argv: list[str] | None = None) -> None:
    """Write the page and print where it is; exit 2 on bad input."""
    config = tyro.cli(
        ReportConfig, args=argv, prog="python -m ternevo.report", use_underscores=True
    )
    with errors_in_a_line():
        threshold = parse_thresholds(config.threshold)
        print(report.write(config.runs, config.out, config.x, threshold))


def parse_thresholds(given: tuple[str, ...]) -> float | dict[str, float] | None:
    """Return a number for all environments, or one for each that is named, or None.

    Raises:
      ValueError: one is no number; or one for all stands beside others.
    """
    named = {env: text for env, _, text in (part.rpartition("=") for part in given)}
    if len(named) < len(given) or ("" in named and len(named) > 1):
        raise ValueError(
            f"--threshold {' '.join(given)}: give one number for all environments, "
            "or for each that is named one ENV=NUMBER"
        )
    numbers = {env: _number(text) for env, text in named.items()}
    return numbers.get("", numbers or None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(
            f"--threshold takes a number or ENV=NUMBER, and {text!r} is no number"
        ) from error


if __name__ == "__main__":
    main()
