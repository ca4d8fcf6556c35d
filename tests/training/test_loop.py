"""The loop: chunks and interruptions change no bit."""

import functools

import chex
import jax
import numpy as np
import pytest
from gradient_learners import SMALL

from ternevo import envs, problems
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.training import loop
from ternevo.training.checkpoint import CheckpointError, Checkpoints
from ternevo.training.evaluation import Evaluation
from ternevo.types import LEFT_OUT, Strategy

KINDS = [
    ("ternary_nes", "ternary"),
    *(
        # A population or latents in the place of a distribution. The buffer of DQN is in the
        # checkpoint; `test_off_policy_runs.py` stops a run of it.
        pytest.param(*kind, marks=pytest.mark.slow)
        for kind in (("ternary_ga", "ternary"), ("latent", "float"), ("dqn", "ternary"))
    ),
]


@functools.cache
def small(name: str = "ternary_nes", weights: str = "ternary") -> tuple[Strategy, Evaluation]:
    # Floats that add up over an episode, but for DQN, which takes discrete actions only.
    env = envs.make("probe/corridor" if name == "dqn" else "probe/double_integrator", 6)
    policy = MLP(hidden_sizes=(4,), weights=weights).build(env.obs, env.action)
    settings = STRATEGIES[name].of(**SMALL.get(name, {"population_size": 8}))
    strategy = settings.build(env, policy, weights, 20)
    return strategy, Evaluation(problems.of(policy, env), every=5, num_episodes=4)


def finished(parts, state, num_generations, chunk_size=0):
    """Return the last state and all metrics."""
    strategy, evaluation = parts
    chunks = list(loop.train(strategy, state, num_generations, chunk_size, evaluation=evaluation))
    names = chunks[0].metrics
    metrics = {n: np.concatenate([chunk.metrics[n] for chunk in chunks]) for n in names}
    return chunks[-1].state, metrics


@functools.cache
def whole(name: str, weights: str):
    """Return what 20 generations in one chunk end with, and their metrics."""
    parts = small(name, weights)
    return finished(parts, loop.start(jax.random.key(0), parts[0]), 20, chunk_size=20)


@pytest.mark.exact
@pytest.mark.parametrize(("name", "weights"), KINDS)
def test_chunk_size_changes_no_bit(name, weights):
    parts, key = small(name, weights), jax.random.key(0)
    pieces = finished(parts, loop.start(key, parts[0]), 20, chunk_size=3)
    chex.assert_trees_all_equal(whole(name, weights), pieces, strict=True)


@pytest.mark.exact
@pytest.mark.parametrize(("name", "weights"), KINDS)
def test_ten_generations_a_checkpoint_and_ten_more_equal_twenty(name, weights, tmp_path):
    parts, key = small(name, weights), jax.random.key(0)
    last, metrics = whole(name, weights)

    half, first = finished(parts, loop.start(key, parts[0]), 10, chunk_size=10)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(half)
    rebuilt = small.__wrapped__(name, weights)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(rebuilt[1].begun(rebuilt[0], loop.start(key, rebuilt[0])))
    resumed, second = finished(rebuilt, restored, 20, chunk_size=7)

    chex.assert_trees_all_equal(last, resumed, strict=True)
    for name_ in metrics:
        np.testing.assert_array_equal(
            metrics[name_], np.concatenate([first[name_], second[name_]]), err_msg=name_
        )


def test_chunks_end_where_they_are_told_to():
    strategy, _ = small()
    state = loop.start(jax.random.key(0), strategy)
    chunks = loop.train(strategy, state, 11, chunk_size=4, stop_every=(5, 0, 3))
    assert [int(chunk.state.generation) for chunk in chunks] == [3, 5, 6, 9, 10, 11]


def test_a_chunk_may_hold_several_evaluations():
    strategy, evaluation = small()
    state = loop.start(jax.random.key(0), strategy)
    chunks = list(loop.train(strategy, state, 11, 9, evaluation=evaluation))
    assert [len(chunk.metrics["eval/return"]) for chunk in chunks] == [9, 2]
    returns = np.concatenate([chunk.metrics["eval/return"] for chunk in chunks])
    np.testing.assert_array_equal(1 + np.flatnonzero(~np.isnan(returns)), [1, 5, 10])


def test_should_stop_ends_after_the_chunk_it_was_asked_in():
    (strategy, _), answers = small(), iter([False, False, True])
    state = loop.start(jax.random.key(0), strategy)
    chunks = list(loop.train(strategy, state, 20, 2, should_stop=lambda: next(answers)))
    assert [chunk.first_generation for chunk in chunks] == [0, 2]


@pytest.mark.parametrize(
    ("count", "seconds", "expected"), [(1, 0.01, 4), (8, 2.0, 8), (8, 8.0, 2), (200, 0.1, 256)]
)
def test_automatic_chunks_approach_two_seconds(count, seconds, expected):
    assert loop._next_size(count, seconds) == expected


def test_the_first_loss_that_is_not_finite_is_found():
    """Of several seeds too; other metrics may be NaN, and are, between evaluations."""
    good = np.ones((4, 2))
    later, first = good.copy(), good.copy()
    later[3, 0], first[2, 1] = np.nan, np.inf
    metrics = {"eval/return": good * np.nan, "loss/a": later, "loss/b": first, "loss/c": good}
    assert loop.divergence(metrics) == (2, 1, "loss/b", np.inf)
    assert loop.divergence({"loss/a": np.array([1.0, -np.inf])}) == (1, 0, "loss/a", -np.inf)
    assert loop.divergence({"eval/return": good * np.nan, "loss/c": good}) is None


def test_the_first_update_that_was_left_out_is_found():
    left_out = np.zeros((4, 2), np.int32)
    metrics = {LEFT_OUT: left_out, "return/nonfinite": left_out + 1, "loss/a": np.ones((4, 2))}
    assert loop.divergence(metrics) is None
    left_out[2:, 1] = 1
    assert loop.divergence(metrics) == (2, 1, LEFT_OUT, 1.0)


def test_a_missing_checkpoint_is_named(tmp_path):
    strategy, _ = small()
    expected = jax.eval_shape(lambda: loop.start(jax.random.key(0), strategy))
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match="no checkpoint"),
    ):
        checkpoints.restore(expected)


@pytest.mark.filterwarnings("ignore")  # orbax warns in its own words before it raises
def test_a_damaged_checkpoint_is_refused(tmp_path):
    strategy, _ = small()
    state = loop.start(jax.random.key(0), strategy)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
    for path in (tmp_path / "0" / "default").rglob("*"):
        if path.is_file():
            path.write_bytes(b"broken")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="damaged"):
        checkpoints.restore(state)
