"""What is set in the environment, or done by a user's module, before a run starts JAX."""

import json
import os
import subprocess
import sys

import jax
import pytest

from ternevo import envs, run
from ternevo.machine import devices, startup
from ternevo.settings.command_line import parse
from ternevo.training import loop

TINY = [
    *("--env=probe/target", "--hidden_sizes=2", "--num_generations=3", "--eval_every=2"),
    *("--num_eval_episodes=2", "--num_final_episodes=2", "--render=no", "--num_devices=1"),
]
EVOLUTION = [*TINY, "--strategy=random_search", "--population_size=4"]
PPO = [*TINY, "--strategy=ppo", "--num_envs=2", "--num_steps=4"]
RUN = "import sys; from ternevo import run; run.main(sys.argv[1:])"
UNUSUAL = {
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DISABLE_JIT": "true",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_TRANSFER_GUARD": "disallow",
}


def python(program: str, *arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if k not in UNUSUAL}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def outcome(root) -> tuple[list, list[bytes]]:
    """Return what a run left: metrics without wall time, and the bytes of its policies."""
    metrics = next(root.rglob("metrics.jsonl"))
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows = [{name: x for name, x in row.items() if name != "wall_time"} for row in rows]
    policies = [metrics.with_name(f"{name}.tvp").read_bytes() for name in ("policy", "best_policy")]
    return rows, policies


@pytest.mark.wide  # two runs; what starts JAX is below
@pytest.mark.parametrize(
    "arguments", [EVOLUTION, pytest.param(PPO, marks=pytest.mark.slow)], ids=["evolution", "ppo"]
)
def test_a_run_is_the_same_whatever_jax_is_told_by_the_environment(arguments, tmp_path):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    usual = python(RUN, *arguments, f"--runs_dir={tmp_path}/usual", **cache)
    unusual = python(RUN, *arguments, f"--runs_dir={tmp_path}/unusual", **cache, **UNUSUAL)
    assert (usual.returncode, unusual.returncode) == (0, 0), usual.stderr + unusual.stderr
    assert "is ignored" not in usual.stderr
    for name, value in UNUSUAL.items():
        assert unusual.stderr.count(f"note: {name}={value} is ignored: ") == 1, unusual.stderr
    assert outcome(tmp_path / "unusual") == outcome(tmp_path / "usual")


def test_settings_that_ask_for_nothing_unusual_are_not_told_of(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "jax")
    for name, value in {"JAX_ENABLE_X64": "0", "JAX_TRANSFER_GUARD": "allow"}.items():
        monkeypatch.setenv(name, value)
    startup.prepare()
    assert not capsys.readouterr().err


def test_the_settings_of_who_has_imported_jax_stay(monkeypatch, capsys):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    startup.prepare()
    assert os.environ["JAX_ENABLE_X64"] == "1" and not capsys.readouterr().err


def test_float64_of_somebody_elses_process_is_refused_in_a_line(tmp_path, capsys):
    env = envs.make("probe/target")
    settings = parse(EVOLUTION)
    policy = settings.policy.build(env.obs, env.action)
    strategy = settings.strategy.build(env, policy, "ternary", 3)
    with jax.enable_x64(True):
        for call in (
            lambda: envs.make("gymnax/Pendulum-v1"),
            lambda: loop.start(jax.random.key(0), strategy),
        ):
            with pytest.raises(devices.NotFloat32, match=r"jax.config.update\("):
                call()
        with pytest.raises(SystemExit) as exit_:
            run.main([*EVOLUTION, f"--runs_dir={tmp_path}"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: jax_enable_x64 is on") and error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "no name is taken"


# --- modules that start JAX when they are imported ---------------------------------------------

MODULE = """
import dataclasses
import jax.numpy as jnp
import ternevo.algorithms
from ternevo.envs import probe
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ternary_nes import TernaryNES

X = jnp.zeros(3) + 1  # starts JAX

@dataclasses.dataclass(frozen=True)
class Strategy(TernaryNES):
    pass

@dataclasses.dataclass(frozen=True)
class Policy(MLP):
    pass

def make(episode_length=None):
    return probe.bandit()
"""
DEVICES = """
import sys
from ternevo.settings import command_line
from ternevo.machine import devices
from ternevo import envs
settings = command_line.parse(sys.argv[1:])
devices.use_cores(settings.num_devices)
with devices.on_all_devices(settings.num_devices):
    envs.make(settings.env)
    print(devices.count())
"""


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param(
            ["--strategy=eager:Strategy"], startup.num_cpu_devices(), marks=pytest.mark.wide
        ),
        (["--policy=eager:Policy", "--env=eager:make", "--num-devices", "3"], 3),
        pytest.param(["--config=page.yaml"], 3, marks=pytest.mark.wide),
    ],
)
def test_a_module_that_starts_jax_leaves_the_number_of_devices(options, count, tmp_path):
    if jax.default_backend() != "cpu":
        pytest.skip("the devices are not those of a CPU")
    (tmp_path / "eager.py").write_text(MODULE)
    (tmp_path / "page.yaml").write_text(
        "strategies:\n  'eager:Strategy': {num_devices: 3}\nnum-devices: 2\n"
    )
    done = python("import sys; sys.path.insert(0, '')\n" + DEVICES, *options, cwd=tmp_path)
    assert done.stdout.split() == [str(count)], done.stderr


def test_other_devices_than_jax_has_are_refused_in_a_line(tmp_path, capsys):
    """As in a notebook: JAX has started, and goes on with what there is if no number is given."""
    there = len(jax.devices())
    if jax.default_backend() != "cpu":
        pytest.skip("the devices are not those of a CPU")
    other = [*EVOLUTION[:-2], "--population_size=4", f"--num_devices={there + 1}"]
    with pytest.raises(SystemExit) as exit_:
        run.main([*other, f"--runs_dir={tmp_path}"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert f"num_devices must be at most {there}, got {there + 1}: JAX has started" in error
    assert error.count("\n") == 1
    devices.use_cores(0)
    assert len(jax.devices()) == there
