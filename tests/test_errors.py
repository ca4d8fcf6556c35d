"""Errors that people meet: each is one message that says what is wrong and what to do."""

import gc
import os
import shutil
import subprocess
import sys

import jax
import pytest
from gradient_learners import options_of
from kept_programs import keeping_programs
from marks import wide

from ternevo import envs, export, gym, installation, play, run
from ternevo.arithmetic import observation
from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.runs import __main__ as runs
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.policies import MLP
from ternevo.training import loop
from ternevo.types import PolicyParams

TINY = [
    *("--env", "probe/corridor", "--episode_length", "6", "--hidden_sizes", "(2,)"),
    *("--eval_every", "4", "--num_eval_episodes", "1", "--num_final_episodes", "1"),
    *("--checkpoint_every", "2", "--render", "False", "--num_devices", "1"),
]
EVOLUTION = [*TINY, "--population_size", "4"]
SEARCH = [*EVOLUTION, "--strategy", "random_search"]  # which is compiled soonest


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


def refused(main, argv, capsys, status=2) -> str:
    """Return what a program prints when it stops, on one line; without a traceback."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in argv])
    assert exit_.value.code == status
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.replace("│", " ").split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four generations, with checkpoints of two and four."""
    root = tmp_path_factory.mktemp("runs")
    run.main([*SEARCH, "--runs_dir", str(root), "--num_generations", "4"])
    return root


@pytest.fixture
def root(whole, tmp_path):
    """A copy of that run, to be damaged."""
    return shutil.copytree(whole, tmp_path / "runs")


def folder_of(root):
    return root / "probe" / "corridor" / "random_search" / "seed0"


# --- names and options -----------------------------------------------------------------------


def test_a_taken_name_says_how_to_go_on(root, capsys):
    message = refused(run.main, [*SEARCH, "--runs_dir", root, "--name", "seed0"], capsys)
    assert f"{folder_of(root)} exists. Continue it with --resume" in message
    assert "another --name" in message


@pytest.mark.parametrize(
    ("main", "argv", "parts"),
    [
        (run.main, ["--population_sise", "3"], ["--population_sise", "mean --population_size?"]),
        (run.main, ["--render_evry", "3"], ["--render_evry", "mean --render_every?"]),
        (run.main, ["--weights", "ternray"], ["'ternray'", "'ternary'"]),
        (run.main, ["--strategy", "ternary_ness"], ["'ternary_ness'", "'ternary_nes'"]),
        (run.main, ["--render_every", "-1"], ["render_every must be 0 or more, got -1"]),
        (play.main, ["x", "--generatoin", "3"], ["--generatoin", "mean --generation?"]),
        (play.main, ["x", "--which", "worst"], ["'worst'", "must be best or last"]),
        (runs.main, ["x", "--stratgy", "ppo"], ["--stratgy", "mean --strategy?"]),
        (runs.main, ["x", "--sort", "retrun"], ["'retrun'", "'return'"]),
        (export.main, ["x", "--too", "c"], ["--too", "mean --to?"]),
        (gym.main, ["x", "--episods", "3"], ["--episods", "mean --episodes?"]),
    ],
)
def test_an_unknown_option_or_value_is_told_with_the_nearest(main, argv, parts, capsys):
    message = refused(main, argv, capsys)
    assert all(part in message for part in parts), message


def test_an_unknown_key_of_a_page_gets_the_message_of_the_option(tmp_path, capsys):
    (tmp_path / "page.yaml").write_text("population_sise: 3")
    message = refused(run.main, ["--config", tmp_path / "page.yaml"], capsys)
    assert message == "error: unknown option --population_sise; did you mean --population_size?"


# --- missing extras --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """A policy file of an untrained network."""
    env = envs.make("gymnax/CartPole-v1", 3)
    settings = MLP(hidden_sizes=(2,))
    weights = settings.build(env.obs, env.action).init(jax.random.key(0))
    path = tmp_path_factory.mktemp("policy") / "policy.tvp"
    params = PolicyParams(weights, observation.empty(env.obs.size))
    policy_file.save(path, env, "mlp", settings, params)
    return path


