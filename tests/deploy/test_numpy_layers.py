"""`--to numpy` of images, pools, cells and skips: the script computes what `integer` does."""

import importlib.util
import itertools
import subprocess
import sys

import numpy as np
import pytest
from deep_records import ACTIVATIONS, deep_record
from policy_records import observations, random_integers

from ternevo.deploy import integer
from ternevo.deploy.numpy_script import to_numpy
from ternevo.deploy.record import PolicyRecord

KINDS = list(itertools.product(("convolution", "max_pool", "elman", "gated"), ACTIVATIONS))


def imported(record: PolicyRecord, folder):
    path = folder / "policy.py"
    path.write_text(to_numpy(record, 4))
    spec = importlib.util.spec_from_file_location("exported_policy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(record: PolicyRecord, folder, count: int = 8) -> None:
    rng, module = np.random.default_rng(1), imported(record, folder)
    net = integer.compile_integer(record)
    obs, q = observations(record, rng, count), random_integers(record, rng, count)
    quantised = integer.quantise(record, obs)
    np.testing.assert_array_equal(module.quantise(obs), quantised)
    if not record.memory_size:
        logits = integer.logits(net, q)
        np.testing.assert_array_equal(module.logits_q(q), logits)
        np.testing.assert_array_equal(module.logits_q(q[0]), logits[0])
        actions = integer.actions(record, net.output_exponent, integer.logits(net, quantised))
        np.testing.assert_array_equal(module.act_batch(obs), actions)
        np.testing.assert_array_equal(module.act(obs[0]), actions[0])
        return
    memory = wanted = module.reset(count)
    np.testing.assert_array_equal(wanted, np.tile(net.memory, (count, 1)))
    for rows in (q, q[::-1]):
        memory, found = module.step_logits_q(memory, rows)
        wanted, logits = integer.step(net, wanted, rows)
        np.testing.assert_array_equal(found, logits)
        np.testing.assert_array_equal(memory, wanted)
    after, found = module.step(memory, obs)
    wanted, logits = integer.step(net, wanted, quantised)
    np.testing.assert_array_equal(found, integer.actions(record, net.output_exponent, logits))
    np.testing.assert_array_equal(after, wanted)
    one, action = module.step(memory[0], obs[0])
    np.testing.assert_array_equal(one, wanted[0])
    np.testing.assert_array_equal(action, found[0])


@pytest.mark.parametrize("place", range(len(KINDS)), ids=["-".join(kind) for kind in KINDS])
def test_each_type_of_layer_computes_the_same(place, tmp_path):
    type_, activation = KINDS[place]
    shape = (6, 5, 3) if type_ in ("convolution", "max_pool") else (9,)
    inputs = ("pixels", "f32", "bits", "i8", "bits")[place % 5]
    how = {"types": (type_,), "activations": (activation,), "shape": shape}
    check(deep_record(place, inputs=inputs, depth=3, **how), tmp_path)


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_policies_compute_the_same(first, tmp_path):
    for seed in range(first, first + 10):
        check(deep_record(seed), tmp_path, 4)


def test_images_have_three_axes_or_are_flat(tmp_path):
    record = deep_record(0, types=("convolution",), shape=(6, 5, 3), inputs="pixels", depth=1)
    module = imported(record, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3))
    actions = module.act_batch(images)
    np.testing.assert_array_equal(module.act_batch(images.reshape(4, 90)), actions)
    np.testing.assert_array_equal(module.act(images[1]), actions[1])
    for shape in ((), (91,), (6, 5), (2, 4, 6, 5, 3)):
        with pytest.raises(ValueError, match=r"observations are \[n, 6, 5, 3\] or \[6, 5, 3\]"):
            module.act(np.zeros(shape))


@pytest.mark.parametrize("type_", ["convolution", "gated"])
def test_the_file_tests_itself_and_notices_damage(type_, tmp_path):
    shape = (6, 5, 3) if type_ == "convolution" else (5,)
    text = to_numpy(deep_record(3, types=(type_,), shape=shape, depth=1))
    path = tmp_path / "policy.py"
    for source, wanted in (
        (text, 0),
        (text.replace("EXAMPLE_LOGITS = np.array([[", "EXAMPLE_LOGITS = np.array([[1"), 1),
    ):
        path.write_text(source)
        done = subprocess.run([sys.executable, "-W", "error", path], capture_output=True, text=True)
        assert done.returncode == wanted, done.stderr
    assert "wrong logits of examples [0]" in done.stderr
