"""A policy file holds all that a policy needs, and nothing else passes for one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ternevo
from ternevo import actions, envs, observation, policy_file
from ternevo.policies import MLP
from ternevo.policy_file import PolicyFormatError
from ternevo.types import ObservationMoments, PolicyParams

ENV = envs.make("gymnax/CartPole-v1")


def shipped(settings: MLP) -> tuple:
    policy = settings.build(ENV.obs_size, ENV.action)
    moments = ObservationMoments(
        jnp.asarray(100.0), jnp.array([0.1, -2.0, 0.0, 3.0]), jnp.array([1.0, 900.0, 0.0, 3e6])
    )
    return policy, PolicyParams(policy.init(jax.random.key(3)), moments)


@pytest.fixture
def saved(tmp_path):
    _, params = shipped(MLP(hidden_sizes=(5,)))
    path = tmp_path / "policy.npz"
    policy_file.save(path, ENV, "mlp", MLP(hidden_sizes=(5,)), params, {"seed": 3})
    return path


@pytest.mark.parametrize("weights", ["ternary", "binary", "float"])
@pytest.mark.parametrize("activation", ["int8", "sign", "tanh"])
def test_a_loaded_policy_acts_as_the_one_in_memory(weights, activation, tmp_path):
    settings = MLP(hidden_sizes=(6, 5), weights=weights, activation=activation)
    policy, params = shipped(settings)
    path = tmp_path / "policy.npz"
    policy_file.save(path, ENV, "mlp", settings, params)
    loaded = ternevo.load(path)
    quantiser = observation.freeze(params.moments)
    for obs in np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 5:
        _, output = policy.apply(
            params.weights, (), observation.quantise(quantiser, jnp.asarray(obs))
        )
        assert loaded.act(obs) == actions.mode(ENV.action, output)
    for ours, theirs in zip(
        jax.tree.leaves(params.weights), jax.tree.leaves(loaded.weights), strict=True
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_the_file_says_where_it_comes_from(saved):
    loaded = ternevo.load(saved)
    assert loaded.env_id == "gymnax/CartPole-v1"
    assert loaded.info == {"seed": 3}
    assert loaded.action == ENV.action


def test_saving_replaces_the_file_at_once(saved):
    _, params = shipped(MLP(hidden_sizes=(5,)))
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        policy_file.save(saved, ENV, "mlp", MLP(), params, {"not json": object()})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def rewrite(path, **changes):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def header_with(path, **changes):
    with np.load(path) as archive:
        header = json.loads(bytes(archive["header"]).decode())
    return np.frombuffer(json.dumps({**header, **changes}).encode(), np.uint8)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("0/weight/values", None, "0/weight/values"),
        ("0/weight/values", np.zeros((4, 4), np.int8), r"int8\[4, 4\], not int8\[4, 5\]"),
        ("0/weight/values", np.zeros((4, 5), np.float32), "float32"),
        ("0/weight/values", np.full((4, 5), 2, np.int8), "outside -1, 0, \\+1"),
        ("header", None, "header"),
        ("header", np.frombuffer(b"{", np.uint8), "not a readable policy"),
    ],
)
def test_damage_is_refused_with_its_place(saved, name, array, message):
    rewrite(saved, **{name: array})
    with pytest.raises(PolicyFormatError, match=message):
        ternevo.load(saved)


def test_another_version_is_refused(saved):
    rewrite(saved, header=header_with(saved, version=99))
    with pytest.raises(PolicyFormatError, match="version 99"):
        ternevo.load(saved)


def test_pickled_objects_are_not_loaded(saved):
    rewrite(saved, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(PolicyFormatError):
        ternevo.load(saved)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_file_is_refused(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(PolicyFormatError):
        ternevo.load(saved)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        ternevo.load(tmp_path / "nothing.npz")
