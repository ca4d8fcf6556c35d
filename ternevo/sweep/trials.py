"""Run the trials of a sweep: optuna proposes and keeps the record, each trial is a process.

A sweep's folder holds study.jsonl (optuna's journal: every proposal and what came of it),
runs/ with the run of each trial, and logs/ with what each of them printed.
"""

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ternevo import files
from ternevo.machine.interruption import LOST_OUTPUT, SIGNALS, handled_by
from ternevo.names import check
from ternevo.runs import errors, run_folder
from ternevo.runs.sinks import mean_rows, read_jsonl
from ternevo.sweep.space import SweepFile, SweepFileError, grid, optuna_package, proposals, space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

INTERRUPTED = tuple(x for n in (*SIGNALS, LOST_OUTPUT) for x in (128 + n, -n))
"""Exit statuses of a run that was stopped, and saved before that if it had come so far."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep in its folder."""

    file: SweepFile
    folder: Path
    seed: int
    further: tuple[str, ...]
    """Options that every trial gets after its own."""

    def run_of(self, number: int) -> Path | None:
        """Return the folder of a trial's run, None if it did not come so far."""
        found = next((self.folder / "runs").glob(f"**/trial{number}/config.json"), None)
        return found.parent if found else None

    def log_of(self, number: int) -> Path:
        """Return where a trial's output goes."""
        return self.folder / "logs" / f"trial{number}.log"

    def values_of(self, trial: "FrozenTrial") -> dict[str, Any]:
        """Return the values that a trial gets, so far as they were proposed."""
        found = space(self.file.parameters)
        return {name: found[name].to_value(x) for name, x in trial.params.items()}

    def arguments(self, values: dict[str, Any], *ours: str) -> list[str]:
        """Return an agent's arguments, then ours, then the further ones; later ones win.

        Metrics go to a tracker only if the further options say so, whatever the file says.
        """
        return [*self.file.arguments(values), "--track=", *ours, *self.further]

    def arguments_of(self, trial: "FrozenTrial", is_resumed: bool) -> list[str]:
        """Return the arguments of a trial in this sweep."""
        return self.arguments(
            self.values_of(trial),
            f"--wandb_group={self.folder.name}",
            f"--runs_dir={self.folder / 'runs'}",
            f"--name=trial{trial.number}",
            f"--resume={is_resumed}",
        )


def open_study(sweep: Sweep) -> "Study":
    """Open the sweep's journal, or begin it.

    Raises:
      RunFolderError: the folder has another sweep: another file, seed or further options; or a
        trial that the file does not propose.
    """
    optuna = optuna_package()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for folder in (sweep.folder / "runs", sweep.folder / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal.JournalFileBackend(str(sweep.folder / "study.jsonl"))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),  # JSON lines, no pickle
        study_name="sweep",
        direction=sweep.file.goal,
        load_if_exists=True,
    )
    settings = {**dataclasses.asdict(sweep.file), "seed": sweep.seed, "further": sweep.further}
    settings = json.loads(json.dumps({k: v for k, v in settings.items() if k != "run_cap"}))
    before = study.user_attrs.get("settings", settings)
    changed = [name for name, value in settings.items() if before.get(name) != value]
    if changed:
        raise errors.RunFolderError(
            f"{sweep.folder} is a sweep with other settings ({', '.join(changed)}): choose another "
            "--name"
        )
    _check_trials(sweep, study)
    study.set_user_attr("settings", settings)
    return study


def _check_trials(sweep: Sweep, study: "Study") -> None:
    """Refuse a journal that has values which the file never proposes: they become arguments.

    An argument can name code, such as `--strategy`; only the file, which the user names, may.

    Raises:
      RunFolderError: a trial has another parameter, or one with other values.
    """
    ours = proposals(sweep.file)
    for trial in study.get_trials(deepcopy=False):
        foreign = [name for name, found in trial.distributions.items() if ours.get(name) != found]
        if foreign:
            raise errors.RunFolderError(
                f"{sweep.folder / 'study.jsonl'} has a trial {trial.number} with values that the "
                f"sweep file does not propose, of {', '.join(map(repr, foreign))}: choose another "
                "--name"
            )


