"""A population on several devices: the same bits as on one, whatever is split."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import GRADIENTS
from marks import wide
from on_devices import CASES, DTYPES, bits
from processes import outputs_of

from ternevo import run
from ternevo.machine import devices
from ternevo.settings.strategies import STRATEGIES

SCRIPT = Path(__file__).with_name("on_devices.py")
SUPPORT = Path(__file__).parents[1] / "support"


QUICK = "split"
"""On one device and on two: a population whose draws and sums are split. One that does not fill its
blocks is wide. Each is compiled anew, so the others, and eight devices, are slow."""


def final_states(
    folder: Path, counts: tuple[int, ...], cases: tuple[str, ...]
) -> dict[int, dict[str, np.ndarray]]:
    """Return the final states, by the number of devices; one process has the most of them."""
    path = folder / "states.npz"
    command = [sys.executable, SCRIPT, path, ",".join(map(str, counts)), *cases]
    places = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": places})
    with np.load(path) as file:
        found = dict(file)
    return {
        count: {
            name.removeprefix(f"{count}/"): x
            for name, x in found.items()
            if name.startswith(f"{count}/")
        }
        for count in counts
    }


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> dict[int, dict[str, np.ndarray]]:
    return final_states(tmp_path_factory.mktemp("devices"), (1, 2), (QUICK,))


@pytest.fixture(scope="module")
def slow_states(tmp_path_factory) -> dict[int, dict[str, np.ndarray]]:
    return final_states(tmp_path_factory.mktemp("devices"), (1, 2, 8), tuple(CASES))


def test_the_cases_name_every_strategy():
    """PPO, which shares its work, is in `tests/learners/test_ppo.py`."""
    named = {case[0] for case in CASES.values()} | {*GRADIENTS}
    assert {STRATEGIES[name] for name in named} == set(STRATEGIES.values())


@pytest.mark.exact
@pytest.mark.parametrize("case", wide([QUICK, "padded"], keep=[QUICK]))
def test_states_are_those_of_one_device_bit_for_bit(case, request, tmp_path):
    is_quick = case == QUICK
    found = (
        request.getfixturevalue("states") if is_quick else final_states(tmp_path, (1, 2), (case,))
    )
    assert_equal_states(found[1], found[2], case)


@pytest.mark.exact
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [2, 8])
def test_states_of_all_are_those_of_one_device_too(slow_states, count, case):
    assert_equal_states(slow_states[1], slow_states[count], case)


def assert_equal_states(one, several, case: str) -> None:
    names = [name for name in one if name.startswith(f"{case}/")]
    assert len(names) > 5
    for name in names:
        np.testing.assert_array_equal(several[name], one[name], err_msg=name)


RUN = [
    *("-m", "ternevo.run", "--env", "probe/corridor", "--hidden_sizes", "()"),
    *("--population_size", "16", "--num_generations", "3", "--chunk_size", "2"),
    *("--num_eval_episodes", "2", "--num_final_episodes", "2", "--render", "False"),
]


def start_run(folder: Path, *options: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *RUN, "--runs_dir", str(folder), *options],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rows_of(folder: Path) -> list[dict]:
    (path,) = folder.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: x for name, x in row.items() if name != "wall_time"} for row in rows]


def test_two_processes_that_talk_over_loopback_get_the_numbers_of_one(tmp_path):
    """Two processes with two devices each; only the first one writes anything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    runs = [
        start_run(
            tmp_path / "two",
            *("--distributed", "--num_devices", "2"),
            TERNEVO_COORDINATOR=coordinator,
            TERNEVO_NUM_PROCESSES="2",
            TERNEVO_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    outputs = outputs_of(runs)
    assert [process.returncode for process in runs] == [0, 0], "\n".join(outputs)
    assert "policy.tvp" in outputs[0] and "policy.tvp" not in outputs[1]
    run.main([*RUN[2:], "--runs_dir", str(tmp_path / "one"), "--num_devices", "1"])
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")
    policies = [next((tmp_path / name).rglob("policy.tvp")) for name in ("one", "two")]
    assert policies[0].read_bytes() == policies[1].read_bytes()


@pytest.mark.slow
def test_a_simulator_that_is_bound_to_one_device_runs_on_two(tmp_path):
    """Brax puts its model on the first device as it is loaded; this needs a whole run to show."""
    options = ["--env", "brax/inverted_pendulum", "--num_devices", "2", "--render", "True"]
    process = start_run(tmp_path, *options)
    (output,) = outputs_of([process])
    assert process.returncode == 0, output
    assert len(rows_of(tmp_path)) == 3
    assert list(tmp_path.rglob("episode.html"))


def test_a_process_that_is_told_half_of_who_takes_part_says_what_is_missing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TERNEVO_COORDINATOR", "127.0.0.1:1")
    with pytest.raises(SystemExit) as exit_:
        run.main([*RUN[2:], "--runs_dir", str(tmp_path), "--distributed"])
    assert exit_.value.code == 2
    output = capsys.readouterr().err
    assert re.search(r"error: --distributed needs all three.*NUM_PROCESSES=None", output), output


@pytest.mark.exact
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_travel_bit_for_bit_whatever_their_dtype(states, dtype):
    """But for which NaN it is: XLA may make any one of a short float the usual one."""
    sent = DTYPES[dtype].ravel()
    for found in (states[1], states[2]):
        arrived = found[f"gathered/{dtype}"].view(sent.dtype)
        with np.errstate(invalid="ignore"):  # which NumPy says of some NaNs
            is_nan = sent != sent
            np.testing.assert_array_equal(arrived != arrived, is_nan)
        np.testing.assert_array_equal(bits(arrived[~is_nan]), bits(sent[~is_nan]))


@pytest.mark.exact
def test_only_two_messages_travel_in_a_generation_and_one_in_an_evaluation(states):
    """Returns and moments; sums for the update; what the evaluation of the policy returned."""
    assert [int(states[1][f"collectives/{i}"]) for i in (0, 1)] == [0, 0]
    assert [int(states[2][f"collectives/{i}"]) for i in (0, 1)] == [2, 1]


@pytest.mark.exact
@pytest.mark.parametrize("terms", [1, 2, 7, 24])
def test_sums_in_order_are_sums(terms):
    x = np.random.default_rng(0).integers(-99, 99, (terms, 3)).astype(np.float32)
    np.testing.assert_array_equal(devices.sum_in_order(jnp.asarray(x)), x.sum(0))
    none = jnp.zeros((devices.padded(terms), 0))
    assert devices.combine_blocks(jnp.add, none).shape == (8, 0)
    padded = np.resize(x, (devices.padded(terms), 3))
    blocks = devices.combine_blocks(jnp.add, jnp.asarray(padded))
    np.testing.assert_array_equal(blocks, [b.sum(0) for b in np.split(padded, 8)])


@pytest.mark.exact
@pytest.mark.parametrize("terms", [1, 2, 33, 64, 65, 200])
def test_terms_are_combined_in_halves_by_a_loop_as_by_hand(terms):
    x = np.random.default_rng(terms).normal(size=(terms, 3)).astype(np.float32)
    halves = np.pad(x, [(0, 2 ** (terms - 1).bit_length() - terms), (0, 0)])
    while len(halves) > 1:
        first, second = np.split(halves, 2)
        halves = first + second
    found = devices.combine_in_order(lambda a, b: (a[0] + b[0],), (jnp.asarray(x),))
    np.testing.assert_array_equal(found[0], halves[0])
    np.testing.assert_array_equal(devices.sum_in_order(jnp.asarray(x)), halves[0])


@pytest.mark.parametrize("size, expected", [(1, 8), (8, 8), (9, 16), (1000, 1000)])
def test_rows_are_padded_to_whole_blocks(size, expected):
    assert devices.padded(size) == expected
    padded = devices.pad(jnp.arange(size), expected)
    assert padded.shape == (expected,)
    np.testing.assert_array_equal(padded[:size], np.arange(size))


def test_without_a_mesh_there_is_one_device_and_nothing_is_split():
    assert devices.count() == 1 and devices.num_blocks() == 8
    seen = devices.split(lambda device, x, y: (device, x + y), (True, False))(jnp.ones(3), 1.0)
    assert int(seen[0]) == 0
    np.testing.assert_array_equal(seen[1], 2.0)


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(ValueError, match=f"at most {len(jax.devices())}, got 4096"):
        devices.on_all_devices(4096)


def test_more_cores_after_jax_has_started_are_refused():
    if jax.default_backend() != "cpu":
        pytest.skip("it is about CPU devices")
    with pytest.raises(
        devices.NoDevice, match=f"must be at most {len(jax.devices())}, got 63: JAX"
    ):
        devices.use_cores(63)
