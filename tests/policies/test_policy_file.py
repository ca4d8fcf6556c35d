"""A policy file holds all that a policy needs, and nothing else passes for one."""

import dataclasses
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from marks import wide
from policy_inputs import inputs
from policy_records import make_record

from ternevo import envs
from ternevo.arithmetic import actions, observation
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import runtime, tvp
from ternevo.deploy.record import Squares
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.names import WrongObject
from ternevo.policies import contract, policy_archive, policy_file
from ternevo.settings.policies import MLP
from ternevo.types import ObservationMoments, PolicyParams, Tensor

ENV = envs.make("gymnax/CartPole-v1")
OWN = f"{__name__}:OwnMLP"
NONE, ONES = np.zeros(0, np.float32), np.ones((5, 4), np.int8)


@dataclasses.dataclass(frozen=True)
class OwnMLP(MLP):
    """A user's own: it names no codec itself, so its file is an archive."""


def shipped(settings: MLP) -> tuple:
    policy = settings.build(ENV.obs, ENV.action)
    moments = ObservationMoments(
        jnp.full(4, 100.0), jnp.array([0.1, -2.0, 0.0, 3.0]), jnp.array([1e-30, 3.0, 0.0, 2e30])
    )
    return policy, PolicyParams(policy.init(jax.random.key(3)), moments)


@pytest.fixture
def saved(tmp_path):
    _, params = shipped(MLP(hidden_sizes=(5,)))
    path = tmp_path / "policy.tvp"
    policy_file.save(path, ENV, "mlp", MLP(hidden_sizes=(5,)), params, {"seed": 3})
    return path


QUICK = (("ternary", "int8"), ("binary", "sign"), ("float", "tanh"))


@pytest.mark.parametrize(
    "weights, activation",
    wide(
        [
            pytest.param(*kind, marks=() if kind in QUICK else pytest.mark.slow)
            for kind in itertools.product(("ternary", "binary", "float"), ("int8", "sign", "tanh"))
        ],
        keep=[("ternary", "int8")],
    ),
)
def test_a_loaded_policy_acts_as_the_one_in_memory(weights, activation, tmp_path):
    settings = MLP(hidden_sizes=(6, 5), weights=weights, activation=activation)
    policy, params = shipped(settings)
    path = tmp_path / "policy.tvp"
    policy_file.save(path, ENV, "mlp", settings, params)
    loaded = policy_file.load(path)
    quantiser = observation.freeze(params.moments)
    for obs in np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 5:
        _, output = policy.apply(
            params.weights, (), inputs(observation.quantise(quantiser, jnp.asarray(obs)))
        )
        assert loaded.act(obs) == actions.mode(ENV.action, output)
    chex.assert_trees_all_equal(params.weights, loaded.weights, strict=True)


def test_the_file_says_where_it_comes_from(saved):
    loaded = policy_file.load(saved)
    assert loaded.env_id == "gymnax/CartPole-v1"
    assert loaded.info == {"seed": 3}
    assert loaded.action == ENV.action


def test_the_file_says_what_observations_and_actions_are(saved):
    record = policy_file.load(saved).record
    assert record.obs_names == ENV.obs_names and len(record.obs_names) == 4
    assert record.action_names == ENV.action_names and len(record.action_names) == 2
    info = runtime.load(saved).info()
    assert (info["obs_names"], info["action_names"]) == (ENV.obs_names, ENV.action_names)
    assert info["metadata"] == {"env": ENV.id, "episode_length": "500", "seed": "3"}


def test_names_change_neither_the_identity_nor_what_a_device_gets(saved, tmp_path):
    _, params = shipped(MLP(hidden_sizes=(5,)))
    other = ENV._replace(obs_names=(), action_names=())
    path = tmp_path / "other.tvp"
    policy_file.save(path, other, "mlp", MLP(hidden_sizes=(5,)), params, {"seed": 3})
    named, bare = tvp.load(saved), tvp.load(path)
    assert (bare.obs_names, bare.action_names) == ((), ())
    assert tvp.encode(named.bare()) == tvp.encode(bare.bare())
    names = dict(named.metadata.items() - bare.metadata.items())
    assert tvp.encode(named) == tvp.encode(
        dataclasses.replace(bare, metadata={**bare.metadata, **names})
    )


