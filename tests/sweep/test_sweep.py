"""Sweeps: wandb's own agent and our own runner make the same trials of the same file."""

import dataclasses
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import yaml
from marks import wide
from scipy import stats

from ternevo.installation import MissingExtra
from ternevo.machine import interruption
from ternevo.runs import claims, wandb_agent
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import folder_of
from ternevo.runs.sinks import read_jsonl
from ternevo.settings import command_line
from ternevo.settings.flat import flat
from ternevo.sweep import __main__ as sweep_main, space, summary, trials

optuna = pytest.importorskip("optuna")

FILES = sorted((Path(__file__).parents[2] / "experiments" / "sweeps").glob("*.yaml"))
PYTHON = sys.executable
COMMAND = ["${env}", "${interpreter}", "-m", "${program}", "--env=probe/bandit", "${args}"]
LISTED = {
    "lr": {"values": [0.1, 1e-05]},
    "population_size": {"value": 8},
    "hidden_sizes": {"values": [[8, 8], [4]]},
    "use_bias": {"values": [False]},
    "strategy": {"value": "ternary_nes"},
    "name": {"value": None},
}


def content(**changes):
    return {
        "program": "ternevo.run",
        "command": COMMAND,
        "method": "grid",
        "metric": {"name": "eval/return", "goal": "maximize"},
        "parameters": {"lr": {"values": [0.1, 0.2]}, "sigma": {"values": [0.1, 0.3]}},
        **changes,
    }


def write(tmp_path, **changes) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content(**changes)))
    return path


# --- the file, as wandb reads it ----------------------------------------------------------------


