"""What QDax is timed on is our task, and its archive keeps whom ours keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.algorithms import archives
from ternevo.bench.cases import BesideQDax
from ternevo.envs import maze

pytest.importorskip("qdax")
from qdax.core.containers.mapelites_repertoire import (
    MapElitesRepertoire,
    compute_euclidean_centroids,
)

from ternevo.bench import qdax_runner


def test_the_same_members_stay():
    env = envs.make("control/maze")
    cells = archives.grid(env.descriptor, (4, 3))
    centres = compute_euclidean_centroids((4, 3), env.descriptor.low, env.descriptor.high)
    ours = archives.empty(cells, {"w": jnp.zeros(2)})
    theirs = MapElitesRepertoire.init_default({"w": jnp.zeros(2)}, centres)
    rng = np.random.default_rng(0)
    for _ in range(5):
        members = {"w": jnp.asarray(rng.normal(size=(50, 2)), jnp.float32)}
        fitness = jnp.asarray(rng.normal(size=50), jnp.float32)
        places = jnp.asarray(rng.uniform(size=(50, 2)), jnp.float32)
        valid = jnp.ones(50, bool)
        ours = archives.entered(ours, cells, members, fitness, places, valid).archive
        theirs = theirs.add(members, places, fitness)
        # QDax numbers cells in the order of a meshgrid: match them by their middles.
        apart = jnp.abs(ours.centres[:, None] - theirs.centroids).sum(-1)
        order = jnp.argmin(apart, 1)
        assert jnp.array_equal(jnp.sort(order), jnp.arange(12))
        occupied = theirs.fitnesses[order, 0] > -jnp.inf
        assert jnp.array_equal(ours.is_occupied, occupied)
        assert jnp.array_equal(ours.fitness[occupied], theirs.fitnesses[order, 0][occupied])
        kept = theirs.genotypes["w"][order]
        assert jnp.array_equal(ours.members["w"][occupied], kept[occupied])
    assert 0 < int(ours.is_occupied.sum()) <= 12


class Constant:
    """A network that always returns the same."""

    def __init__(self, *action):
        self.action = jnp.array(action)

    def apply(self, genotype, obs):
        return self.action


@pytest.mark.parametrize("goal, length", [(None, 30), ((0.3, 0.1), 30)])
def test_an_episode_pays_and_ends_as_in_our_environment(goal, length, monkeypatch):
    if goal:  # on the way: the episode ends early, and what follows does not count
        monkeypatch.setattr(maze, "GOAL", np.array(goal, np.float32))
    env, network = envs.make("control/maze", length), Constant(0.05, 1.0)
    key, total, count, is_over = jax.random.key(0), 0.0, 0, False
    state, _ = env.reset(key, env.draw_task(key))
    step = jax.jit(env.step)
    while not is_over:
        state, timestep = step(key, state, network.action)
        total, count = total + float(timestep.reward), count + 1
        is_over = bool(timestep.terminated | timestep.truncated)
    assert (count < length) == bool(goal)
    nothing = {"w": jnp.zeros((2, 1))}
    returns, places, _ = qdax_runner.scores(env, network, nothing, key)
    np.testing.assert_allclose(returns, [total] * 2, atol=1e-6)
    np.testing.assert_allclose(places, [np.asarray(state.place)] * 2, atol=1e-6)


def test_as_many_generations_are_scored_as_are_asked_for(monkeypatch):
    scored, scores = [], qdax_runner.scores

    def counting(*arguments):
        jax.debug.callback(lambda: scored.append(1))
        return scores(*arguments)

    monkeypatch.setattr(qdax_runner, "scores", counting)
    one = qdax_runner.illuminator(BesideQDax("control/maze", 5, 4, 1, (4, 4), (2,)))
    state = one.init(jax.random.key(0))
    jax.effects_barrier()
    assert len(scored) == one.begun == 1
    jax.block_until_ready(one.advance(state, jnp.int32(3)))
    jax.effects_barrier()
    assert len(scored) == one.begun + 3


def test_generations_fill_an_archive():
    setting = BesideQDax("control/maze", 20, 16, 2, (8, 8))
    one = qdax_runner.illuminator(setting)
    state = one.advance(one.init(jax.random.key(0)), jnp.int32(3))
    coverage, score = one.found(state)
    assert 0 < coverage <= 1
    assert score > 0
