"""The policies of a state are read by themselves, and are bit for bit those of the strategy."""

import jax
import numpy as np
import pytest

from ternevo.machine import devices
from ternevo.settings.command_line import parse
from ternevo.strategies.across_seeds import keys_of
from ternevo.training import loop, policies
from ternevo.training.setup import build

SMALL = ["--env", "probe/corridor", "--episode_length", "4", "--hidden_sizes", "(3,)"]
GRADIENTS = ["--num_envs", "2", "--num_steps", "4", "--num_minibatches", "2"]


def begun(tmp_path, *argv):
    """Return a run and its first state."""
    setup = build(parse([*SMALL, "--runs_dir", str(tmp_path), *argv]))
    state = loop.start(keys_of(setup.config.seeds), setup.strategy)
    return setup, setup.evaluation.begun(setup.strategy, state)


@pytest.mark.parametrize(
    "argv",
    [
        ["--strategy", "ternary_nes", "--population_size", "8", "--num_seeds", "2"],
        pytest.param(["--strategy", "latent", "--population_size", "8"], marks=pytest.mark.wide),
        pytest.param(["--strategy", "ppo", *GRADIENTS], marks=pytest.mark.wide),
    ],
)
def test_policies_are_those_of_the_strategy(argv, tmp_path):
    check_policies(*begun(tmp_path, *argv))


def check_policies(setup, state):
    found = policies.policies_of(setup, state)
    params = setup.strategy.params(state.strategy)
    jax.tree.map(np.testing.assert_array_equal, found.last, params)
    jax.tree.map(np.testing.assert_array_equal, found.best.policy, params)  # the first so far
    np.testing.assert_array_equal(found.best.mean_return, np.full(state.key.shape, -np.inf))
    np.testing.assert_array_equal(found.best.generation, np.zeros(state.key.shape))


def test_nothing_but_policies_is_copied(tmp_path, monkeypatch):
    """A population, or a replay buffer, may be much larger than what ships."""
    copied = []
    copy = devices.own_copy
    monkeypatch.setattr(devices, "own_copy", lambda tree: copied.append(tree) or copy(tree))
    setup, state = begun(tmp_path, "--strategy", "ternary_ga", "--population_size", "64")
    found = policies.policies_of(setup, state)
    assert [jax.tree.structure(tree) for tree in copied] == [jax.tree.structure(found)]
    assert 8 * size_of(copied) < size_of(state.strategy)


def size_of(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
