"""HyperNEAT: a graph by hand solves the boxes at any resolution, and what ships is an MLP."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.deploy import integer, tvp
from ternevo.policies import contract, hyperneat, policy_file
from ternevo.policies.acting import seen_first
from ternevo.settings.policies import HyperNEAT
from ternevo.types import ActionSpec, Inputs, ObsSpec, Params, PolicyParams

SETTINGS = HyperNEAT(max_hidden=4, weights="float")
KEY = jax.random.key(0)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def built(resolution: int, settings=SETTINGS):
    env = envs.make(f"vision/boxes@{resolution}")
    return env, contract.build(settings, env.obs, env.action)


def filter_by_hand(settings=SETTINGS) -> Params:
    """Return a graph that links pixels of which neither dx nor dy is above 1.5 of 11 pixels.

    A Gaussian of a distance is 1/2 there, a tanh of it is steep, and a Gaussian of both less 2 is
    the output.
    """
    _, policy = built(11, settings)
    matrix = np.zeros((7 + 1 + 5, 5), np.float32)
    dx, dy, bias, node = 4, 5, 7, 8
    matrix[dx, 1] = matrix[dy, 2] = 11 / 2 / 1.5 * np.sqrt(np.log(2))  # of [-1, 1]
    matrix[node + 1, 3] = matrix[node + 2, 4] = 20
    matrix[bias, 3:] = -10
    matrix[[node + 3, node + 4], 0] = 1
    matrix[bias, 0] = -2
    names = ("gaussian", "gaussian", "gaussian", "tanh", "tanh")
    function = np.array([hyperneat.FUNCTIONS.index(name) for name in names], np.int8)
    return policy.topology.params(*map(jnp.asarray, (matrix, np.zeros(5, np.int8), function)))


@pytest.mark.parametrize("resolution", [33, pytest.param(55, marks=pytest.mark.slow)])
def test_a_filter_by_hand_points_at_the_large_box(resolution):
    env, policy = built(resolution)
    weights = quick_jit(policy.packing(1).pack)(filter_by_hand())
    states, obs = jax.vmap(lambda key: env.reset(key, ()))(jax.random.split(KEY, 40))
    answers = jax.vmap(
        lambda obs: jnp.argmax(
            policy.apply(
                weights, (), Inputs(obs.reshape(env.obs.shape), jnp.zeros(()), jnp.asarray(False))
            )[1]
        )
    )(obs)
    np.testing.assert_array_equal(answers, states.centre)


def test_the_filter_is_of_as_many_pixels_as_the_large_box():
    """9 links from each pixel of 11 x 11 that is not at the edge, all positive."""
    env, _ = built(11)
    places = hyperneat.sheets(SETTINGS, env.obs, env.action)
    (layer,) = hyperneat.draw(SETTINGS, places, filter_by_hand())
    trits = np.asarray(layer["weight"].values).reshape(11, 11, 11, 11)
    assert (trits[5, 5] == 1).sum() == 9 and (trits[5, 5, 4:7, 4:7] == 1).all()
    assert trits.min() == 0 and (trits[0, 0] == 1).sum() == 4


def test_places_are_sheets_for_pictures_and_lines_for_vectors():
    settings = HyperNEAT(hidden_sizes=(9,))
    obs, hidden, out = hyperneat.sheets(settings, ObsSpec((2, 4)), ActionSpec("discrete", 8))
    first = [[-0.75, -0.5], [-0.25, -0.5], [0.25, -0.5], [0.75, -0.5], [-0.75, 0.5]]
    np.testing.assert_allclose(obs[:5], first)
    np.testing.assert_array_equal(obs, out)
    np.testing.assert_allclose(hidden[::3, 1], [-2 / 3, 0, 2 / 3], atol=1e-6)
    line = hyperneat.sheets(settings, ObsSpec((3,)), ActionSpec("discrete", 2))
    assert [set(sheet[:, 1]) for sheet in line] == [{0.0}] * 3
    with pytest.raises(ValueError, match="Use --policy conv"):
        hyperneat.sheets(settings, ObsSpec((10, 10, 4)), ActionSpec("discrete", 3))


@pytest.mark.parametrize("weights", ["float", "ternary"])
def test_params_are_links_and_back(weights):
    settings = dataclasses.replace(SETTINGS, weights=weights, hidden_sizes=(4,))
    policy = contract.build(settings, ObsSpec((3,)), ActionSpec("discrete", 2))
    params = policy.init(KEY)
    back = policy.topology.params(*policy.topology.links(params))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def saved(tmp_path, settings, env):
    policy = contract.build(settings, env.obs, env.action)
    params = PolicyParams(policy.init(jax.random.key(3)), observation.empty(env.obs.size))
    path = tmp_path / "policy.tvp"
    policy_file.save(path, env, "hyperneat", settings, params, {"seed": 3})
    return path, params.weights


@pytest.mark.parametrize(
    ("env_id", "weights"),
    [
        pytest.param("vision/boxes", "float", marks=pytest.mark.slow),
        ("gymnax/CartPole-v1", "ternary"),
    ],
)
def test_the_file_is_an_mlp_that_knows_what_drew_it(tmp_path, env_id, weights):
    env = envs.make(env_id)
    settings = HyperNEAT(max_hidden=3, weights=weights, hidden_sizes=(4,))
    path, params = saved(tmp_path, settings, env)
    there = policy_file.load(path)
    assert (there.policy_name, there.settings) == ("hyperneat", settings)
    assert there.obs.shape == env.obs.shape and there.info == {"seed": 3}
    jax.tree.map(np.testing.assert_array_equal, there.weights, params)
    bare = policy_file.from_record(tvp.load(path).bare())
    assert bare.policy_name == "mlp" and bare.settings.hidden_sizes == (4,)
    assert there.record is not None
    net, obs = integer.compile_integer(there.record), jax.random.normal(KEY, (4, env.obs.size))
    acted = quick_jit(jax.vmap(lambda obs: there.step_traced((), obs, 0.0, False)[1]))(30 * obs)
    q = integer.quantise(there.record, np.asarray(30 * obs))
    np.testing.assert_array_equal(acted, integer.logits(net, q).argmax(1))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: text.replace('"max_hidden": 3', '"max_hidden": 4'),
        lambda text: text.replace('"max_hidden": 3', '"max_hidden": 1000000000'),
        lambda text: text.replace('"expression_threshold": 0.2', '"expression_threshold": -1'),
        lambda text: text.replace('"bias": [', '"bias": [1e999, '),
        lambda text: "3",
    ],
)
def test_a_damaged_graph_is_not_believed(tmp_path, damage):
    env = envs.make("gymnax/CartPole-v1")
    path, _ = saved(tmp_path, HyperNEAT(max_hidden=3), env)
    record = tvp.load(path)
    text = damage(record.metadata["cppn"])
    assert text != record.metadata["cppn"]
    damaged = dataclasses.replace(record, metadata={**record.metadata, "cppn": text})
    assert policy_file.from_record(damaged).policy_name == "mlp"


def test_a_file_plays_pictures_of_another_size(tmp_path):
    env, _ = built(11)
    path = tmp_path / "policy.tvp"
    params = PolicyParams(filter_by_hand(), observation.empty(env.obs.size))
    policy_file.save(path, env, "hyperneat", SETTINGS, params)
    larger = envs.make("vision/boxes@15")
    resized = policy_file.resized(policy_file.load(path), larger)
    state, obs = larger.reset(KEY, ())
    _, action = quick_jit(lambda obs: resized.step_traced((), *seen_first(obs)))(obs)
    assert resized.obs.shape == (15, 15) and int(action) == int(state.centre)
    with pytest.raises(ValueError, match="mlp is for observations"):
        policy_file.resized(policy_file.from_record(tvp.load(path).bare()), larger)
