"""A float policy cut into trits: the weights, the file, what is printed, what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from policy_inputs import inputs

from ternevo import envs, export, play
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.policies import policy_file
from ternevo.settings.policies import MLP
from ternevo.training import ternarizing
from ternevo.types import ObservationMoments, PolicyParams, Tensor

ENV = envs.make("gymnax/CartPole-v1", 20)
MOMENTS = ObservationMoments(
    jnp.full(4, 100.0), jnp.array([0.1, -0.2, 0.0, 0.3]), jnp.array([0.1, 0.95, 0.07, 1.7])
)
SMALL = ("--ternarize", "--num_episodes", "6")


def save(path, weights="float", values=None, **settings):
    """Save a policy with random weights, or with those given; return its settings."""
    settings = MLP(hidden_sizes=(6, 5), weights=weights, **settings)
    params = settings.build(ENV.obs, ENV.action).init(jax.random.key(3))
    if values is not None:
        params = ternary.replace_tensors(params, values)
    policy_file.save(path, ENV, "mlp", settings, PolicyParams(params, MOMENTS), {"seed": 3})
    return settings


@pytest.fixture
def unplayed(monkeypatch):
    """Compile no evaluation, where the weights and the file are the claim."""
    monkeypatch.setattr(
        ternarizing, "evaluate_both", lambda *arguments: [jnp.zeros((1, arguments[-1]))] * 2
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "policy.tvp"
    save(path)
    return path


def exported(path, *arguments):
    export.main([str(path), *SMALL, *arguments])
    return policy_file.load(path.with_name("policy_ternarized.tvp"))


def refusal(capsys, *arguments) -> str:
    with pytest.raises(SystemExit, match="2"):
        export.main([str(argument) for argument in arguments])
    return capsys.readouterr().err


# ------------------------------------------------------------------------------------ the weights


@pytest.mark.usefixtures("unplayed")
@pytest.mark.parametrize(
    ("activation", "ternarizer"), [("int8", "absmean"), ("tanh", "absmean"), ("int8", "twn")]
)
def test_weights_are_those_of_discretize(activation, ternarizer, tmp_path):
    path = tmp_path / "policy.tvp"
    settings = save(path, activation=activation)
    before, after = policy_file.load(path), exported(path, "--ternarizer", ternarizer)
    for old, new in zip(
        ternary.tensors(before.weights), ternary.tensors(after.weights), strict=True
    ):
        expected = kind_of("ternary", ternarizer).discretize(old.values)
        assert new.values.dtype == new.exponent.dtype == jnp.int8
        np.testing.assert_array_equal(new.values, expected.values)
        assert new.exponent == expected.exponent
    assert after.settings == dataclasses.replace(settings, weights="ternary")


@pytest.mark.usefixtures("unplayed")
def test_all_but_the_weights_stays(source):
    before, after = policy_file.load(source), exported(source)
    assert (after.env_id, after.episode_length) == (before.env_id, 20)
    assert after.action == before.action
    assert after.info == {"seed": 3, "ternarized_from": source.name}
    for old, new in zip(
        jax.tree.leaves((before.moments, before.quantiser)),
        jax.tree.leaves((after.moments, after.quantiser)),
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)


@pytest.mark.usefixtures("unplayed")
@pytest.mark.parametrize("activation", wide(["int8", "sign"], keep=["int8"]))
def test_floats_that_are_scaled_trits_keep_their_actions(activation, tmp_path):
    """Two of three are not zero, so that the mean absolute weight gives the scale back.

    A bias has its layer's scale: with another one its size would be rounded to an integer.
    """
    settings = MLP(hidden_sizes=(6, 5), weights="float", activation=activation)
    template = settings.build(ENV.obs, ENV.action).init(jax.random.key(0))
    rng = np.random.default_rng(1)
    trits, exponents = [], [3, 3, 1, 1, 2, 2]
    for tensor in ternary.tensors(template):
        size = tensor.values.size
        signs = rng.choice([-1, 1], size) * (np.arange(size) % 3 != 2)
        trits.append(rng.permutation(signs).reshape(tensor.values.shape).astype(np.int8))
    floats = [
        Tensor(jnp.asarray(x * 2.0**-k, jnp.float32), jnp.zeros((), jnp.int8))
        for x, k in zip(trits, exponents, strict=True)
    ]
    path = tmp_path / "policy.tvp"
    save(path, values=floats, activation=activation)
    before, after = policy_file.load(path), exported(path)
    for tensor, values, exponent in zip(
        ternary.tensors(after.weights), trits, exponents, strict=True
    ):
        np.testing.assert_array_equal(tensor.values, values)
        assert tensor.exponent == exponent
    for obs in rng.normal(size=(50, 4)).astype(np.float32):
        quantised = observation.quantise(before.quantiser, jnp.asarray(obs))
        _, old = before.policy.apply(before.weights, (), inputs(quantised))
        _, new = after.policy.apply(after.weights, (), inputs(quantised))
        np.testing.assert_array_equal(old, new)
        assert before.act(obs) == after.act(obs)


# --------------------------------------------------------------------------------------- the sizes


@pytest.mark.parametrize(
    ("shapes", "dtype", "size"),
    [
        ([(5,)], jnp.int8, 1 + 1),
        ([(6,)], jnp.int8, 2 + 1),
        ([(4, 6), (6,)], jnp.int8, 5 + 1 + 2 + 1),
        ([(4, 6), (6,)], jnp.float32, 4 * 30),
        ([], jnp.int8, 0),
    ],
)
def test_packed_size(shapes, dtype, size):
    params = [Tensor(jnp.zeros(shape, dtype), jnp.zeros((), jnp.int8)) for shape in shapes]
    assert ternarizing.packed_size(params) == size


# ------------------------------------------------------------------------------------- the program


def test_returns_and_sizes_are_printed(source, capsys):
    after = exported(source)
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0].startswith(f"source      {source}  return ")
    assert lines[1].startswith(f"ternarized  {source.with_name('policy_ternarized.tvp')}  return ")
    count = 4 * 6 + 6 + 6 * 5 + 5 + 5 * 2 + 2
    zeros = sum(int((t.values == 0).sum()) for t in ternary.tensors(after.weights))
    # All biases are zero, and were in the source.
    assert lines[0].endswith(f"6 episodes), {count} weights, 13 zeros, {4 * count} bytes")
    assert lines[1].endswith(
        f"6 episodes), {count} weights, {zeros} zeros, {5 + 2 + 6 + 1 + 2 + 1 + 6} bytes"
    )


def test_both_policies_meet_the_same_episodes(source):
    saved = policy_file.load(source)
    first, second = ternarizing.evaluate_both(saved, saved, ENV, 0, 8)
    assert first.shape == (1, 8)
    np.testing.assert_array_equal(first, second)
    other, _ = ternarizing.evaluate_both(saved, saved, ENV, 1, 8)
    assert not np.array_equal(first, other)


def test_the_file_plays(source, tmp_path, capsys):
    exported(source)
    capsys.readouterr()
    file = str(source.with_name("policy_ternarized.tvp"))
    play.main([file, "--out", str(tmp_path / "shown")])
    assert capsys.readouterr().out.startswith("return ")


@pytest.mark.usefixtures("unplayed")
@pytest.mark.parametrize(("which", "name"), [("best", "best_policy"), ("last", "policy")])
def test_a_run_has_two_policies(which, name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"settings": {}}))
    save(tmp_path / f"{name}.tvp")
    export.main([str(tmp_path), *SMALL, "--which", which])
    loaded = policy_file.load(tmp_path / f"{name}_ternarized.tvp")
    assert loaded.info["ternarized_from"] == f"{name}.tvp"


@pytest.mark.usefixtures("unplayed")
def test_out_names_the_file(source, tmp_path):
    out = tmp_path / "new" / "small.tvp"
    export.main([str(source), *SMALL, "--out", str(out)])
    assert policy_file.load(out).info["seed"] == 3
    assert not source.with_name("policy_ternarized.tvp").exists()


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_trits_and_signs_are_refused(kind, tmp_path, capsys):
    save(tmp_path / "policy.tvp", weights=kind)
    message = refusal(capsys, tmp_path / "policy.tvp", *SMALL)
    assert f"policy.tvp is {kind} already; --ternarize needs float weights" in message
    assert [path.name for path in tmp_path.iterdir()] == ["policy.tvp"]


def test_diverged_weights_have_no_place_in_a_file(source):
    values = list(ternary.tensors(policy_file.load(source).weights))
    values[2] = Tensor(values[2].values.at[0].set(jnp.nan), values[2].exponent)
    before = source.read_bytes()
    with pytest.raises(PolicyFormatError, match="weight 30 is not finite"):
        save(source, values=values)
    assert source.read_bytes() == before


def test_the_source_is_not_replaced(source, capsys):
    before = source.read_bytes()
    assert "is the policy itself" in refusal(capsys, source, *SMALL, "--out", source)
    assert source.read_bytes() == before


def test_a_folder_is_not_replaced(source, tmp_path, capsys):
    message = refusal(capsys, source, *SMALL, "--out", tmp_path)
    assert f"--out must be a file, and {tmp_path} is a folder" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --to FORMAT or --ternarize"),
        (("--ternarize", "--num_episodes", "0"), "num_episodes must be at least 1, got 0"),
        (
            ("--weights", "int8", "--ternarizer", "twn"),
            "--ternarizer needs --weights ternary, got --weights int8",
        ),
        (("--to", "c", "--ternarizer", "twn"), "--ternarizer applies to --weights, not to --to c"),
    ],
)
def test_bad_options_are_refused(arguments, message, source, capsys):
    assert message in refusal(capsys, source, *arguments)


def test_what_is_no_policy_is_refused(tmp_path, capsys):
    assert "is not a run" in refusal(capsys, tmp_path, *SMALL)
    assert "nothing.tvp" in refusal(capsys, tmp_path / "nothing.tvp", *SMALL)
    (tmp_path / "config.json").write_text("{}")
    assert "has no policy yet" in refusal(capsys, tmp_path, *SMALL)
    (tmp_path / "policy.tvp").write_bytes(b"")
    assert "not a .tvp policy file" in refusal(capsys, tmp_path / "policy.tvp", *SMALL)


# ----------------------------------------------------------------------------- to a few bits


@pytest.mark.usefixtures("unplayed")
@pytest.mark.parametrize(
    ("kind", "scales"), wide([("int8", "output"), ("int4", "layer")], keep=["int8"])
)
def test_floats_are_rounded_to_a_few_bits(kind, scales, source, capsys):
    export.main([str(source), "--weights", kind, "--scales", scales, "--num_episodes", "6"])
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[1].startswith(f"{kind:<10}  {source.with_name(f'policy_{kind}.tvp')}  return ")
    before = policy_file.load(source)
    after = policy_file.load(source.with_name(f"policy_{kind}.tvp"))
    assert after.settings == dataclasses.replace(before.settings, weights=kind, scales=scales)
    assert after.info["rounded_from"] == source.name
    for old, new in zip(
        ternary.tensors(before.weights), ternary.tensors(after.weights), strict=True
    ):
        exponent = np.asarray(new.exponent, int)
        assert exponent.shape == (old.values.shape[-1:] if scales == "output" else ()) or (
            old.values.ndim == 1
        )
        back = np.ldexp(np.asarray(new.values, np.float32), -exponent)
        largest = {"int8": 127, "int4": 7}[kind]
        close = np.abs(back - np.asarray(old.values)) <= np.ldexp(0.5, -exponent)
        assert np.all(close | (np.abs(np.asarray(new.values)) == largest))
    message = refusal(capsys, source.with_name(f"policy_{kind}.tvp"), "--weights", "int8")
    assert f"is {kind} already; --weights int8 needs float weights" in message


@pytest.mark.usefixtures("unplayed")
def test_a_policy_file_says_what_its_weights_take(source, capsys):
    export.main([str(source), "--weights", "int8", "--num_episodes", "1"])
    export.main([str(source.with_name("policy_int8.tvp")), "--to", "tvp"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("weights 80 bytes, 80 plain, entropy bound ")
