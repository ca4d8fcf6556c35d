"""What is accepted when a network is built fits into a policy file: one limit, and not two."""

import chex
import jax
import jax.numpy as jnp
import pytest

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.deploy import tvp
from ternevo.deploy.record import Window
from ternevo.policies import layers, network_record, policy_file
from ternevo.policies.layers import ACTIVATIONS, OUTPUT, Convolution, Dense, MaxPool
from ternevo.settings.policies import MLP, Conv
from ternevo.types import ActionSpec, ObsSpec, PolicyParams, Tensor

GRID, ACTION = ACTIVATIONS["int8"], ActionSpec("discrete", 1)
POINT, WIDE, HALF = Window(1, 1, 1, 0), Window(15, 15, 1, 7), Window(2, 2, 2, 0)


def is_built(hidden, shape) -> bool:
    """Return whether a network with these hidden layers is accepted before training."""
    try:
        layers.network((*hidden, Dense(1)), shape, GRID, GRID)
    except ValueError as error:
        assert "do not fit into a policy file" in str(error)
        return False
    return True


def is_saved(hidden, shape) -> bool:
    """Return whether a file can hold it."""
    net = layers.placed((*((x, GRID) for x in hidden), (Dense(1), OUTPUT)), shape, GRID)
    zeros = [jnp.zeros(place.matrix, jnp.int8) for place in net.weighted]
    weights = tuple({"weight": Tensor(values, jnp.int8(0))} for values in zeros)
    params, obs = PolicyParams(weights, observation.empty(0)), ObsSpec(shape, "pixels")
    settings = Conv(use_bias=False)
    record = network_record.record_of(settings, net, obs, ACTION, params)
    try:
        tvp.decode(tvp.encode(record))
    except tvp.PolicyFormatError:
        return False
    return True


@pytest.mark.parametrize("count", [18, 19])
def test_comparisons_of_a_pool_count_as_products_do(count):
    """Each of the pools takes 59 million comparisons, and all may take 2**30."""
    hidden = (Convolution(4, POINT), *(MaxPool(WIDE),) * count, MaxPool(HALF))
    assert is_built(hidden, (255, 257, 1)) == is_saved(hidden, (255, 257, 1)) == (count == 18)


@pytest.mark.parametrize("channels", [4096, 4097])
def test_channels_of_a_pool_are_outputs_too(channels):
    hidden = (MaxPool(HALF),)
    found = is_built(hidden, (2, 2, channels)), is_saved(hidden, (2, 2, channels))
    assert found == (channels == 4096,) * 2


def test_the_largest_network_of_floats_leaves_room_for_the_rest(tmp_path):
    """With moments of as many observations as there may be, and names of all."""
    obs = ObsSpec((tvp.MAX_OBSERVATION,))
    settings = MLP((59,), "tanh", weights="float", use_bias=True)
    with pytest.raises(ValueError, match="weights do not fit"):
        MLP((60,), "tanh", weights="float").build(obs, ACTION)
    env = envs.make("probe/corridor", 9)._replace(id="", obs=obs, action=ACTION, obs_names=())
    weights = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(settings.build(obs, ACTION).init, jax.random.key(0)),
    )
    params = PolicyParams(weights, observation.empty(obs.size))
    told = {"note": "x" * 60_000}
    policy_file.save(tmp_path / "p.tvp", env, "mlp", settings, params, told)
    found = policy_file.load(tmp_path / "p.tvp")
    chex.assert_trees_all_equal(found.weights, weights)
    assert (tmp_path / "p.tvp").stat().st_size <= tvp.MAX_BYTES
