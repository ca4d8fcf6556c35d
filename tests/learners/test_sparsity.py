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
from ternevo.learners import sparsity
from ternevo.learners.sparsity import Plan, as_pruned, masks_of, planned, pruned, smallest_pruned

PLAN = Plan(0.9, 4, 5, 2, "layer")


class Learned(NamedTuple):
    latents: list[Any]
    other: Any


def drawn(key=0, sizes=((6, 8), (8,), (8, 3), (3,))):
    keys = jax.random.split(jax.random.key(key), len(sizes))
    latents = [jax.random.normal(key, size) for key, size in zip(keys, sizes, strict=True)]
    return Learned(latents, jnp.ones(2))


def zeros_of(learned):
    return [float(np.mean(latent == 0)) for latent in map(np.asarray, learned.latents)]


@pytest.mark.parametrize("inner", [optax.adam(0.1), optax.sgd(0.1, momentum=0.9)])
def test_sparsity_follows_the_plan_and_masks_never_shrink(inner):
    optimizer, learned = pruned(inner, PLAN), drawn()
    state, target, before = optimizer.init(learned), drawn(1), [None] * 4
    update = jax.jit(optimizer.update)
    for count in range(1, 20):
        gradient = jax.tree.map(lambda x, n=count: jnp.sin(37.0 * n + 10 * x), learned)
        changes, state = update(gradient, state, learned)
        learned = optax.apply_updates(learned, changes)
        target = as_pruned(optax.incremental_update(learned, target, 0.1), learned)
        wanted = float(planned(PLAN, jnp.int32(count)))
        for i in (0, 2):
            size = learned.latents[i].size
            assert zeros_of(learned)[i] == round(wanted * size) / size
            now = np.asarray(learned.latents[i] == 0)
            assert before[i] is None or not np.any(before[i] & ~now)
            assert np.all(np.asarray(target.latents[i])[now] == 0)
            before[i] = now
        assert zeros_of(learned)[1] == zeros_of(learned)[3] == 0
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


def test_signs_cannot_be_pruned():
    with pytest.raises(ValueError, match="--sparsity must be 0 with --weights binary"):
        ternevo.train("probe/sign", "ppo", weights="binary", sparsity=0.5)
    with pytest.raises(ValueError, match=r"prune_end must be above prune_start = 0\.9, got 0\.8"):
        ternevo.train("probe/sign", "ppo", sparsity=0.5, prune_start=0.9)
