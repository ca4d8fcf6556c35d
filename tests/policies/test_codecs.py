"""A policy owns its codec: a second one beside the MLP, one without, files of the project."""

import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_policies
from marks import wide
from policy_inputs import inputs
from policy_records import observations

from ternevo import envs
from ternevo.deploy import integer, runtime, tvp
from ternevo.policies import policy_archive, policy_file
from ternevo.runs.run_folder import RunFolder
from ternevo.settings.policies import MLP, POLICIES, file_suffix

ROOT = Path(__file__).parents[2]
ENV = envs.make("gymnax/CartPole-v1")
OBS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32) * 3


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setitem(POLICIES, "coded", toy_policies.Coded)
    monkeypatch.setitem(POLICIES, "bare", toy_policies.Bare)


def save(path, name, settings):
    policy = settings.build(ENV.obs, ENV.action)
    params = toy_policies.random_params(policy, 4)
    policy_file.save(path, ENV, name, settings, params, {"seed": 3})
    return params


@pytest.mark.parametrize(
    ("name", "class_", "suffix"),
    [
        ("coded", toy_policies.Coded, ".tvp"),
        ("bare", toy_policies.Bare, ".npz"),
        ("toy_policies:Coded", toy_policies.Coded, ".tvp"),
        ("toy_policies:Bare", toy_policies.Bare, ".npz"),
    ],
)
def test_a_second_policy_comes_back_from_its_file(name, class_, suffix, table, tmp_path):
    assert file_suffix(name) == suffix
    path, settings = tmp_path / f"policy{suffix}", class_(exponent=3, weights="binary")
    params = save(path, name, settings)
    assert policy_archive.is_archive(path) == (suffix == ".npz")
    if ":" in name and suffix == ".tvp":  # the table has the same codec under a shorter name
        assert policy_file.load(path).policy_name == "coded"
    found = policy_file.load(path, trust=name)
    assert (found.policy_name, found.settings, found.info) == (name, settings, {"seed": 3})
    np.testing.assert_array_equal(found.weights["matrix"].values, params.weights["matrix"].values)
    acted = [int(found.act(obs)) for obs in OBS]
    if suffix == ".tvp":
        np.testing.assert_array_equal(runtime.load(path).act_batch(OBS), acted)


def test_without_its_codec_a_file_is_the_mlp_that_computes_the_same(table, tmp_path, monkeypatch):
    save(tmp_path / "policy.tvp", "coded", toy_policies.Coded())
    toy = policy_file.load(tmp_path / "policy.tvp")
    monkeypatch.delitem(POLICIES, "coded")
    found = policy_file.load(tmp_path / "policy.tvp")
    assert (found.policy_name, found.settings.hidden_sizes) == ("mlp", ())
    assert [int(found.act(obs)) for obs in OBS] == [int(toy.act(obs)) for obs in OBS]


def test_a_policy_with_a_codec_and_one_without_have_their_own_files_in_a_run(tmp_path):
    for name, suffix in (("mlp", "tvp"), ("toy_policies:Coded", "tvp"), ("not_here:X", "npz")):
        folder = tmp_path / suffix / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(f'{{"settings": {{"policy_name": "{name}"}}}}')
        assert RunFolder(folder).policy.name == f"policy.{suffix}"
    (folder / "policy.tvp").touch()  # by a class that is not imported here
    assert RunFolder(folder).policy.name == "policy.tvp"


def test_a_subclass_names_its_codec_itself():
    class Mine(MLP):
        """It may compute something else than an MLP."""

    assert (MLP.own_codec(), Mine.own_codec()) == ("ternevo.policies.mlp_record", None)


def files_of_the_project() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.tvp"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return listed.stdout.split() or ["examples/two_poles.tvp"]


@pytest.mark.parametrize("name", wide(files_of_the_project(), keep=["examples/two_poles.tvp"]))
def test_the_files_of_the_project_act_as_ever_and_are_written_alike(name):
    data = (ROOT / name).read_bytes()
    record = tvp.decode(data)
    assert tvp.encode(record) == data
    net = integer.compile_integer(record)
    obs = observations(record, np.random.default_rng(0), 200)
    q = integer.quantise(record, obs)
    logits = integer.episode(net, q)  # a memory goes from row to row
    if not net.memory.size:
        np.testing.assert_array_equal(runtime.Policy(record).logits(obs), logits)
    saved = policy_file.load(ROOT / name)
    memory, outputs = saved.policy.reset(saved.weights, jax.random.key(0)), []
    for x in q[:50]:
        memory, output = saved.policy.apply(saved.weights, memory, inputs(jnp.float32(x)))
        outputs.append(output)
    np.testing.assert_array_equal(
        outputs, np.ldexp(logits[:50].astype(np.float32), -net.output_exponent)
    )
    if not name.startswith("ternevo/hub/"):  # those are known by checksum: tests/hub
        assert LOGITS[name] == logits[LOGIT_ROWS].tolist()


LOGIT_ROWS = [0, 1, 2, 50, 100, 199]
LOGITS = {
    "tests/deploy/of_before.tvp": [
        *([365, -131], [-85, -44], [-1, -26], [261, 9], [37, -25], [45, -31]),
    ],
    "examples/two_poles.tvp": [[-127], [127], [127], [-101], [-60], [127]],
    "tests/deploy/of_functions.tvp": [
        *([115, -42], [7, 4], [60, 10], [0, 94], [125, 28], [6, 115]),
    ],
}
"""As computed before outputs could have exponents, and when the file was made: of the last one,
when outputs first had functions."""
