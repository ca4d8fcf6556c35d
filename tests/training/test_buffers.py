"""A strategy with a large part that is not shipped: its first user, from `run` to a resumed run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kept_programs import keeping_programs

from ternevo import run
from ternevo.machine import devices
from ternevo.runs.sinks import read_jsonl
from ternevo.strategies.across_seeds import across_seeds, keys_of
from ternevo.training import buffers
from ternevo.training.checkpoint import Checkpoints
from ternevo.types import Buffer, PolicyParams, Strategy, TrainState, is_buffer

ROWS = 1000
LAB = f"""
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ternevo.arithmetic import observation
from ternevo.settings.strategies.settings import Settings
from ternevo.types import Buffer, ObservationMoments, PolicyParams, Strategy


class Replay(NamedTuple):
    weights: object
    moments: ObservationMoments
    experience: Buffer
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class Filling(Settings):
    \"\"\"Learns nothing: each generation writes its number into the next row of a buffer.\"\"\"

    def build(self, env, policy, weights, num_generations):
        def init(key):
            rows = Buffer(jnp.zeros({ROWS}))
            moments = observation.empty(env.obs.size)
            return Replay(policy.init(key), moments, rows, jnp.zeros((), jnp.int32))

        def step(key, state):
            count = state.count + 1
            rows = state.experience.data.at[state.count].set(count)
            metrics = {{
                "episode/steps": jnp.asarray(1, jnp.int32),
                "return/mean": jnp.sum(rows),
            }}
            return state._replace(experience=Buffer(rows), count=count), metrics

        return Strategy(init, step, lambda state: PolicyParams(state.weights, state.moments))
"""


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


@pytest.fixture
def filling(tmp_path, monkeypatch):
    """Return what runs so many generations of it, and gives the mean returns of its rows."""
    (tmp_path / "buffer_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)

    def go(num_generations, *arguments):
        run.main(
            [
                *("--strategy", "buffer_lab:Filling", "--env", "probe/bandit", *arguments),
                *("--hidden_sizes", "()", "--render", "False", "--runs_dir", str(tmp_path)),
                *("--num_generations", str(num_generations), "--num_final_episodes", "2"),
                *("--num_eval_episodes", "2", "--num_devices", "1"),
            ]
        )
        folder = tmp_path / "probe/bandit/buffer_lab:Filling/seed0"
        return [row["return/mean"] for row in read_jsonl(folder / "metrics.jsonl")]

    return go


def test_a_resumed_run_goes_on_with_the_buffer_or_with_an_empty_one(filling):
    """The return is the sum of the buffer: 1, 1 + 2, 1 + 2 + 3, or without it 3 alone."""
    assert filling(2) == [1, 3]
    assert filling(4, "--resume") == [1, 3, 6, 10]


def test_a_checkpoint_may_leave_the_buffer_out(filling, capsys):
    assert filling(2, "--checkpoint_buffers", "False") == [1, 3]
    assert filling(4, "--resume", "--checkpoint_buffers", "False") == [1, 3, 3, 7]
    said = "resumed after generation 2 with empty buffers (--checkpoint_buffers False): it goes on"
    assert f"{said} otherwise than a run that never stopped\n" in capsys.readouterr().out


def test_a_checkpoint_without_buffers_is_smaller(tmp_path):
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.random(200_000), jnp.float32)
    state = TrainState(jax.random.key(0), jnp.asarray(1, jnp.int32), {"rows": Buffer(rows)})
    sizes = []
    for with_buffers in (True, False):
        folder = tmp_path / str(with_buffers)
        with Checkpoints(folder, with_buffers=with_buffers) as checkpoints:
            checkpoints.save(state)
            restored = checkpoints.restore(state)
        np.testing.assert_array_equal(restored.strategy["rows"].data, rows)
        sizes.append(sum(path.stat().st_size for path in folder.glob("**/*")))
    assert sizes[1] < 100_000 < 500_000 < sizes[0]


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_each_seed_has_a_buffer_of_its_own(backend, monkeypatch):
    """In turn, or side by side: each seed writes its own numbers."""

    def step(key, state):
        rows, count = state
        rows = rows.data.at[count].set(jax.random.uniform(key))
        return (Buffer(rows), count + 1), {}

    def init(key):
        return Buffer(jnp.zeros(3)), jnp.zeros((), jnp.int32)

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    strategy = Strategy(init, step, lambda state: PolicyParams((), ()))
    assert across_seeds(strategy, 1) is strategy
    together = across_seeds(strategy, 2)
    keys = keys_of([5, 6])
    state = together.init(keys)
    for _ in range(2):
        state, _ = jax.jit(together.step)(keys, state)
    rows, count = state
    assert is_buffer(rows)
    expected = [[jax.random.uniform(key)] * 2 + [0] for key in keys]
    np.testing.assert_array_equal(rows.data, expected)
    np.testing.assert_array_equal(count, [2, 2])
    assert buffers.size_of(state) == 2 * 3 * 4


def test_what_is_said_of_a_buffer_that_is_not_replayed(filling, capsys):
    filling(1)
    assert "\nbuffers     4 kB on the device\n" in capsys.readouterr().out
    filling(2, "--resume")
    assert "resumed after generation 1\n" in capsys.readouterr().out


def test_buffers_stay_out_of_what_devices_hold_alike():
    """With several devices all else gets a constraint in the program, and a buffer none."""
    if len(jax.devices()) < 2:
        pytest.skip("one device holds everything")
    with devices.on_all_devices(2):
        state = {"small": jnp.zeros(2), "large": Buffer(jnp.zeros(4))}
        text = str(jax.make_jaxpr(devices.replicated)(state))
    assert text.count("sharding_constraint") == 1
    assert is_buffer(state["large"])