def wandb_command(options: list, values: dict) -> list[str]:
    """Expand a command as `Agent._command_run` does, with wandb's own functions."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    args = {name: {"value": value} for name, value in values.items()}
    macros = utils.create_sweep_command_args({"args": args})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": ["ternevo.run"]}
    return [
        argument
        for part in utils.create_sweep_command(list(map(str, options)))
        for argument in (macros[part[2:-1]] if part.startswith("${") else [part])
    ]


def test_the_examples_are_there():
    assert {path.stem for path in FILES} >= {"cartpole_grid", "hopper_random"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agents_arguments_of_every_example_are_ours_and_the_parser_takes_them(path):
    file, loaded = space.read(path), yaml.safe_load(path.read_text())
    values = space.first_values(space.space(file.parameters))
    command = wandb_command(loaded["command"], values)
    assert command[:4] == ["/usr/bin/env", "python", "-m", "ternevo.run"]
    assert command[4:] == file.arguments(values)
    parsed = command_line.to_dict(command_line.parse(command[4:]))
    flat = {**parsed, **parsed["strategy"], **parsed["policy"], "strategy": parsed["strategy_name"]}
    for name, value in values.items():
        assert str(flat[name]).strip("[]") == str(value).strip("[]")
    assert loaded["project"] == "ternevo" and "wandb" in parsed["track"]


def test_every_kind_of_value_reaches_the_parser_in_the_agents_form():
    for values in space.grid(space.space(LISTED)):
        raw = {**values, "hidden_sizes": json.loads(values["hidden_sizes"])}  # wandb has the list
        arguments = wandb_command(["${args}"], raw)
        assert arguments == [f"--{name}={value}" for name, value in values.items()]
        parsed = command_line.parse(arguments)
        assert parsed.policy.hidden_sizes == tuple(raw["hidden_sizes"])
        assert (flat(parsed.strategy)["lr"], parsed.strategy.population_size) == (values["lr"], 8)
        assert (parsed.policy.use_bias, parsed.name) == (False, None)


SPECS = {
    "a constant": {"value": "x"},
    "choices": {"values": [1, 2.5, "a", True, None]},
    "named choices": {"values": [1, 2], "distribution": "categorical"},
    "integers": {"min": 0, "max": 2},
    "floats": {"min": 0.0, "max": 2},
    "named floats": {"min": 0, "max": 2, "distribution": "uniform"},
    "logarithmic": {"min": 1e-3, "max": 0.1, "distribution": "log_uniform_values"},
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_distributions_are_those_of_wandbs_scheduler(spec):
    """All but the rounded ones, which it takes for steps from min: its server rounds to q."""
    theirs = pytest.importorskip("wandb.sdk.sweeps.scheduler.optuna")
    found = space.parameter("x", spec)
    assert found.proposal == theirs.sweep_parameter_to_distribution(spec)
    assert found.to_value(found.first) == found.first


def test_log_uniform_has_the_logarithms_of_its_ends():
    found = space.parameter("x", {"min": 0, "max": 0, "distribution": "log_uniform"}).proposal
    assert (found.low, found.high, found.log) == (1.0, 1.0, True)


QUANTILES = [0.001, 0.06, 0.13, 0.25, 0.32, 0.5, 0.51, 0.77, 0.9, 0.995]
E = {"min": 0, "max": 5}  # logarithms
V = {"min": 3, "max": 130}
WANDBS = {  # the distribution of x, as written in the package sweeps 0.3.0; then round(x / q) * q
    "uniform": (V, stats.uniform(3, 127).ppf),
    "log_uniform": (E, lambda u: np.exp(stats.uniform(0, 5).ppf(u))),
    "log_uniform_values": (V, lambda u: np.exp(stats.uniform(np.log(3), np.log(130 / 3)).ppf(u))),
    "inv_log_uniform": (E, lambda u: np.exp(-stats.uniform(0, 5).ppf(1 - u))),
    "inv_log_uniform_values": (
        V,
        lambda u: np.exp(-stats.uniform(-np.log(130), np.log(130 / 3)).ppf(1 - u)),
    ),
    "normal": ({"mu": 30, "sigma": 8}, stats.norm(loc=30, scale=8).ppf),
    "log_normal": ({"mu": 3, "sigma": 0.5}, stats.lognorm(s=0.5, scale=np.exp(3)).ppf),
}
ROUNDED = ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal")


def at_quantile(found: space.Parameter, u: float) -> float:
    """Return the value at a quantile of what optuna proposes."""
    low, high = found.proposal.low, found.proposal.high
    x = low * (high / low) ** u if found.proposal.log else low + u * (high - low)
    return found.to_value(x)


@pytest.mark.parametrize("kind", WANDBS)
def test_every_range_is_that_of_wandbs_server(kind):
    keys, theirs = WANDBS[kind]
    found = space.parameter("x", {**keys, "distribution": kind})
    for u in QUANTILES:
        assert at_quantile(found, u) == pytest.approx(theirs(u), rel=1e-9)


@pytest.mark.parametrize("q", [1, 16, 16.0, 7, 0.25])
@pytest.mark.parametrize("kind", ROUNDED)
def test_rounded_values_are_multiples_of_q_by_wandbs_rule(kind, q):
    keys, theirs = WANDBS[kind]
    found = space.parameter("x", {**keys, "q": q, "distribution": f"q_{kind}"})
    values = [at_quantile(found, u) for u in QUANTILES]
    assert values == [np.round(theirs(u) / q) * q for u in QUANTILES]
    assert all(isinstance(x, float if q == 0.25 else int) for x in [*values, found.first])


def test_probabilities_are_shares_of_the_values():
    spec = {"values": ["a", "b", [8, 8]], "probabilities": [0.2, 0, 0.8]}
    found = space.parameter("x", spec)
    drawn = [found.to_value(i / 100) for i in range(101)]
    assert (drawn.count("a"), drawn.count("b"), drawn.count("[8, 8]")) == (20, 0, 81)


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ({"value": 7}, [7]),
        ({"values": [3, 1]}, [3, 1]),
        ({"min": -1, "max": 1}, [-1, 0, 1]),
        ({"min": 0, "max": 6, "q": 2, "distribution": "q_uniform"}, [0, 2, 4, 6]),
        ({"min": 0.0, "max": 1.0, "q": 0.25, "distribution": "q_uniform"}, [0, 0.25, 0.5, 0.75, 1]),
        ({"min": 33, "max": 130, "q": 32, "distribution": "q_uniform"}, [32, 64, 96, 128]),
        ({"min": 1, "max": 9, "q": 2, "distribution": "q_uniform"}, [2, 4, 6, 8]),
    ],
)
def test_a_grid_has_every_value(spec, values):
    assert space.grid(space.space({"x": spec})) == [{"x": value} for value in values]


def test_a_grid_has_every_pair_in_the_order_of_the_file():
    points = space.grid(space.space({"b": {"values": [1, 2]}, "a": {"values": [3, 4]}}))
    assert [tuple(point.items()) for point in points] == [
        (("b", b), ("a", a)) for b in (1, 2) for a in (3, 4)
    ]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"methd": "grid"}, ["'methd'", "'method'"]),
        ({"method": "bayess"}, ["'bayess'", "'bayes'", "grid, random"]),
        ({"metric": {"goal": "maximize"}}, ["metric must have a name"]),
        ({"metric": {"name": "x", "goal": "maximise"}}, ["'maximise'", "'maximize'"]),
        ({"parameters": {}}, ["parameters must be a mapping"]),
        ({"parameters": {"lr": 0.1}}, ["'lr'", "0.1"]),
        ({"parameters": {"runs_dir": {"value": "x"}}}, ["'runs_dir' cannot be a parameter"]),
        ({"program": "train.py"}, ["ternevo.run", "train.py"]),
        ({"command": ["python", "ternevo/run.py", "${args}"]}, ["-m", "ternevo/run.py"]),
        ({"command": ["python", "-m", "ternevo.run"]}, ["${args}"]),
        ({"command": [*COMMAND, "${args_json}"]}, ["'${args_json}'", "Allowed: ${args}"]),
        ({"run_cap": 0}, ["run_cap", "0"]),
        ({"early_terminate": {"type": "hyperband"}}, ["'early_terminate'"]),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, capsys, changes, parts):
    check_refused([str(write(tmp_path, **changes))], capsys, parts)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"min": 0, "max": 1, "distribution": "unifrom"}, ["'unifrom'", "'uniform'"]),
        ({"distribution": "beta", "a": 0, "b": 1}, ["key of parameter 'lr'", "'a'", "mu"]),
        ({"distribution": "beta"}, ["'beta'", "log_uniform_values"]),
        ({"distribution": "normal", "min": 0, "max": 1}, ["'lr' (normal)", "'max'", "mu"]),
        ({"value": 0.1, "min": 0}, ["'lr' (constant)", "'min'"]),
        ({"distribution": "normal", "sigma": -1}, ["'lr'", "sigma must be 0 or more", "-1"]),
        ({"min": 0, "max": 1, "q": 0, "distribution": "q_uniform"}, ["'lr'", "q must be above 0"]),
        ({"min": 0.0, "max": float("inf")}, ["'lr'", "max must be a finite number"]),
        ({"values": [1, 2], "probabilities": [0.5, 0.4]}, ["'lr'", "add up to 1", "0.9"]),
        ({"values": [1, 2], "probabilities": [1]}, ["'lr'", "one number", "[1]"]),
        ({"mni": 0, "max": 1}, ["'mni'", "'min'"]),
        ({"min": 0.5}, ["'lr'", "needs min and max"]),
        ({"min": "1e-3", "max": 0.1}, ["'lr'", "'1e-3'", "1.0e-3"]),
        ({"min": 2.0, "max": 0.1}, ["'lr'", "low", "high"]),
        ({"min": 0, "max": 1, "distribution": "log_uniform_values"}, ["'lr'", "low", "log"]),
        ({"min": 0.5, "max": 9, "distribution": "int_uniform"}, ["'lr'", "integers", "0.5"]),
        ({"values": []}, ["'lr'", "at least one"]),
        ({"parameters": {"x": {"value": 1}}}, ["'lr' is nested"]),
    ],
)
def test_a_bad_parameter_is_refused_by_name(tmp_path, capsys, spec, parts):
    path = write(tmp_path, parameters={"lr": spec}, method="random")
    check_refused([str(path), "--num_trials", "3"], capsys, parts)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"parameters": {"lr": {"min": 0.1, "max": 0.2}}}, ["'lr' is a range"]),
        ({"method": "random"}, ["--num_trials", "run_cap"]),
        ({"parameters": {"lrr": {"value": 0.1}}}, ["--lrr", "--lr"]),
    ],
)
def test_a_sweep_that_cannot_begin_leaves_nothing(tmp_path, capsys, changes, parts):
    root = tmp_path / "sweeps"
    check_refused([str(write(tmp_path, **changes)), "--runs_dir", str(root)], capsys, parts)
    assert not root.exists()


@pytest.mark.parametrize("further", [["--name", "x"], ["--runs-dir=x"], ["--lr=1", "--resume"]])
def test_what_each_trial_is_given_cannot_be_given_to_all(tmp_path, capsys, further):
    argv = [str(write(tmp_path)), "--runs_dir", str(tmp_path / "sweeps"), "--", *further]
    parts = ["error:", "cannot be given after --: the sweep sets it per trial"]
    check_refused(argv, capsys, parts)
    assert not (tmp_path / "sweeps").exists()


def test_a_file_that_is_not_there_or_no_yaml_is_refused(tmp_path, capsys):
    check_refused([str(tmp_path / "none.yaml")], capsys, ["none.yaml"])
    (tmp_path / "bad.yaml").write_text("a: [")
    check_refused([str(tmp_path / "bad.yaml")], capsys, ["bad.yaml is not YAML"])
    twice = "method: grid\nparameters:\n  lr: {value: 1}\n  lr: {value: 2}\n"
    (tmp_path / "bad.yaml").write_text(twice)
    check_refused([str(tmp_path / "bad.yaml")], capsys, ["duplicate key 'lr' in lines 3 and 4"])
    (tmp_path / "bad.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    check_refused([str(tmp_path / "bad.yaml")], capsys, ["bad.yaml is not UTF-8 at line 1"])
    check_refused([str(write(tmp_path)), "--jobs", "0"], capsys, ["jobs must be at least 1", "0"])


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"needs optuna: pip install .*\[sweep\]"):
        space.optuna_package()


def check_refused(argv, capsys, parts):
    with pytest.raises(SystemExit) as exit_:
        sweep_main.main(argv)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    text = " ".join((printed.out + printed.err).replace("│", " ").split())
    assert all(part in text for part in parts), text


# --- sweeps, of runs whose returns are known ----------------------------------------------------

RUN = """#!{python} -S
import json, pathlib, signal, sys, time
options = dict(x[2:].split("=", 1) for x in sys.argv[3:])
print("started", options["resume"], flush=True)
lr, sigma = float(options["lr"]), float(options["sigma"])
if lr == 0.3:
    sys.exit("error: this one fails")
