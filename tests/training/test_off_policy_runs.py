"""Runs of off-policy learners: what is refused, stopped, resumed, and started from."""

import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from gradient_learners import CONTINUOUS, OFF_POLICY, options_of
from kept_programs import keeping_programs

from ternevo import envs, run
from ternevo.machine import device_memory
from ternevo.machine.interruption import Stop
from ternevo.policies import policy_file
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP
from ternevo.training import session
from ternevo.types import ObservationMoments, PolicyParams

DISCRETE, PUSHED = "probe/corridor", "probe/double_integrator"
SMALL = [
    *("--hidden_sizes", "()", "--episode_length", "6", "--eval_every", "2", "--render", "False"),
    *("--num_eval_episodes", "2", "--num_final_episodes", "2", "--num_devices", "1"),
]


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


def argv(root, name, *further, env=None, **changes):
    env = env or (PUSHED if name in CONTINUOUS else DISCRETE)
    own = ("--env", env, "--strategy", name, *options_of(name, **changes))
    return [*SMALL, *own, "--runs_dir", str(root), *further]


def folder_of(root, name) -> Path:
    return root / (PUSHED if name in CONTINUOUS else DISCRETE) / name / "seed0"


def outcome(folder: Path) -> tuple:
    rows = [{**row, "wall_time": 0} for row in read_jsonl(folder / "metrics.jsonl")]
    return rows, *((folder / f"{n}.tvp").read_bytes() for n in ("policy", "best_policy"))


# --- what is refused ------------------------------------------------------------------------------

STACKED = (
    "a sample needs {window} steps in a row, n_step {n_step} and frame_stack {count}, and an "
    "environment has 16 when learning starts: lower --n_step or --frame_stack, or raise "
    "--learning_starts and --buffer_size"
)
REFUSED = [
    (
        ("dqn", {"env": PUSHED}),
        "--strategy dqn needs discrete actions, and probe/double_integrator has continuous ones "
        "(1); use --strategy sac or td3",
    ),
    *(
        (
            (name, {"env": DISCRETE}),
            f"--strategy {name} needs continuous actions, and probe/corridor has discrete ones "
            "(2); use --strategy dqn",
        )
        for name in CONTINUOUS
    ),
    *(
        (
            (name, {}, "--policy", "recurrent"),
            f"--strategy {name} replays single steps, and this policy has a memory; use --strategy "
            "ppo, or another --policy",
        )
        for name in OFF_POLICY
    ),
    (
        ("sac", {"batch_size": 64}),
        "batch_size must be at most learning_starts = 32, got 64: lower --batch_size or raise "
        "--learning_starts",
    ),
    (
        ("dqn", {"n_step": 40}),
        "n_step must be at most the steps of an environment in the buffer (32) and before learning "
        "starts (16), got 40: lower --n_step, or raise --buffer_size and --learning_starts",
    ),
    (
        ("td3", {"buffer_size": 16}),
        "buffer_size must be at least learning_starts and num_envs * train_every, here 32, got 16: "
        "raise --buffer_size",
    ),
    (
        ("sac", {"updates_per_step": 0.3}),
        "updates_per_step times num_envs * train_every = 8 must be a whole number of gradient "
        "steps, got 0.3; the nearest is 0.25",
    ),
    (
        ("ddpg", {"updates_per_step": 0.01}),
        "updates_per_step times num_envs * train_every = 8 must be a whole number of gradient "
        "steps, got 0.01; the nearest is 0.125",
    ),
    (
        ("td3", {"steps_per_generation": 30}),
        "steps_per_generation must be a multiple of num_envs * train_every = 8, got 30; the "
        "nearest is 32",
    ),
    (("sac", {}, "--frame_stack", "20"), STACKED.format(window=20, n_step=1, count=20)),
    (
        ("dqn", {"n_step": 8}, "--frame_stack", "12"),
        STACKED.format(window=19, n_step=8, count=12),
    ),
    (("dqn", {"tau": 0}), "tau must be above 0 and at most 1, got 0.0"),
    (("dqn", {"epsilon_start": 1.5}), "epsilon_start must be 0 to 1, got 1.5"),
    (
        ("td3", {"noise_correlation": 1}),
        "noise_correlation must be at least 0 and below 1, got 1.0",
    ),
]


def refused(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as exit_:
        run.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("case", "message"),
    REFUSED,
    ids=["-".join([row[0][0], *map(str, row[0][1])]) for row in REFUSED],
)
def test_what_cannot_be_learned_from_is_refused_with_what_to_change(
    case, message, tmp_path, capsys
):
    name, changes, *further = case
    assert refused(argv(tmp_path, name, *further, **changes), capsys) == message
    assert not list(tmp_path.iterdir()), "no name is taken"