def num_trials_of(sweep: Sweep, asked: int | None) -> int:
    """Return how many trials the sweep has: as asked, or as the file says; a grid ends by itself.

    Raises:
      SweepFileError: nothing says how many.
    """
    given = asked if asked is not None else sweep.file.run_cap
    if sweep.file.method == "grid":
        size = len(grid(space(sweep.file.parameters)))
        return size if given is None else min(given, size)
    if given is None:
        raise SweepFileError(
            f"method {sweep.file.method} does not end by itself: give --num_trials, or run_cap in "
            "the file"
        )
    return given


def propose(sweep: Sweep, study: "Study") -> "FrozenTrial":
    """Return the next trial. What is proposed depends on the file, the seed and results so far.

    Each proposal has random numbers of its own, so that stopping and going on changes none.
    """
    optuna = optuna_package()
    import numpy as np

    found, proposed = space(sweep.file.parameters), begun(sweep, study)
    seed = int(np.random.SeedSequence([sweep.seed, len(proposed)]).generate_state(1)[0])
    if sweep.file.method == "grid":
        waiting = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING])
        if not waiting:  # else this was stopped before `ask` below
            left = grid(found)
            for trial in proposed:
                left.remove(trial.params)
            study.enqueue_trial(left[0])
    elif sweep.file.method == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        study.sampler = optuna.samplers.TPESampler(seed=seed)
    return _frozen(study, study.ask(proposals(sweep.file)).number)


def run_trials(sweep: Sweep, study: "Study", num_trials: int, jobs: int) -> None:
    """Run what is left of a sweep, `jobs` trials side by side; unfinished ones first.

    Raises:
      RunFolderError: another process runs this sweep, or a trial of it.
      KeyboardInterrupt: SIGINT or SIGTERM; the trials that ran have saved their states.
    """
    running: dict[int, subprocess.Popen[bytes]] = {}
    done = num_finished(sweep, study)
    with _locked(sweep) as lock, _bar(num_trials, done) as bar, _stopping(running) as caught:
        unfinished = _unfinished(sweep, study)
        while not caught:
            while len(running) < jobs and (unfinished or len(begun(sweep, study)) < num_trials):
                is_resumed = bool(unfinished)
                trial = unfinished.pop(0) if is_resumed else propose(sweep, study)
                running[trial.number] = _start(sweep, trial, is_resumed, lock)
            if not running:
                return
            ended = [number for number, process in running.items() if process.poll() is not None]
            for number in ended:
                _finish(sweep, study, number, running.pop(number).returncode)
                bar.update()
                tqdm.write(in_a_line(sweep, _frozen(study, number)))
            time.sleep(0.05)
    raise KeyboardInterrupt


def _unfinished(sweep: Sweep, study: "Study") -> "list[FrozenTrial]":
    """Return the trials to go on with; one whose proposal a kill cut off counts as failed."""
    states = optuna_package().trial.TrialState
    trials = study.get_trials(deepcopy=False, states=[states.RUNNING])
    for trial in trials:
        if not _is_whole(sweep, trial):
            study.tell(trial.number, state=states.FAIL)
    return [trial for trial in trials if _is_whole(sweep, trial)]


def begun(sweep: Sweep, study: "Study") -> "list[FrozenTrial]":
    """Return the trials that count: all but those whose proposal a kill cut off."""
    return [trial for trial in study.get_trials(deepcopy=False) if _is_whole(sweep, trial)]


def num_finished(sweep: Sweep, study: "Study") -> int:
    """Return how many of the trials that count have ended."""
    return sum(trial.state.is_finished() for trial in begun(sweep, study))


def _is_whole(sweep: Sweep, trial: "FrozenTrial") -> bool:
    return trial.params.keys() == sweep.file.parameters.keys()


