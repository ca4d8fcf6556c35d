"""`python -m ternevo.sweep FILE`: run a wandb sweep file locally, without an account."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ternevo.commands import prog, while_read
from ternevo.installation import require
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings import command_line as run_config, pages, smoke
from ternevo.settings.parser import parsed
from ternevo.sweep import space, summary, trials

if TYPE_CHECKING:
    from optuna import Study

EXAMPLES = (
    "experiments/sweeps/cartpole_grid.yaml",
    "experiments/sweeps/hopper_random.yaml --num_trials 20 --seed 1",
    "experiments/sweeps/pendulum_bayes.yaml --jobs 2 -- --num_devices 1   # options of each trial",
)


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Run a wandb sweep file locally: optuna proposes values, and each trial is a separate run.

    The same command resumes a stopped sweep. Options after -- are passed to every trial.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A sweep file for `wandb sweep`, or the name of one in experiments/sweeps, such as
    cartpole_grid."""
    num_trials: int | None = None
    """Total number of trials, including finished ones; defaults to run_cap, or to the grid size."""
    jobs: int = 1
    """Number of parallel trials; split the devices between them with -- --num_devices."""
    seed: int = 0
    """Seed of the proposals of random and bayes; runs have their own seed."""
    runs_dir: Path = Path("runs/sweeps")
    """Folder for sweeps; each is stored in <runs_dir>/<name>."""
    name: str | None = None
    """Name of the sweep's folder; defaults to the name of the file."""
    report: bool = True
    """Write report.html and parameters.png after the last trial."""

    def __post_init__(self) -> None:
        """Refuse counts below 1."""
        for name, value in {"jobs": self.jobs, "num_trials": self.num_trials}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def main(argv: list[str] | None = None) -> None:
    """Run a sweep; exit 2 on bad input, 1 if no trial succeeded, 130 when stopped."""
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    own, further = argv[:split], tuple(argv[split + 1 :])
    with errors_in_a_line():
        config = parsed(
            SweepConfig,
            own,
            prog=prog("sweep"),
            examples=EXAMPLES,
        )
        run(config, further)


def run(config: SweepConfig, further: tuple[str, ...] = ()) -> None:
    """Run the remaining trials of a sweep and print the results."""
    require("a sweep", "sweep")
    path = pages.find(config.file, "sweep")
    file = space.read(path)
    folder = config.runs_dir / (config.name or path.stem)
    sweep = trials.Sweep(file, folder, config.seed, further)
    num_trials = trials.num_trials_of(sweep, smoke.shortened_sweep(config.num_trials))
    _check_options(sweep)
    study = trials.open_study(sweep)
    left = num_trials - trials.num_finished(sweep, study)
    print(f"sweep       {folder}: {file.method}, {num_trials} trials, {max(left, 0)} to run")
    try:
        trials.run_trials(sweep, study, num_trials, config.jobs)
    except KeyboardInterrupt as error:
        print("interrupted: the trials are saved; run the same command to resume", file=sys.stderr)
        raise SystemExit(130) from error
    _say(config, sweep, study)


def _check_options(sweep: trials.Sweep) -> None:
    """Refuse reserved or misspelt options before the first trial starts.

    Raises:
      ValueError: an option after -- is one that the sweep sets for each trial.
      SystemExit: an option is misspelt; the parser has printed which.
    """
    for option in sweep.further:
        name = option.partition("=")[0].replace("-", "_")
        if name in (f"__{ours}" for ours in space.OURS):
            raise ValueError(f"{option!r} cannot be given after --: the sweep sets it per trial")
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
    while_read(main)
