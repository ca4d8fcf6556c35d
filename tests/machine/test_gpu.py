"""What must hold on a GPU or TPU too: `make test-gpu`. It holds on a CPU, where nothing else is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layered_records import minatar
from policy_records import make_record, observations

import ternevo
from ternevo import envs
from ternevo.arithmetic.observation import Quantiser
from ternevo.deploy import runtime
from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.policies.acting import Actor, seen_first
from ternevo.rollouts.population import Rollout, episode_keys, evaluate
from ternevo.settings.policies import MLP

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "record",
    [
        *(make_record((5, 33, 6, 3), name, seed=3) for name in ("int8", "int4", "sign", "ternary")),
        make_record((27, 64, 64, 8), output="continuous", seed=1),
        make_record((300, 256, 17), output="continuous", seed=2),
        minatar(),
    ],
    ids=lambda record: "-".join(map(str, record.sizes)),
)
def test_the_integers_are_those_of_the_runtime(record):
    saved, policy = policy_file.from_record(record), runtime.Policy(record)
    obs = observations(record, np.random.default_rng(0), 300)
    actor = Actor(saved.policy, saved.obs, saved.action)

    def act(one: jax.Array) -> jax.Array:
        return actor.act(saved.weights, saved.quantiser, (), seen_first(one))[1]

    found = jax.jit(jax.vmap(act))(jnp.asarray(obs))
    np.testing.assert_array_equal(policy.act_batch(obs), found)


@pytest.mark.parametrize("num_lanes", [0, 64])
def test_returns_do_not_depend_on_the_lanes(num_lanes):
    """Of a probe whose return is the length that was drawn, whoever runs the episode."""
    env = envs.make("probe/random_length", 50)
    policy = MLP((4,)).build(env.obs, env.action)
    params = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 300))
    keys = episode_keys(jax.random.key(1), 2, 300, "none")
    quantiser = Quantiser(jnp.zeros(env.obs.size), jnp.ones(env.obs.size))
    with devices.on_all_devices():
        run = jax.jit(lambda p: evaluate(Rollout(policy, env, num_lanes), p, keys, quantiser))
        found = run(params)
    with jax.default_device(jax.devices("cpu")[0]):
        own = jax.device_put(params, jax.devices("cpu")[0])
        expected = jax.jit(lambda p: evaluate(Rollout(policy, env), p, keys, quantiser))(own)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_array_equal(found.returns, expected.returns)


@pytest.mark.parametrize("strategy", ["ternary_nes", "ternary_ga", "ppo"])
def test_training_finds_the_optimum_and_ships_it(strategy, tmp_path):
    options = {} if strategy == "ppo" else {"population_size": 64}
    policy = ternevo.train(
        "probe/sign", strategy=strategy, num_generations=30, hidden_sizes=(8,), **options
    )
    policy.save(tmp_path / "sign.tvp")
    shipped = runtime.load(tmp_path / "sign.tvp")
    assert [shipped.act([-1.0]), shipped.act([1.0])] == [0, 1]
    assert ternevo.evaluate(policy, num_episodes=8).mean == 1