def test_names_that_take_too_much_are_left_out(tmp_path):
    _, params = shipped(MLP(hidden_sizes=(5,)))
    path, long = tmp_path / "long.tvp", tuple("é" * 5000 + str(i) for i in range(4))
    env = ENV._replace(obs_names=long)
    policy_file.save(path, env, "mlp", MLP(hidden_sizes=(5,)), params)
    assert tvp.load(path).obs_names == ()
    assert tvp.load(path).action_names == ENV.action_names


@pytest.mark.parametrize("text", ["a\nb\nc", "a\n" * 4, "", "\n"])
def test_names_of_a_file_that_do_not_fit_are_none(text):
    record = make_record((4, 5, 4), metadata={"obs_names": text, "action_names": text})
    assert (record.obs_names, record.action_names) == ((), ())


def test_saving_replaces_the_file_at_once(saved):
    _, params = shipped(MLP(hidden_sizes=(5,)))
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        policy_file.save(saved, ENV, "mlp", MLP(hidden_sizes=(5,)), params, {"what": object()})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_what_a_device_needs_is_a_policy_too(saved):
    """Without metadata and moments it acts the same, and names no environment."""
    whole = policy_file.load(saved)
    saved.write_bytes(tvp.encode(whole.record.bare()))
    bare = policy_file.load(saved)
    assert (bare.env_id, bare.episode_length, bare.info) == ("", None, {})
    assert not np.any(bare.moments.count)
    for obs in np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 5:
        assert bare.act(obs) == whole.act(obs)


@pytest.mark.parametrize(
    ("of_record", "of_layer", "message"),
    [
        (
            {"input_kind": "i8", "mean": NONE, "exponent": NONE.astype(np.int8)},
            {},
            "made of these",
        ),
        ({}, {"kind": "binary", "weights": ONES, "bias": ONES[:, 0]}, "layers differ in weights"),
        ({}, {"bias": None, "bias_exponent": 0}, "layers differ in use_bias"),
    ],
)
def test_a_policy_that_no_settings_give_is_refused(saved, of_record, of_layer, message):
    """The file may hold it, and the runtime of devices may run it."""
    record = dataclasses.replace(policy_file.load(saved).record, moments=None)
    layers = (dataclasses.replace(record.layers[0], **of_layer), *record.layers[1:])
    saved.write_bytes(tvp.encode(dataclasses.replace(record, layers=layers, **of_record)))
    with pytest.raises(PolicyFormatError, match=message):
        policy_file.load(saved)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.text(max_size=20) | st.integers() | st.floats(allow_nan=False) | st.booleans(),
        max_size=4,
    )
)
def test_strings_and_numbers_come_back_as_they_were(info):
    texts = {name: policy_file.to_text(value) for name, value in info.items()}
    found = {name: policy_file.from_text(text) for name, text in texts.items()}
    assert found == info
    assert [*map(type, found.values())] == [*map(type, info.values())]


