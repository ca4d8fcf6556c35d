"""Off-policy learners as strategies: probes, the warm-up, and the numbers of steps and targets."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import CONTINUOUS, REPLAYED
from marks import wide
from policy_inputs import inputs

from ternevo import envs
from ternevo.arithmetic import actions, observation, ternary
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.numbered import unwrapped
from ternevo.types import Buffer

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
GENERATIONS = 80
SEEDS = 3
CORRIDOR, SIGN = envs.make("probe/corridor", 8), envs.make("probe/sign")
PUSHED = envs.make("probe/double_integrator", 4)
LARGER = {
    "steps_per_generation": 128,
    "buffer_size": 4096,
    "batch_size": 32,
    "learning_starts": 128,
    "critic_hidden_sizes": (16, 16),
}
RATES = {"lr": 1e-3, "critic_lr": 3e-3, "tau": 0.02}
PROBES = [
    ("dqn", "float", CORRIDOR, {"lr": 3e-3}),
    ("dqn", "ternary", SIGN, {"lr": 3e-3}),
    *((name, kind, PUSHED, RATES) for name in CONTINUOUS for kind in ("float", "ternary")),
]


def built(name, kind, env, hidden_sizes, num_generations=GENERATIONS, **settings):
    policy = MLP(hidden_sizes, weights=kind).build(env.obs, env.action)
    settings = STRATEGIES[name].of(**REPLAYED | settings)
    return policy, settings, settings.build(env, policy, kind, num_generations)


def returns(env, policy, params) -> jax.Array:
    """Return what a policy earns in each of eight episodes [8]."""
    quantiser = observation.freeze(params.moments)

    def one_step(carry, _):
        state, obs, is_over = carry
        output = policy.apply(params.weights, (), inputs(observation.quantise(quantiser, obs)))[1]
        state, timestep = env.step(jax.random.key(0), state, actions.mode(env.action, output))
        reward = jnp.where(is_over, 0.0, timestep.reward)
        return (state, timestep.obs, is_over | timestep.terminated), reward

    def one_episode(key):
        first = (*env.reset(key, ()), jnp.zeros((), bool))
        return jnp.sum(jax.lax.scan(one_step, first, length=env.episode_length)[1])

    return jax.vmap(one_episode)(jax.random.split(jax.random.key(7), 8))


DEFAULT = (("dqn", "float"), ("td3", "ternary"), ("ddpg", "float"), ("sac", "ternary"))
"""Each learner with one kind of weights, and each kind with two: kinds do not ask who learns."""


@pytest.mark.parametrize(
    ("name", "kind", "env", "options"),
    wide(
        [
            pytest.param(
                *row,
                id=f"{row[0]}-{row[1]}",
                marks=[] if row[:2] in DEFAULT else pytest.mark.slow,
            )
            for row in PROBES
        ],
        keep=["td3-ternary"],
    ),
)
def test_a_probe_is_solved_by_as_many_gradient_steps_as_were_asked_for(name, kind, env, options):
    """Of each of several seeds. A mass that nobody pushes earns -4/3 on average, at best it is 0.

    About one seed in ten does not learn to push it in so few steps, so the median counts.
    """
    policy, settings, strategy = built(name, kind, env, (8,), **LARGER | options)

    def go(key):
        key_init, key_run = jax.random.split(key)
        keys = jax.random.split(key_run, GENERATIONS)
        state = strategy.init(key_init)
        state, metrics = jax.lax.scan(lambda s, k: strategy.step(k, s), state, keys)
        shipped = strategy.params(state)
        own = unwrapped(state)
        return shipped, own.learner.updates, own.steps, metrics, returns(env, policy, shipped)

    keys = jax.random.split(jax.random.key(0), SEEDS)
    shipped, updates, steps, metrics, earned = quick_jit(lambda keys: jax.lax.map(go, keys))(keys)
    if env is PUSHED:
        assert np.median(np.mean(earned, axis=1)) > -0.5, earned
    else:
        np.testing.assert_array_equal(earned, 1.0)
    for tensor in ternary.tensors(shipped.weights):
        assert tensor.values.dtype == (jnp.float32 if kind == "float" else jnp.int8)
        assert kind == "float" or set(np.unique(tensor.values).tolist()) <= {-1, 0, 1}
    total = 128 * GENERATIONS
    np.testing.assert_array_equal(steps, total)
    np.testing.assert_array_equal(metrics["episode/steps"], 128)
    np.testing.assert_array_equal(updates, settings.pace.updates_per_step * (total - 128))
    assert settings.num_updates(GENERATIONS) == updates[0]
    np.testing.assert_array_equal(metrics["replay/random_actions"][:, 0], 1.0)
    for metric, values in metrics.items():
        assert values.shape == (SEEDS, GENERATIONS) and metric.count("/") == 1
    assert all(bool(jnp.all(jnp.isfinite(x))) for m, x in metrics.items() if m.startswith("loss/"))


# --- the warm-up, one update after the other ------------------------------------------------------

ONE_AT_A_TIME = {
    "steps_per_generation": 8,
    "updates_per_step": 1 / 8,
    "learning_starts": 20,  # three generations
    "batch_size": 4,
}
"""One gradient step in each generation, so that each is seen."""
PERIODS = {"dqn": {"target_period": 3}, "td3": {"policy_delay": 3}, "ddpg": {}, "sac": {}}


@functools.cache
def one_at_a_time(name: str):
    """Return the first state, and the compiled generation."""
    env = PUSHED if name in CONTINUOUS else CORRIDOR
    settings = {**ONE_AT_A_TIME, **PERIODS[name], "tau": 0.5, "lr": 0.01}
    _, _, strategy = built(name, "ternary", env, (), 20, **settings)
    return quick_jit(strategy.init)(jax.random.key(0)), quick_jit(strategy.step)


def learned_of(name, learner):
    """Return what each gradient step changes, what every few of them change, and the targets."""
    if name == "dqn":
        return learner.learned, (), learner.target
    return learner.critics, learner.actor, (learner.target_actor, learner.target_critics)


def has_moved(before, after) -> bool:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "name",
    wide(["dqn", "td3", "sac", pytest.param("ddpg", marks=pytest.mark.slow)], keep=["dqn"]),
)
def test_nothing_moves_in_the_warm_up_and_then_targets_move_when_they_are_due(name):
    state, step = one_at_a_time(name)
    period = max(PERIODS[name].values(), default=1)
    for generation in range(9):
        before = state
        state, metrics = step(jax.random.key(generation), state)
        old, new = unwrapped(before).learner, unwrapped(state).learner
        count = max(0, generation - 2)
        assert (int(new.updates), int(unwrapped(state).steps)) == (count, 8 * (generation + 1))
        if generation < 3:
            chex.assert_trees_all_equal(old, new, strict=True)
            assert float(metrics["loss/q"]) == 0 and float(metrics["weights/changed"]) == 0
            is_within = 8 * (generation + 1) <= 20  # those beyond follow the policy
            assert (float(metrics["replay/random_actions"]) == 1) == is_within
            continue
        learned, actor, target = learned_of(name, new)
        learned_then, actor_then, target_then = learned_of(name, old)
        assert has_moved(learned_then, learned)
        assert has_moved(target_then, target) == (count % period == 0), generation
        assert not actor or has_moved(actor_then, actor) == (count % period == 0)


def test_an_empty_buffer_is_refilled_before_learning_goes_on():
    """As in a run that was resumed without it; meanwhile the policy acts, and not chance."""
    first, step = one_at_a_time("sac")
    state = first
    for generation in range(5):
        state, _ = step(jax.random.key(generation), state)
    empty = unwrapped(first).experience
    assert isinstance(empty, Buffer)
    state = jax.tree.map(
        lambda node, new: new if isinstance(node, Buffer) else node,
        state,
        first,
        is_leaf=lambda node: isinstance(node, Buffer),
    )
    counts, shares = [], []
    for generation in range(5, 10):
        state, metrics = step(jax.random.key(generation), state)
        counts.append(int(unwrapped(state).learner.updates))
        shares.append(float(metrics["replay/random_actions"]))
    assert counts == [2, 2, 2, 3, 4]
    assert shares == [0] * 5
