"""`python -m ternevo.export POLICY --to FORMAT`: each writes a file that computes the same."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from policy_records import make_record, observations, with_extreme_exponents

from ternevo import export
from ternevo.deploy import integer, tvp
from ternevo.deploy.numpy_script import to_numpy
from ternevo.deploy.record import PolicyRecord
from ternevo.training import exporting


def record(activation="int8", output="discrete", **how):
    """Return a random policy 5-9-3."""
    return make_record(
        (5, 9, 3),
        activation,
        output=output,
        **{"shifts": (1, 0), "exponents": (3, 3), "bias_exponent": 2, "reach": (-3, 8)} | how,
    )


def written(tmp_path, policy: PolicyRecord):
    path = tmp_path / "policy.tvp"
    path.write_bytes(tvp.encode(policy))
    return path


@pytest.mark.parametrize("format_", ["tvp", "c", "html", "numpy", "onnx"])
def test_each_format_is_written_and_told(format_, tmp_path, capsys):
    if format_ == "onnx":
        pytest.importorskip("onnx")
    source = written(tmp_path, record(metadata={"env": "gymnax/CartPole-v1"}))
    export.main([str(source), "--to", format_])
    (out,) = set(tmp_path.iterdir()) - {source}
    assert out.name == f"policy{exporting.SUFFIXES[format_]}"
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"policy  {source}  5-9-3, identity ")
    assert said[1].split() == [format_, str(out), f"{out.stat().st_size:,}", "bytes"]


def test_a_device_gets_the_bare_policy(tmp_path):
    policy = record(metadata={"env": "x"})
    export.main([str(written(tmp_path, policy)), "--to", "tvp", "--out", str(tmp_path / "a" / "b")])
    assert (tmp_path / "a" / "b").read_bytes() == tvp.encode(policy.bare())


def test_test_vectors_go_into_the_file_if_asked_for(tmp_path):
    source = written(tmp_path, record())
    export.main([str(source), "--to", "tvp", "--num_vectors", "5"])
    found = tvp.load(tmp_path / "policy_device.tvp")
    assert found.vectors.inputs.shape == (5, 5)
    assert tvp.encode(found.bare()) == tvp.encode(record().bare())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --to FORMAT or --ternarize"),
        (("--to", "c", "--ternarize"), "give either --to FORMAT or --ternarize"),
        (("--to", "c", "--name", "9lives"), "9lives"),
        (("--to", "c", "--onnx_weights", "int2"), "--onnx_weights applies to --to onnx, not c"),
        (("--to", "html", "--num_vectors", "3"), "applies to --to tvp and c and numpy, not html"),
        (("--to", "numpy", "--num_vectors", "0"), "num_vectors must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message, tmp_path, capsys):
    source = written(tmp_path, record())
    with pytest.raises(SystemExit, match="2"):
        export.main([str(source), *arguments])
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("format_", ["c", "html", "numpy"])
@pytest.mark.parametrize(
    ("policy", "message"),
    [(record(kind="float"), "float weights"), (record("tanh"), "the float activation tanh")],
    ids=["float weights", "tanh"],
)
def test_floats_have_no_integer_export(format_, policy, message, tmp_path, capsys):
    source = written(tmp_path, policy)
    with pytest.raises(SystemExit, match="2"):
        export.main([str(source), "--to", format_])
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_the_policy_is_not_replaced(tmp_path, capsys):
    source = written(tmp_path, record())
    with pytest.raises(SystemExit, match="2"):
        export.main([str(source), "--to", "tvp", "--out", str(source)])
    assert "is the policy itself" in capsys.readouterr().err


# ----------------------------------------------------------------------------------- the numpy file


def imported(path):
    spec = importlib.util.spec_from_file_location("exported_policy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("activation", ["int8", "int4", "sign", "ternary"])
@pytest.mark.parametrize("output", ["discrete", "continuous"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bits": 3},
        {"inputs": "i8"},
        {"inputs": "bits"},
        {"kind": "binary"},
        {"bias": False},
        {"scales": "output"},
    ],
    ids=str,
)
def test_the_numpy_file_computes_the_same(activation, output, options, tmp_path):
    policy = record(activation, output, **options)
    (tmp_path / "policy.py").write_text(to_numpy(policy))
    module = imported(tmp_path / "policy.py")
    net = integer.compile_integer(policy)
    obs = np.random.default_rng(1).normal(size=(500, 5)).astype(np.float32) * 30
    obs[0, :3] = np.nan, np.inf, -np.inf
    obs = (
        obs
        if policy.input_kind == "f32"
        else np.nan_to_num(obs, posinf=200, neginf=-200).astype(int)
    )
    q = integer.quantise(policy, obs)
    logits = integer.logits(net, q)
    np.testing.assert_array_equal(module.quantise(obs), q)
    np.testing.assert_array_equal(module.logits_q(q), logits)
    actions = integer.actions(policy, net.output_exponent, logits)
    np.testing.assert_array_equal(module.act_batch(obs), actions)
    np.testing.assert_array_equal(module.act(obs[7]), actions[7])


def test_the_numpy_file_computes_the_same_at_extreme_exponents(tmp_path):
    policy = with_extreme_exponents(record())
    (tmp_path / "policy.py").write_text(to_numpy(policy))
    module = imported(tmp_path / "policy.py")
    obs = observations(policy, np.random.default_rng(1), 300)
    q = integer.quantise(policy, obs)
    assert all(len(np.unique(column)) > 50 for column in q.T)
    np.testing.assert_array_equal(module.quantise(obs), q)


def test_the_numpy_file_refuses_other_shapes(tmp_path):
    (tmp_path / "policy.py").write_text(to_numpy(record()))
    module = imported(tmp_path / "policy.py")
    for shape in ((), (4,), (5, 1), (2, 2, 5)):
        with pytest.raises(ValueError, match=r"observations are \[n, 5\] or \[5\]"):
            module.act(np.zeros(shape))


def test_the_numpy_file_tests_itself_and_notices_damage(tmp_path):
    path = tmp_path / "policy.py"
    source = to_numpy(record(metadata={"env": 'x"""\nraise SystemExit(3)\n"""'}))
    path.write_text(source)
    assert subprocess.run([sys.executable, "-W", "error", path]).returncode == 0
    path.write_text(source.replace("EXAMPLE_LOGITS = np.array([[", "EXAMPLE_LOGITS = np.array([[1"))
    damaged = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert damaged.returncode == 1 and "wrong logits of examples [0]" in damaged.stderr