folder = pathlib.Path(options["runs_dir"], "probe/x/ternary_nes", options["name"])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps({{"settings": {{"num_seeds": 1}}}}))
if lr == 0.4 and options["resume"] == "False":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("waiting", flush=True)
    time.sleep(60)
rows = [{{"generation": 1, "eval/return": 9.0}}, {{"generation": 2, "eval/return": lr + sigma}}]
lines = "".join(json.dumps(row) + "\\n" for row in rows) + '{{"gener'  # cut off, as by a kill
(folder / "metrics.jsonl").write_text(lines)
"""


@pytest.fixture
def known_runs(tmp_path, monkeypatch):
    """Put a program in the place of Python whose run returns lr + sigma, at the end."""
    path = tmp_path / "python"
    path.write_text(RUN.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setattr(trials.sys, "executable", str(path))


def sweep(tmp_path, path, *arguments):
    sweep_main.main([str(path), "--runs_dir", str(tmp_path / "s"), "--report=False", *arguments])


def logs(tmp_path) -> list[str]:
    return [p.read_text() for p in sorted((tmp_path / "s" / "tiny" / "logs").iterdir())]


def test_a_grid_runs_every_pair_once_and_names_the_best(tmp_path, known_runs, capsys):
    path = write(tmp_path)
    sweep(tmp_path, path, "--num_trials", "3")
    assert "grid, 3 trials, 3 to run" in capsys.readouterr().out
    sweep(tmp_path, path, "--jobs", "2")
    printed = capsys.readouterr().out.splitlines()
    assert "4 trials, 1 to run" in printed[0]
    assert [line.split() for line in printed[-6:-1]] == [
        ["trial", "lr", "sigma", "outcome"],
        ["3", "0.2", "0.3", "eval/return", "0.5"],
        ["1", "0.1", "0.3", "eval/return", "0.4"],
        ["2", "0.2", "0.1", "eval/return", "0.3"],
        ["0", "0.1", "0.1", "eval/return", "0.2"],
    ]
    best = printed[-1].split()
    assert best[:4] == ["best", "python", "-m", "ternevo.run"]
    parsed = command_line.parse(best[4:])
    assert (flat(parsed.strategy)["lr"], parsed.strategy.noise.sigma, parsed.track) == (
        0.2,
        0.3,
        "",
    )
    assert parsed.name == "tiny-best"
    sweep(tmp_path, path)
    assert "4 trials, 0 to run" in capsys.readouterr().out
    assert logs(tmp_path) == ["started False\n"] * 4


def test_minimize_puts_the_smallest_first(tmp_path, known_runs, capsys):
    sweep(tmp_path, write(tmp_path, metric={"name": "eval/return"}))  # the goal that wandb takes
    assert "--lr=0.1 --sigma=0.1" in capsys.readouterr().out.splitlines()[-1]


def test_failed_trials_say_why_and_the_others_go_on(tmp_path, known_runs, capsys):
    parameters = {"lr": {"values": [0.3, 0.1]}, "sigma": {"value": 0.1}}
    sweep(tmp_path, write(tmp_path, parameters=parameters))
    lines = capsys.readouterr().out.splitlines()
    assert "trial 0  lr=0.3  failed: error: this one fails" in lines
    assert lines[-2].split() == ["0", "0.3", "failed:", "error:", "this", "one", "fails"]
    assert "--lr=0.1" in lines[-1]


def test_a_sweep_without_a_result_exits_1(tmp_path, known_runs, capsys):
    path = write(tmp_path, metric={"name": "eval/retrun", "goal": "maximize"})
    with pytest.raises(SystemExit) as exit_:
        sweep(tmp_path, path)
    assert exit_.value.code == 1
    assert "Did you mean 'eval/return'" in capsys.readouterr().out


def test_another_file_under_the_same_name_is_refused(tmp_path, known_runs, capsys):
    sweep(tmp_path, write(tmp_path))
    other = write(tmp_path, parameters={"lr": {"value": 0.1}, "sigma": {"value": 0.1}})
    argv = [str(other), "--runs_dir", str(tmp_path / "s")]
    check_refused(argv, capsys, ["different settings (parameters)", "--name"])
    check_refused([str(write(tmp_path)), *argv[1:], "--seed", "1"], capsys, ["settings (seed)"])


def test_a_journal_gives_no_argument_that_the_file_does_not(tmp_path, known_runs, capsys):
    """A folder may be anybody's; an unfinished trial is run, and `--strategy` names code."""
    path = write(tmp_path, parameters={"strategy": {"values": ["pbil", "cem"]}})
    file, folder = space.read(path), tmp_path / "s" / "tiny"
    study = trials.open_study(trials.Sweep(file, folder, 0, ()))
    parameters = {"strategy": {"values": ["evil:Strategy", "pbil"]}}
    study.ask(space.proposals(dataclasses.replace(file, parameters=parameters)))
    argv = [str(path), "--runs_dir", str(tmp_path / "s")]
    check_refused(argv, capsys, ["study.jsonl: trial 0 has values", "'strategy'", "--name"])
    assert not logs(tmp_path)


