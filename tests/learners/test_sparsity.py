"""Pruning: the schedule, the masks, and that a pruned weight stays zero whatever follows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradient_learners import REPLAYED as LARGER
from hypothesis import given, settings, strategies as st

import ternevo
from ternevo import envs
from ternevo.learners import sparsity
from ternevo.learners.sparsity import (
    CRITIC,
    POLICY,
    Plan,
    as_pruned,
    masks_of,
    planned,
    pruned,
    smallest_pruned,
)
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.numbered import unwrapped

PLAN = Plan(0.9, 4, 5, 2, "layer")


class Learned(NamedTuple):
    latents: list[Any]
    critic: Any
    other: Any


def drawn(key=0, sizes=((6, 8), (8,), (8, 3), (3,))):
    keys = jax.random.split(jax.random.key(key), len(sizes))
    latents = [jax.random.normal(key, size) for key, size in zip(keys, sizes, strict=True)]
    return Learned(latents, {"params": [1 + x for x in latents]}, jnp.ones(2))


def zeros_of(arrays):
    return [float(np.mean(x == 0)) for x in map(np.asarray, arrays)]


@pytest.mark.parametrize(
    ("inner", "layers", "rest"),
    [
        (optax.adam(0.1), POLICY, CRITIC),
        (optax.adam(0.1), CRITIC, POLICY),
        (optax.sgd(0.1, momentum=0.9), POLICY, CRITIC),
    ],
)
def test_sparsity_follows_the_plan_and_masks_never_shrink(inner, layers, rest):
    optimizer, learned = pruned(inner, PLAN, layers), drawn()
    state, target, before = optimizer.init(learned), drawn(1), [None] * 4
    update = jax.jit(optimizer.update)
    for count in range(1, 20):
        gradient = jax.tree.map(lambda x, n=count: jnp.sin(37.0 * n + 10 * x), learned)
        changes, state = update(gradient, state, learned)
        learned = optax.apply_updates(learned, changes)
        target = as_pruned(optax.incremental_update(learned, target, 0.1), learned, layers)
        wanted, own = float(planned(PLAN, jnp.int32(count))), layers.of(learned)
        for i in (0, 2):
            assert zeros_of(own)[i] == round(wanted * own[i].size) / own[i].size
            now = np.asarray(own[i] == 0)
            assert before[i] is None or not np.any(before[i] & ~now)
            assert np.all(np.asarray(layers.of(target)[i])[now] == 0)
            before[i] = now
        assert zeros_of(own)[1] == zeros_of(own)[3] == 0
        assert zeros_of(rest.of(learned)) == [0.0] * 4
    assert wanted == pytest.approx(0.9)


def test_what_is_pruned_are_the_smallest():
    latents = drawn().latents
    masks = smallest_pruned(latents, masks_of(latents), 0.5, "layer")
    sizes = np.abs(np.asarray(latents[0]))
    assert np.asarray(masks[0]).sum() == 24
    assert sizes[~np.asarray(masks[0])].max() < sizes[np.asarray(masks[0])].min()
    everywhere = smallest_pruned(latents, masks_of(latents), 0.5, "global")
    flat = np.concatenate([np.abs(np.asarray(latents[i])).ravel() for i in (0, 2)])
    kept = np.concatenate([np.asarray(everywhere[i]).ravel() for i in (0, 2)])
    assert kept.sum() == 36 and flat[~kept].max() < flat[kept].min()


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    st.floats(0.0, 0.99),
)
@settings(max_examples=40, deadline=None)
def test_erdos_renyi_shares_give_the_whole_its_sparsity(shapes, share):
    found = np.array([float(x) for x in sparsity.erk(shapes, share)])
    sizes = np.array([a * b for a, b in shapes])
    assert np.all((found >= 0) & (found <= 1))
    assert (found * sizes).sum() / sizes.sum() == pytest.approx(share, abs=1e-4)


def test_erdos_renyi_shares_are_those_of_the_published_pruner():
    """Jaxpruner f133ee5 for a 17-256-256 network at 90 %: .4414 and .9304."""
    found = [float(x) for x in sparsity.erk([(17, 256), (256, 256)], 0.9)]
    assert found == pytest.approx([0.4414, 0.9304], abs=2e-4)


PRUNED = [(name, kind) for name in ("ppo", "dqn", "td3", "sac") for kind in ("float", "ternary")]
QUICK = ("ppo", "ternary")
"""By default; test_quantising.py prunes DQN, and all learners share the optimiser that prunes."""


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [pytest.param(*row, marks=[pytest.mark.slow] * (row != QUICK)) for row in PRUNED],
)
def test_every_learner_ships_a_policy_as_sparse_as_was_asked_for(strategy, weights, tmp_path):
    env = "probe/sign" if strategy in ("ppo", "dqn") else "probe/double_integrator"
    own = {"num_envs": 8, "num_steps": 8, "num_minibatches": 2} if strategy == "ppo" else LARGER
    policy = ternevo.train(
        env,
        strategy,
        **{"weights": weights, "hidden_sizes": [12], "sparsity": 0.75, "prune_events": 4},
        **{"num_generations": 8, "eval_every": 8, "num_eval_episodes": 2, "num_final_episodes": 2},
        **own,
    )
    for layer in policy.record.layers:
        zeros = np.mean(layer.weights == 0)
        exact = round(0.75 * layer.weights.size) / layer.weights.size
        assert zeros == exact if weights == "float" else zeros >= exact


@pytest.mark.parametrize("sparsity", [0.5, pytest.param(0.0, marks=pytest.mark.slow)])
def test_the_critic_of_ppo_is_pruned_by_the_same_schedule_with_masks_of_its_own(sparsity):
    """All layers of both after each generation, which is one update here."""
    env, generations = envs.make("probe/sign"), 10
    policy = MLP((12,), weights="float").build(env.obs, env.action)
    small = {"num_envs": 8, "num_steps": 8, "num_epochs": 1, "num_minibatches": 1}
    pruning = {"prune_events": 3, "sparsity": sparsity, "critic_sparsity": 0.75}
    strategy = STRATEGIES["ppo"].of(**small, **pruning, critic_hidden_sizes=(6, 4))
    strategy = strategy.build(env, policy, "float", generations)

    def step(state, key):
        state, _ = strategy.step(key, state)
        return state, unwrapped(state).learner.learned

    keys = jax.random.split(jax.random.key(1), generations)
    _, learned = jax.jit(lambda: jax.lax.scan(step, strategy.init(jax.random.key(0)), keys))()
    for layers, share in ((POLICY, sparsity), (CRITIC, 0.75)):
        plan = Plan(share, first=2, num_events=3, between=2, allocation="layer")
        wanted = np.array([planned(plan, jnp.int32(count)) for count in range(1, 11)])
        weights = [np.asarray(x) for x in layers.of(learned) if x.ndim > 2]
        assert len(weights) == (2 if layers is POLICY else 3)
        for each in weights:
            zeros = (each == 0).reshape(generations, -1)
            np.testing.assert_array_equal(zeros.sum(1), np.round(wanted * zeros.shape[1]))
            assert not np.any(zeros[:-1] & ~zeros[1:])
    biases = [x for x in (*POLICY.of(learned), *CRITIC.of(learned)) if x.ndim == 2]
    assert all(bool(jnp.any(x[-1] != 0)) for x in biases)


def test_signs_cannot_be_pruned():
    with pytest.raises(ValueError, match="--sparsity must be 0 with --weights binary"):
        ternevo.train("probe/sign", "ppo", weights="binary", sparsity=0.5)
    with pytest.raises(ValueError, match=r"prune_end must be above prune_start = 0\.9, got 0\.8"):
        ternevo.train("probe/sign", "ppo", sparsity=0.5, prune_start=0.9)