@pytest.mark.parametrize(
    ("package", "main", "argv", "extra"),
    [
        ("wandb", run.main, ["--track", "wandb"], "wandb"),
        ("tensorboardX", run.main, ["--track", "tensorboard"], "tensorboard"),
        ("pygame", play.main, [], "render"),
        ("onnx", export.main, ["--to", "onnx"], "onnx"),
        ("gymnasium", gym.main, [], "gym"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package, main, argv, extra, cartpole, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, package, None)
    argv = [*SEARCH, "--runs_dir", tmp_path, *argv] if main is run.main else [cartpole, *argv]
    message = refused(main, argv, capsys)
    assert installation.command(extra) in message and package.lower() in message.lower()


# --- devices ---------------------------------------------------------------------------------


def raising(error):
    def function(*arguments):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Unable to initialize\nbackend 'cuda': no driver"), "backend 'cuda': no dr"),
        (AssertionError(), "the plugin or the device is missing"),
    ],
)
@pytest.mark.parametrize("main", [run.main, play.main])
def test_a_platform_without_a_device_is_told(
    main, error, reason, cartpole, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(jax, "devices", raising(error))
    monkeypatch.setattr(devices, "_platforms", lambda: "cuda")
    # However many devices this process has: a number would be compared with `jax.devices`.
    argv = [*SEARCH, "--runs_dir", tmp_path, "--num_devices", "0"]
    argv = argv if main is run.main else [cartpole]
    message = refused(main, argv, capsys)
    assert "JAX_PLATFORMS is 'cuda', and JAX cannot use that" in message and reason in message
    assert "nvidia-smi" in message and installation.command("cuda") in message
    assert not list(tmp_path.iterdir()), "no name is taken"


@pytest.mark.skipif(devices.has_gpu_plugin(), reason="there may be a GPU")
def test_jax_itself_without_a_gpu(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "ternevo.run", *SEARCH, "--runs_dir", tmp_path],
        env={**os.environ, "JAX_PLATFORMS": "cuda"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "error: JAX_PLATFORMS is 'cuda'" in result.stderr and "Traceback" not in result.stderr


def test_a_plugin_without_a_gpu_is_a_warning(monkeypatch, capsys):
    monkeypatch.setattr(devices, "has_gpu_plugin", lambda: True)
    monkeypatch.setattr(devices, "_platforms", lambda: None)
    devices.check_there_are_some()
    warning = capsys.readouterr().err
    expected = jax.default_backend() == "cpu"
    assert ("warning: JAX has the NVIDIA GPU plugin but found no GPU" in warning) == expected
    monkeypatch.setattr(devices, "_platforms", lambda: "cpu")
    devices.check_there_are_some()
    assert not capsys.readouterr().err, "whoever asks for the CPU knows"


def test_too_few_devices_say_what_there_are():
    first = jax.devices()[0]
    with pytest.raises(devices.NoDevice) as error:
        devices.on_all_devices(4096)
    message = str(error.value)
    assert f"at most {len(jax.devices())}, got 4096: JAX found {len(jax.devices())}" in message
    assert first.device_kind in message and first.platform in message


# --- memory ----------------------------------------------------------------------------------

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory allocating 400000000000000 bytes."


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            [*EVOLUTION, "--num_episodes", "3", "--population_chunk", "128"],
            [
                "Set --num_lanes (now chosen automatically), --population_chunk (now 128) to a "
                "small number such as 64, which does not change results on a CPU, and continue "
                "with --resume; or lower --num_seeds (now 1), --population_size (now 4), "
                "--num_episodes (now 3)",
            ],
        ),
        pytest.param(
            [*TINY, "--strategy", "ppo", "--num_envs", "8", "--num_steps", "16"],
            ["Lower --num_seeds (now 1), --num_envs (now 8), --num_steps (now 16), --hidden_sizes"],
            marks=pytest.mark.wide,
        ),
        pytest.param(
            [*TINY, "--strategy", "dqn", *options_of("dqn")],
            [
                "Lower --num_seeds (now 1), --buffer_size (now 64), --batch_size (now 8), "
                "--critic_hidden_sizes (now (8,)), --hidden_sizes"
            ],
            marks=pytest.mark.wide,
        ),
    ],
    ids=["evolution", "ppo", "dqn"],
)
def test_out_of_memory_names_what_to_lower(arguments, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "advance", raising(jax.errors.JaxRuntimeError(EXHAUSTED)))
    message = refused(run.main, [*arguments, "--runs_dir", tmp_path], capsys, status=1)
    assert f"error: out of memory: {EXHAUSTED}" in message
    assert message.endswith("under another --name. There is no checkpoint yet")
    assert all(part in message for part in parts), message
    assert "num_lanes" not in message or "--strategy" not in arguments


def test_jax_raises_that_error():
    """The one that is injected here; no machine has as much."""
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        jax.numpy.zeros(10**14).block_until_ready()


