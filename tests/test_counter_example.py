"""The public counter-example: its task and network as described, its rows and its verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import programs

from ternevo.types import Inputs


@pytest.fixture(scope="module")
def study():
    """The program as a module."""
    with programs("counter_example") as found:
        yield found["counter_example"]


def test_a_class_spikes_in_its_own_eighth_of_the_channels(study):
    spikes, labels = study.spikes_of(0)
    assert spikes.shape == (128 + 1024, 16, 64) and spikes.dtype == bool
    assert np.bincount(labels, minlength=8).min() > 100
    by_band = spikes.reshape(-1, 16, 8, 8).mean((1, 3))  # [examples, bands]
    is_own = np.arange(8) == labels[:, None]
    assert by_band[is_own].mean() == pytest.approx(1 - 0.95 * 0.7, abs=0.003)
    assert by_band[~is_own].mean() == pytest.approx(0.05, abs=0.001)
    assert not np.array_equal(spikes, study.spikes_of(1)[0])


def test_both_networks_see_the_same_examples(study):
    spikes, labels = study.spikes_of(3)
    counts, raw = study.data_of("counts", 3), study.data_of("spiking", 3)
    np.testing.assert_array_equal(raw.train.obs, spikes[:128].reshape(128, -1))
    np.testing.assert_array_equal(counts.test.obs, np.minimum(8 * spikes[128:].sum(1), 127))
    np.testing.assert_array_equal(jnp.argmax(counts.test.target, 1), labels[128:])
    # smoothed by 0.2 over eight classes
    np.testing.assert_allclose(np.sort(counts.train.target, 1)[:, [0, -1]], [[0.025, 0.825]] * 128)


def test_neurons_leak_spike_and_are_summed_step_by_step(study):
    """Against a loop over time, with the readout's membrane kept from step to step."""
    student = study.spiking(16, "ternary")
    params = student.policy.init(jax.random.key(0))
    spikes = np.random.default_rng(0).random((16, 64)) < 0.6
    inputs = Inputs(jnp.asarray(spikes, jnp.float32), jnp.zeros(()), jnp.asarray(True))
    _, found = study.fire(params, (), inputs)
    (into, bias), (out, last) = [
        [
            np.asarray(layer[name].values) * 2.0 ** -float(layer[name].exponent)
            for name in ("weight", "bias")
        ]
        for layer in params
    ]
    membrane, readout, total, fired = np.zeros(16), np.zeros(8), np.zeros(8), 0
    for row in spikes:
        spike = membrane > 1
        membrane = 0.5 * membrane + row @ into + bias - spike
        readout = 0.8 * readout + spike @ out + last
        total += readout
        fired += spike.sum()
    assert fired >= 10
    np.testing.assert_allclose(found, total, rtol=1e-5, atol=1e-5)


def test_gradients_pass_a_spike_by_the_surrogate(study):
    above = jnp.array([-0.4, 0.0, 0.1, 2.0])
    np.testing.assert_array_equal(study._spike(above), [0, 0, 1, 1])
    slopes = jax.vmap(jax.grad(study._spike))(above)
    np.testing.assert_allclose(slopes, 1 / (1 + 25 * np.abs(above)) ** 2, rtol=1e-5)


@pytest.mark.wide  # its parts are above
def test_a_tiny_budget_runs_to_a_line_and_is_not_run_again(study, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "RESULTS", tmp_path / "rows.jsonl")
    monkeypatch.setattr(study, "GENERATIONS", 1)
    work = [("spiking", "straight-through"), ("counts", "ternary_nes")]
    for network, arm in work:
        study.run(network, arm, 16, 1)
    text = (tmp_path / "rows.jsonl").read_text()
    monkeypatch.setattr(study, "scored", None)  # nothing is left to run
    for network, arm in work:
        study.run(network, arm, 16, 1)
    assert (tmp_path / "rows.jsonl").read_text() == text
    first, second = study.read(study.RESULTS)
    assert first["passes"] == 15 * 128 and second["passes"] == 64 * 1 * 128
    assert first["accuracy"] > 0.3  # guessing is right for one in eight
    # 64 x 16 + 16 x 8 trits at five a byte, and the quantiser of 64 channels
    assert (1152 + 24) / 5 < second["bytes"] < (1152 + 24) / 5 + 400
    assert "(1 of 5 seeds)" in study.page_of([first, second])


def lines(network, arm, width, accuracies):
    return [
        {"network": network, "arm": arm, "width": width, "seed": seed, "accuracy": accuracy}
        | {"bytes": 500}
        for seed, accuracy in enumerate(accuracies)
    ]


def test_verdicts_wait_for_all_seeds_and_follow_the_interval(study):
    high, low = (0.95, 0.96, 0.97, 0.96, 0.96), (0.6, 0.65, 0.7, 0.65, 0.65)
    rows = [
        *lines("spiking", "straight-through", 64, high),
        *lines("spiking", "latents by CR-FM-NES", 64, low),
        *lines("spiking", "ternary_nes", 64, high),
        *lines("spiking", "ternary_ga", 64, high[:4]),
    ]
    said = {text.partition(":")[0]: text for text in study.verdicts(rows, "spiking")}
    collapse = said["latents by CR-FM-NES against straight-through"]
    assert "64 hidden loses, -31.00 [" in collapse and collapse.count("not run") == 2
    assert "hidden wins, 31.00 [" in said["ternary_nes against latents by CR-FM-NES"]
    assert "hidden ties, 0.00 [" in said["ternary_nes against straight-through"]
    assert said["ternary_ga against straight-through"].count("not run") == 3
    page = study.page_of(rows)
    assert "| straight-through | 1,920 | 96.00 [" in page and "An MLP" not in page