def _frozen(study: "Study", number: int) -> "FrozenTrial":
    return study.get_trials(deepcopy=False)[number]


def _bar(num_trials: int, done: int) -> "tqdm[Any]":
    """Return a progress bar; only lines where there is no terminal."""
    return tqdm(
        total=num_trials,
        initial=done,
        unit="trial",
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


@contextlib.contextmanager
def _locked(sweep: Sweep) -> Iterator[int]:
    """Yield a file that is locked, until this process and all trials that inherit it have ended."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(files.locked(sweep.folder / "lock"))
        except files.Locked as error:
            raise errors.RunFolderError(
                f"{sweep.folder} is at work: another process runs the sweep, or a trial of it"
            ) from error
        yield lock


@contextlib.contextmanager
def _stopping(running: "dict[int, subprocess.Popen[bytes]]") -> Iterator[list[int]]:
    """Yield a list that gets signals; then stop what still runs, which saves its state.

    While that is waited for, a second Ctrl-C is as usual.
    """
    caught: list[int] = []
    try:
        with handled_by(lambda number, _: caught.append(number)):
            yield caught
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _start(
    sweep: Sweep, trial: "FrozenTrial", is_resumed: bool, lock: int
) -> "subprocess.Popen[bytes]":
    """Start a trial; in a group of its own, so that Ctrl-C reaches it once, through us."""
    with sweep.log_of(trial.number).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ternevo.run", *sweep.arguments_of(trial, is_resumed)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=(lock,),
        )


def _finish(sweep: Sweep, study: "Study", number: int, status: int) -> None:
    """Tell the study what came of a trial.

    Raises:
      KeyboardInterrupt: somebody stopped it, and so the sweep; the trial stays unfinished.
    """
    if status in INTERRUPTED:
        raise KeyboardInterrupt
    failed = optuna_package().trial.TrialState.FAIL
    if status:
        study.tell(number, state=failed)
        return
    try:
        study.tell(number, objective(sweep, number))
    except (ValueError, errors.RunFolderError) as error:
        with sweep.log_of(number).open("a") as log:
            log.write(f"error: {error}\n")
        study.tell(number, state=failed)


def objective(sweep: Sweep, number: int) -> float:
    """Return what wandb's summary of the run would say: the last value of the metric.

    Of several seeds it is the mean over them.

    Raises:
      RunFolderError: there is no run.
      UnknownName: it has no such metric.
    """
    folder = sweep.run_of(number)
    if folder is None:
        raise errors.RunFolderError(f"there is no run trial{number} in {sweep.folder / 'runs'}")
    rows = mean_rows([read_jsonl(seed.metrics) for seed in run_folder.find_all(folder)])
    known = dict.fromkeys(name for row in rows for name in row)
    metric = check("metric", sweep.file.metric, known)
    return float(next(row[metric] for row in reversed(rows) if metric in row))


def in_a_line(sweep: Sweep, trial: "FrozenTrial") -> str:
    """Return a trial's number, arguments, and its objective or why there is none."""
    values = sweep.values_of(trial)
    varied = " ".join(f"{k}={values[k]}" for k in varied_parameters(sweep))
    return f"trial {trial.number}  {varied}  {outcome(sweep, trial)}"


def varied_parameters(sweep: Sweep) -> list[str]:
    """Return the names of the parameters that can have more than one value."""
    found = space(sweep.file.parameters)
    return [name for name, parameter in found.items() if not parameter.proposal.single()]


def outcome(sweep: Sweep, trial: "FrozenTrial") -> str:
    """Return the objective as text, or the last line that a failed trial printed."""
    if trial.state.name == "COMPLETE":
        return f"{sweep.file.metric} {trial.value:.6g}"
    if trial.state.name != "FAIL":
        return "unfinished"
    log = sweep.log_of(trial.number)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"failed: {next((x.strip() for x in reversed(lines) if x.strip()), 'it said nothing')}"