def test_a_run_out_of_memory_is_on_record_and_goes_on(root, monkeypatch, capsys):
    advance = loop.advance
    argv = [*SEARCH, "--runs_dir", root, "--num_generations", "6", "--resume"]
    monkeypatch.setattr(loop, "advance", raising(jax.errors.JaxRuntimeError(EXHAUSTED)))
    message = refused(run.main, argv, capsys, status=1)
    assert message.endswith("under another --name. Checkpoint 4 is kept")
    runs.main([str(root)])
    assert "failed 4/6: OutOfMemory: out of memory: RESOURCE" in capsys.readouterr().out
    monkeypatch.setattr(loop, "advance", advance)
    run.main([*map(str, argv), "--num_lanes", "8"])
    runs.main([str(root)])
    assert capsys.readouterr().out.endswith("done\n")


def test_other_errors_of_a_device_are_not_taken_for_it(root, monkeypatch):
    error = jax.errors.JaxRuntimeError("INTERNAL: something else")
    monkeypatch.setattr(loop, "advance", raising(error))
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run.main([*SEARCH, "--runs_dir", str(root), "--num_generations", "6", "--resume"])
    assert "something else" in (folder_of(root) / "failure.txt").read_text()


# --- checkpoints -----------------------------------------------------------------------------


def files(step):
    return [path for path in step.rglob("*") if path.is_file()]


def data(step):
    return [path for path in files(step / "default") if path.parent.name == "d"]


def cut(paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


DAMAGE = {
    "empty": empty,
    "no data": lambda step: shutil.rmtree(step / "default"),
    "no metadata": lambda step: [p.unlink() for p in files(step) if "METADATA" in p.name],
    "all cut": lambda step: cut(files(step)),
    "data cut": lambda step: cut(data(step)),
    "random bytes": lambda step: [p.write_bytes(os.urandom(100)) for p in files(step)],
    "random data": lambda step: [p.write_bytes(os.urandom(p.stat().st_size)) for p in data(step)],
}
MORE_THAN_DATA = ("all cut", "random bytes")  # "no metadata", "data cut" and "random data" at once


@pytest.fixture
def finalised():
    """Collect orbax's failed tasks, whose finalisers print a traceback, and for that parse code.

    Within another parse, such as that of a docstring by tyro, Python 3.11 raises a SystemError.
    """
    yield
    gc.collect()


@pytest.mark.usefixtures("finalised")
@pytest.mark.filterwarnings("ignore")  # orbax warns in its own words before it raises
@pytest.mark.parametrize(
    "kind",
    wide(
        [pytest.param(x, marks=pytest.mark.slow) if x in MORE_THAN_DATA else x for x in DAMAGE],
        keep=["no data", "data cut"],
    ),
)
def test_a_damaged_checkpoint_is_named_with_the_one_before(kind, root, capsys):
    step = folder_of(root) / "checkpoints" / "4"
    DAMAGE[kind](step)
    argv = [*SEARCH, "--runs_dir", root, "--num_generations", "6", "--resume"]
    message = refused(run.main, argv, capsys)
    assert f"checkpoint {step} cannot be read: it is damaged" in message
    assert "Delete that folder and use --resume to continue from checkpoint 2" in message


def test_going_on_from_the_checkpoint_before_loses_nothing(root, tmp_path, capsys):
    """What the message says to do, and the run is the one that was never damaged."""
    shutil.copytree(root, tmp_path / "good")
    shutil.rmtree(folder_of(root) / "checkpoints" / "4")
    for where in (root, tmp_path / "good"):
        run.main([*SEARCH, "--runs_dir", str(where), "--num_generations", "6", "--resume"])
    printed = capsys.readouterr().out
    assert "resumed after generation 2" in printed and "resumed after generation 4" in printed
    found, expected = (
        [{**row, "wall_time": 0} for row in read_jsonl(folder_of(where) / "metrics.jsonl")]
        for where in (root, tmp_path / "good")
    )
    assert found == expected


@pytest.mark.usefixtures("finalised")
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_checkpoint_that_is_the_only_one(root, capsys):
    shutil.rmtree(folder_of(root) / "checkpoints" / "2")
    empty(folder_of(root) / "checkpoints" / "4")
    argv = [*SEARCH, "--runs_dir", root, "--num_generations", "6", "--resume"]
    message = refused(run.main, argv, capsys)
    assert "It is the only one: start from best_policy with --init_from" in message
