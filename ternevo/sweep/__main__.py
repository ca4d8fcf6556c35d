"""`python -m ternevo.sweep FILE`: run a sweep file of wandb here, without an account."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ternevo.runs.errors import errors_in_a_line
from ternevo.settings import command_line as run_config
from ternevo.settings.options import types, written_out
from ternevo.sweep import space, summary, trials

if TYPE_CHECKING:
    from optuna import Study


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Run a sweep file of wandb here: optuna proposes, each trial is a run of its own.

    The same command goes on with a sweep that was stopped. Options after -- go to every trial.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A file that `wandb sweep` takes, such as experiments/sweeps/cartpole_grid.yaml."""
    num_trials: int | None = None
    """Trials in all, with those that are done; if not given, run_cap in the file, or a grid's."""
    jobs: int = 1
    """Trials side by side; share the devices among them by -- --num_devices."""
    seed: int = 0
    """Seed of the proposals of random and bayes; the runs have their own."""
    runs_dir: Path = Path("runs/sweeps")
    """Where sweeps are kept, as <runs_dir>/<name>."""
    name: str | None = None
    """Name of the sweep in its folder; that of the file if not given."""
    report: bool = True
    """Write report.html and parameters.png when the trials are done."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        for name, value in {"jobs": self.jobs, "num_trials": self.num_trials}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def main(argv: list[str] | None = None) -> None:
    """Run a sweep; exit 2 on bad input, 1 if no trial succeeded, 130 when stopped."""
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    own, further = argv[:split], tuple(argv[split + 1 :])
    with errors_in_a_line():
        config = tyro.cli(
            SweepConfig,
            args=written_out(own, types(SweepConfig)),
            prog="python -m ternevo.sweep",
            use_underscores=True,
            config=(tyro.conf.FlagConversionOff,),
        )
        run(config, further)


def run(config: SweepConfig, further: tuple[str, ...] = ()) -> None:
    """Run what is left of a sweep, and say what came out."""
    file = space.read(config.file)
    folder = config.runs_dir / (config.name or config.file.stem)
    sweep = trials.Sweep(file, folder, config.seed, further)
    num_trials = trials.num_trials_of(sweep, config.num_trials)
    _check_options(sweep)
    study = trials.open_study(sweep)
    left = num_trials - trials.num_finished(sweep, study)
    print(f"sweep       {folder}: {file.method}, {num_trials} trials, {max(left, 0)} to run")
    try:
        trials.run_trials(sweep, study, num_trials, config.jobs)
    except KeyboardInterrupt as error:
        print("interrupted: the trials are saved; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from error
    _say(config, sweep, study)


def _check_options(sweep: trials.Sweep) -> None:
    """Refuse an option that trials are given, or a misspelt one, before the first trial.

    Raises:
      ValueError: an option after -- is one that each trial is given.
      SystemExit: one is misspelt, as the parser has said.
    """
    for option in sweep.further:
        name = option.partition("=")[0].replace("-", "_")
        if name in (f"__{ours}" for ours in space.OURS):
            raise ValueError(f"{option!r} cannot stand after --: each trial is given its own")
    values = space.first_values(space.space(sweep.file.parameters))
    run_config.parse(sweep.arguments(values))


def _say(config: SweepConfig, sweep: trials.Sweep, study: "Study") -> None:
    print(summary.table(sweep, study))
    if not summary.complete(study):
        print("error: no trial has a result", file=sys.stderr)
        raise SystemExit(1)
    print(f"best        {summary.best_command(sweep, study)}")
    if config.report:
        picture = sweep.folder / "parameters.png"
        summary.draw(sweep, study, picture)
        print(f"parameters  {picture}")
        print(f"report      {summary.report(sweep, study)}", flush=True)


if __name__ == "__main__":
    main()
