"""Run the trials of a sweep: optuna proposes and keeps records, and each trial is a process.

A sweep's folder holds study.jsonl (optuna's journal of every proposal and its outcome), runs/ with
the run of each trial, and logs/ with the output of each.
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
"""Exit statuses of a run that was stopped; it saved its state first if it had one."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep and its folder."""

    file: SweepFile
    folder: Path
    seed: int
    further: tuple[str, ...]
    """Options that every trial gets after its own arguments."""

    def run_of(self, number: int) -> Path | None:
        """Return the folder of a trial's run, or None if it did not get that far."""
        found = next((self.folder / "runs").glob(f"**/trial{number}/config.json"), None)
        return found.parent if found else None

    def log_of(self, number: int) -> Path:
        """Return the log file of a trial."""
        return self.folder / "logs" / f"trial{number}.log"

    def values_of(self, trial: "FrozenTrial") -> dict[str, Any]:
        """Return the values of a trial that have been proposed."""
        found = space(self.file.parameters)
        return {name: found[name].to_value(x) for name, x in trial.params.items()}

    def arguments(self, values: dict[str, Any], *ours: str) -> list[str]:
        """Return the agent's arguments, then ours, then the further options; later ones win.

        Only the further options can turn on a tracker; the file cannot.
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
    """Open the sweep's journal, or start one.

    Raises:
      RunFolderError: the folder holds another sweep (another file, seed or further options), or a
        trial that the file cannot propose.
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
            f"{sweep.folder} holds a sweep with different settings ({', '.join(changed)}): choose "
            "another --name"
        )
    _check_trials(sweep, study)
    study.set_user_attr("settings", settings)
    return study


def _check_trials(sweep: Sweep, study: "Study") -> None:
    """Refuse a journal with values that the file cannot propose, because they become arguments.

    An argument such as `--strategy` can name code. Only the file may do so: the user chose it.

    Raises:
      RunFolderError: a trial has a foreign parameter, or one with foreign values.
    """
    ours = proposals(sweep.file)
    for trial in study.get_trials(deepcopy=False):
        foreign = [name for name, found in trial.distributions.items() if ours.get(name) != found]
        if foreign:
            raise errors.RunFolderError(
                f"{sweep.folder / 'study.jsonl'}: trial {trial.number} has values of "
                f"{', '.join(map(repr, foreign))} that the sweep file does not propose: choose "
                "another --name"
            )


def num_trials_of(sweep: Sweep, asked: int | None) -> int:
    """Return the number of trials: the given one, the file's, or at most the size of a grid.

    Raises:
      SweepFileError: neither is given, and the method is not grid.
    """
    given = asked if asked is not None else sweep.file.run_cap
    if sweep.file.method == "grid":
        size = len(grid(space(sweep.file.parameters)))
        return size if given is None else min(given, size)
    if given is None:
        raise SweepFileError(
            f"method {sweep.file.method} has no last trial: set --num_trials or run_cap in the file"
        )
    return given


def propose(sweep: Sweep, study: "Study") -> "FrozenTrial":
    """Return the next trial, which depends only on the file, the seed and the results so far.

    Each proposal has its own random numbers, so that a resume does not change them.
    """
    optuna = optuna_package()
    import numpy as np

    found, proposed = space(sweep.file.parameters), begun(sweep, study)
    seed = int(np.random.SeedSequence([sweep.seed, len(proposed)]).generate_state(1)[0])
    if sweep.file.method == "grid":
        waiting = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING])
        if not waiting:  # otherwise a kill came before `ask` below
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
    """Run the remaining trials of a sweep, `jobs` in parallel; unfinished ones first.

    Raises:
      RunFolderError: another process runs this sweep or one of its trials.
      KeyboardInterrupt: on SIGINT or SIGTERM, after the running trials saved their state.
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
    """Return the trials to resume; a trial whose proposal a kill cut off is marked as failed."""
    states = optuna_package().trial.TrialState
    trials = study.get_trials(deepcopy=False, states=[states.RUNNING])
    for trial in trials:
        if not _is_whole(sweep, trial):
            study.tell(trial.number, state=states.FAIL)
    return [trial for trial in trials if _is_whole(sweep, trial)]


def begun(sweep: Sweep, study: "Study") -> "list[FrozenTrial]":
    """Return the trials that count: all except those whose proposal a kill cut off."""
    return [trial for trial in study.get_trials(deepcopy=False) if _is_whole(sweep, trial)]


def num_finished(sweep: Sweep, study: "Study") -> int:
    """Return how many of these trials have ended."""
    return sum(trial.state.is_finished() for trial in begun(sweep, study))


def _is_whole(sweep: Sweep, trial: "FrozenTrial") -> bool:
    return trial.params.keys() == sweep.file.parameters.keys()


def _frozen(study: "Study", number: int) -> "FrozenTrial":
    return study.get_trials(deepcopy=False)[number]


def _bar(num_trials: int, done: int) -> "tqdm[Any]":
    """Return a progress bar, which stays hidden without a terminal."""
    return tqdm(
        total=num_trials,
        initial=done,
        unit="trial",
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


@contextlib.contextmanager
def _locked(sweep: Sweep) -> Iterator[int]:
    """Yield a file that stays locked until this process and all trials that inherit it end."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(files.locked(sweep.folder / "lock"))
        except files.Locked as error:
            raise errors.RunFolderError(
                f"{sweep.folder} is in use: another process runs this sweep or one of its trials"
            ) from error
        yield lock


@contextlib.contextmanager
def _stopping(running: "dict[int, subprocess.Popen[bytes]]") -> Iterator[list[int]]:
    """Yield a list of caught signals; on exit stop the running trials, which save their state.

    A second Ctrl-C while they stop has its usual effect.
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
    """Start a trial in its own process group, so that Ctrl-C reaches it only once, through us."""
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
    """Record the outcome of a trial in the study.

    Raises:
      KeyboardInterrupt: the trial was stopped; it stays unfinished, and the sweep stops too.
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
    """Return the last value of the metric, as in wandb's summary of a run.

    With several seeds it is their mean.

    Raises:
      RunFolderError: the run does not exist.
      UnknownName: the run does not have this metric.
    """
    folder = sweep.run_of(number)
    if folder is None:
        raise errors.RunFolderError(f"run trial{number} not found in {sweep.folder / 'runs'}")
    rows = mean_rows([read_jsonl(seed.metrics) for seed in run_folder.find_all(folder)])
    known = dict.fromkeys(name for row in rows for name in row)
    metric = check("metric", sweep.file.metric, known)
    return float(next(row[metric] for row in reversed(rows) if metric in row))


def in_a_line(sweep: Sweep, trial: "FrozenTrial") -> str:
    """Return a trial's number, its arguments, and its objective or why it failed, in one line."""
    values = sweep.values_of(trial)
    varied = " ".join(f"{k}={values[k]}" for k in varied_parameters(sweep))
    return f"trial {trial.number}  {varied}  {outcome(sweep, trial)}"


def varied_parameters(sweep: Sweep) -> list[str]:
    """Return the names of the parameters with more than one possible value."""
    found = space(sweep.file.parameters)
    return [name for name, parameter in found.items() if not parameter.proposal.single()]


def outcome(sweep: Sweep, trial: "FrozenTrial") -> str:
    """Return the objective as text, or the last line of output of a failed trial."""
    if trial.state.name == "COMPLETE":
        return f"{sweep.file.metric} {trial.value:.6g}"
    if trial.state.name != "FAIL":
        return "unfinished"
    log = sweep.log_of(trial.number)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"failed: {next((x.strip() for x in reversed(lines) if x.strip()), 'it had no output')}"