@pytest.mark.parametrize("text", ["ten", "0", "3.5", "true", "[" * 3000])
def test_a_time_limit_that_is_none_is_refused(saved, text):
    """A file may say anything."""
    record = policy_file.load(saved).record
    saved.write_bytes(
        tvp.encode(dataclasses.replace(record, metadata={"env": "x", "episode_length": text}))
    )
    with pytest.raises(PolicyFormatError, match=r"episode_length is .* not a positive integer"):
        policy_file.load(saved)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_file_is_refused(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(PolicyFormatError):
        policy_file.load(saved)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        policy_file.load(tmp_path / "nothing.tvp")


@pytest.mark.parametrize("bits", wide([1, 255], keep=[255]))
def test_an_archive_with_a_changed_byte_is_refused_or_the_same(bits, tmp_path):
    """Wherever it is; some bytes of a zip, as those of dates, say nothing."""
    path, header = tmp_path / "policy.npz", {"policy": "x"}
    values = np.array([[1, 0], [-1, 1]], np.int8)
    policy_archive.write(path, header, {"values": values})
    whole, refused = path.read_bytes(), 0
    for place, byte in enumerate(whole):
        path.write_bytes(whole[:place] + bytes([byte ^ bits]) + whole[place + 1 :])
        try:
            found, arrays = policy_archive.read(path)
        except PolicyFormatError:
            refused += 1
        else:
            assert found["policy"] == "x"
            for array in arrays.values():  # of one that is gone, policy_file.load says so
                np.testing.assert_array_equal(array, values, strict=True)
    assert len(whole) / 2 < refused < len(whole)


OLD_MOMENTS = {
    "count": np.float32(100),
    "mean": np.array([0.5, -1e3, 0.0, 3.0], np.float32),
    "m2": np.array([123.4, 0.0, 1e-20, 1e30], np.float32),
}


def old_exponents() -> list[int]:
    """Exponents as they were before: of deviations of at least 0.001, and at least -24."""
    deviation = np.maximum(np.sqrt(OLD_MOMENTS["m2"] / OLD_MOMENTS["count"]), np.float32(1e-3))
    return [max(math.floor(math.log2(31.75 / x)), -24) for x in deviation]


def test_an_older_file_acts_as_before_and_training_goes_on_with_its_quantiser(saved):
    record = dataclasses.replace(
        policy_file.load(saved).record,
        mean=OLD_MOMENTS["mean"],
        exponent=np.array(old_exponents(), np.int8),
        moments=Squares(100.0, OLD_MOMENTS["m2"]),
    )
    saved.write_bytes(tvp.encode(record))
    assert b"MOMT" in saved.read_bytes()
    found = policy_file.load(saved)
    frozen = observation.freeze(found.moments)
    for ours, theirs in zip(frozen, found.quantiser, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(frozen.scale, np.ldexp(1.0, old_exponents()))
    np.testing.assert_array_equal(found.moments.count, 100)


def test_an_older_archive_acts_as_before(tmp_path):
    path, settings = tmp_path / "policy.npz", OwnMLP(hidden_sizes=(5,))
    _, params = shipped(settings)
    policy_file.save(path, ENV, OWN, settings, params)
    new = policy_file.load(path, trust=OWN)
    for ours, theirs in zip(new.moments, params.moments, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    header, arrays = policy_archive.read(path)
    for name in ("count", "deviation"):
        del arrays[f"moments/{name}"]
    old = {f"moments/{name}": x for name, x in OLD_MOMENTS.items()}
    named = {key: header[key] for key in ("policy", "settings", "action", "metadata")}
    policy_archive.write(path, named, arrays | old)
    found = policy_file.load(path, trust=OWN)
    np.testing.assert_array_equal(found.quantiser.scale, np.ldexp(1.0, old_exponents()))
    np.testing.assert_array_equal(found.quantiser.mean, OLD_MOMENTS["mean"])


def test_an_archive_holds_observations_as_large_as_an_image():
    arrays = {"moments/mean": np.zeros(84 * 84, np.float32)}
    assert policy_file._obs_size_of(arrays) == 84 * 84
    arrays["moments/mean"] = np.zeros(policy_archive.MAX_COMPONENTS + 1, np.float32)
    with pytest.raises(PolicyFormatError, match="must be 1 to"):
        policy_file._obs_size_of(arrays)


def test_a_policy_that_no_archive_holds_is_refused_before_training():
    def drawing(count, shape):
        tensor = Tensor(jnp.zeros(shape, jnp.int8), jnp.int8(0))
        return lambda key: {str(i): tensor for i in range(count)}

    for count, shape, said in ((1, (4097, 4096), "16781312 weights"), (1001, (1,), "1001 tensors")):
        params = jax.eval_shape(drawing(count, shape), jax.random.key(0))
        with pytest.raises(WrongObject, match=f"draws {said}"):
            contract._check_params("Mine", params, kind_of("ternary"))


def test_a_missing_archive_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        policy_archive.read(tmp_path / "nothing.npz")
