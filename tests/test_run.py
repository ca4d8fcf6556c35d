"""The programs as a user runs them: train, be interrupted, resume, play, list."""

import contextlib
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tracked
from kept_programs import keeping_programs
from marks import wide

from ternevo import play, run
from ternevo.deploy import tvp
from ternevo.installation import MissingExtra
from ternevo.machine import profiling
from ternevo.policies import policy_file
from ternevo.runs import __main__ as runs, claims, listing, plots
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.command_line import parse
from ternevo.training import results
from ternevo.training.advice import what_was_never_finite

TINY = [  # almost nothing here depends on what is trained
    *("--env", "probe/corridor", "--episode_length", "6", "--hidden_sizes", "()"),
    *("--strategy", "random_search", "--population_size", "8", "--num_devices", "1"),
    *("--eval_every", "4", "--num_eval_episodes", "4", "--num_final_episodes", "4"),
    *("--checkpoint_every", "5"),
]


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


def folder_of(root):
    return root / "probe" / "corridor" / "random_search" / "seed0"


def tiny_run(root, *arguments):
    run.main([*TINY, "--runs_dir", str(root), "--render", "False", *arguments])


def start_process(root, *arguments):
    """Start a run that would go on for a long time, and wait until it has trained a little."""
    command = [sys.executable, "-m", "ternevo.run", *TINY, "--runs_dir", str(root)]
    process = subprocess.Popen(
        [*command, "--render", "False", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    metrics = folder_of(root) / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while len(read_jsonl(metrics)) < 12:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.05)
    return process


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 12 generations, and what it printed."""
    root = tmp_path_factory.mktemp("runs")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        more = ("--num_generations", "12", "--track", "tensorboard")
        run.main([*TINY, "--runs_dir", str(root), *more])
    return folder_of(root), printed.getvalue()


def test_a_run_ends_by_saying_where_everything_is(finished):
    folder, printed = finished
    for name in ("curve.png", "episode.png", "policy.tvp", "best_policy.tvp", "checkpoints/12"):
        assert str(folder / name) in printed
        assert (folder / name).exists()


def test_the_rows_of_a_run(finished):
    rows = read_jsonl(finished[0] / "metrics.jsonl")
    assert [row["generation"] for row in rows] == list(range(1, 13))
    assert [r["generation"] for r in rows if "eval/return" in r] == [1, 4, 8, 12]
    steps = np.cumsum([row["episode/steps"] for row in rows])
    assert [row["env_steps"] for row in rows] == steps.tolist()
    assert all(np.diff([row["wall_time"] for row in rows]) > 0)


def test_the_configuration_says_what_made_the_run(finished):
    config = json.loads((finished[0] / "config.json").read_text())
    assert config["env"] == "probe/corridor"
    assert config["settings"]["strategy"]["population_size"] == 8
    assert {"python", "jax", "evosax", "gymnax", "brax"} <= config["versions"].keys()
    assert config["device"]["platform"] == "cpu"
    assert "commit" in config


def test_tensorboard_gets_event_files(finished):
    assert list((finished[0] / "tensorboard").glob("events.out.tfevents*"))


def test_the_best_policy_is_the_best_evaluated(finished):
    rows = read_jsonl(finished[0] / "metrics.jsonl")
    evaluated = {r["generation"]: r["eval/return"] for r in rows if "eval/return" in r}
    assert rows[-1]["eval/best_return"] == max(evaluated.values())
    assert policy_file.load(finished[0] / "policy.tvp").info["generation"] == 12


def test_play_renders_an_episode_and_prints_its_return(finished, capsys, tmp_path):
    play.main([str(finished[0]), "--out", str(tmp_path / "shown")])
    printed = capsys.readouterr().out
    assert "return" in printed
    assert (tmp_path / "shown.png").exists()
    play.main([str(finished[0] / "policy.tvp"), "--out", str(tmp_path / "alone")])
    assert (tmp_path / "alone.png").exists()


def test_runs_lists_and_compares(finished, capsys, tmp_path):
    figure = tmp_path / "compare.png"
    runs.main([str(finished[0].parents[2]), "--plot", str(figure)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(listing.COLUMNS)
    assert str(finished[0]) in lines[1]
    assert "corridor" in lines[1] and lines[1].endswith("done")
    assert figure.exists()


def test_a_taken_name_is_refused_and_nothing_changes(finished, capsys):
    folder = finished[0]
    before = (folder / "metrics.jsonl").read_text()
    with pytest.raises(SystemExit) as exit_:
        tiny_run(folder.parents[3], "--name", "seed0")
    assert exit_.value.code == 2
    assert "--resume" in capsys.readouterr().err.replace("\n", " ")
    assert (folder / "metrics.jsonl").read_text() == before


def test_resuming_with_other_settings_is_refused(finished, capsys):
    with pytest.raises(SystemExit) as exit_:
        tiny_run(finished[0].parents[3], "--resume", "--population_size", "4", "--eval_every", "3")
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "population_size: 8 then, 4 now" in message
    assert "eval_every: 4 then, 3 now" in message


@pytest.mark.parametrize("option", [("--lr_schedule", "cosine"), ("--init_horizon", "0.5")])
def test_a_schedule_fixes_the_number_of_generations(option, tmp_path, capsys):
    """It is stretched over them: another total would be another run."""
    scheduled = ("--strategy", "ternary_nes", *option, "--num_generations")
    folder = claims.create(
        parse([*TINY, "--runs_dir", str(tmp_path), *scheduled, "2"]), "probe/corridor"
    )
    folder.metrics.write_text('{"generation": 1}\n')  # it has begun
    with pytest.raises(SystemExit):
        tiny_run(tmp_path, "--resume", *scheduled, "4")
    assert "num_generations: 2 then, 4 now" in capsys.readouterr().err


def test_a_start_that_fails_takes_no_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SystemExit):
        tiny_run(tmp_path, "--num_generations", "1", "--track", "wandb")
    tiny_run(tmp_path, "--num_generations", "1")
    assert len(read_jsonl(folder_of(tmp_path) / "metrics.jsonl")) == 1


def test_a_resumed_run_keeps_its_history(tmp_path):
    tiny_run(tmp_path, "--num_generations", "2")
    tiny_run(tmp_path, "--num_generations", "3", "--resume")
    config = json.loads((folder_of(tmp_path) / "config.json").read_text())
    assert config["settings"]["num_generations"] == 3
    assert len(config["resumed_from"]) == 1


@pytest.mark.wide  # test_loop.py and test_damage.py go on from checkpoints too
def test_killed_and_resumed_equals_never_stopped(tmp_path):
    """Kill -9 in the middle; the resumed run redoes what the last checkpoint did not have."""
    process = start_process(tmp_path / "killed", "--num_generations", "100000", "--chunk_size", "1")
    process.kill()
    process.communicate()
    folder = folder_of(tmp_path / "killed")
    reached = len(read_jsonl(folder / "metrics.jsonl")) + 6
    total = str(reached)
    tiny_run(tmp_path / "killed", "--resume", "--num_generations", total, "--chunk_size", "4")
    tiny_run(tmp_path / "whole", "--num_generations", total)
    whole = folder_of(tmp_path / "whole")
    for killed_row, whole_row in zip(
        read_jsonl(folder / "metrics.jsonl"), read_jsonl(whole / "metrics.jsonl"), strict=True
    ):
        assert {**killed_row, "wall_time": 0} == {**whole_row, "wall_time": 0}
    for name in ("policy.tvp", "best_policy.tvp"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_profile_of_one_chunk_is_written(tmp_path, capsys):
    tiny_run(
        tmp_path / "runs",
        *("--num_generations", "3", "--chunk_size", "1", "--profile", str(tmp_path / "new" / "p")),
    )
    (written,) = (tmp_path / "new" / "p" / "plugins" / "profile").iterdir()
    assert len(list(written.glob("*.xplane.pb"))) == 1
    assert f"profile of a chunk: open {written}" in capsys.readouterr().out
    with gzip.open(written / "perfetto_trace.json.gz") as file:
        names = [event.get("name", "") for event in json.load(file)["traceEvents"]]
    assert any("PjitFunction(advance)" in name for name in names), "the compiled call"
    rows = [name for name in names if name.startswith("$sinks.py:") and name.endswith(" rows_of")]
    assert len(rows) == 1, "what the host does between, and of one chunk only"


@pytest.mark.parametrize(
    ("chunks", "traced"),
    [
        ([False, False, True], ["", "a chunk", ""]),
        ([True], ["a chunk that compiles"]),
        ([False], [""]),
        ([], []),
    ],
    ids=["three", "one", "interrupted", "none"],
)
def test_the_second_chunk_is_traced_or_the_only_one(chunks, traced, monkeypatch, capsys):
    running, seen = [""], []

    @contextlib.contextmanager
    def trace(folder, compiles):
        running.append("a chunk that compiles" if compiles else "a chunk")
        yield
        running.pop()

    monkeypatch.setattr(profiling, "trace", trace)
    with profiling.profiler(Path("folder")) as around:
        for is_last in chunks:
            with around(is_last):
                seen.append(running[-1])
    assert seen == traced
    assert ("no profile" in capsys.readouterr().out) == (not any(traced))


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_profile_folder_that_cannot_be_is_refused_before_anything_starts(
    inside, tmp_path, capsys
):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit_:
        tiny_run(tmp_path / "runs", "--profile", str(tmp_path / "file" / inside))
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "--profile must be a folder" in message and str(tmp_path / "file" / inside) in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.wide  # in one process, below
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_exits_cleanly(number, tmp_path):
    process = start_process(tmp_path, "--num_generations", "100000")
    process.send_signal(number)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + number
    assert "--resume" in printed and "Traceback" not in printed
    rows = read_jsonl(folder_of(tmp_path) / "metrics.jsonl")
    saved = [path.name for path in (folder_of(tmp_path) / "checkpoints").iterdir()]
    assert str(rows[-1]["generation"]) in saved


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def sending(number, called):
    """Return a function that sends this process a signal, as a user does in the middle of it."""

    def function(*arguments):
        called.append(arguments)
        os.kill(os.getpid(), number)
        time.sleep(5)  # which the signal ends
        raise AssertionError("it was not ended")

    return function


def rows_and_weights(folder: Path) -> tuple[bytes, bytes]:
    """Return the metrics and the policy without metadata, which get the final return."""
    bare = tvp.load(folder / "policy.tvp").bare()
    return (folder / "metrics.jsonl").read_bytes(), tvp.encode(bare)


def test_a_signal_in_the_final_evaluation_loses_nothing(tmp_path, monkeypatch, capsys):
    """Whichever it is, in the run itself or where a resumed run evaluates what is left."""
    before, called = [signal.getsignal(one) for one in SIGNALS], []
    folder, kept = folder_of(tmp_path), []
    for number in SIGNALS:
        resumed = ["--resume"] if called else []
        with monkeypatch.context() as patch:
            patch.setattr(results, "final_evaluations", sending(number, called))
            with pytest.raises(SystemExit) as exit_:
                tiny_run(tmp_path, "--num_generations", "3", *resumed)
        assert exit_.value.code == 128 + number
        printed = capsys.readouterr().out
        assert (
            f"interrupted in the final evaluation: all of training is saved in {folder}" in printed
        )
        assert "--resume evaluates it and trains no more" in printed
        assert not (folder / "result.json").exists() and not (folder / "failure.txt").exists()
        kept.append(rows_and_weights(folder))
    assert len(called) == len(SIGNALS)
    tiny_run(tmp_path, "--num_generations", "3", "--resume")
    result = json.loads((folder / "result.json").read_text())
    assert result["generation"] == 3
    assert kept == [rows_and_weights(folder)] * len(SIGNALS)
    told = policy_file.load(folder / "policy.tvp").info
    assert told["return"] == result["policy"]["return_mean"]  # as the header in C says
    assert [signal.getsignal(one) for one in SIGNALS] == before


@pytest.mark.wide  # as in the final evaluation above
def test_a_signal_while_the_episode_is_drawn_keeps_the_results(tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(results, "render_best", sending(signal.SIGINT, called))
    with pytest.raises(SystemExit) as exit_:
        tiny_run(tmp_path, "--num_generations", "3", "--render", "True")
    assert exit_.value.code == 130 and len(called) == 1
    printed, folder = capsys.readouterr().out, folder_of(tmp_path)
    assert "interrupted after the final evaluation" in printed
    assert f"python -m ternevo.play {folder} draws an episode" in printed
    assert json.loads((folder / "result.json").read_text())["generation"] == 3
    assert "return" in printed.partition("best_policy ")[2]  # the numbers came first


@pytest.mark.parametrize(
    ("main", "argv", "broken"),
    [
        (run.main, ["--num_generations", "1"], "ternevo.training.session.run"),
        (play.main, ["x"], "ternevo.training.playing.play"),
        (runs.main, [], "ternevo.runs.listing.show"),
    ],
)
def test_a_ctrl_c_that_nothing_else_handles_is_one_line(main, argv, broken, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(broken, interrupted)
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "interrupted; what was written before is kept\n"


# --- divergence, and strategies that are not evolution -----------------------------------------

LEARNER_LAB = """
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ternevo.arithmetic import observation
from ternevo.settings.meaning import option
from ternevo.settings.strategies.settings import Settings
from ternevo.types import PolicyParams, Strategy


class State(NamedTuple):
    weights: object
    moments: object
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class Learner(Settings):
    diverges_at: int = 100
    pace: float = option(0.1, shortens_steps=True)

    def build(self, env, policy, weights, num_generations):
        def init(key):
            moments = observation.empty(env.obs.size)
            return State(policy.init(key), moments, jnp.zeros((), jnp.int32))

        def step(key, state):
            count = state.count + 1
            metrics = {
                "episode/steps": jnp.asarray(10, jnp.int32),
                "return/mean": jnp.where(count % 2 == 1, count, jnp.nan),
                "loss/value": jnp.asarray(1.0),
                "loss/policy": jnp.where(count >= self.diverges_at, jnp.nan, 1.0),
            }
            return state._replace(count=count), metrics

        return Strategy(init, step, lambda state: PolicyParams(state.weights, state.moments))
"""


def learner_folder(root):
    return root / "probe" / "bandit" / "learner_lab:Learner" / "seed0"


def learner_run(root, monkeypatch, *arguments):
    """Run twelve generations of a strategy that knows neither a population nor its extremes."""
    (root / "learner_lab.py").write_text(LEARNER_LAB)
    monkeypatch.syspath_prepend(root)
    run.main(
        [
            *("--env", "probe/bandit", "--hidden_sizes", "()"),
            *("--eval_every", "4", "--num_eval_episodes", "4", "--num_final_episodes", "4"),
            *("--checkpoint_every", "5", "--num_generations", "12", "--render", "False"),
            *("--runs_dir", str(root), "--strategy", "learner_lab:Learner", *arguments),
        ]
    )


@pytest.mark.parametrize("chunk_size", wide(["0", "1"], keep=["0"]))
def test_a_run_that_diverges_stops_and_keeps_what_was_good(
    chunk_size, tmp_path, monkeypatch, capsys
):
    with pytest.raises(SystemExit) as exit_:
        learner_run(tmp_path, monkeypatch, "--diverges_at", "7", "--chunk_size", chunk_size)
    assert exit_.value.code == 1
    folder = learner_folder(tmp_path)
    message = capsys.readouterr().err
    assert "loss/policy is nan in generation 7 of seed 0" in message
    assert f"the newest checkpoint is {folder / 'checkpoints' / '5'}" in message
    assert "Try a smaller --pace, under another --name" in message  # which it has, unlike --lr
    assert [row["generation"] for row in read_jsonl(folder / "metrics.jsonl")] == list(range(1, 7))
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["5"]
    assert policy_file.load(folder / "policy.tvp").info["generation"] == 5


def test_a_run_that_diverges_before_its_first_checkpoint_says_so(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_:
        learner_run(tmp_path, monkeypatch, "--diverges_at", "1")
    assert exit_.value.code == 1
    assert "there is no checkpoint yet" in capsys.readouterr().err
    assert not (learner_folder(tmp_path) / "policy.tvp").exists()


def test_what_a_strategy_reports_now_and_then_is_shown_and_drawn(tmp_path, monkeypatch, capsys):
    learner_run(tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("generation")]
    assert "generation 12/12  return 11.0  eval" in lines[-1]
    assert "nan" not in printed and "max" not in printed
    assert (learner_folder(tmp_path) / "curve.png").exists()


@pytest.mark.parametrize(
    ("metrics", "lines"),
    [
        (["return/mean", "eval/return"], ["training episodes", "shipped policy, fresh episodes"]),
        (
            ["return/mean", "return/min", "return/max"],
            ["population, worst to best", "population mean", "shipped policy, fresh episodes"],
        ),
    ],
    ids=["learner", "population"],
)
def test_a_curve_has_what_the_rows_have(metrics, lines, tmp_path, monkeypatch):
    """A metric that is missing in a row leaves a gap, and does not take the row away."""
    drawn = []
    monkeypatch.setattr(plots, "_write", lambda figure, path: drawn.append(figure))
    rows = [{"env_steps": 10 * i, **{m: float(i) for m in metrics}} for i in range(4)]
    del rows[1]["return/mean"]
    plots.learning_curve(rows, "title", tmp_path / "curve.png")
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == lines
    assert list(axes.lines[0].get_xdata()) == [0, 20, 30]


@pytest.mark.wide  # the agent's run of test_sweep.py goes the same way
def test_wandb_offline_gets_every_generation_the_result_and_the_policies(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "WANDB_SILENT": "true"}
    result = subprocess.run(
        [
            *(sys.executable, "-m", "ternevo.run", *TINY, "--render", "False"),
            *("--num_generations", "3", "--track", "wandb", "--wandb_mode", "offline"),
            *("--wandb_project", "p", "--wandb_group", "g", "--wandb_tags", "a,b"),
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    folder = folder_of(tmp_path / "runs")
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = tracked.wandb_records(path)
    rows = [tracked.values(row.item) for row in tracked.of_kind(found, "history")]
    expected = read_jsonl(folder / "metrics.jsonl")
    for row, own in zip(rows, expected, strict=True):
        assert {name: row[name] for name in own} == own
    metrics = tracked.of_kind(found, "metric")
    assert ("*", "env_steps") in [(metric.glob_name, metric.step_metric) for metric in metrics]
    summary = {}
    for part in tracked.of_kind(found, "summary"):
        summary |= tracked.values(part.update)
    result = json.loads((folder / "result.json").read_text())
    assert summary["final/return"] == result["policy"]["return_mean"]
    assert summary["final/best_return"] == result["best_policy"]["return_mean"]
    (artifact,) = tracked.of_kind(found, "artifact")
    assert (artifact.type, artifact.name) == ("model", f"policy-{path.stem.removeprefix('run-')}")
    names = sorted(entry.path for entry in artifact.manifest.contents)
    assert names == ["best_policy.tvp", "config.json", "policy.tvp"]
    (config, *_) = [tracked.values(run.config.update) for run in tracked.of_kind(found, "run")]
    assert config["strategy"]["population_size"] == 8


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SystemExit):
        tiny_run(tmp_path, "--num_generations", "1", "--track", "wandb")
    from ternevo.runs.sinks import Wandb

    with pytest.raises(MissingExtra, match=r"needs wandb: pip install .*\[wandb\]"):
        Wandb()


def test_an_unknown_environment_is_refused_with_near_matches(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        tiny_run(tmp_path, "--env", "gymnax/CartPole-v2")
    assert exit_.value.code == 2
    assert "CartPole-v1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "part"), [(["nowhere"], "nowhere"), ([], "no run")], ids=["play", "runs"]
)
def test_what_is_not_there_is_named(argv, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(SystemExit) as exit_:
        (play if argv else runs).main(argv)
    assert exit_.value.code == 2
    assert part in capsys.readouterr().err


BROKEN_LAB = """
import jax.numpy as jnp

from ternevo.envs import probe
from ternevo.types import ObsSpec


def make(episode_length=None):
    env = probe.random_length(5)

    def broken(obs):
        return jnp.concatenate([obs, jnp.full(1, jnp.nan), obs, jnp.full(1, -jnp.inf)])

    def reset(key, task):
        state, obs = env.reset(key, task)
        return state, broken(obs)

    def step(key, state, action):
        state, timestep = env.step(key, state, action)
        return state, timestep._replace(obs=broken(timestep.obs))

    return env._replace(obs=ObsSpec((4,)), obs_names=(), reset=reset, step=step)
"""


@pytest.mark.wide  # the line is below, and test_unused.py
def test_what_is_never_finite_or_has_no_effect_is_named_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_lab.py").write_text(BROKEN_LAB)
    monkeypatch.syspath_prepend(tmp_path)
    lab = ("--env", "broken_lab:make", "--runs_dir", str(tmp_path), "--num_devices", "1")
    sizes = ("--hidden_sizes", "()", "--population_size", "8", "--num_final_episodes", "2")
    unused = ("--spreads", "none", "--eta", "0.5")
    short = ("--num_generations", "3", "--chunk_size", "1", "--render", "False")
    run.main([*lab, *sizes, *unused, *short])
    said = capsys.readouterr().err
    assert said.count("never finite") == 1
    line = "warning: --eta 0.5 has no effect: no spread adapts, see --spreads\n"
    assert said.count(line) == 1
    assert "warning: 2 of 4 components of the observation (1, 3) were never finite up to" in said


def test_of_many_components_that_were_never_finite_ten_are_named():
    said = what_was_never_finite(list(range(20)), 30, 4)
    assert "20 of 30 components" in said and "(0, 1, 2," in said and ", 9, ...)" in said