def test_an_interrupted_sweep_resumes_the_trial_that_was_running(tmp_path, known_runs, capsys):
    parameters = {"lr": {"values": [0.1, 0.4]}, "sigma": {"value": 0.1}}
    path = write(tmp_path, parameters=parameters)
    code = (
        "import sys; from ternevo.sweep import __main__ as program;"
        "sys.executable = sys.argv.pop(1); program.main()"
    )
    process = subprocess.Popen(
        [
            *(PYTHON, "-c", code, str(tmp_path / "python"), str(path)),
            *("--runs_dir", str(tmp_path / "s")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = tmp_path / "s" / "tiny" / "logs" / "trial1.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "waiting" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    check_refused([str(path), "--runs_dir", str(tmp_path / "s")], capsys, ["is in use"])
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command to resume" in printed, printed
    sweep(tmp_path, path)
    assert "2 trials, 1 to run" in capsys.readouterr().out
    assert logs(tmp_path) == ["started False\n", "started False\nwaiting\nstarted True\n"]


def test_a_proposal_that_a_kill_cut_off_is_not_run_with_what_it_lacks(tmp_path, known_runs, capsys):
    path = write(tmp_path)
    file = space.read(path)
    study = trials.open_study(trials.Sweep(file, tmp_path / "s" / "tiny", 0, ()))
    study.enqueue_trial({"lr": 0.1})  # else the first proposal of the sampler, which has no seed
    study.ask({"lr": space.proposals(file)["lr"]})  # and sigma is missing
    sweep(tmp_path, path)
    printed = capsys.readouterr().out
    assert "4 trials, 4 to run" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert lines[-2][:2] == ["0", "0.1"] and "failed:" in lines[-2]
    tried = {tuple(line[:3]) for line in lines[-6:-2]}
    points = [("0.1", "0.1"), ("0.1", "0.3"), ("0.2", "0.1"), ("0.2", "0.3")]
    assert tried == {(str(i), *point) for i, point in enumerate(points, 1)}
    sweep(tmp_path, path)
    assert "4 trials, 0 to run" in capsys.readouterr().out and len(logs(tmp_path)) == 4


def test_a_grid_takes_equal_points_as_often_as_it_has_them(tmp_path, known_runs, capsys):
    parameters = {"lr": {"values": [0.1, 0.1]}, "sigma": {"values": [0.1]}}
    sweep(tmp_path, write(tmp_path, parameters=parameters))
    assert len(logs(tmp_path)) == 2


def test_a_trial_without_a_run_says_so(tmp_path):
    tiny = trials.Sweep(space.read(write(tmp_path)), tmp_path / "tiny", 0, ())
    with pytest.raises(RunFolderError, match=r"run trial3 not found in .*tiny/runs"):
        trials.objective(tiny, 3)


RANGES = {
    "lr": {"min": 0.01, "max": 0.2, "distribution": "log_uniform_values"},
    "sigma": {"min": 0.1, "max": 0.2},
    "population_size": {"min": 4, "max": 6},
    "observation_shift": {"min": 0, "max": 2, "q": 2, "distribution": "q_uniform"},
}


def sweep_of(method: str, ranges: dict = RANGES) -> space.SweepFile:
    return space.SweepFile(method, "x", "maximize", ranges, ("${args}",), None)


def proposals(folder, method: str, count: int, ranges: dict = RANGES) -> list[dict]:
    tiny = trials.Sweep(sweep_of(method, ranges), folder, seed=3, further=())
    study = trials.open_study(tiny)
    proposed = []
    for _ in range(count):
        trial = trials.propose(tiny, study)
        study.tell(trial.number, float(len(trials.begun(tiny, study))))
        proposed.append(tiny.values_of(trial))
    return proposed


@pytest.mark.parametrize("method", wide(["random", "bayes"], keep=["bayes"]))
def test_proposals_are_in_their_ranges_and_the_same_after_a_stop(tmp_path, method):
    found = proposals(tmp_path / "a", method, 12)
    for point in found:
        assert 0.01 <= point["lr"] <= 0.2 and 0.1 <= point["sigma"] <= 0.2
        assert point["population_size"] in (4, 5, 6) and point["observation_shift"] in (0, 2)
    assert len({point["lr"] for point in found}) == 12
    stopped = [p for _ in range(2) for p in proposals(tmp_path / "b", method, 4)]
    tiny = trials.Sweep(sweep_of(method), tmp_path / "b", seed=3, further=())
    study = trials.open_study(tiny)
    study.tell(
        study.ask({"lr": space.space(RANGES)["lr"].proposal}), state=optuna.trial.TrialState.FAIL
    )
    stopped += proposals(tmp_path / "b", method, 4)
    assert stopped == found


@pytest.mark.parametrize("method", wide(["grid", "random", "bayes"], keep=["random"]))
def test_a_population_in_steps_of_q_is_even_whatever_min_is(tmp_path, method):
    """Steps from min would be 33, 65, ..., which ternary_nes refuses."""
    spec = {"min": 33, "max": 130, "q": 32.0, "distribution": "q_uniform"}
    found = proposals(tmp_path, method, 4 if method == "grid" else 12, {"population_size": spec})
    sizes = {point["population_size"] for point in found}
    assert sizes <= {32, 64, 96, 128} and len(sizes) > 2
    for size in sizes:
        parsed = command_line.parse([f"--population_size={size}"])
        assert parsed.strategy.population_size == size


@pytest.mark.parametrize("number", [*interruption.SIGNALS, interruption.LOST_OUTPUT])
def test_whatever_stopped_a_trial_it_is_gone_on_with(number):
    """A run that ends so has saved its state."""
    assert 128 + number in trials.INTERRUPTED and -number in trials.INTERRUPTED


@pytest.mark.parametrize("values", [[1, "auto"], [None, "a"]])
def test_the_picture_of_a_weighted_choice_has_its_values(values):
    found = space.parameter("x", {"values": values, "probabilities": [0.5, 0.5]})
    axes = matplotlib.figure.Figure().subplots()
    summary._scatter(axes, "x", found, values[::-1], [1.0, 2.0])
    assert [text.get_text() for text in axes.get_xticklabels()] == list(map(str, values))
    assert axes.collections[0].get_offsets()[:, 0].tolist() == [1.0, 0.0]


def test_a_log_normal_that_overflows_is_refused():
    with pytest.raises(space.SweepFileError, match=r"'lr'.*range"):
        space.parameter("lr", {"distribution": "log_normal", "mu": 0, "sigma": 200})


# --- trials of wandb's agent --------------------------------------------------------------------


def start_agent(monkeypatch, folder, command: list, points: list[dict]):
    """Run wandb's own agent with a server that has a run for each point; return the agent."""
    wandb = pytest.importorskip("wandb")
    wandb_agent = pytest.importorskip("wandb.wandb_agent")
    server = pytest.importorskip("wandb.apis.public.sweeps")
    orders = [
        {
            "type": "run",
            "run_id": f"run{i}",
            "program": "ternevo.run",
            "args": {name: {"value": value} for name, value in point.items()},
        }
        for i, point in enumerate(points)
    ]
    orders.append({"type": "exit"})

    def heartbeat(api, agent_id, metrics, running):
        return [] if running else [orders.pop(0)]

    settings = {"config": yaml.safe_dump({"command": command})}
    monkeypatch.setattr(server, "_sweep_with_runs", lambda *_: settings)
    monkeypatch.setattr(server, "_register_agent", lambda *_, **__: {"id": "agent"})
    monkeypatch.setattr(server, "_agent_heartbeat", heartbeat)
    monkeypatch.setattr(wandb, "Api", lambda: None)
    monkeypatch.setattr(wandb_agent.Agent, "POLL_INTERVAL", 0.02)
    monkeypatch.setattr(wandb_agent.wandb, "teardown", lambda *_: None)
    for name, value in {
        **{"WANDB_SWEEP_ID": "k3yw0rd5", "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        **{"WANDB_DIR": str(folder), "WANDB_RUN_ID": "", "WANDB_SWEEP_PARAM_PATH": ""},
        "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}",  # the agent starts "python"
    }.items():
        monkeypatch.setenv(name, value)  # and is put back, whatever the agent sets
    queue = multiprocessing.Queue()
    started = wandb_agent.Agent(None, queue, sweep_id="k3yw0rd5")
    started.run()
    queue.close()
    return started


def test_wandbs_agent_starts_trials_that_know_their_names(tmp_path, monkeypatch):
    program = (
        "import json, os, sys;"
        "ids = {k: v for k, v in os.environ.items() if k.startswith('WANDB')};"
        f"json.dump([sys.argv[1:], ids], open(r'{tmp_path}/' + ids['WANDB_RUN_ID'], 'w'))"
    )
    points = [{"lr": 0.1, "hidden_sizes": [8]}, {"lr": 0.2, "hidden_sizes": [4, 4]}]
    done = start_agent(
        monkeypatch, tmp_path, ["${env}", "${interpreter}", "-c", program, "${args}"], points
    )
    assert (done._finished, done._failed) == (2, 0)
    folders = []
    for i, point in enumerate(points):
        arguments, environment = json.loads((tmp_path / f"run{i}").read_text())
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            assert wandb_agent.trial() == ("k3yw0rd5", f"run{i}")
            parsed = command_line.parse(arguments)
            folders.append(folder_of(parsed, "probe/bandit").path)
        assert flat(parsed.strategy)["lr"] == point["lr"]
        assert parsed.policy.hidden_sizes == tuple(point["hidden_sizes"])
    assert [path.name for path in folders] == ["k3yw0rd5-run0", "k3yw0rd5-run1"]
    assert folder_of(command_line.parse(["--name=mine"]), "x").path.name == "mine"


TRIAL = """
import sys
from ternevo.runs import sinks
sink = sinks.Wandb(group="s", name="s-r", resume="allow", dir=sys.argv[1], config={"lr": 0.3})
sink.write([{"generation": 1, "eval/return": 1.0}, {"generation": 2, "eval/return": 5.0}])
sink.write([{"generation": 3}])
run = sink._run
print(run.id, run.sweep_id, run.group, run.name, run.config["lr"], run.summary["eval/return"])
sink.close()
"""


def test_wandb_takes_the_agents_run_and_optimises_the_last_value_of_the_metric(tmp_path):
    pytest.importorskip("wandb")
    (tmp_path / "parameters.yaml").write_text("wandb_version: 1\nlr:\n  value: 0.1\n")
    set_by_agent = {
        **{"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_MODE": "offline"},
        "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "parameters.yaml"),
    }
    result = subprocess.run(
        [PYTHON, "-c", TRIAL, str(tmp_path)],
        env={**os.environ, **set_by_agent},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["r", "s", "s", "s-r", "0.1", "5"]
    assert "Ignoring" not in result.stderr  # what it says of a project or an id of our own


def test_a_process_that_no_agent_started_is_no_trial(monkeypatch):
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert wandb_agent.trial() is None
    monkeypatch.setenv("WANDB_RUN_ID", "alone")
    assert wandb_agent.trial() is None


def test_a_trial_of_an_agent_is_the_agents_run_and_grouped_by_sweep(tmp_path, monkeypatch):
    from ternevo.runs import sinks
    from ternevo.training import session, tracking
    from ternevo.training.setup import build

    opened = []

    class Opened(sinks.Wandb):
        def __init__(self, **settings):
            opened.append(settings)

    monkeypatch.setattr(sinks, "Wandb", Opened)
    argv = ["--env", "probe/bandit", "--runs_dir", str(tmp_path), "--wandb_project", "p"]

    def open_wandb(*arguments):
        setup = build(command_line.parse([*argv, *arguments]))
        with claims.held(setup.config), session.begun(setup):
            tracking._open_wandb(setup)

    open_wandb()
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "r")
    open_wandb()
    monkeypatch.setenv("WANDB_RUN_ID", "t")
    open_wandb("--wandb_group=g")
    open_wandb("--num_seeds=2", "--name=joint")
    alone, first, second, joint = opened
    assert set(alone["files"]) == {"config.json", "policy.tvp", "best_policy.tvp"}
    of_seeds = {f"seed{i}/{name}.tvp" for i in range(2) for name in ("policy", "best_policy")}
    assert set(joint["files"]) == {"config.json", *of_seeds}
    record = json.loads((Path(alone["dir"]) / "config.json").read_text())
    assert (alone["project"], alone["id"], alone["group"]) == ("p", record["id"], None)
    assert (first["name"], first["group"]) == ("s-r", "s")
    assert (second["name"], second["group"]) == ("s-t", "g")
    # wandb.init takes project and id of an agent's run from the agent, and warns of others.
    assert not {"project", "id"} & (first.keys() | second.keys())
    assert json.loads((Path(first["dir"]) / "config.json").read_text())["id"] == "r"


# --- real runs ----------------------------------------------------------------------------------

REAL = ["--num_generations=2", "--render=False", "--num_final_episodes=2", "--num_eval_episodes=2"]


@pytest.mark.wide  # runs that only say what they would do are above
def test_a_sweep_of_real_runs(tmp_path, capsys):
    values = {"num_seeds": 2, "population_size": 4, "strategy": "random_search"}
    values |= {"hidden_sizes": [], "num_devices": 1}
    parameters = {name: {"value": value} for name, value in values.items()}
    sweep(tmp_path, write(tmp_path, parameters=parameters), "--", *REAL)
    assert "eval/return" in capsys.readouterr().out
    folder = next((tmp_path / "s" / "tiny" / "runs").glob("**/trial0"))
    last = [read_jsonl(folder / f"seed{i}" / "metrics.jsonl") for i in range(2)]
    values = [[row["eval/return"] for row in rows if "eval/return" in row][-1] for rows in last]
    file = space.read(tmp_path / "tiny.yaml")
    tiny = trials.Sweep(file, tmp_path / "s" / "tiny", 0, tuple(REAL))
    assert trials.objective(tiny, 0) == sum(values) / 2
    assert trials.open_study(tiny).best_value == sum(values) / 2


@pytest.mark.slow
def test_eight_real_runs_by_wandbs_agent(tmp_path, monkeypatch):
    found = space.space({"lr": {"values": [0.1, 0.2, 0.3, 0.4]}, "sigma": {"values": [0.1, 0.2]}})
    command = [*COMMAND, "--track=wandb", f"--runs_dir={tmp_path}/runs", *REAL]
    done = start_agent(monkeypatch, tmp_path, command, space.grid(found))
    assert (done._finished, done._failed) == (8, 0)
    names = sorted(path.parent.name for path in tmp_path.glob("runs/probe/*/*/*/result.json"))
    assert names == [f"k3yw0rd5-run{i}" for i in range(8)]
    written = list(tmp_path.glob("runs/probe/*/*/*/wandb/offline-run-*/run-*.wandb"))
    assert sorted(path.stem for path in written) == [f"run-run{i}" for i in range(8)]