def test_a_buffer_larger_than_memory_is_refused_with_a_size_that_fits(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(device_memory, "available_bytes", lambda: 3_000_000)
    message = refused(argv(tmp_path, "sac", buffer_size=100_000), capsys)
    assert message == (
        "a buffer of 100,000 steps of probe/double_integrator needs 3.6 MB, and 3 MB are free: "
        "lower --buffer_size to 60000"
    )


def test_buffers_of_all_seeds_must_fit_before_any_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(device_memory, "available_bytes", lambda: 5_000_000)
    arguments = argv(tmp_path, "sac", "--num_seeds", "2", buffer_size=100_000)
    with pytest.raises(SystemExit) as exit_:
        run.main(arguments)
    assert exit_.value.code == 2
    assert (
        "error: buffers of 2 seeds at once need 7.2 MB, and 5 MB are free: lower --num_seeds or "
        "--buffer_size"
    ) in capsys.readouterr().err


# --- stopped, and gone on with --------------------------------------------------------------------


class StopAt:
    """A sink that stops a run as Ctrl-C does, after a generation."""

    def __init__(self, generation: int):
        self.generation, self.stop = generation, Stop()

    def write(self, rows):
        if rows[-1]["generation"] >= self.generation:
            self.stop.because_of(signal.SIGINT)

    def close(self):
        pass


@pytest.mark.wide  # test_loop.py and test_buffers.py go on too
@pytest.mark.exact
def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path, capsys):
    """DQN, whose exploration falls over the whole run; its buffer is full when it is stopped."""
    length = ("--num_generations", "6", "--chunk_size", "2")
    run.main(argv(tmp_path / "whole", "dqn", *length))
    printed = capsys.readouterr().out
    assert (
        "replay      64 steps of 60 bytes: 3.85 kB on the device; 0.5 updates per step\n" in printed
    )
    stopped = argv(tmp_path / "stopped", "dqn", *length)
    at = StopAt(4)
    with pytest.raises(SystemExit) as exit_:
        session.run(parse(stopped), at.stop, sinks=[at])
    assert exit_.value.code == 128 + signal.SIGINT
    run.main([*stopped, "--resume"])
    assert "resumed after generation 4\n" in capsys.readouterr().out
    whole, again = (outcome(folder_of(tmp_path / name, "dqn")) for name in ("whole", "stopped"))
    assert again == whole


@pytest.mark.slow
def test_a_run_resumed_without_its_buffer_says_so_and_differs(tmp_path, capsys):
    """And so does one of several seeds; each has a buffer of its own.

    `test_buffers.py` has the same of a buffer without a learner, which compiles sooner.
    """
    options = ("--checkpoint_buffers", "False", "--num_seeds", "2")
    run.main(argv(tmp_path / "whole", "sac", *options, "--num_generations", "6"))
    assert "36 bytes: 2.31 kB on the device for each of 2 seeds; 0.5" in capsys.readouterr().out
    run.main(argv(tmp_path / "cut", "sac", *options, "--num_generations", "4"))
    run.main(argv(tmp_path / "cut", "sac", *options, "--num_generations", "6", "--resume"))
    assert (
        "resumed after generation 4 with empty buffers (--checkpoint_buffers False): it goes on "
        "otherwise than a run that never stopped, and learning waits until they are refilled\n"
    ) in capsys.readouterr().out
    for seed in ("seed0", "seed1"):
        (whole, _, _), (cut, _, _) = (
            outcome(tmp_path / name / PUSHED / "sac" / "seed0-1" / seed)
            for name in ("whole", "cut")
        )
        assert whole[:4] == cut[:4]
        assert whole[4]["loss/q"] > 0 == cut[4]["loss/q"]
        assert cut[5]["loss/q"] > 0 and whole[5] != cut[5]


# --- started from evolution -----------------------------------------------------------------------


@pytest.mark.wide  # as PPO does in test_warm_start.py
@pytest.mark.parametrize(
    "name", ["sac", *(pytest.param(n, marks=pytest.mark.slow) for n in OFF_POLICY if n != "sac")]
)
def test_a_learner_starts_from_what_evolution_found(name, tmp_path, capsys):
    env, settings = envs.make(PUSHED if name in CONTINUOUS else DISCRETE, 6), MLP(())
    weights = settings.build(env.obs, env.action).init(jax.random.key(0))
    size = env.obs.size
    moments = ObservationMoments(jnp.full(size, 9.0), jnp.zeros(size), jnp.ones(size))
    source = tmp_path / "evolved"
    source.mkdir()
    (source / "config.json").write_text('{"settings": {}}')
    found = PolicyParams(weights, moments)
    origin = {"strategy": "ternary_nes"}
    policy_file.save(source / "best_policy.tvp", env, "mlp", settings, found, origin)
    run.main(argv(tmp_path, name, "--init_from", str(source), "--num_generations", "3"))
    printed = capsys.readouterr().out
    assert f"starting from {source / 'best_policy.tvp'}" in printed
    start = policy_file.load(folder_of(tmp_path, name) / "start.tvp")
    assert start.info["strategy"] == "ternary_nes"
    rows = read_jsonl(folder_of(tmp_path, name) / "metrics.jsonl")
    assert rows[0]["weights/changed"] == 0 < rows[2]["q/mean"] ** 2
